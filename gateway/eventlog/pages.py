"""One page of a read: from memory where the newest events are asked for, else from the file.

A read with a selection looks at far more events than it returns, so both are bounded: the events of a page by the
caller, the events looked at by `LOOKED_AT_MAX`. Between batches the event loop gets its turn.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from gateway.event import Event
from gateway.eventlog.batches import decode
from gateway.eventlog.store import Store
from gateway.eventlog.tail import Tail
from gateway.selection import Selection

LOOKED_AT_MAX = 65_536
"""Events that one read looks at: some hundredths of a second, and on the smallest machine some tenths."""

ROWS_FIRST, ROWS_MAX = 4, 64
"""Batches fetched at a time. Few at first, because whoever wants one event should not pay for sixty batches."""


class Scan(NamedTuple):
    """Events of the offsets [begin, end) that were looked at. `begin` is behind what was asked where the log is."""

    events: list[Event]
    begin: int
    end: int


def from_tail(tail: Tail, start: int, limit: int, selection: Selection | None) -> Scan:
    """A page of what is in memory, from `start` on, which is there."""
    events = tail.read(start, limit)
    end = events[-1].offset + 1 if events else start
    return Scan(events if selection is None else list(filter(selection.selects, events)), start, end)


async def from_store(store: Store, start: int, limit: int, selection: Selection | None) -> Scan:
    """Whole batches of the file, from `start` on, until `limit` events are found or enough were looked at.

    Raises:
        StoreUnavailable, LogCorrupt: the disk does not answer, or a batch is damaged.
    """
    events: list[Event] = []
    begin: int | None = None
    end, rows_max = start, ROWS_FIRST
    while True:
        rows = await store.batches_from(end, rows_max)
        for row in rows:
            if row.last_offset < end:  # the batch before the one that was asked for
                continue
            begin = max(start, row.base_offset) if begin is None else begin
            found = decode(row, selection)
            events += found if row.base_offset >= start else [event for event in found if event.offset >= start]
            end = row.last_offset + 1
            if len(events) >= limit or end - begin >= LOOKED_AT_MAX:
                return Scan(events, begin, end)
            await asyncio.sleep(0)
        if len(rows) < rows_max:
            return Scan(events, start if begin is None else begin, end)
        rows_max = min(4 * rows_max, ROWS_MAX)
