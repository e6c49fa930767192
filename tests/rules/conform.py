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
from gateway.event import Event, Quality, stamp
from gateway.rules.detect import Detector
from gateway.rules.engine import Engine
from gateway.rules.fold import Fold
from gateway.rules.idle import DERIVED
from gateway.rules.model import RuleConfig
from tests.rules.corpus import BAD, START, Case, Input, Times, span, timed

RUN = "0123456789abcdef"
NONE = "none"
RATE_TOLERANCE = 0.005
"""Where the file names no other: the sources round to two digits."""
ANY_RATE = 1e12
HAVING = "having"
"""The rule that hears the case's windows, and matches those that are told."""
OR = "or"
"""The case's second rule, where it takes two to say what the source says in one."""


class Run:
    """A case's events through its rule; or through several, name -> words of its own below the operator.

    They go the way of a gateway's events, from its start on. With `restored` the rules are made anew from a checkpoint
    before each of them.
    """

    def __init__(self, case: Case, rules: dict[str, dict[str, Any]] | None = None, *, restored: bool = False) -> None:
        self.case = case
        self._rules = [rule(case, name, own) for name, own in (rules or {"case": {}}).items()]
        if "having" in case.keys:
            heard = {"event": {"rule": "case", **case.keys["having"]}}
            self._rules.append(RuleConfig.model_validate({"id": HAVING, "when": heard}))
        if OR in case.keys:
            self._rules.append(RuleConfig.model_validate({"id": OR, "when": case.keys[OR]}))
        self.detector = self._new_detector()
        self.names: dict[int, Input] = {}
        """Offset -> the event of the case."""
        self.log: list[Event] = []
        inputs = case.inputs
        self._start(min(case.times.zero_ns, inputs[0].at_ns), 0)
        for index, one in enumerate(inputs):
            if restored:
                self._restore()
            if one.channel == START:
                assert isinstance(one.value, int)
                self._restore()
                self._start(one.at_ns, one.value)
            else:
                self.names[self._record(_reading(case, one, index))] = one
        end_ns = inputs[-1].at_ns if case.until_ns is None else case.until_ns
        self._append(self.detector.tick(end_ns, len(self.log) + 1))

    @property
    def derived(self) -> list[Event]:
        """What the rules say. `time` is rule time here: the wall clock never steps."""
        return [event for event in self.log if event.type in DERIVED]

    @property
    def is_idle(self) -> bool:
        """Nothing is open at the end, no timer is armed."""
        operators = [part.operator for part in self.detector.engine.parts.values()]
        is_open = any(state.told(0).state != "idle" for operator in operators for state in operator.keys)
        return not is_open and self.detector.deadline_mono() is None

    def read_again(self) -> list[str]:
        """What new rules say differently of the log that came of this."""
        fold = Fold(self._new_detector())
        fold.read_all(self.log)
        fold.finish()
        return fold.named

    def _new_detector(self) -> Detector:
        detector = Detector(Engine(self._rules))
        detector.begin_run(RUN, 1)
        return detector

    def _start(self, at_ns: int, gap_ns: int) -> None:
        self._record(Event("gateway.started", "gateway", at_ns, at_ns, data={"clean": True, "gap_ns": gap_ns}))
        for one in self.detector.announcements():
            self._record(Event(one.type, f"rule/{one.rule}", at_ns, at_ns, data=one.data))

    def _restore(self) -> None:
        checkpoint = self.detector.checkpoint()
        self.detector = self._new_detector()
        self.detector.restore(checkpoint)

    def _record(self, event: Event) -> int:
        """The offset at which the event comes to stand, with what was derived before and behind it."""
        batch = self.detector.detect([event], len(self.log) + 1)
        offset = len(self.log) + 1 + next(n for n, one in enumerate(batch) if one is event)
        self._append(batch)
        return offset

    def _append(self, batch: list[Event]) -> None:
        for event in batch:
            self.log.append(stamp(event, offset=len(self.log) + 1, recorded=event.time, run=RUN, boot=""))


def _reading(case: Case, one: Input, index: int) -> Event:
    """Without a value it has 1; where windows are asked for a power of two, so that a sum names its events."""
    value = one.value if one.value is not None else 2.0**index if "windows" in case.keys else 1.0
    quality: Quality = "bad" if value == BAD else "good"
    return Event("reading", f"in/{one.channel}", one.at_ns, one.at_ns, None if value == BAD else value, quality=quality)


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
    """What was told of windows, in order of their ends; where the case says `having`, of those that fit."""
    found = []
    fit = {event.cause for event in run.derived if event.subject == f"rule/{HAVING}"}
    for event in run.derived:
        if event.type != "rule.window" or (HAVING in run.case.keys and event.id not in fit):
            continue
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
        found = _raised_at(run, "case", at_ns) | _raised_at(run, OR, at_ns)
        keys = sorted(key.removeprefix("in/") for key in found)
        told.append(" ".join(keys or [NONE]) + at + time)
    return told


def since(run: Run) -> list[str]:
    """From when on it held, of everything that was raised."""
    return [
        f"{event.data['key'].removeprefix('in/')} @{_number(_ns(event.data['since']), run.case.times)}"
        for event in run.derived
        if event.type == "rule.raised"
    ]


def rates_that_are_not(case: Case, *, restored: bool = False) -> list[str]:
    """Those of the file's rates that are not so. A rate is asked for by a rule just below it and one just above."""
    tolerance = case.keys.get("tolerance", RATE_TOLERANCE)
    asked = [(text, *timed(text, case.times)) for text in case.keys["rates"]]
    probes: dict[str, dict[str, Any]] = {}
    rules: dict[str, tuple[str, str]] = {}  # of each rate, as it is written: one that is asked for twice has one pair
    for _, (wanted, *_), _ in asked:
        if wanted in rules:
            continue
        below, above = rules[wanted] = (f"low{len(rules)}", f"high{len(rules)}")
        low, high = (-ANY_RATE, ANY_RATE) if wanted == NONE else (float(wanted) - tolerance, float(wanted) + tolerance)
        probes[below] = {"above": low}
        probes[above] = {"below": ANY_RATE} if wanted == NONE else {"above": high}
    run = Run(case, probes, restored=restored)
    wrong = []
    for text, (wanted, *_), at_ns in asked:
        found = [bool(_raised_at(run, rule_id, at_ns)) for rule_id in rules[wanted]]
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
