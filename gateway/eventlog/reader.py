"""The log as its readers see it: from where to where it goes, its events, and what is kept beside them.

Nothing here changes the log. A read is by offset, takes no lock and waits for no writer: the newest events come from
memory, those that the disk refused from the ring, the rest batch-wise from the file over a read-only connection
(`pages`). So a read may find that the file was opened anew while it waited: it asks the new one then.

Events come at the time that is known for them by now, which may not be the one that was written (`anchors`), and a hole
before them is named. What is kept beside them (the places of readers, dead letters, checkpoints) is read here too, and
so are the rows for a copy (`excerpt`).
"""

from __future__ import annotations

import asyncio
import logging

from gateway.errors import StoreUnavailable
from gateway.event import Event
from gateway.eventlog import anchors, codec, consumers, excerpt, riders
from gateway.eventlog.excerpt import Excerpt
from gateway.eventlog.head import Head
from gateway.eventlog.pages import Scan, from_memory, from_store
from gateway.eventlog.words import Checkpoint, ConsumerState, Cursor, Packing, Page
from gateway.selection import Selection

logger = logging.getLogger("gateway.eventlog")


class LogReader:
    """What can be asked of an open log. `head` is its writing end; nobody writes while `turn` is held."""

    def __init__(self, head: Head, turn: asyncio.Lock) -> None:
        self._head, self._turn = head, turn
        self._appended = asyncio.Event()

    @property
    def first_offset(self) -> int:
        return self._head.first_offset

    @property
    def next_offset(self) -> int:
        return self._head.next_offset

    @property
    def cursors(self) -> dict[str, Cursor]:
        return self._head.cursors

    @property
    def last_event(self) -> Event | None:
        """The newest event when the log was opened."""
        return self._head.last_event

    @property
    def newest_ns(self) -> int | None:
        """The newest known time (corrected UTC) in the log when it was opened; None: no clock could be believed."""
        return self._head.newest_ns

    # -- events -------------------------------------------------------------------------------------------------------

    async def read(
        self, offset: int, limit: int = 500, *, selection: Selection | None = None, as_told: bool = False
    ) -> Page:
        """Whole batches from `offset` on, until `limit` events are reached; empty at the end of the log.

        With a `selection` only the events that it wants: the others are passed over before they are decoded, which is
        some times as fast as reading all. Such a page may be empty before the end of the log, because one call looks
        at a bounded number of events; its `next_offset` tells how far that was, and is the log's own at the end.

        Events of an unsynchronised stretch come at their corrected time; `as_told` leaves them as they were recorded.

        A page ends before a hole in the offsets, and the next one names it as its gap: what was trimmed, what cannot
        be read, what overflowed while the disk refused.

        Raises:
            StoreUnavailable: the disk does not answer.
        """
        start = max(offset, self.first_offset)
        gap = (offset, start - 1) if start > offset else None
        if start >= self.next_offset:
            return Page([], start, gap)
        scan = await self._scan(start, limit, None if selection is None or selection.everything else selection)
        if scan.begin > start:
            gap = (offset, scan.begin - 1)
        return Page(scan.events if as_told else self.dated(scan.events), scan.end, gap)

    async def _scan(self, start: int, limit: int, selection: Selection | None) -> Scan:
        tail, ring, upto = self._head.tail, self._head.ring, self.next_offset
        if tail.holds(start):
            return from_memory(tail, start, limit, selection)
        if ring.holds(start):
            return from_memory(ring, start, limit, selection)
        on_disk = min(upto, ring.first_offset or upto)
        opened = self._head.store
        try:
            scan = await from_store(opened, start, on_disk, limit, selection, self._head.damage)
        except StoreUnavailable:
            if self._head.store is opened:
                raise
            return await self._scan(start, limit, selection)  # the file was opened anew meanwhile
        return scan or Scan([], on_disk, on_disk)

    async def wait(self, offset: int) -> None:
        """Return once `offset` has been appended."""
        while self.next_offset <= offset:
            await self._appended.wait()

    def _tell(self) -> None:
        """Wake who waits for new events."""
        self._appended.set()
        self._appended = asyncio.Event()

    # -- time ---------------------------------------------------------------------------------------------------------

    @property
    def time_known(self) -> bool:
        """Whether the times of this boot can be corrected where they need to be."""
        return self._head.anchor.synced is not None

    def dated(self, events: list[Event]) -> list[Event]:
        """Events of this log as readers see them: those of an unsynchronised stretch at their corrected time."""
        return anchors.dated(self._head.anchors, events)

    async def offset_at(self, time_ns: int) -> int:
        """The first offset recorded at `time_ns` (corrected UTC) or later."""
        return await self._head.index.offset_at(time_ns, self.first_offset, self.next_offset)

    # -- what is kept beside the events -------------------------------------------------------------------------------

    async def checkpoints(self) -> list[Checkpoint]:
        """Those that are whole, the newest first."""
        found = []
        for offset, kind, crc, packed in await self._head.store.checkpoints():
            whole = riders.checkpoint(offset, kind, crc, packed)
            if whole is not None and offset <= self.next_offset:
                found.append(whole)
            else:
                logger.warning("the checkpoint at offset %d is damaged, and passed over", offset)
        return found

    async def named_consumers(self) -> dict[str, ConsumerState]:
        """The consumers that programs and people have named, as they were last written.

        Raises:
            StoreUnavailable, LogCorrupt: the disk does not answer, or the file is damaged.
        """
        return await consumers.load(self._head.store)

    async def dead_letters(self, consumer: str) -> int:
        """How many events lie in the dead letters of that consumer."""
        return await self._head.store.dead_letters(consumer)

    # -- for statistics and copies ------------------------------------------------------------------------------------

    async def packing(self, batches: int = 64) -> Packing:
        """How well the newest batches are packed."""
        rows = await self._head.store.newest_batches(batches)
        raw = sum(codec.inflated_bytes(row.records) for row in rows)
        events = sum(row.last_offset - row.base_offset + 1 for row in rows)
        return Packing(len(rows), events, sum(len(row.records) for row in rows), raw)

    async def small_tables(self) -> tuple[list[Excerpt], int]:
        """For a copy: everything but batches and dead letters, and up to which offset batches belong to it."""
        async with self._turn:
            return await excerpt.small_tables(self._head.store), self.next_offset

    async def batch_rows(self, offset: int, upto: int) -> Excerpt:
        """For a copy: a page of the batches that lie in [offset, upto); no rows at the end."""
        return await excerpt.batches(self._head.store, offset, upto)

    async def letter_rows(self, after: tuple[str, int]) -> Excerpt:
        """For a copy: a page of the dead letters behind (consumer, offset); no rows at the end."""
        return await excerpt.dead_letters(self._head.store, after)
