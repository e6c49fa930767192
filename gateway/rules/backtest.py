"""Backtest: what rules would have said to records of the past, beside what the log says they did. Pure.

Theory of operation. A fresh engine with the rules under test is fed the records in their order. Rule time comes from
them as in a running gateway (`RuleTime`). What the rules under test derived *then* is not fed: it only tells that it
was that time, and is compared with what is derived *now*. What other rules derived is an input like every other. So
a rule is tested by itself over what the others really said, and if all are tested, all are derived anew.

Nothing is known before the first record. Records before `first` warm the rules up: what they derive there is
counted nowhere, but what is raised then is known to be raised.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec

from gateway.event import THINNED, Event, Value
from gateway.rules.describe import described
from gateway.rules.detect import Detector
from gateway.rules.engine import Engine
from gateway.rules.graph import sources
from gateway.rules.model import RuleConfig
from gateway.rules.ruletime import RuleTime
from gateway.rules.select import names
from gateway.rules.trial import CELLS, SUBJECTS_MAX, Firing, Trial

FIRES: Final = frozenset({"rule.raised", "rule.matched", "rule.window", "rule.timeout"})
"""What counts as having fired. `cleared` and `unknown` end what was raised."""


class Seen(msgspec.Struct):
    """How many events of a type and subject lie in the range, and the least and greatest number among those judged."""

    n: int = 0
    low: float | None = None
    high: float | None = None

    def judged(self, value: Value) -> None:
        """A rule looked at this value."""
        if isinstance(value, (float, int)) and not isinstance(value, bool):
            self.low = value if self.low is None or value < self.low else self.low
            self.high = value if self.high is None or value > self.high else self.high


class Backtest:
    """Reads records; `finish` ends it. `trials` has a `Trial` for each rule, by id."""

    def __init__(
        self,
        rules: Sequence[RuleConfig],
        subjects: Iterable[tuple[str, str]] = (),
        *,
        first: int,
        begin_ns: int,
        end_ns: int,
    ) -> None:
        """`rules` are those under test. The range begins with offset `first`, at `begin_ns` (ns UTC), and ends at
        `end_ns`; records before it warm up.
        """
        self.engine = Engine(rules, subjects)
        self.trials = {rule.id: Trial(rule) for rule in rules}
        self._detector = Detector(self.engine)
        self._own = {f"rule/{rule.id}": self.trials[rule.id] for rule in rules}
        self._first, self._begin_ns, self._end_ns = first, begin_ns, max(end_ns, begin_ns + 1)
        self._began = self._inside = False
        self._run = self._boot = ""
        self.events = self.warm_up_events = self.thinned = self.uncounted = 0
        """Records in the range, and before it; readings that thinning summed up; those of subjects without number."""
        self.seen: dict[tuple[str, str], Seen] = {}

    # -- records ------------------------------------------------------------------------------------------------------

    def read(self, events: Sequence[Event]) -> None:
        """The next records."""
        for event in events:
            if event.run != self._run:
                self._run, self._boot = event.run, event.boot
                self.engine.context.begin_run(event.run, event.offset)
            if not self._began:
                self._begin(event)
            elif not self._inside and event.offset >= self._first:
                self._enter(event)
            self._read(event)

    def finish(self, at_ns: int | None = None) -> None:
        """The end of the range; with `at_ns` (ns UTC) it is known that nothing else was recorded until then."""
        if self._began and at_ns is not None:
            out: list[Event] = []
            self.engine.until(at_ns - self.engine.context.wall_ns, out)
            self._take(out)
        for trial in self.trials.values():
            for firing in trial.open.values():
                self._mark(trial, firing, self._end_ns)

    def _begin(self, event: Event) -> None:
        self._began, self._inside = True, event.offset >= self._first
        at = self._detector.time.of(event)
        self.engine.begin_all(at)
        if event.type == "gateway.started":  # it is read once more, as the first record of all
            self._detector.time = RuleTime(self.engine.context)

    def _enter(self, event: Event) -> None:
        """The range begins: what was due before it belongs to what was before it."""
        here, out = self.engine.context, list[Event]()
        self.engine.until(min(self._begin_ns - here.wall_ns, event.mono + here.mono_ns), out)
        self._take(out)
        self._inside = True
        for trial in self.trials.values():
            trial.before = sorted(trial.open)

    def _read(self, event: Event) -> None:
        kind, out = event.type, list[Event]()
        if self._inside:
            seen = self._count(event)
        else:
            self.warm_up_events += 1
            seen = None
        if event.subject in self._own and kind.startswith("rule."):
            self._detector.time.last = at = event.mono + self.engine.context.mono_ns
            self.engine.until(at, out)
            self._take(out)
            self._then(event)
            return
        if seen is not None and self.engine.judges(event):
            seen.judged(event.value)
        batch = self._detector.detect((event,), event.offset)
        if len(batch) > 1:
            self._take([one for one in batch if one is not event])

    def _count(self, event: Event) -> Seen | None:
        self.events += 1
        if event.type == THINNED:
            self.thinned += event.stands_for
        seen = self.seen.get((event.type, event.subject))
        if seen is None:
            if len(self.seen) >= SUBJECTS_MAX:
                self.uncounted += 1
                return None
            seen = self.seen[event.type, event.subject] = Seen()
        seen.n += 1
        return seen

    # -- what was derived ---------------------------------------------------------------------------------------------

    def _take(self, derived: Sequence[Event]) -> None:
        for event in derived:
            trial = self._own[event.subject]
            if event.type == "rule.failed":
                trial.failed = event.reason
            elif event.type in FIRES:
                self._now(trial, event)
            elif (firing := trial.open.pop(str(event.data.get("key", "")), None)) is not None:
                firing.ended, firing.end = event.time, event.type.removeprefix("rule.")
                self._mark(trial, firing, event.time)

    def _now(self, trial: Trial, event: Event) -> None:
        firing = self._firing(event, now=True)
        if event.type == "rule.raised":
            trial.raise_(firing)
        if self._inside:
            trial.now(firing)
            trial.cells[self._cell(firing.time)] += 1

    def _then(self, event: Event) -> None:
        if self._inside and event.type in FIRES:
            trial = self._own[event.subject]
            trial.then(self._firing(event, now=False))
            trial.recorded_cells[self._cell(event.time)] += 1

    def _firing(self, event: Event, *, now: bool) -> Firing:
        boot = event.boot or self._boot
        kind, key = event.type.removeprefix("rule."), str(event.data.get("key", ""))
        told = Firing(
            kind, event.time, key, event.value, event.unit, event.data, event.mono, boot, now=now, recorded=not now
        )
        told.id = "" if now else event.id
        return told

    def _cell(self, time: int) -> int:
        share = (time - self._begin_ns) / (self._end_ns - self._begin_ns)
        return min(CELLS - 1, max(0, int(share * CELLS)))

    def _mark(self, trial: Trial, firing: Firing, end: int) -> None:
        """So long it was raised."""
        if end >= self._begin_ns:
            first, last = self._cell(firing.time), self._cell(end)
            trial.raised_cells[first : last + 1] = b"\1" * (last + 1 - first)

    # -- why nothing happened -----------------------------------------------------------------------------------------

    def selected(self, rule_id: str) -> list[tuple[str, str, Seen]]:
        """(type, subject, how many) of the events in the range that the rule looks at, most first."""
        wants = [names(source) for source in sources(self.trials[rule_id].config)]
        found = [(*key, seen) for key, seen in self.seen.items() if any(want(*key) for want in wants)]
        return sorted(found, key=lambda row: (-row[2].n, row[1]))

    def under_way(self, rule_id: str) -> list[dict[str, Any]]:
        """Keys that had begun something at the end of the range, as `gateway.rules.describe` tells of them."""
        now = max(self._detector.time.last, self.engine.now)
        (told,) = described(self.engine, now, rule_id=rule_id)["rules"]
        return [key for key in told["shown"] if key["state"] in {"pending", "counting", "open"}]

    def channels(self) -> Iterator[tuple[str, int]]:
        """(subject, how many) of the readings, states and inputs in the range, by name."""
        counted: dict[str, int] = {}
        for (kind, subject), seen in self.seen.items():
            if kind in {"reading", "state", "input", "samples"}:
                counted[subject] = counted.get(subject, 0) + seen.n
        yield from sorted(counted.items())
