"""What the demo draws."""

import io
import logging
import os
import re
import shutil
from datetime import datetime

import pytest

from gateway.cli.demo_show import summary
from gateway.cli.demo_view import HAPPENED_MAX, Lines, Notes, Screen, human
from gateway.demo import Data, Seen, Tally

ANSI = re.compile(r"\x1b\[[\d;?]*[A-Za-z]")
TIME = "2026-11-23T06:00:00.125000Z"
HERE = f"{datetime.fromisoformat(TIME).astimezone():%H:%M:%S}.125"
TALLY = Tally(accepted=12, delivered=10, duplicates=0, out_of_order=0)


class Standing:
    """A clock that moves when it is told to."""

    boot_id = "boot"

    def __init__(self):
        self.ns = 0

    def mono_ns(self):
        return self.ns


def seen(subject="air/temperature", value=21.5, unit="Cel", kind="reading", quality="good", reason="", offset=1):
    return Seen(
        id=f"run-{offset}",
        type=f"io.sensor-event-gateway.{kind}.v1",
        subject=subject,
        time=TIME,
        sequence=f"{offset:020d}",
        data=Data(value, unit, quality, reason),
    )


@pytest.fixture
def clock():
    return Standing()


@pytest.fixture
def output():
    return io.StringIO()


@pytest.fixture
def screen(output, clock, monkeypatch):
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: os.terminal_size((80, 24)))
    return Screen(output, clock)


def last_frame(output):
    return ANSI.sub("", output.getvalue().split("\x1b[J")[-2]).lstrip("\r").splitlines()


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (21.456, "Cel", "21.5 °C"),
        (0.4321, "/", "43.2 %"),
        (101_325.0, "Pa", "1013.2 hPa"),
        (32_000_000_000, "B", "32.0 GB"),
        (5400.0, "s", "90 min"),
        (True, None, "on"),
        (None, "Cel", "-"),
        ("up", None, "up"),
        ("19d7065f-1a0e-4912-a275-24d11d16a40e", None, "19d7065f-1a0e-4…"),
        (3.14159, "furlong", "3.14 furlong"),
    ],
)
def test_values_read_as_a_person_says_them(value, unit, text):
    assert human(value, unit) == text


def test_a_line_has_time_subject_value_and_quality(output):
    Lines(output).arrived(seen(), first=True)

    assert output.getvalue().split() == [HERE, "air/temperature", "21.5", "°C", "good"]


def test_a_bad_reading_says_why(output):
    Lines(output).arrived(seen(value=None, quality="bad", reason="range"), first=True)

    assert output.getvalue().rstrip().endswith("bad  range")


def test_a_duplicate_is_marked(output):
    Lines(output).arrived(seen(), first=False)

    assert "(again)" in output.getvalue()


def test_the_table_keeps_the_latest_of_each_subject_with_count_and_age(screen, output, clock):
    screen.arrived(seen(value=20.0), first=True)
    screen.arrived(seen(value=21.5), first=True)
    screen.arrived(seen("air/humidity", 48.0, "%RH"), first=True)
    clock.ns = 3_000_000_000
    screen.draw(TALLY)

    rows = [line.split() for line in last_frame(output)]
    assert ["air/humidity", "48.0", "%", "good", "1", "3", "s"] in rows
    assert ["air/temperature", "21.5", "°C", "good", "2", "3", "s"] in rows
    assert "12 accepted   10 delivered   2 under way" in "\n".join(last_frame(output))


def test_what_happened_stands_below_the_table(screen, output):
    screen.arrived(seen("door/pressed", True, None, "state"), first=True)
    screen.arrived(seen("air", None, None, "device.unavailable", None, "timeout"), first=True)
    screen.draw(TALLY)

    frame = "\n".join(last_frame(output))
    assert re.search(rf"{HERE} +door/pressed +on", frame)
    assert re.search(rf"{HERE} +air +stopped answering: timeout", frame)


def test_values_of_a_device_that_does_not_answer_do_not_stand(screen, output):
    screen.arrived(seen("air/temperature"), first=True)
    screen.arrived(seen("airport/temperature"), first=True)
    screen.arrived(seen("air", None, None, "device.unavailable", None, "timeout"), first=True)
    screen.draw(TALLY)

    frame = "\n".join(last_frame(output))
    assert re.search(r"air/temperature +- +no answer", frame)
    assert re.search(r"airport/temperature +21\.5 °C +good", frame)

    screen.arrived(seen("air/temperature", 19.0), first=True)
    screen.draw(TALLY)
    assert re.search(r"air/temperature +19\.0 °C +good", "\n".join(last_frame(output)))


def test_a_frame_never_exceeds_the_terminal(screen, output):
    for n in range(100):
        screen.arrived(seen(f"device-{n}/temperature"), first=True)
        screen.arrived(seen(f"device-{n}", None, None, "device.available", None), first=True)
    screen.draw(TALLY)

    frame = last_frame(output)
    assert len(frame) <= 23
    assert any(re.search(r"and \d+ more", line) for line in frame)
    assert sum(line.endswith(" answers") for line in frame) == HAPPENED_MAX


def test_each_frame_covers_the_one_before(screen, output):
    screen.arrived(seen(), first=True)
    screen.draw(TALLY)
    lines = len(last_frame(output))
    screen.draw(TALLY)

    assert f"\x1b[{lines}F" in output.getvalue()


def test_the_terminal_gets_its_cursor_and_wrapping_back(screen, output):
    screen.close(TALLY)

    assert output.getvalue().endswith("\x1b[?7h\x1b[?25h")


def test_the_gateways_errors_land_in_the_view(output):
    notes = Notes(Lines(output))

    notes.handle(logging.makeLogRecord({"levelname": "ERROR", "msg": "sink %s refused us", "args": ("demo",)}))

    assert output.getvalue() == "error: sink demo refused us\n"


def test_the_summary_names_every_figure():
    said = ANSI.sub("", summary(Tally(accepted=1234, delivered=1233, duplicates=2, out_of_order=3)))

    figures = dict(re.findall(r"^  (accepted|delivered|duplicates|out of order|lost) +([\d ]*\d)", said, re.MULTILINE))
    assert figures == {
        "accepted": "1 234",
        "delivered": "1 233",
        "duplicates": "2",
        "out of order": "3",
        "lost": "1",
    }
