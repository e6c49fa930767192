"""One window that is open: what it has seen so far, and what can be told of it. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

from gateway.event import Quality, Value
from gateway.rules.operators.aggregates import Aggregate


class Seen(Protocol):
    """An event, or what is kept of one."""

    @property
    def unit(self) -> str | None: ...

    @property
    def quality(self) -> Quality | None: ...


class Pane:
    """Its bounds (ns), its accumulators by name, and how many readings of which quality it saw.

    `n` are those that count, `doubtful` of them are uncertain; `bad` ones count for the quality and for nothing else.
    `last` is the offset of the newest that counts, `unit` that of the first.
    """

    __slots__ = ("aggregates", "bad", "doubtful", "end", "last", "n", "start", "unit")

    def __init__(self, start: int, end: int, aggregates: list[Aggregate]) -> None:
        self.start, self.end, self.aggregates = start, end, aggregates
        self.n = self.bad = self.doubtful = self.last = 0
        self.unit: str | None = None

    def add(self, value: Value, seen: Seen, at: int, offset: int) -> None:
        """A selected event; `value` is None where it cannot be used."""
        if value is None:
            self.bad += 1
            return
        if seen.quality == "uncertain":
            self.doubtful += 1
        if not self.n:
            self.unit = seen.unit
        self.n += 1
        self.last = offset
        for aggregate in self.aggregates:
            aggregate.add(value, at)

    @property
    def quality(self) -> Quality:
        """Good if at least 80 % of what was seen is, uncertain if any could be used."""
        if not self.n:
            return "bad"
        return "good" if 5 * (self.n - self.doubtful) >= 4 * (self.n + self.bad) else "uncertain"

    @property
    def forgotten(self) -> int:
        """Samples that are missing in a result because there was no room."""
        return max(aggregate.forgotten for aggregate in self.aggregates)

    def results(self, names: Mapping[str, Any]) -> dict[str, Value]:
        """What the aggregates say, by name. What is too large for a number is none."""
        told = zip(names, self.aggregates, strict=True)
        return {name: _finite(aggregate.result(self.end)) for name, aggregate in told}

    def dump(self) -> list[Any]:
        own = [self.start, self.end, self.n, self.bad, self.doubtful, self.last, self.unit]
        return [own, [aggregate.dump() for aggregate in self.aggregates]]

    def load(self, kept: list[Any]) -> None:
        (self.start, self.end, self.n, self.bad, self.doubtful, self.last, self.unit), states = kept
        for aggregate, state in zip(self.aggregates, states, strict=True):
            aggregate.load(state)


def _finite(value: Value) -> Value:
    return None if isinstance(value, float) and not math.isfinite(value) else value
