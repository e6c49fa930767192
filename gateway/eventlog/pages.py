"""One page of a read: from memory where the newest events are asked for, else from the file.

A read with a selection looks at far more events than it returns, so both are bounded: the events of a page by the
caller, the events looked at by `LOOKED_AT_MAX`. Between batches the event loop gets its turn.

A page never spans a hole: it ends before one, and the next begins behind it, so that the reader hears of it. What
cannot be read is such a hole: reading goes on behind it, always.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple, Protocol

from gateway.errors import LogCorrupt
from gateway.event import Event
from gateway.eventlog.batches import decode
from gateway.eventlog.damage import Damage, readable_from
from gateway.eventlog.queries import BatchRow
from gateway.eventlog.store import Store
from gateway.selection import Selection

LOOKED_AT_MAX = 65_536
"""Events that one read looks at: some hundredths of a second, and on the smallest machine some tenths."""

ROWS_FIRST, ROWS_MAX = 4, 64
"""Batches fetched at a time. Few at first, because whoever wants one event should not pay for sixty batches."""


class Memory(Protocol):
    """Whole batches in memory: the tail, or what is held because the disk refuses."""

    def read(self, start: int, limit: int) -> list[Event]: ...


class Scan(NamedTuple):
    """Events of the offsets [begin, end) that were looked at. `begin` is behind what was asked where the log is."""

    events: list[Event]
    begin: int
    end: int


def from_memory(memory: Memory, start: int, limit: int, selection: Selection | None) -> Scan:
    """A page of what is in memory, from `start` on, which is there."""
    events = memory.read(start, limit)
    end = events[-1].offset + 1 if events else start
    return Scan(events if selection is None else list(filter(selection.selects, events)), start, end)


async def from_store(
    store: Store, start: int, upto: int, limit: int, selection: Selection | None, damage: Damage
) -> Scan | None:
    """Whole batches of the file, from `start` on, until `limit` events are found or enough were looked at.

    None where the file has nothing to read in [start, `upto`). What is damaged is passed over and noted.

    Raises:
        StoreUnavailable: the disk does not answer.
    """
    page = _Page(store, start, selection, damage)
    rows_max = ROWS_FIRST
    while page.end < upto:
        before = page.end
        try:
            rows = await store.batches_from(page.end, rows_max)
        except LogCorrupt as error:
            if page.begin is not None:
                break
            if rows_max == 1:
                await page.step_over(upto, str(error))
            rows_max = 1  # perhaps only a later one of these
            continue
        for row in rows:
            if not page.take(row):
                return page.scan
            if len(page.events) >= limit or page.looked_at >= LOOKED_AT_MAX:
                return page.scan
            await asyncio.sleep(0)
        if len(rows) < rows_max:
            break
        if page.end == before:  # only the batch before a hole could be had: the one behind it is what is damaged
            await page.step_over(upto, f"no way to what follows offset {before - 1}")
        rows_max = min(4 * rows_max, ROWS_MAX)
    return page.scan if page.begin is not None else None


class _Page:
    """A page that is being filled. `begin` is None until something was found."""

    def __init__(self, store: Store, start: int, selection: Selection | None, damage: Damage) -> None:
        self._store, self._start, self._selection, self._damage = store, start, selection, damage
        self.events: list[Event] = []
        self.begin: int | None = None
        self.end = start

    @property
    def looked_at(self) -> int:
        return 0 if self.begin is None else self.end - self.begin

    @property
    def scan(self) -> Scan:
        return Scan(self.events, self.end if self.begin is None else self.begin, self.end)

    def take(self, row: BatchRow) -> bool:
        """Add a batch; False where the page ends before it, because there is a hole."""
        if row.last_offset < self.end and row.base_offset < self.end:  # the batch before the one that was asked for
            return True
        try:
            found = decode(row, self._selection)
        except LogCorrupt:
            self._damage.note(row.base_offset, max(row.base_offset, row.last_offset))
            found = None
        if self.begin is not None and (found is None or row.base_offset > self.end):
            return False
        if found is None:
            self.end = max(self.end, row.base_offset, row.last_offset) + 1
            return True
        if self.begin is None:
            self.begin = max(self._start, row.base_offset)
        self.events += found if row.base_offset >= self._start else [e for e in found if e.offset >= self._start]
        self.end = row.last_offset + 1
        return True

    async def step_over(self, upto: int, why: str) -> None:
        """Go on where that is possible although the file's tree is broken here."""
        behind = await readable_from(self._store, self.end, upto)
        self._damage.note(self.end, behind - 1)
        self._damage.structure = self._damage.structure or why
        self.end = behind
