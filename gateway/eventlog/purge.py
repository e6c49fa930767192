"""Forgetting for good: what is purged is overwritten in the file, not only marked as free.

Like a trim it goes in steps of whole batches, each in one transaction, and what a sink or a protected consumer had not
read becomes a `log.gap` in that transaction. Unlike a trim it goes past everybody, takes the dead letters and
checkpoints along, has SQLite overwrite what it frees (`secure_delete`), and empties the write-ahead log at the end.

What it cannot do: a flash card writes to new cells and keeps the old ones until it needs them, and a file system may
have copies. `SENTENCE` says so.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from gateway.clock import Clock
from gateway.event import Event, sequence
from gateway.eventlog import writes
from gateway.eventlog.batches import decode
from gateway.eventlog.head import Head
from gateway.eventlog.writes import Statement

STEP_BATCHES_MAX: Final = 64
STEP_BYTES_MAX: Final = 2 * 2**20
GAP_SUBJECTS_MAX: Final = 50

SENTENCE: Final = (
    "What was purged is overwritten in the log's file. Flash memory may keep old copies in cells that no program can "
    "reach (wear levelling); backups, exports and receivers have copies of their own. Only an encrypted card, or a "
    "destroyed one, is sure to keep nothing."
)


class Purge:
    """Everything before one offset, in steps. Its caller holds the log's turn during each step."""

    def __init__(self, head: Head, clock: Clock, upto: int) -> None:
        self._head, self._clock = head, clock
        self.upto = min(upto, head.next_offset)
        self.events = self.unread = 0

    async def step(self) -> bool:
        """Purge some more; False when all that lies before `upto` in whole batches is gone.

        Raises:
            StoreUnavailable, LogCorrupt: the disk does not answer, or a batch is damaged.
        """
        head = self._head
        await head.store.secure(on=True)
        try:
            return await self._cut()
        finally:
            await head.store.secure(on=False)

    async def finish(self, *, free_too: bool) -> None:
        """Empty the write-ahead log. `free_too` overwrites what earlier trims left: only where nobody else appends."""
        if free_too:
            await self._head.store.overwrite_free()
        await self._head.store.empty_wal()

    async def _cut(self) -> bool:
        head, upto, size = self._head, self._head.first_offset, 0
        rows = []
        for row in await head.store.batches_from(head.first_offset, STEP_BATCHES_MAX):
            if row.last_offset >= self.upto or size >= STEP_BYTES_MAX:
                break
            rows.append(row)
            upto, size = row.last_offset + 1, size + len(row.records)
        if not rows:
            return False
        lost = [event for row in rows for event in decode(row)]
        statements: list[Statement] = [(sql, (upto,)) for sql in (writes.TRIM, *writes.PURGE)]
        statements += [(writes.TRIM_RUNS, ()), (writes.TRIM_ANCHORS, ())]
        if upto >= head.next_offset:
            statements.append((writes.KEEP_NEXT_OFFSET, (head.next_offset,)))
        batch = head.batch(gap) if (gap := self._gap(lost, upto)) else None
        await head.store.transaction(statements + (batch.statements if batch else []))
        head.first_offset = upto
        if batch:
            head.accepted(batch)
        self.events += len(lost)
        return True

    def _gap(self, lost: list[Event], upto: int) -> tuple[Event, ...]:
        """What tells those who have not read it, if there are any."""
        unread = [at.next_offset for at in self._head.cursors.values() if at.next_offset < upto]
        missed = [event for event in lost if unread and event.offset >= min(unread)]
        if not missed:
            return ()
        self.unread += len(missed)
        subjects = Counter(event.subject for event in missed)
        named = dict(subjects.most_common(GAP_SUBJECTS_MAX))
        told = {
            "first": sequence(missed[0].offset),
            "last": sequence(upto - 1),
            "count": len(missed),
            "subjects": named,
            "rest": len(missed) - sum(named.values()),
        }
        now, mono, synced = self._clock.wall_ns(), self._clock.mono_ns(), self._clock.synced()
        simulated = all(event.simulated for event in missed)
        gap = Event("log.gap", "gateway", now, mono, reason="purged", data=told, simulated=simulated, synced=synced)
        return (gap,)
