"""What the demo draws."""

import io
import logging
import os
import re
import shutil
from datetime import datetime

import click
import msgspec
import pytest

from gateway.cli.demo_show import Shown, summary
from gateway.cli.demo_view import HAPPENED_MIN, Lines, Notes, Screen
from gateway.cli.demo_words import human
from gateway.config import parse_config
from gateway.demo import Seen, Tally
from gateway.plugins import Plugins

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
        data={"value": value, "unit": unit, "quality": quality, "reason": reason},
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
    assert sum(line.endswith(" answers") for line in frame) == HAPPENED_MIN


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

    notes.handle(
        logging.makeLogRecord(
            {"levelname": "ERROR", "levelno": logging.ERROR, "msg": "sink %s refused us", "args": ("demo",)}
        )
    )

    assert output.getvalue() == "error: sink demo refused us\n"


def test_the_summary_names_every_figure():
    said = ANSI.sub("", summary(Shown(Tally(accepted=1234, delivered=1233, duplicates=2, out_of_order=3), {})))

    figures = dict(re.findall(r"^  (accepted|delivered|duplicates|out of order|lost) +([\d ]*\d)", said, re.MULTILINE))
    assert figures == {
        "accepted": "1 234",
        "delivered": "1 233",
        "duplicates": "2",
        "out of order": "3",
        "lost": "1",
    }


RULES = parse_config(
    """
rules:
- {id: knock, when: {count: {type: reading, above: 1, at_least: 3, within: 10s}}}
- {id: hot, when: {hold: {type: reading, above: 30, for: 5m}}}
- {id: warms, when: {rate: {type: reading, over: 2m, per: 1m, above: 2, min_span: 30s}}}
- {id: silent, when: {absent: {type: reading, for: 90s}}}
- {id: minute, when: {window: {type: reading, tumbling: 1m, of: {avg: avg, max: max}}}}
- {id: entry, when: {sequence: {within: 15s, steps: [{type: input}, {type: state, is: open}]}}}
- {id: forced, when: {event: {type: state, is: open}}}
- {id: left, when: {sequence: {within: 30s, steps: [{type: state, is: open}, {not: {type: input}}]}}}
""",
    "gateway.yaml",
    Plugins(),
).rules
BEFORE = "2026-11-23T05:59:57.125000Z"


def said_by(rule, verb, value=None, unit=None, severity="info", offset=1, **data):
    event = seen(f"rule/{rule}", value, unit, f"rule.{verb}", None, offset=offset)
    return msgspec.structs.replace(event, data=event.data | {"name": f"it.{rule}", "severity": severity} | data)


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (said_by("knock", "matched", 3.0, "V", n=3, first=BEFORE), "it.knock matched 3 in 10 s"),
        (said_by("hot", "raised", 34.24, "Cel", held_s=300.0), "it.hot raised 34.2 °C for 5 min"),
        (said_by("hot", "cleared", 27.5, "Cel", held_s=400.0), "it.hot cleared 27.5 °C after 6 min"),
        (said_by("warms", "raised", 3.44, "Cel", held_s=0.0), "it.warms raised 3.4 °C in 60 s"),
        (said_by("silent", "raised", key="attic", gap_s=90.0), "it.silent raised attic silent for 90 s"),
        (said_by("silent", "cleared", key="attic", gap_s=118.0), "it.silent cleared attic back after 118 s"),
        (
            said_by("minute", "window", 1.0, "Cel", avg=1.0, max=2.0, n=4, quality="good"),
            "it.minute window avg 1.0 °C, max 2.0 °C",
        ),
        (said_by("entry", "matched", True, first=BEFORE), "it.entry matched after 3 s"),
        (said_by("entry", "timeout", "bob", first=BEFORE), "it.entry timeout bob after 3 s"),
        (said_by("forced", "matched", True, key="door/contact"), "it.forced matched door/contact on"),
        (said_by("gone", "matched", True), "it.gone matched on"),
    ],
)
def test_what_a_rule_says_reads_as_a_sentence(event, words, output):
    Lines(output, RULES).arrived(event, first=True)

    assert output.getvalue().split() == [HERE, event.subject, *words.split()]


@pytest.mark.parametrize(
    ("verb", "severity", "colour"),
    [
        ("raised", "warning", "yellow"),
        ("matched", "critical", "bright_red"),
        ("cleared", "critical", "green"),
        ("matched", "info", "cyan"),
    ],
)
def test_how_bad_it_is_has_a_colour_on_a_terminal(verb, severity, colour, screen, output):
    screen.arrived(said_by("hot", verb, 34.0, "Cel", severity), first=True)
    screen.draw(TALLY)

    assert click.style("it.hot", fg=colour).removesuffix("\x1b[0m") in output.getvalue()


def test_without_a_terminal_there_is_no_colour(output):
    Lines(output, RULES).arrived(said_by("hot", "raised", 34.0, "Cel", "critical"), first=True)

    assert "\x1b" not in output.getvalue()


def test_what_a_rule_says_is_no_row_of_the_table(screen, output):
    screen.arrived(seen("rule/minute", 21.5, "Cel", "rule.window"), first=True)
    screen.arrived(seen("rule/minute", None, None, "rule.started", None), first=True)
    screen.draw(TALLY)

    assert [line for line in last_frame(output) if "rule/minute" in line and "window" not in line] == []
    assert any("rule/minute" in line for line in last_frame(output))


def test_an_output_names_the_rule_that_it_follows(output):
    lines = Lines(output, RULES)
    lines.arrived(said_by("hot", "raised", 34.0, "Cel", offset=7), first=True)
    on = seen("fan/on", True, None, "output.changed", offset=8)
    lines.arrived(msgspec.structs.replace(on, causationid="run-7"), first=True)
    lines.arrived(msgspec.structs.replace(on, causationid="run-6"), first=True)

    _, told, untold = output.getvalue().splitlines()
    assert told.endswith("good  as rule/hot says")
    assert untold.endswith("good")


def test_what_an_action_did_stands_behind_what_it_was_done_for(output):
    notes = Notes(Lines(output, RULES))
    record = {"name": "gateway.actions", "levelname": "INFO", "levelno": logging.INFO, "created": 0.0}
    notes.handle(logging.makeLogRecord(record | {"msg": "rule/hot: would notify: {too} hot: 34 °C"}))
    notes.handle(logging.makeLogRecord(record | {"msg": "rule/knock: a line", "levelname": "WARNING", "levelno": 30}))
    notes.handle(logging.makeLogRecord(record | {"name": "gateway.run", "msg": "nothing of an action"}))
    assert output.getvalue() == ""
    notes.show()

    assert [line[14:] for line in output.getvalue().splitlines()] == [
        "rule/hot                would notify: {too} hot: 34 °C",
        "rule/knock              a line",
    ]


def test_the_summary_says_how_often_rules_fired_and_what_the_others_wait_for():
    said = ANSI.sub("", summary(Shown(TALLY, {"knock": 1200, "forced": 2, "entry": 2}), RULES))

    lines = said[said.index("  rules") :].splitlines()
    assert lines[0] == "  rules         8 in force, fired 1 204 times: knock 1 200, entry 2, forced 2"
    assert " ".join(" ".join(lines[1:]).split()) == (
        "not yet: hot (lasting 5 min), warms (over 30 s), silent (silent for 90 s), minute (every 60 s), "
        "left (nothing for 30 s)"
    )


def test_a_demo_without_rules_does_not_speak_of_any():
    assert "rules" not in summary(Shown(TALLY, {}))
