"""Plays a case: a detector, a virtual clock, and a log that is a list. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from gateway.clock import NS_PER_S
from gateway.event import Event
from gateway.rules.cases.model import CaseConfig, Restart, wall_ns
from gateway.rules.cases.notation import Expected, Sample, parse_expected, parse_ns, parse_series
from gateway.rules.cases.outcome import Outcome, expected_text, told_text
from gateway.rules.detect import Detector
from gateway.rules.engine import Engine
from gateway.rules.idle import DERIVED
from gateway.rules.model import RuleConfig

BEGIN_NS: Final = 1_000 * NS_PER_S
"""Boot time at which every case begins: late enough that nothing is before the boot."""


def run_case(case: CaseConfig, rules: Sequence[RuleConfig]) -> Outcome:
    """Play the case. `rules` are those of the file; the case says which take part.

    Raises:
        ValueError: the case names a rule that is not there.
    """
    known = {rule.id: rule for rule in rules}
    if missing := [name for name in case.rule or () if name not in known]:
        raise ValueError(f"there is no rule {missing[0]!r}; rules are: {', '.join(known)}")
    chosen = [rule for rule in rules if case.rule is None or rule.id in case.rule]
    expected = [parse_expected(text) for text in case.expect]
    wall = wall_ns(case.begins)
    events = sorted(_events(case, wall), key=lambda event: event.mono)
    derived = _Stage(chosen, case, wall).play(events, _end(case, events, expected))
    many = len(chosen) > 1
    asked = [tuple(one.data) for one in expected] + [()] * len(derived)
    told = [told_text(one, fields, wall, many=many) for one, fields in zip(derived, asked, strict=False)]
    return Outcome(case.name, tuple(expected_text(one, many=many) for one in expected), tuple(told), len(events))


def _events(case: CaseConfig, wall: int) -> Iterator[Event]:
    for subject, series in case.series.items():
        for sample in parse_series(series.values):
            kind = series.type or _type_of(sample)
            mono = BEGIN_NS + sample.at_ns
            yield Event(
                kind, subject, wall + sample.at_ns, mono, sample.value, quality=sample.quality, data=series.data
            )


def _type_of(sample: Sample) -> str:
    if isinstance(sample.value, bool):
        return "state"
    return "input" if isinstance(sample.value, str) else "reading"


def _end(case: CaseConfig, events: Sequence[Event], expected: Sequence[Expected]) -> int:
    if case.until is not None:
        return BEGIN_NS + parse_ns(case.until)
    last = [event.mono for event in events[-1:]] + [BEGIN_NS + one.at_ns for one in expected]
    return max(last, default=BEGIN_NS)


class _Stage:
    """The parts that a case plays with: a detector, and a log that is a list."""

    def __init__(self, rules: Sequence[RuleConfig], case: CaseConfig, wall: int) -> None:
        self._rules, self._case, self._wall = rules, case, wall
        self._subjects = [(kind, channel) for channel in case.channels for kind in ("reading", "state")]
        self._records: list[Event] = []
        self._detector = Detector(Engine(rules, self._subjects))

    def play(self, events: Sequence[Event], end: int) -> list[Event]:
        restarts = sorted(self._case.restarts, key=lambda one: one.at_s)
        self._start(BEGIN_NS, None)
        for event in events:
            while restarts and event.mono >= BEGIN_NS + round(restarts[0].at_s * NS_PER_S):
                self._restart(restarts.pop(0))
            self._detect([event])
        for restart in restarts:
            self._restart(restart)
        self._records += self._detector.tick(end, self._next)
        return [record for record in self._records if record.type in DERIVED]

    @property
    def _next(self) -> int:
        return len(self._records) + 1

    def _start(self, mono: int, gap_ns: int | None) -> None:
        wall = self._wall + mono - BEGIN_NS
        self._detect([Event("gateway.started", "gateway", wall, mono, data={"gap_ns": gap_ns})])
        for one in self._detector.announcements():
            self._detect([Event(one.type, f"rule/{one.rule}", wall, mono, data=one.data)])

    def _restart(self, restart: Restart) -> None:
        at = BEGIN_NS + round(restart.at_s * NS_PER_S)
        self._records += self._detector.tick(at, self._next)
        self._detect([Event("gateway.stopped", "gateway", self._wall + at - BEGIN_NS, at)])
        checkpoint = self._detector.checkpoint()
        self._detector = Detector(Engine(self._rules, self._subjects))
        self._detector.restore(checkpoint)
        gap_ns = None if restart.gap_s is None else round(restart.gap_s * NS_PER_S)
        self._start(at + (gap_ns or 0), gap_ns)

    def _detect(self, events: list[Event]) -> None:
        self._records += self._detector.detect(events, self._next)
