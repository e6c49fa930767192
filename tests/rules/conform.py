"""Runs a case of `conformance/` through the rule engine: the one place that knows how their words become ours.

A case's `when` is a rule's, as it stands. Its events are readings of the channels in/<letters>, recorded in the order
of the file. What the rule derives is told in the words of the files, so that the two can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gateway.clock import NS_PER_S
from gateway.event import Event
from gateway.rules.engine import Engine
from gateway.rules.model import RuleConfig
from tests.rules.corpus import BAD, START, Case, Input, Times, span, timed

NONE = "none"
RATE_TOLERANCE = 0.005
"""Where the file names no other: the sources round to two digits."""
ANY_RATE = 1e12


class Run:
    """A case's events through its rule; or through several, name -> words of its own below the operator."""

    def __init__(self, case: Case, rules: dict[str, dict[str, Any]] | None = None) -> None:
        self.case = case
        self.engine = Engine([rule(case, name, own) for name, own in (rules or {"case": {}}).items()])
        self.names: dict[int, Input] = {}
        """Offset -> the event of the case."""
        self.log: list[Event] = []
        self._run()

    @property
    def derived(self) -> list[Event]:
        """Their `time` is rule time here: the wall clock never steps."""
        return [event for event in self.log if event.type.startswith("rule.")]

    def _run(self) -> None:
        inputs = self.case.inputs
        self.engine.begin_all(min(self.case.times.zero_ns, inputs[0].at_ns))
        for index, one in enumerate(inputs):
            if one.channel == START:
                assert isinstance(one.value, int)
                self.engine.pause(one.value)
                continue
            event = self._event(one, index)
            self.engine.judge(event, one.at_ns, self.log)
            offset = next(n for n, logged in enumerate(self.log, 1) if logged is event)
            self.names[offset] = one
        until_ns = self.case.until_ns
        self.log += self.engine.advance(inputs[-1].at_ns if until_ns is None else until_ns)

    def _event(self, one: Input, index: int) -> Event:
        """Without a value it has 1; where windows are asked for a power of two, so that a sum names its events."""
        value = one.value if one.value is not None else 2.0**index if "windows" in self.case.keys else 1.0
        bad = value == BAD
        return Event(
            "reading",
            f"in/{one.channel}",
            one.at_ns,
            one.at_ns,
            None if bad else value,
            quality="bad" if bad else "good",
        )


def rule(case: Case, name: str = "case", own: dict[str, Any] | None = None) -> RuleConfig:
    """The case's rule. `own` is added below the operator.

    Raises:
        pydantic.ValidationError: the rule is refused.
    """
    ((operator, words),) = case.keys["when"].items()
    written = {"id": name, "when": {operator: {**words, **(own or {})}}}
    if "by" in case.keys:
        written["by"] = case.keys["by"]
    if "timeouts" in case.keys:
        written["on_timeout"] = {}
    return RuleConfig.model_validate(written)


# -- what came of it, in the words of the file ---------------------------------------------------------------------


def matches(run: Run) -> list[str]:
    return list(_told(run, "rule.matched"))


def timeouts(run: Run) -> list[str]:
    return list(_told(run, "rule.timeout"))


def _told(run: Run, kind: str) -> Iterator[str]:
    """The names of the events, in the order in which they came; of a timeout with its time."""
    for event in run.derived:
        if event.type == kind:
            ids = [id_ for step in event.data["matched"].values() for id_ in step]
            names = " ".join(run.names[offset].name for offset in sorted(int(id_.rpartition("-")[2]) for id_ in ids))
            yield names if kind == "rule.matched" else f"{names} @{_number(event.time, run.case.times)}"


@dataclass(frozen=True, slots=True)
class Window:
    """One window: its borders in ns, None where the file tells none, and what its events come to."""

    start: int | None
    end: int | None
    sum: float | None
    n: int

    def is_like(self, other: Window) -> bool:
        pairs = ((self.start, other.start), (self.end, other.end), (self.sum, other.sum))
        return self.n == other.n and all(
            ours is None or theirs is None or math.isclose(ours, theirs, rel_tol=1e-12) for ours, theirs in pairs
        )


def windows(run: Run) -> list[Window]:
    """What was told of windows, in order of their ends."""
    found = []
    for event in run.derived:
        data = event.data
        found.append(Window(_ns(data["start"]), _ns(data["end"]), data.get("sum"), data["n"]))
    return found


def expected_windows(case: Case) -> list[Window]:
    """The windows of the file: the names of their events, or `n=60` where it tells only how many these are."""
    values = {one.name: 2.0**n if one.value is None else one.value for n, one in enumerate(case.inputs)}
    found = []
    for text in case.keys["windows"]:
        start, end, names = span(text, case.times)
        if names[0].startswith("n="):
            found.append(Window(start, end, None, int(names[0][2:])))
        else:
            found.append(Window(start, end, math.fsum(float(values[name]) for name in names), len(names)))
    return found


def raised(run: Run) -> list[str]:
    """The state of every channel at the times that the file asks for, in its words."""
    case, told = run.case, []
    for text in case.keys["raised"]:
        _, at, time = text.partition(" @")
        at_ns = case.times.ns(time) if at else case.inputs[-1].at_ns
        keys = sorted(key.removeprefix("in/") for key in _raised_at(run, "case", at_ns))
        told.append(" ".join(keys or [NONE]) + at + time)
    return told


def rates_that_are_not(case: Case) -> list[str]:
    """Those of the file's rates that are not so. A rate is asked for by a rule just below it and one just above."""
    tolerance = case.keys.get("tolerance", RATE_TOLERANCE)
    probes: dict[str, dict[str, Any]] = {}
    for n, text in enumerate(case.keys["rates"]):
        (wanted, *_), _ = timed(text, case.times)
        low, high = (-ANY_RATE, ANY_RATE) if wanted == NONE else (float(wanted) - tolerance, float(wanted) + tolerance)
        probes[f"low{n}"] = {"above": low}
        probes[f"high{n}"] = {"below": ANY_RATE} if wanted == NONE else {"above": high}
    run = Run(case, probes)
    wrong = []
    for n, text in enumerate(case.keys["rates"]):
        (wanted, *_), at_ns = timed(text, case.times)
        found = [bool(_raised_at(run, f"{side}{n}", at_ns)) for side in ("low", "high")]
        if found != ([False, False] if wanted == NONE else [True, False]):
            wrong.append(text)
    return wrong


def _raised_at(run: Run, rule_id: str, at_ns: int) -> set[str]:
    state: dict[str, str] = {}
    for event in run.derived:
        if event.time <= at_ns and event.subject == f"rule/{rule_id}":
            state[event.data["key"]] = event.type
    return {key for key, kind in state.items() if kind == "rule.raised"}


def _ns(text: str) -> int:
    """Of the RFC 3339 text of a derived event, which has microseconds."""
    time = datetime.fromisoformat(text)
    return round(time.replace(microsecond=0).timestamp()) * NS_PER_S + time.microsecond * 1000


def _number(at_ns: int, times: Times) -> str:
    return f"{(at_ns - times.zero_ns) / times.unit_ns:g}"
