"""The shapes that simulated quantities can have, each a pure function of time.

Every shape is an options model, so what YAML says about it is checked and described where it is computed.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate
from typing import Annotated, Final

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from gateway.event import Value
from gateway.options import Duration, Options

WALK_STEPS: Final = 4096
"""Length of a random walk; then it is walked back. That keeps each look at any time equally cheap."""

_MASK: Final = 2**64 - 1


def uniform(seed: int, n: int) -> float:
    """The n-th draw of a seed, 0 <= draw < 1, in any order of n. splitmix64's mixing (Steele, Lea, Flood, 2014)."""
    mixed = (seed * 0x2545F4914F6CDD1D + (n + 1) * 0x9E3779B97F4A7C15) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return ((mixed ^ (mixed >> 31)) >> 11) / 2**53


def scalar(value: object) -> object:
    """The value, if it is one that a channel can have."""
    if not isinstance(value, (bool, int, float, str)):
        raise ValueError("expected a number, true, false or a word")  # noqa: TRY004 - pydantic collects ValueError
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("expected a finite number; the fault `nan` gives what is not a number")
    return value


Scalar = Annotated[
    bool | int | float | str,
    BeforeValidator(scalar),
    WithJsonSchema({"type": ["number", "boolean", "string"]}),
]
Number = Annotated[float, Field(allow_inf_nan=False)]
Span = Annotated[Duration, Field(gt=0, le=3650 * 86400.0)]
Seed = Annotated[int, Field(ge=0, lt=2**32, description="another number gives other random values")]


class Shape(Options):
    """A value for every instant. `extremes` are values that tell what kind of thing the shape gives."""

    model_config = ConfigDict(defer_build=True)

    @abstractmethod
    def at(self, t_s: float) -> Value:
        """The value `t_s` seconds after the world began."""

    @property
    @abstractmethod
    def extremes(self) -> Sequence[Value]: ...


class Constant(Shape):
    """Always the same."""

    value: Scalar

    def at(self, t_s: float) -> Value:
        del t_s
        return self.value

    @property
    def extremes(self) -> Sequence[Value]:
        return (self.value,)


class Sine(Shape):
    """Swings between `min` and `max`; noise is added on top, evenly spread."""

    min: Number
    max: Number
    period_s: Span = Field(alias="period")
    noise: Annotated[Number, Field(ge=0, description="at most this much is added or taken away")] = 0.0
    seed: Seed = 0

    @model_validator(mode="after")
    def _in_order(self) -> Sine:
        _check_order(self.min, self.max)
        return self

    def at(self, t_s: float) -> float:
        turn = math.sin(math.tau * (t_s % self.period_s) / self.period_s)
        value = _between(self.min, self.max, 0.5 + 0.5 * turn)
        if self.noise:
            value += self.noise * (2 * uniform(self.seed, round(t_s * 1000)) - 1)
        return value

    @property
    def extremes(self) -> Sequence[Value]:
        return (self.min, self.max)


class Ramp(Shape):
    """Goes from `from` to `to` in one period, once, and stays there."""

    start: Number = Field(alias="from")
    end: Number = Field(alias="to")
    period_s: Span = Field(alias="period")

    def at(self, t_s: float) -> float:
        return _between(self.start, self.end, min(1.0, max(0.0, t_s / self.period_s)))

    @property
    def extremes(self) -> Sequence[Value]:
        return (self.start, self.end)


class Saw(Ramp):
    """Goes from `from` to `to` in each period, and jumps back."""

    def at(self, t_s: float) -> float:
        return _between(self.start, self.end, t_s % self.period_s / self.period_s)


class Square(Shape):
    """`low`, then `high` for the last `duty` part of each period."""

    low: Scalar = False
    high: Scalar = True
    period_s: Span = Field(alias="period")
    duty: Annotated[Number, Field(gt=0, lt=1, description="part of the period that is high")] = 0.5

    def at(self, t_s: float) -> Value:
        return self.low if t_s % self.period_s < (1 - self.duty) * self.period_s else self.high

    @property
    def extremes(self) -> Sequence[Value]:
        return (self.low, self.high)


class Steps(Shape):
    """One value after the other, each for the same time, again and again."""

    values: Annotated[list[Scalar], Field(min_length=1, max_length=1000)]
    each_s: Span = Field(alias="each")

    def at(self, t_s: float) -> Value:
        return self.values[math.floor(t_s / self.each_s) % len(self.values)]

    @property
    def extremes(self) -> Sequence[Value]:
        return self.values


class Walk(Shape):
    """A random walk that turns back at its bounds, and is walked back after 4096 steps."""

    start: Number | None = Field(None, description="default: the middle")
    step: Annotated[Number, Field(gt=0, description="the most that one step changes")]
    min: Number
    max: Number
    each_s: Span = Field(1.0, alias="each")
    seed: Seed = 0

    @model_validator(mode="after")
    def _in_order(self) -> Walk:
        if self.start is not None and not self.min <= self.start <= self.max:
            raise ValueError("start must lie between min and max")
        _check_order(self.min, self.max)
        return self

    @cached_property
    def _path(self) -> list[float]:
        first = (self.min + self.max) / 2 if self.start is None else self.start
        return list(accumulate(range(WALK_STEPS - 1), self._next, initial=first))

    def _next(self, value: float, n: int) -> float:
        value += self.step * (2 * uniform(self.seed, n) - 1)
        value = 2 * self.min - value if value < self.min else value
        value = 2 * self.max - value if value > self.max else value
        return min(self.max, max(self.min, value))

    def at(self, t_s: float) -> float:
        n = math.floor(t_s / self.each_s) % (2 * WALK_STEPS - 2)
        return self._path[min(n, 2 * WALK_STEPS - 2 - n)]

    @property
    def extremes(self) -> Sequence[Value]:
        return (self.min, self.max)


class Presses(Shape):
    """One press of `hold` in every `every`: in its middle, or up to `jitter` earlier or later."""

    every_s: Span = Field(alias="every")
    hold_s: Span = Field(alias="hold")
    jitter_s: Annotated[Duration, Field(ge=0)] = Field(0.0, alias="jitter")
    seed: Seed = 0

    @model_validator(mode="after")
    def _fits(self) -> Presses:
        if self.hold_s + 2 * self.jitter_s >= self.every_s:
            raise ValueError("hold and twice the jitter must be shorter than every")
        return self

    def at(self, t_s: float) -> bool:
        n, into_s = divmod(t_s, self.every_s)
        moved_s = self.jitter_s * (2 * uniform(self.seed, int(n)) - 1)
        down_s = (self.every_s - self.hold_s) / 2 + moved_s
        return down_s <= into_s < down_s + self.hold_s

    @property
    def extremes(self) -> Sequence[Value]:
        return (False, True)


class Fault(Options):
    """Comes back in the last `for` of every `every`."""

    model_config = ConfigDict(defer_build=True)

    every_s: Span = Field(alias="every")
    for_s: Span = Field(alias="for")

    @model_validator(mode="after")
    def _fits(self) -> Fault:
        if self.for_s >= self.every_s:
            raise ValueError("for must be shorter than every")
        return self

    def began_s(self, t_s: float) -> float | None:
        """When the fault that is there at `t_s` began, None where there is none."""
        into_s = t_s % self.every_s
        from_s = self.every_s - self.for_s
        return None if into_s < from_s else t_s - into_s + from_s


def _between(start: float, end: float, part: float) -> float:
    """`start` at 0, `end` at 1; never outside, whatever rounding does."""
    low, high = min(start, end), max(start, end)
    return min(high, max(low, start * (1 - part) + end * part))


def _check_order(low: float, high: float) -> None:
    if low > high:
        raise ValueError("min must not be above max")
