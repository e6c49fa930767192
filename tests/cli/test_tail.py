"""`gateway tail`: lines for people, lines for programs, and how it ends."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from datetime import UTC, date, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click import BadParameter, UsageError, unstyle
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from gateway.cli.look import width
from gateway.cli.tail import Ended, Lines, instant_ns, tail
from gateway.errors import ControlError, NotRunning
from gateway.event import CloudEventEncoder, Event
from tests.cli.canned import Serve, stream

SIX_NS = 1795413600_000_000_000
"""2026-11-23T06:00:00Z"""
TODAY = date(2026, 11, 23)


def cloud(type_: str, subject: str, offset: int = 1, after_ms: int = 0, **more: Any) -> dict[str, Any]:
    time = SIX_NS + after_ms * 1_000_000
    event = Event(type_, subject, time, 1, offset=offset, recorded=time, run="5f0c9a31d2e47b88", **more)
    return dict(msgspec.to_builtins(CloudEventEncoder("pi").envelope(event, offset - 1 or None)))


READINGS = [
    cloud("gateway.started", "gateway", 1, data={"clean": True, "gap_ns": None}),
    cloud("reading", "air/temperature", 2, 125, value=21.5, unit="Cel", quality="good"),
    cloud("reading", "air/humidity", 3, 125, value=48.0625, unit="%RH", quality="uncertain", reason="initial"),
    cloud("state", "a-rather-long-device/door", 4, 1000, value=True, quality="good"),
    cloud("reading", "air/temperature", 5, 2000, value=None, unit="Cel", quality="bad", reason="range"),
    cloud("device.unavailable", "air", 6, 3000, reason="no answer on I2C 0x76"),
    cloud("input", "scanner/code", 7, 4000, value="A\x1b[31mB", quality="good", synced=False),
    cloud("reading", "pi/memory", 8, 86_400_000, value=0.4242, unit="/", quality="good"),
]

LINES = """\
06:00:00.000  gateway                 gateway.started     clean=true  gap_ns=null
06:00:00.125  air/temperature               21.5 °C   good
06:00:00.125  air/humidity                48.062 % rh uncertain  initial
06:00:01.000  a-rather-long-device/door        true      good       state
06:00:02.000  air/temperature                     –      bad        range
06:00:03.000  air                        device.unavailable  no answer on I2C 0x76
06:00:04.000  scanner/code               A\\x1b[31mB      good       input  (clock not synchronised)
-- 2026-11-24 --
06:00:00.000  pi/memory                        42.4 %    good"""


def shown(events: list[dict[str, Any]], columns: int | None = None) -> list[str]:
    lines = Lines(columns, TODAY, UTC)
    return [unstyle(line) for event in events for line in lines.lines(event)]


def test_lines_are_aligned_and_the_subject_column_grows_with_what_was_seen() -> None:
    assert "\n".join(shown(READINGS)) == LINES


def test_times_are_local() -> None:
    lines = Lines(None, TODAY, timezone(timedelta(hours=-7)))
    assert [unstyle(line)[:16] for line in lines.lines(READINGS[0])] == ["-- 2026-11-22 --", "23:00:00.000  ga"]


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_no_line_is_wider_than_the_terminal(columns: int) -> None:
    long = cloud("reading", "温" * 60 + "/x", value="温" * 200, unit="Cel", quality="good", reason="why " * 90)
    told = cloud("device.unavailable", "温" * 60, reason="why " * 90)
    assert max(map(width, shown([*READINGS, long, told], columns))) <= columns


def test_a_long_reason_continues_below_its_event_on_a_terminal() -> None:
    event = cloud("device.unavailable", "cpu", reason="no thermal zone in /sys/class/thermal: found none there to read")
    assert shown([event], 72) == [
        "06:00:00.000  cpu                     device.unavailable",
        "              no thermal zone in /sys/class/thermal: found none there to",
        "              read",
    ]
    assert len(shown([event])) == 1


@given(
    st.text(max_size=20),
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    st.none() | st.text(max_size=4),
    st.sampled_from([None, 40, 80]),
)
def test_any_event_has_one_line_that_commands_no_terminal(
    subject: str, value: Any, unit: str | None, columns: int | None
) -> None:
    data = {"value": value, "unit": unit, "quality": "odd", "more": [subject]}
    event = {"type": subject, "subject": subject, "time": "2026-11-23T06:00:00.000000Z", "data": data}
    (line,) = shown([event], columns)
    assert line.isprintable()


def parts(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"event": event} for event in events]


def test_the_service_is_asked_for_new_events_unless_a_start_is_named(serve: Serve) -> None:
    asked: list[dict[str, Any]] = []
    serve("pi", streams={"tail": stream(asked=asked)})
    for arguments in ([], ["--from", "17"], ["--since", "2026-11-23T07:00:00+01:00"]):
        CliRunner().invoke(tail, arguments)
    assert asked == [
        {"from": None, "since": None},
        {"from": 17, "since": None},
        {"from": None, "since": "2026-11-23T06:00:00.000000Z"},
    ]


def test_json_lines_are_the_events_exactly_and_gaps_go_to_standard_error(serve: Serve) -> None:
    serve("pi", streams={"tail": stream({"gap": [1, 100]}, *parts(READINGS))})
    done = CliRunner().invoke(tail, ["--json"])
    assert done.stdout.encode() == b"".join(msgspec.json.encode(event) + b"\n" for event in READINGS)
    assert done.stderr == "-- 100 events missing: offsets 1 to 100 are no longer in the log --\n"


def test_a_gap_is_said_between_the_lines(serve: Serve) -> None:
    serve("pi", streams={"tail": stream({"gap": [5, 5]}, *parts(READINGS[1:2]))})
    lines = CliRunner().invoke(tail, []).stdout.splitlines()
    assert lines[0] == "-- 1 event missing: offsets 5 to 5 are no longer in the log --"
    assert lines[-1].endswith("21.5 °C   good")


@pytest.mark.parametrize(
    ("arguments", "offsets"),
    [
        (["--subject", "air/*"], [2, 3, 5]),
        (["--subject", "air*"], [2, 3, 5, 6]),
        (["--type", "device.*"], [6]),
        (["--type", "reading", "--subject", "*/temperature"], [2, 5]),
        (["--subject", "nothing"], []),
    ],
)
def test_filters_show_only_what_they_name(serve: Serve, arguments: list[str], offsets: list[int]) -> None:
    serve("pi", streams={"tail": stream(*parts(READINGS))})
    done = CliRunner().invoke(tail, ["--json", *arguments])
    assert [int(json.loads(line)["sequence"]) for line in done.stdout.splitlines()] == offsets


def test_when_the_service_stops_the_last_word_is_where_to_continue(serve: Serve) -> None:
    stopped = cloud("gateway.stopped", "gateway", 9)
    serve("pi", streams={"tail": stream(*parts(READINGS))})
    serve("pi2", streams={"tail": stream(*parts([stopped]))})
    serve("pi3", streams={"tail": stream()})
    said = []
    for gateway in ("pi", "pi2", "pi3"):
        error = CliRunner().invoke(tail, ["--gateway", gateway]).exception
        assert isinstance(error, Ended)
        assert error.exit_code == 1
        said.append(str(error))
    unsure = "the gateway stopped, or this reader was too slow for it"
    assert said == [
        f"{unsure}; `gateway tail --from 9` continues",
        "the gateway stopped; `gateway tail --from 10` continues",
        unsure,
    ]


def test_a_refusal_of_the_service_is_said_in_its_words(serve: Serve) -> None:
    serve("pi", streams={})
    error = CliRunner().invoke(tail, []).exception
    assert isinstance(error, ControlError)
    assert "unknown operation 'tail'" in str(error)


def test_without_a_service_tail_says_so(home: Path) -> None:
    assert isinstance(CliRunner().invoke(tail, ["--socket", str(home / "none")]).exception, NotRunning)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--from", "0"], "0 is not in the range x>=1"),
        (["--from", "1", "--since", "1m"], "--from and --since both say where to begin"),
        (["--since", "yesterday"], "expected a duration ago such as 10m or 2h, or a time such as"),
    ],
)
def test_wrong_beginnings_are_refused_with_what_was_expected(home: Path, arguments: list[str], words: str) -> None:
    done = CliRunner().invoke(tail, arguments)
    assert done.exit_code == UsageError.exit_code
    assert words in " ".join(done.stderr.split())


def test_a_beginning_is_a_duration_ago_or_a_time(home: Path) -> None:
    assert instant_ns("10m", SIX_NS) == SIX_NS - 600_000_000_000
    assert instant_ns("2026-11-23T06:00:00.125Z", 0) == SIX_NS + 125_000_000
    assert instant_ns("2026-11-23T06:00", 0) == SIX_NS  # the fixture's zone is UTC
    assert instant_ns("99999999d", SIX_NS) == 0
    with pytest.raises(BadParameter):
        instant_ns("10", SIX_NS)


def run_tail(environ: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "gateway", "tail", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environ,
    )


def test_ctrl_c_ends_it_quietly_and_a_line_is_there_as_soon_as_its_event_came(
    serve: Serve, environ: dict[str, str]
) -> None:
    serve("pi", streams={"tail": stream(*parts(READINGS[1:2]), endless=True)})
    with run_tail(environ) as running:
        assert running.stdout is not None
        line = running.stdout.readline()
        running.send_signal(signal.SIGINT)
        rest, said = running.communicate(timeout=10)
    assert re.fullmatch(r"(-- .* --|06:00:00.125  air/temperature .*)\n", line)
    assert "\x1b" not in line + rest
    assert (running.returncode, said) == (0, "")


def test_a_reader_that_has_seen_enough_ends_it_quietly(serve: Serve, environ: dict[str, str]) -> None:
    serve("pi", streams={"tail": stream(*parts(READINGS[1:2] * 5000), endless=True)})
    with run_tail(environ, "--json") as running:
        assert running.stdout is not None
        running.stdout.readline()
        running.stdout.close()
        assert running.wait(10) == 0
        assert running.stderr is not None
        assert running.stderr.read() == ""
