"""`rate`: how fast a value changes, from samples of the last `over`. A sample exactly that old is outside.

From the oldest sample to the newest (`endpoint`), or the slope of the line of least squares through all (`lsq`). The
slope is judged as `hold` judges values.

There is room for so many samples. When they do not fit, every second one is forgotten, and from then on one is kept for
so many that come; the newest always is. Once there are few again, all are kept.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from gateway.event import Event, Value
from gateway.rules.operators.base import Judge, Operator, ns
from gateway.rules.operators.level import Level, Terms, terms
from gateway.rules.rule import Rule
from gateway.rules.select import all_of, bounds, usable, value_of
from gateway.rules.told import Told

_NUMBERS: Final = frozenset({float, int})


class Slope(Level):
    """One key's samples, and the level of their slope. `thin` is how many samples come for each one that is kept."""

    __slots__ = ("offset", "pending", "thin", "times", "total", "values")

    measured = False

    def __init__(self, key: str, rule: Rule, terms: Terms) -> None:
        super().__init__(key, rule, terms)
        self.times: deque[int] = deque()
        self.values: deque[Any] = deque()  # numbers
        self.thin, self.pending = 1, 0
        self.offset = 0.0  # what a counter had before its resets

    def told(self, at: int) -> Told:
        config = self.rule.config.when.rate
        assert config is not None
        known = sum(1 for time in self.times if time > at - ns(config.over_s))
        return super().told(at)._replace(n=known, things="samples")

    def dump(self) -> list[Any]:
        own = [list(self.times), list(self.values), self.thin, self.pending, self.offset]
        return [super().dump(), own]

    def load(self, kept: list[Any]) -> None:
        level, (times, values, self.thin, self.pending, self.offset) = kept
        super().load(level)
        self.times, self.values = deque(times), deque(values)


class RateOperator(Operator[Slope]):
    """`rate:` says `rule.raised`, `rule.cleared` and `rule.unknown`, with the slope as value."""

    pauses = True

    def __init__(self, rule: Rule) -> None:
        config = rule.config.when.rate
        assert config is not None
        super().__init__(rule, config)
        self._config = config
        test = all_of(bounds(config.above, config.below, config.at_least, config.at_most))
        assert test is not None, "the model wants a condition"
        self._terms = terms(config, lambda slope, _event: test(slope))
        self._over_ns, self._per_ns = ns(config.over_s), ns(config.per_s)
        self._span_ns = max(ns(config.min_span_s), 1)
        self.thinned = 0
        """Samples forgotten because there was no room."""

    def new(self, key: str) -> Slope:
        return Slope(key, self.rule, self._terms)

    def pause(self, gap_ns: int) -> None:
        for slope in sorted(self.keys, key=lambda one: one.armed):
            slope.pause(gap_ns)

    def dropped(self) -> dict[str, int]:
        return super().dropped() | {"samples": self.thinned}

    def snapshot(self) -> list[Any]:
        return [*super().snapshot(), self.thinned]

    def restore(self, kept: list[Any]) -> list[tuple[int, int, Slope]]:
        *common, self.thinned = kept
        return super().restore(common)

    def judge_keyed(self, subject: str, key: str) -> Judge:
        del subject
        states, touch, make = self.keys.states, self.keys.touch, self.keys.make
        read = value_of(self._config.field)
        passes = usable(self._config) if self._config.quality == "good" else None
        take, over_ns, span_ns, per_ns = self._take, self._over_ns, self._span_ns, self._per_ns
        plain, room = not self._config.counter, self._config.samples_max
        slope_of = _least_squares if self._config.method == "lsq" else _endpoints

        def judge(event: Event, at: int) -> None:
            value = event.value if read is None else read(event)
            if value.__class__ not in _NUMBERS or (passes is not None and not passes(event)):
                return
            slope = states.get(key)
            if slope is None:
                slope = make(key)
            else:
                touch(key)
            times = slope.times
            oldest = at - over_ns
            while times and times[0] <= oldest:
                times.popleft()
                slope.values.popleft()
            if plain and slope.thin == 1 and len(times) < room and not (times and times[-1] == at):
                times.append(at)
                slope.values.append(value)
            else:
                take(slope, value, at)
            if at - times[0] >= span_ns:
                slope.judge(slope_of(slope) * per_ns, event, at)

        return judge

    def _take(self, slope: Slope, value: Value, at: int) -> None:
        number = float(value)  # type: ignore[arg-type]
        times, values = slope.times, slope.values
        if slope.thin > 1 and 2 * len(times) < self._config.samples_max:  # twice as many fit
            slope.thin //= 2
            slope.pending %= slope.thin
        if self._config.counter:
            if values and number + slope.offset < values[-1]:
                slope.offset = values[-1]
            number += slope.offset
        if times and at == times[-1]:  # two values of one instant: the newer one
            values[-1] = number
            return
        if slope.pending and len(times) > 1:  # between two samples that are kept: the newest stands for it
            times[-1], values[-1] = at, number
            slope.pending = (slope.pending + 1) % slope.thin
            self.thinned += 1
            return
        times.append(at)
        values.append(number)
        slope.pending = 1 % slope.thin
        if len(times) > self._config.samples_max:
            self._thin_out(slope)

    def _thin_out(self, slope: Slope) -> None:
        """Keep every second sample, and the newest: the span stays, the grain gets coarser."""
        kept = list(zip(slope.times, slope.values, strict=True))
        rest = kept[::2] if len(kept) % 2 else [*kept[:-1:2], kept[-1]]
        self.thinned += len(kept) - len(rest)
        slope.times = deque(time for time, _ in rest)
        slope.values = deque(value for _, value in rest)
        slope.thin = min(2 * slope.thin, 1 << 30)


def _endpoints(slope: Slope) -> float:
    """Change per ns."""
    return float(slope.values[-1] - slope.values[0]) / (slope.times[-1] - slope.times[0])


def _least_squares(slope: Slope) -> float:
    """Slope of the line of least squares, per ns. Times from the first sample, so that ns keep their digits."""
    first, n = slope.times[0], len(slope.times)
    times = [time - first for time in slope.times]
    mean_t, mean_v = sum(times) / n, sum(slope.values) / n
    below = sum((time - mean_t) ** 2 for time in times)
    above = sum((time - mean_t) * (value - mean_v) for time, value in zip(times, slope.values, strict=True))
    return float(above / below) if below else 0.0
