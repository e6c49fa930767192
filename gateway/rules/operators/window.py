"""`window`: aggregates over a stretch of time or a number of events. Every window is half-open: [start, end).

    tumbling, hopping   panes with a start and an end of their own, told by a timer at the end
    session             one pane that ends `gap` after its last event, or after `max`
    sliding, count      the samples themselves, aggregated anew at the event that asks for it

Windows of a rule begin at `zero + k * every`, where zero is the epoch of the wall clock (or the first event of the key)
plus the `offset`. When somebody sets the clock, zero moves, and with it every window that opens from then on.

A bad reading counts for a window's quality and for nothing else: it neither begins nor prolongs a session, and makes no
sliding window speak.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final, NamedTuple

from gateway.event import Event, Quality, Value
from gateway.rules.operators.aggregates import Make, maker
from gateway.rules.operators.base import Judge, Selecting, State, ns
from gateway.rules.operators.pane import Pane
from gateway.rules.rule import Rule
from gateway.rules.select import value_of
from gateway.rules.told import Told

_NUMBERS: Final = frozenset({float, int})


class Sample(NamedTuple):
    """What a sliding or count window keeps of an event."""

    value: Value
    at: int
    offset: int
    unit: str | None
    quality: Quality | None


class Panes(State):
    """One key's open windows, oldest first; for sliding and count windows its samples."""

    __slots__ = ("_operator", "anchor", "panes", "samples", "seen")

    def __init__(self, key: str, operator: WindowOperator) -> None:
        super().__init__(key, operator.rule)
        self._operator = operator
        self.panes: deque[Pane] = deque()
        self.samples: deque[Sample] = deque()
        self.seen = 0
        self.anchor: int | None = None  # where `align: first` counts from

    def speaks(self, at: int) -> bool:
        return self.rule.may_speak(self.key, at)

    def fire(self, at: int) -> None:
        self._operator.ended(self, at)

    def told(self, at: int) -> Told:
        if self.panes:
            pane = self.panes[0]
            open_ = len(self.panes) if len(self.panes) > 1 else None
            return Told("open", pane.start, pane.n + pane.bad, things="events", open=open_, then="window")
        return self._operator.told_samples(self, at)

    def dump(self) -> list[Any]:
        return [self.seen, self.anchor, [pane.dump() for pane in self.panes], [list(one) for one in self.samples]]

    def load(self, kept: list[Any]) -> None:
        self.seen, self.anchor, panes, samples = kept
        self.samples = deque(Sample(*one) for one in samples)
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
        opened = panes.panes
        newest = self._newest_start(panes, at)
        if not opened or opened[-1].start < newest:
            for start in self._starts(newest, at):
                if not opened or opened[-1].start < start:
                    opened.append(self.pane(start, start + self.size_ns))
        for pane in opened:
            if pane.start <= at < pane.end:
                pane.add(value, event, at, offset)
        if opened and opened[0].end < panes.due:
            self.context.timers.arm(panes, opened[0].end)

    def _newest_start(self, panes: Panes, at: int) -> int:
        """Where the newest window begins that has begun at `at`."""
        if self._from_first:
            if panes.anchor is None:
                panes.anchor = at + self._offset_ns
            zero = panes.anchor
        else:
            zero = self._offset_ns - self.context.wall_ns
        return zero + (at - zero) // self.every_ns * self.every_ns

    def _starts(self, newest: int, at: int) -> range:
        """Where the windows begin that hold `at`; none in the hole between windows that are shorter than `every`."""
        lasting = (newest + self.size_ns - 1 - at) // self.every_ns  # windows before the newest that have not ended
        return range(newest - lasting * self.every_ns, newest + 1, self.every_ns)

    def _into_session(self, panes: Panes, value: Value, event: Event, at: int, offset: int) -> None:
        session = self._config.session
        assert session is not None
        if value is None:
            if panes.panes:
                panes.panes[0].bad += 1
            return
        if not panes.panes:
            panes.panes.append(self.pane(at, at))
        pane = panes.panes[0]
        pane.add(value, event, at, offset)
        pane.end = at + ns(session.gap_s)
        if session.max_s is not None:
            pane.end = min(pane.end, pane.start + ns(session.max_s))
        self.context.timers.arm(panes, pane.end)

    def ended(self, panes: Panes, at: int) -> None:
        """The oldest window is over."""
        self._tell(panes.key, panes.panes.popleft(), at)
        if self._tells_empty and not panes.panes:
            from_on = max(at, self.context.gap_until)  # none for downtime
            start = self._starts(self._newest_start(panes, from_on), from_on).start
            panes.panes.append(self.pane(start, start + self.size_ns))
        if panes.panes:
            self.context.timers.arm(panes, panes.panes[0].end)

    # -- windows without ----------------------------------------------------------------------------------------------

    def _into_sliding(self, panes: Panes, value: Value, event: Event, at: int, offset: int) -> None:
        samples, start = panes.samples, at - self.size_ns
        while samples and samples[0].at <= start:
            samples.popleft()
        if len(samples) == self._config.samples_max:
            samples.popleft()
            self.overflown += 1
        samples.append(Sample(value, at, offset, event.unit, event.quality))
        if value is not None:
            self._tell_samples(panes, start, at, offset)

    def _into_count(self, panes: Panes, value: Value, event: Event, at: int, offset: int) -> None:
        if value is None:  # a window of n events has n values
            return
        samples, n = panes.samples, self._config.count
        assert n is not None
        if len(samples) == n:
            samples.popleft()
        samples.append(Sample(value, at, offset, event.unit, event.quality))
        panes.seen += 1
        if len(samples) == n and (panes.seen - n) % (self._config.every or n) == 0:
            self._tell_samples(panes, samples[0].at, at, offset)

    def _tell_samples(self, panes: Panes, start: int, at: int, offset: int) -> None:
        pane = self.pane(start, at)
        for sample in panes.samples:
            pane.add(sample.value, sample, sample.at, sample.offset)
        self._tell(panes.key, pane, at, offset)

    def told_samples(self, panes: Panes, at: int) -> Told:
        """Of a window without a timer: what would go into it now."""
        n, sliding = self._config.count, self._config.sliding_s is not None
        times = [sample.at for sample in panes.samples if not sliding or sample.at > at - self.size_ns]
        if not times:
            return Told("idle", n=0, of=n, things="events", quiet=True)
        return Told("open", times[0], len(times), n, "events")

    # -- what is said -------------------------------------------------------------------------------------------------

    def _tell(self, key: str, pane: Pane, at: int, cause: int = 0) -> None:
        self.overflown += pane.forgotten
        here = self.context
        results = pane.results(self._makers)
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
            value=next(iter(results.values())),  # what other rules judge where they name no field
            unit=pane.unit if pane.aggregates[0].has_unit else None,
            quality=pane.quality,
            cause=cause or pane.last,
        )
