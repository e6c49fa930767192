"""Reads the files of `conformance/`: what other projects' tests expect, in our words. README.md there is the reference.

Nothing here knows an operator or the engine: that is `conform.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from gateway.clock import NS_PER_S
from gateway.config.nodes import plain
from gateway.config.yaml import read_document
from gateway.options import parse_duration_s

FOLDER = Path(__file__).parent / "conformance"
START = "start"
"""The one word among the events that is no event: the gateway starts, after it was away for so long."""
BAD = "bad"
ZERO = "2026-01-01T00:00:00Z"
"""Where a file says no other day."""

_TOKEN = re.compile(r"(?P<name>[a-z]+\d*)(=(?P<value>[^@]+))?(@(?P<at>[^+]+)(\+(?P<step>\d+)\*(?P<more>\d+))?)?")
_CLOCK = re.compile(r"(\d+):(\d\d):(\d\d)(\.\d+)?")
_TIMED = re.compile(r"(?P<names>.*?) ?@(?P<at>\S+)")
_SPAN = re.compile(r"(?P<start>\S+?)\.\.(?P<end>\S+) (?P<names>.+)")


@dataclass(frozen=True, slots=True)
class Input:
    """One event. `channel` is its name without the number; `value` is None where none is given, BAD of a bad one."""

    name: str
    channel: str
    value: float | str | None
    at_ns: int


@dataclass(frozen=True, slots=True)
class Times:
    """How a file writes times: a number of `unit_ns`, or hours:minutes:seconds, both counted from `zero_ns`."""

    unit_ns: int
    zero_ns: int

    def ns(self, text: str) -> int:
        return self.zero_ns + self.length_ns(text)

    def length_ns(self, text: str) -> int:
        if found := _CLOCK.fullmatch(text):
            hours, minutes, seconds, rest = found.groups()
            whole_s = int(hours) * 3600 + int(minutes) * 60 + int(seconds)
            return whole_s * NS_PER_S + round(float(rest or 0) * NS_PER_S)
        return round(float(text) * self.unit_ns)


@dataclass(frozen=True, slots=True)
class Case:
    """One test of theirs, or one row of it. `expects` has the outcomes as they are written, `when` is our YAML."""

    file: str
    test: str
    row: str
    keys: dict[str, Any]
    times: Times

    @property
    def id(self) -> str:
        return f"{self.file}:{self.test}" + (f"[{self.row}]" if self.row else "")

    @property
    def inputs(self) -> list[Input]:
        return list(read_inputs(self.keys["events"], self.times))

    @property
    def until_ns(self) -> int | None:
        return self.times.ns(str(self.keys["until"])) if "until" in self.keys else None


@dataclass(frozen=True, slots=True)
class File:
    """One file: where its facts come from, how many tests that source has, and the cases."""

    name: str
    source: dict[str, str]
    tests: int
    rows: int
    written: list[dict[str, Any]]
    cases: list[Case] = field(default_factory=list)


def read_files() -> list[File]:
    return [_read(path) for path in sorted(FOLDER.glob("*.yaml"))]


def _read(path: Path) -> File:
    document = read_document(path.read_bytes(), path.name, _no_secret)
    assert document.root is not None
    assert not document.problems, document.problems
    content: Any = plain(document.root)
    unknown = content.keys() - {"source", "tests", "rows", "unit", "zero", "cases"}
    assert not unknown, f"{path.name}: {unknown}"
    zero = datetime.fromisoformat(content.get("zero", ZERO))
    times = Times(round(parse_duration_s(content["unit"]) * NS_PER_S), round(zero.timestamp()) * NS_PER_S)
    file = File(path.stem, content["source"], content["tests"], content.get("rows", 0), content["cases"])
    for written in content["cases"]:
        shared = {key: value for key, value in written.items() if key != "rows"}
        for number, row in enumerate(written.get("rows", [{}]), 1):
            keys = shared | row
            named = keys.pop("row", number if "rows" in written else "")
            file.cases.append(Case(path.stem, written["test"], str(named), keys, times))
    return file


def _no_secret(name: str) -> Any:
    raise AssertionError(f"a conformance file asks for the secret {name}")


def read_inputs(text: str, times: Times) -> Iterator[Input]:
    """`a1=2.5@3` and so on. Without a time an event comes one unit after the one before."""
    at_ns = times.zero_ns
    for token in text.split():
        found = _TOKEN.fullmatch(token)
        assert found, f"no event: {token!r}"
        name, channel = found["name"], found["name"].rstrip("0123456789")
        value = times.length_ns(found["value"]) if channel == START else _value(found["value"])
        at_ns = times.ns(found["at"]) if found["at"] else at_ns + times.unit_ns
        for _ in range(int(found["more"] or 0)):
            yield Input(name, channel, value, at_ns)
            at_ns += int(found["step"]) * times.unit_ns
        yield Input(name, channel, value, at_ns)


def _value(text: str | None) -> float | str | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return text


def timed(text: str, times: Times) -> tuple[list[str], int]:
    """`a1 b1 @7` -> the names, and the time."""
    found = _TIMED.fullmatch(text)
    assert found, f"nothing with a time: {text!r}"
    return found["names"].split(), times.ns(found["at"])


def span(text: str, times: Times) -> tuple[int | None, int | None, list[str]]:
    """`0..1000 a1 b1` -> start, end, and the names. A border that the source does not tell is a question mark."""
    found = _SPAN.fullmatch(text)
    assert found, f"no window: {text!r}"
    start, end = (None if border == "?" else times.ns(border) for border in (found["start"], found["end"]))
    return start, end, found["names"].split()
