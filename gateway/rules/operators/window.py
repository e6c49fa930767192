"""`window`: aggregates over a stretch of time or a number of events. Every window is half-open: [start, end).

    tumbling, hopping   panes with a start and an end of their own, told by a timer at the end
    session             one pane that ends `gap` after its last event, or after `max`
    sliding, count      the samples themselves, aggregated anew at the event that asks for it

A window's quality tells how much of what it saw could be used: at least 80 % good is good, any usable is uncertain,
none is bad. Bad readings count for that and for nothing else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from gateway.event import Event, Quality, Value
from gateway.rules.operators.aggregates import Aggregate, Make, maker
from gateway.rules.operators.base import Judge, Selecting, State, ns
from gateway.rules.rule import Rule
from gateway.rules.select import value_of

_NUMBERS: Final = frozenset({float, int})
_GOOD_SHARE: Final = 0.8


class Pane:
    """One window that is open: its bounds (ns), its accumulators, and how many readings of which quality it saw."""

    __slots__ = ("aggregates", "bad", "doubtful", "end", "first", "last", "n", "start", "unit")

    def __init__(self, start: int, end: int, aggregates: list[Aggregate]) -> None:
        self.start, self.end, self.aggregates = start, end, aggregates
        self.n = self.bad = self.doubtful = self.first = self.last = 0
        self.unit: str | None = None

    def add(self, value: Value, event: Event, at: int, offset: int) -> None:
        """A selected event; `value` is None where it cannot be used."""
        if value is None:
            self.bad += 1
            return
        if event.quality == "uncertain":
            self.doubtful += 1
        if not self.n:
            self.first, self.unit = offset, event.unit
        self.n += 1
        self.last = offset
        for aggregate in self.aggregates:
            aggregate.add(value, at)

    def dump(self) -> list[Any]:
        own = [self.start, self.end, self.n, self.bad, self.doubtful, self.first, self.last, self.unit]
        return [own, [aggregate.dump() for aggregate in self.aggregates]]

    def load(self, kept: list[Any]) -> None:
        (self.start, self.end, self.n, self.bad, self.doubtful, self.first, self.last, self.unit), states = kept
        for aggregate, state in zip(self.aggregates, states, strict=True):
            aggregate.load(state)


class Panes(State):
    """One key's open windows, oldest first; for sliding and count windows its samples."""

    __slots__ = ("_operator", "anchor", "panes", "samples", "seen")

    def __init__(self, key: str, operator: WindowOperator) -> None:
        super().__init__(key, operator.rule)
        self._operator = operator
        self.panes: deque[Pane] = deque()
        self.samples: deque[tuple[int, Value, bool, int, str | None]] = deque()
        self.seen = 0
        self.anchor: int | None = None  # where `align: first` counts from

    def speaks(self, at: int) -> bool:
        return self.rule.may_speak(self.key, at)

    def fire(self, at: int) -> None:
        self._operator.ended(self, at)

    def dump(self) -> list[Any]:
        return [self.seen, self.anchor, [pane.dump() for pane in self.panes], [list(one) for one in self.samples]]

    def load(self, kept: list[Any]) -> None:
        self.seen, self.anchor, panes, samples = kept
        self.samples = deque((at, value, good, offset, unit) for at, value, good, offset, unit in samples)
        for state in panes:
            pane = self._operator.pane(0, 0)
            pane.load(state)
            self.panes.append(pane)


class WindowOperator(Selecting[Panes]):
    """`window:` says `rule.window` for each window that ends."""

    def __init__(self, rule: Rule) -> None:
        config = rule.config.when.window
        assert config is not None
        super().__init__(rule, config)
        self._config = config
        self._makers: dict[str, Make] = {name: maker(kind, config.samples_max) for name, kind in config.of.items()}
        self._numeric = any(make().numeric for make in self._makers.values())
        self.size_ns, self.every_ns = ns(config.tumbling_s or config.sliding_s), ns(config.tumbling_s)
        if config.hopping is not None:
            self.size_ns, self.every_ns = ns(config.hopping.size_s), ns(config.hopping.every_s)
        self._offset_ns = ns(config.offset_s)
        self._from_first = config.align == "first"
        self._tells_empty = config.empty == "emit"
        self.overflown = 0
        """Samples forgotten because there was no room for them."""

    def new(self, key: str) -> Panes:
        return Panes(key, self)

    def pane(self, start: int, end: int) -> Pane:
        return Pane(start, end, [make() for make in self._makers.values()])

    def dropped(self) -> dict[str, int]:
        return super().dropped() | {"samples": self.overflown}

    def snapshot(self) -> list[Any]:
        return [*super().snapshot(), self.overflown]

    def restore(self, kept: list[Any]) -> list[tuple[int, int, Panes]]:
        *common, self.overflown = kept
        return super().restore(common)

    def judge_keyed(self, subject: str, key: str) -> Judge:
        del subject
        states, touch, make = self.keys.states, self.keys.touch, self.keys.make
        config, numeric, fits, here = self._config, self._numeric, self.fits, self.context
        unusable = frozenset({"bad", "uncertain"} if config.quality == "good" else {"bad"})
        read = value_of(config.field)
        take = self._kind()

        def judge(event: Event, at: int) -> None:
            value = event.value if read is None else read(event)
            if event.quality in unusable:
                value = None
            elif not fits(event) or (numeric and value.__class__ not in _NUMBERS):
                return
            panes = states.get(key)
            if panes is None:
                panes = make(key)
            else:
                touch(key)
            take(panes, value, event, at, here.offset)

        return judge

    # -- windows with a timer -----------------------------------------------------------------------------------------

    def _kind(self) -> Any:
        config = self._config
        if config.session is not None:
            return self._into_session
        if config.sliding_s is not None:
            return self._into_sliding
        if config.count is not None:
            return self._into_count
        return self._into_one if self.size_ns == self.every_ns else self._into_panes

    def _into_one(self, panes: Panes, value: Value, event: Event, at: int, offset: int) -> None:
        """Tumbling: the usual case is that the one open window takes it."""
        if panes.panes:
            pane = panes.panes[-1]
            if pane.start <= at < pane.end:
                pane.add(value, event, at, offset)
                return
        self._into_panes(panes, value, event, at, offset)

    def _into_panes(self, panes: Panes, value: Value, event: Event, at: int, offset: int) -> None:
        newest = self._start_of(panes, at)
        start = panes.panes[-1].start + self.every_ns if panes.panes else newest - self.size_ns + self.every_ns
        start = max(start, newest - self.size_ns + self.every_ns)
        while start <= newest:
            if start + self.size_ns > at:
                panes.panes.append(self.pane(start, start + self.size_ns))
            start += self.every_ns
        for pane in panes.panes:
            if pane.start <= at < pane.end:
                pane.add(value, event, at, offset)
        if panes.due > panes.panes[0].end:
            self.context.timers.arm(panes, panes.panes[0].end)

    def _start_of(self, panes: Panes, at: int) -> int:
        """Where the newest window that holds `at` begins."""
        if self._from_first:
            if panes.anchor is None:
                panes.anchor = at + self._offset_ns
            zero = panes.anchor
        else:
            zero = self._offset_ns - self.context.wall_ns
        return zero + (at - zero) // self.every_ns * self.every_ns

    def _into_session(self, panes: Panes, value: Value, event: Event, at: int, offset: int) -> None:
        session = self._config.session
        assert session is not None
        if not panes.panes:
            panes.panes.append(self.pane(at, at))
        pane = panes.panes[0]
        pane.add(value, event, at, offset)
        end = at + ns(session.gap_s)
        if session.max_s is not None:
            end = min(end, pane.start + ns(session.max_s))
        pane.end = end
        self.context.timers.arm(panes, end)

    def ended(self, panes: Panes, at: int) -> None:
        """The oldest window is over."""
        pane = panes.panes.popleft()
        self._tell(panes.key, pane, at)
        if self._tells_empty and not panes.panes:
            start = max(pane.start + self.every_ns, self._start_of(panes, self.context.gap_until))  # none for downtime
            panes.panes.append(self.pane(start, start + self.size_ns))
        if panes.panes:
            self.context.timers.arm(panes, panes.panes[0].end)

    # -- windows without --------------------------------------------------------------------------------------------

    def _into_sliding(self, panes: Panes, value: Value, event: Event, at: int, offset: int) -> None:
        samples = panes.samples
        self._keep(panes, value, event, at, offset)
        oldest = at - self.size_ns
        while samples[0][0] <= oldest:
            samples.popleft()
        self._tell_samples(panes, oldest, at, offset)

    def _into_count(self, panes: Panes, value: Value, event: Event, at: int, offset: int) -> None:
        if value is None:  # a window of n events has n values
            return
        n = self._config.count
        assert n is not None
        self._keep(panes, value, event, at, offset)
        while len(panes.samples) > n:
            panes.samples.popleft()
        panes.seen += 1
        if len(panes.samples) == n and (panes.seen - n) % (self._config.every or n) == 0:
            self._tell_samples(panes, panes.samples[0][0], at, offset)

    def _keep(self, panes: Panes, value: Value, event: Event, at: int, offset: int) -> None:
        if len(panes.samples) >= self._config.samples_max:
            panes.samples.popleft()
            if self._config.count is None:
                self.overflown += 1
        panes.samples.append((at, value, event.quality != "uncertain", offset, event.unit))

    def _tell_samples(self, panes: Panes, start: int, at: int, offset: int) -> None:
        pane = self.pane(start, at)
        for time, value, good, number, unit in panes.samples:
            if value is None:
                pane.bad += 1
                continue
            pane.doubtful += not good
            pane.first, pane.unit = pane.first or number, unit
            pane.n, pane.last = pane.n + 1, number
            for aggregate in pane.aggregates:
                aggregate.add(value, time)
        self._tell(panes.key, pane, at, offset)

    # -- what is said -------------------------------------------------------------------------------------------------

    def _tell(self, key: str, pane: Pane, at: int, cause: int = 0) -> None:
        if not (pane.n or pane.bad or self._tells_empty):
            return
        here = self.context
        results = {
            name: aggregate.result(pane.end) for name, aggregate in zip(self._makers, pane.aggregates, strict=True)
        }
        own: dict[str, Any] = {"start": here.told(pane.start), "end": here.told(pane.end), "n": pane.n}
        if pane.bad or pane.doubtful:
            own["n_good"] = pane.n - pane.doubtful
        own.update(results)
        if here.spans_gap(pane.start, pane.end):
            own["gap"] = True
        self.rule.speak(
            "window",
            key,
            at,
            own,
            value=_main(results),
            unit=pane.unit,
            quality=_quality(pane),
            cause=cause or pane.last,
        )


def _main(results: Mapping[str, Value]) -> Value:
    """What other rules judge where they name no field: the first aggregate."""
    return next(iter(results.values()))


def _quality(pane: Pane) -> Quality:
    if not pane.n:
        return "bad"
    return "good" if pane.n - pane.doubtful >= _GOOD_SHARE * (pane.n + pane.bad) else "uncertain"
