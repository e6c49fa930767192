"""The newest events of the log, in memory: a consumer that keeps up never touches the disk."""

from __future__ import annotations

import itertools
from collections import deque

from gateway.event import Event

TAIL_EVENTS_MAX = 4096


class Tail:
    """Whole batches, oldest first. Over the bound the oldest batch goes; the newest always stays."""

    def __init__(self, events_max: int = TAIL_EVENTS_MAX) -> None:
        self._batches: deque[list[Event]] = deque()
        self._events, self._events_max = 0, events_max

    def append(self, batch: list[Event]) -> None:
        self._batches.append(batch)
        self._events += len(batch)
        while self._events > self._events_max and len(self._batches) > 1:
            self.forget_oldest()

    def forget_oldest(self) -> None:
        self._events -= len(self._batches.popleft())

    def clear(self) -> None:
        self._batches.clear()
        self._events = 0

    def holds(self, offset: int) -> bool:
        """Whether everything from `offset` on is here."""
        return bool(self._batches) and offset >= self._batches[0][0].offset

    def read(self, start: int, limit: int) -> list[Event]:
        """Whole batches from `start` on, until `limit` events are reached.

        Looks from the newest batch back: who keeps up finds what is new without passing what is old.
        """
        wanted = list(itertools.takewhile(lambda batch: batch[-1].offset >= start, reversed(self._batches)))
        events: list[Event] = []
        while wanted and len(events) < limit:
            batch = wanted.pop()
            events += batch if batch[0].offset >= start else batch[start - batch[0].offset :]
        return events
