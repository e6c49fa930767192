"""What the log forgets: by age, and for room under the byte bound.

Whole batches go, from the oldest on, in bounded steps. Age never takes what a sink has still to read; the byte bound
does, and what a sink had not read becomes a `log.gap` event in the same transaction.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Sequence

from gateway.clock import NS_PER_S, Clock
from gateway.event import Event, sequence
from gateway.eventlog import store
from gateway.eventlog.batches import decode
from gateway.eventlog.head import Head
from gateway.eventlog.store import BatchRow, Statement
from gateway.eventlog.times import Age

logger = logging.getLogger("gateway.eventlog")

PAGE_BATCHES_MAX = 64
TRIM_STEP = 0.01
FULL_AT = 0.95
"""Trim when this part of the byte bound is in use: the rest is room for the write-ahead log to be folded in."""

GAP_SUBJECTS_MAX = 50
CURSOR_KEPT_S = 7 * 86400.0
"""How long the cursor of a consumer that is configured no more waits for its return."""

TRIM_BATCHES_MAX = 5000
"""How many batches one trim by age may delete: a commit a second makes 600 between two trims."""


class Retention:
    """Trims one log. Its caller holds the log's turn."""

    def __init__(self, head: Head, clock: Clock, *, size_bytes_max: int, keep_for_s: float) -> None:
        self._head, self._clock = head, clock
        self.size_bytes_max, self.keep_for_s = size_bytes_max, keep_for_s
        self.events_trimmed_unread = 0
        self._unused: dict[str, int] = {}

    async def load(self) -> None:
        """Learn which cursors nobody used when the log was last open."""
        self._unused = await self._head.store.unused()

    async def trim(self, protected: int, consumers: Collection[str] | None) -> bool:
        """See `EventLog.trim`; `consumers` are those in use, None where nobody has said so yet."""
        if consumers is not None:
            await self._mind_unused(consumers)
        upto = min(await self._aged(), protected)
        if upto > self._head.first_offset:
            await self.cut(upto)
        if not await self.near_bound():
            return False
        return await self.make_room() and await self.near_bound()

    async def near_bound(self) -> bool:
        _, used = await self._head.store.pages()
        return used * store.PAGE_BYTES > FULL_AT * self.size_bytes_max

    async def make_room(self) -> bool:
        """Evict the oldest 1 % of the bytes, or all above a lowered bound; says whether there was anything to evict."""
        head = self._head
        _, used = await head.store.pages()
        excess = used * store.PAGE_BYTES - FULL_AT * self.size_bytes_max  # after the bound was lowered
        wanted, upto = max(TRIM_STEP * self.size_bytes_max, excess), head.first_offset
        rows = await head.store.batches_from(head.first_offset, 4 * PAGE_BATCHES_MAX)
        for row in rows[:-1]:  # the newest batch stays: it tells how far offsets went
            upto, wanted = row.last_offset + 1, wanted - len(row.records)
            if wanted <= 0:
                break
        if upto == head.first_offset:
            return False
        unread = [name for name, at in head.cursors.items() if at.next_offset < upto]
        gap = self._gap(rows, min(head.cursors[name].next_offset for name in unread), upto) if unread else ()
        await self.cut(upto, gap)
        return True

    async def cut(self, upto: int, gap: Sequence[Event] = ()) -> None:
        """Forget everything before `upto`, and record `gap` in the same transaction."""
        head = self._head
        statements: list[Statement] = [(store.TRIM, (upto,)), (store.TRIM_RUNS, ()), (store.TRIM_ANCHORS, ())]
        if upto >= head.next_offset:
            statements.append((store.KEEP_NEXT_OFFSET, (head.next_offset,)))
        batch = head.batch(gap) if gap else None
        await head.store.transaction(statements + (batch.statements if batch else []))
        logger.info("trimmed offsets %d to %d%s", head.first_offset, upto - 1, " (some unread)" if gap else "")
        head.first_offset = upto
        if batch:
            head.accepted(batch)

    async def _aged(self) -> int:
        """The offset before which everything is older than the age bound, as far as one trim may go.

        Events of this boot are judged by the boot clock alone. Those of earlier boots only while the wall clock is
        believed, and then by the earliest time that this boot has had reason to believe: a step into the future must
        not delete what it makes look old.
        """
        head, boot, mono = self._head, self._clock.boot_id, self._clock.mono_ns()
        since = mono - round(self.keep_for_s * NS_PER_S)
        least = head.anchor.least
        wall = since + least if least is not None and self._clock.synced() else None
        upto = await head.index.aged(Age(boot, since, wall), head.first_offset, head.next_offset)
        most = await head.store.after_batches(TRIM_BATCHES_MAX)
        return upto if most is None else min(upto, most)

    def _gap(self, rows: Sequence[BatchRow], first: int, upto: int) -> tuple[Event, ...]:
        first = max(first, self._head.first_offset)
        lost = [e for row in rows if row.base_offset < upto for e in decode(row) if first <= e.offset < upto]
        subjects = Counter(event.subject for event in lost)
        named = dict(subjects.most_common(GAP_SUBJECTS_MAX))
        self.events_trimmed_unread += len(lost)
        data = {
            "first": sequence(first),
            "last": sequence(upto - 1),
            "count": len(lost),
            "subjects": named,
            "rest": len(lost) - sum(named.values()),
        }
        now, mono = self._clock.wall_ns(), self._clock.mono_ns()
        simulated, synced = all(event.simulated for event in lost), self._clock.synced()
        return (Event("log.gap", "gateway", now, mono, reason="size", data=data, simulated=simulated, synced=synced),)

    async def _mind_unused(self, consumers: Collection[str]) -> None:
        """Mark the cursors that nobody uses, and drop those that nobody has used for 7 days.

        A day is a day of the wall clock, so one that is known to be wrong marks without a time, and drops nothing.
        """
        now = self._clock.wall_ns() if self._clock.synced() else 0
        unused = self._head.cursors.keys() - set(consumers)
        since = {name: self._unused.get(name) or now for name in unused}
        expired = {name for name, at in since.items() if at and now - at > CURSOR_KEPT_S * NS_PER_S}
        kept = {name: at for name, at in since.items() if name not in expired}
        marks = [(store.MARK_UNUSED, mark) for mark in kept.items() if mark not in self._unused.items()]
        unmarks = [(store.UNMARK_UNUSED, (name,)) for name in self._unused if name not in kept]
        drops = [(store.DROP_CURSOR, (name,)) for name in expired]
        if marks or unmarks or drops:
            await self._head.store.transaction([*marks, *unmarks, *drops])
        self._unused = kept
        for name in expired:
            del self._head.cursors[name]
            logger.info("the cursor of %s is dropped: it was not used for 7 days", name)
