"""Events that are in memory only, because the disk refuses: they are delivered all the same, marked `durable: false`.

Theory of operation
-------------------
A held batch has its offsets and its run, and both stay: when the disk takes events again, the batch is appended as it
is, so an event that a sink got from memory and the one that the log holds later are the same, by id. What is held gets
a run of its own. The one exception is a batch whose commit failed in an unknown way: it may be on the disk, so it keeps
the run that it was sent with, and appending it once more finds it there.

The ring is bounded. Over its bound the oldest batch goes; most of the time a sink has had it, but the log will never
have it. That is a hole in the offsets, and a `log.gap` with the reason `memory` names it.

A crash takes the ring with it. What follows the restart has a new run, so no id is ever given twice.

Pure: who holds a ring asks it, and writes what it says.
"""

from __future__ import annotations

import sys
from collections import Counter, deque
from collections.abc import Iterator
from typing import Any, Final

from gateway.clock import NS_PER_S
from gateway.event import Event, sequence
from gateway.eventlog.batches import Batch
from gateway.eventlog.tail import Tail

RING_EVENTS_MAX: Final = 20_000
SUBJECTS_MAX: Final = 50
TOLD_EVERY_S: Final = 300.0
"""While the ring overflows, a gap is told this often."""


class Ring:
    """Held batches, oldest first."""

    def __init__(self, events_max: int = RING_EVENTS_MAX) -> None:
        self._events_max = events_max
        self._batches: deque[Batch] = deque()
        self._tail = Tail(events_max=sys.maxsize)
        self._subjects: Counter[str] = Counter()
        self._lost: tuple[int, int] | None = None
        self._told_ns: int | None = None
        self.holes: list[tuple[int, int]] = []
        """First and last offset of each stretch that overflowed since the ring was empty."""

    def __len__(self) -> int:
        """How many events are held."""
        return sum(len(batch.events) for batch in self._batches)

    def __iter__(self) -> Iterator[Batch]:
        return iter(self._batches)

    @property
    def first_offset(self) -> int | None:
        """The oldest offset that is held, None for an empty ring."""
        return self._batches[0].events[0].offset if self._batches else None

    def append(self, batch: Batch) -> None:
        """Hold one batch more; over the bound the oldest go, the newest always stays."""
        self._batches.append(batch)
        self._tail.append(batch.events)
        events = len(self)
        while events > self._events_max and len(self._batches) > 1:
            gone = self._batches.popleft().events
            self._tail.forget_oldest()
            self._forget(gone)
            events -= len(gone)

    def _forget(self, gone: list[Event]) -> None:
        self._subjects.update(event.subject for event in gone)
        first, last = gone[0].offset, gone[-1].offset
        self._lost = (self._lost[0] if self._lost else first, last)
        if self.holes and self.holes[-1][1] == first - 1:
            first = self.holes.pop()[0]
        self.holes.append((first, last))

    def holds(self, offset: int) -> bool:
        """Whether everything from `offset` on is here."""
        return self._tail.holds(offset)

    def read(self, start: int, limit: int) -> list[Event]:
        """Whole batches from `start` on, until `limit` events are reached."""
        return self._tail.read(start, limit)

    def clear(self) -> None:
        """Everything is on the disk. What overflowed and was not told yet stays to be told."""
        self._batches.clear()
        self._tail.clear()
        self.holes.clear()

    def take_lost(self, now_ns: int) -> dict[str, Any] | None:
        """What a `log.gap` about the overflow says, None where there is none or it is too early for another one."""
        if self._lost is None:
            return None
        if self._batches and self._told_ns is not None and now_ns - self._told_ns < TOLD_EVERY_S * NS_PER_S:
            return None
        named, count = dict(self._subjects.most_common(SUBJECTS_MAX)), self._subjects.total()
        first, last = self._lost
        self._subjects, self._lost, self._told_ns = Counter(), None, now_ns
        rest = count - sum(named.values())
        return {"first": sequence(first), "last": sequence(last), "count": count, "subjects": named, "rest": rest}
