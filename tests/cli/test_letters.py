"""`gateway letters` shows what was refused for good, by whom, when and why."""

import json
from pathlib import Path

import pytest

from gateway.cli import letters
from gateway.eventlog import Cursor, DeadLetter, Riders
from tests.cli.test_stream import on_log, reading, run

BURIED = (("home", 3, "larger than the broker takes"), ("consumer/act", 5, "no \x07use"), ("home", 7, "refused"))


@pytest.fixture
def log(home: Path) -> Path:
    path = home / "events.db"

    async def fill(log) -> None:
        stamped = await log.append([reading(n) for n in range(10)])
        for consumer, offset, reason in BURIED:
            await log.append([], Riders({"home": Cursor(8, 7)}, [DeadLetter(consumer, stamped[offset - 1], reason)]))

    on_log(path, fill)
    return path


def rows(said: str) -> list[list[str]]:
    return [line.split() for line in said.splitlines()[1:]]


def test_each_letter_is_a_row_with_its_reason(log):
    said = run("letters", "--log", log).output
    assert [(row[0], int(row[3])) for row in rows(said)] == [("home", 7), ("consumer/act", 5), ("home", 3)]
    assert "air/temperature" in said
    assert "larger than the broker takes" in said
    assert "\x07" not in said, "what a stranger wrote rings no bell"


@pytest.mark.parametrize(("wanted", "offsets"), [("home", [7, 3]), ("act", [5]), ("consumer/act", [5]), ("far", [])])
def test_one_consumer_can_be_asked_for(log, wanted, offsets):
    said = run("letters", wanted, "--log", log).output
    assert [int(row[3]) for row in rows(said)] == offsets
    assert ("no dead letters" in said) == (not offsets)


def test_json_has_every_event_in_full(log):
    found = [json.loads(line) for line in run("letters", "--log", log, "--json").output.splitlines()]
    assert [(one["consumer"], int(one["event"]["sequence"]), one["reason"]) for one in found] == sorted(BURIED)
    assert found[1]["event"]["data"]["value"] == 0.5
    assert found[1]["event"]["source"].startswith("//gateway/")
    assert all(one["refused"].endswith("Z") for one in found)


def test_thousands_of_them_are_read_page_by_page_and_the_newest_are_shown(home):
    path = home / "events.db"

    async def fill(log) -> None:
        stamped = await log.append([reading(n) for n in range(200)])
        await log.append([], Riders({}, [DeadLetter("home", event, "refused") for event in stamped]))

    on_log(path, fill)
    said = run("letters", "--log", path).output
    assert [int(row[3]) for row in rows(said)[:-1]] == list(range(200, 200 - letters.SHOWN_MAX, -1))
    assert "150 older ones" in said
    assert len(run("letters", "--log", path, "--json").output.splitlines()) == 200
