"""The aggregates of a window: each a small accumulator that takes (value, at) and tells its result. Pure.

Sums are compensated (Neumaier 1974), so that a million small values beside a large one are not lost. Deviation is
that of the population by Welford's recurrence: constant input gives exactly 0. What needs all samples (median,
quantile) keeps a bounded number of them; beyond it every second one is forgotten.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final

from gateway.event import Value
from gateway.rules.operator_model import Quantile


class Aggregate:
    """One accumulator. `add` takes every usable value; `result` is asked at `end` (ns) and may be asked again."""

    __slots__: ClassVar[tuple[str, ...]] = ()
    fields: ClassVar[tuple[str, ...]] = ()
    """What `dump` keeps: the slots of the class and of those above it."""
    numeric: ClassVar[bool] = True
    """Whether it takes numbers only."""
    has_unit: ClassVar[bool] = True
    """Whether the result is in the unit of the values."""

    def __init_subclass__(cls) -> None:
        cls.fields = tuple(name for one in reversed(cls.__mro__) for name in one.__dict__.get("__slots__", ()))

    def add(self, value: Any, at: int) -> None:
        raise NotImplementedError

    def result(self, end: int) -> Value:
        raise NotImplementedError

    @property
    def forgotten(self) -> int:
        """Values that are not in the result because there was no room for them."""
        return 0

    def dump(self) -> list[Any]:
        return [getattr(self, name) for name in self.fields]

    def load(self, kept: list[Any]) -> None:
        for name, value in zip(self.fields, kept, strict=True):
            setattr(self, name, value)


class Count(Aggregate):
    __slots__ = ("n",)
    numeric = False
    has_unit = False

    def __init__(self) -> None:
        self.n = 0

    def add(self, value: Any, at: int) -> None:
        del value, at
        self.n += 1

    def result(self, end: int) -> Value:
        del end
        return self.n


class Sum(Aggregate):
    """`lost` is what rounding took from `sum` on the way."""

    __slots__ = ("lost", "n", "sum")

    def __init__(self) -> None:
        self.n, self.sum, self.lost = 0, 0.0, 0.0

    def add(self, value: Any, at: int) -> None:
        del at
        self.n += 1
        total = self.sum + value
        if abs(self.sum) >= abs(value):
            self.lost += (self.sum - total) + value
        else:
            self.lost += (value - total) + self.sum
        self.sum = total

    def result(self, end: int) -> Value:
        del end
        return self.sum + self.lost


class Average(Sum):
    __slots__ = ()

    def result(self, end: int) -> Value:
        del end
        return (self.sum + self.lost) / self.n if self.n else None


class TimeWeighted(Sum):
    """The average in which each value counts for as long as it lasted; the last one lasts until the window's end.

    The sum is that of value times ns, of the values before the last.
    """

    __slots__ = ("at", "since", "value")

    def __init__(self) -> None:
        super().__init__()
        self.at, self.since, self.value = 0, 0, None

    def add(self, value: Any, at: int) -> None:
        if self.value is None:
            self.since = at
        else:
            super().add(self.value * (at - self.at), at)
        self.at, self.value = at, value

    def result(self, end: int) -> Value:
        if self.value is None:
            return None
        span = end - self.since
        return (self.sum + self.lost + self.value * (end - self.at)) / span if span > 0 else self.value


class Deviation(Aggregate):
    __slots__ = ("mean", "n", "squares")

    def __init__(self) -> None:
        self.n, self.mean, self.squares = 0, 0.0, 0.0

    def add(self, value: Any, at: int) -> None:
        del at
        self.n += 1
        apart = value - self.mean
        self.mean += apart / self.n
        self.squares += apart * (value - self.mean)

    def result(self, end: int) -> Value:
        del end
        return math.sqrt(max(self.squares, 0.0) / self.n) if self.n else None


class OneOf(Aggregate):
    """One of the values, None before the first: the subclass says which."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: Value = None

    def result(self, end: int) -> Value:
        del end
        return self.value


class Least(OneOf):
    __slots__ = ()

    def add(self, value: Any, at: int) -> None:
        del at
        if self.value is None or value < self.value:
            self.value = value


class Most(OneOf):
    __slots__ = ()

    def add(self, value: Any, at: int) -> None:
        del at
        if self.value is None or value > self.value:
            self.value = value


class First(OneOf):
    __slots__ = ()
    numeric = False

    def add(self, value: Any, at: int) -> None:
        del at
        if self.value is None:
            self.value = value


class Last(OneOf):
    __slots__ = ()
    numeric = False

    def add(self, value: Any, at: int) -> None:
        del at
        self.value = value


class Ranked(Aggregate):
    """A quantile, by linear interpolation between the two samples beside it (Hyndman and Fan's type 7)."""

    __slots__ = ("quantile", "samples", "samples_max", "seen", "thin")

    def __init__(self, quantile: float, samples_max: int) -> None:
        self.quantile, self.samples_max = quantile, samples_max
        self.samples: list[float] = []
        self.seen, self.thin = 0, 1

    def add(self, value: Any, at: int) -> None:
        del at
        self.seen += 1
        if (self.seen - 1) % self.thin:
            return
        insort(self.samples, value)
        if len(self.samples) > self.samples_max:
            self.samples = self.samples[::2]
            self.thin *= 2

    @property
    def forgotten(self) -> int:
        return self.seen - len(self.samples)

    def result(self, end: int) -> Value:
        del end
        if not self.samples:
            return None
        place = self.quantile * (len(self.samples) - 1)
        low = int(place)
        high = min(low + 1, len(self.samples) - 1)
        below, above = self.samples[low], self.samples[high]
        return below if above == below else below + (above - below) * (place - low)


Make = Callable[[], Aggregate]

_SIMPLE: Final[Mapping[str, type[Aggregate]]] = {
    "count": Count, "sum": Sum, "min": Least, "max": Most, "avg": Average, "stddev": Deviation,
    "first": First, "last": Last, "twa": TimeWeighted,
}  # fmt: skip


def maker(wanted: str | Quantile, samples_max: int) -> Make:
    """What makes accumulators of that kind."""
    if isinstance(wanted, Quantile):
        return lambda: Ranked(wanted.quantile, samples_max)
    if wanted == "median":
        return lambda: Ranked(0.5, samples_max)
    return _SIMPLE[wanted]
