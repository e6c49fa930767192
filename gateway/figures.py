"""What is counted on an event's way, to be shown as metrics. Pure. Counts begin at 0 and only grow."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from typing import Final

from gateway.event import Event

COMMIT_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
LATENESS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)


class Histogram:
    """How often a value fell into each bucket. `bounds` are the buckets' upper ends, inclusive, rising."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self._counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def cumulative(self) -> list[int]:
        """For each bound the number of values up to it; the last is that of all."""
        running, rows = 0, []
        for count in self._counts:
            running += count
            rows.append(running)
        return rows


class Tally:
    """What the log took since it was opened."""

    def __init__(self) -> None:
        self.events: Counter[str] = Counter()
        """Events by type."""
        self.lost: Counter[str] = Counter()
        """Events that a `log.gap` counts as lost, by its reason."""
        self.thinned = 0
        """Readings that were summed up for room."""
        self.batches = self.batch_bytes = 0
        self.commit_s = Histogram(COMMIT_S)

    def batch(self, events: Sequence[Event], stored_bytes: int) -> None:
        """A batch was committed."""
        self.batches += 1
        self.batch_bytes += stored_bytes
        types = Counter(event.type for event in events)
        self.events.update(types)
        if "log.gap" in types:
            for event in events:
                if event.type == "log.gap":
                    self.lost[event.reason] += int(event.data.get("count", 0)) - int(event.data.get("told_before", 0))
