"""What the log forgets: by age, by count, and for room under the byte bound.

Whole batches go, from the oldest on, in bounded steps. Age and count never take what a sink has still to read; the byte
bound does (`when_full`), and what a sink had not read is counted in the same transaction, and told in a `log.gap`: at
once when it begins, and at most every 5 minutes while it goes on (`loss`). Nothing takes what the newest checkpoint
still needs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Sequence
from dataclasses import replace

from gateway.clock import NS_PER_S, Clock, read_together
from gateway.errors import LogFull
from gateway.event import Event
from gateway.eventlog import loss, store, writes
from gateway.eventlog.batches import Batch, readable
from gateway.eventlog.head import Head
from gateway.eventlog.loss import Loss, loss_of, unreadable
from gateway.eventlog.thin import Thinner
from gateway.eventlog.times import Age
from gateway.eventlog.words import Keep
from gateway.eventlog.writes import Statement
from gateway.figures import Tally

logger = logging.getLogger("gateway.eventlog")

PAGE_BATCHES_MAX = 64
TRIM_STEP = 0.01
FULL_AT = 0.95
"""Trim when this part of the byte bound is in use: the rest is room for the write-ahead log to be folded in, and for
urgent events where readings are refused."""

URGENT_UNTIL = 0.99
"""Where readings are refused, urgent events are taken up to here. The rest is for cursors: they are what makes room."""

CURSOR_KEPT_S = 7 * 86400.0
"""How long the cursor of a consumer that is configured no more waits for its return."""

TRIM_BATCHES_MAX = 5000
"""How many batches one trim may delete: a commit a second makes 600 between two trims."""

ROW_BYTES = store.PAGE_BYTES // 2
"""A careful guess at what a batch takes in the file beside its records."""


class Retention:
    """Trims one log. Its caller holds the log's turn."""

    def __init__(self, head: Head, clock: Clock, keep: Keep, tally: Tally) -> None:
        self._head, self._clock = head, clock
        self.keep = keep
        self.thinner = Thinner(head, tally)
        self.events_trimmed_unread = 0
        self._loss: Loss | None = None
        self._told_ns: int | None = None
        self._room_bytes = 0.0
        self._unused: dict[str, int] = {}

    def bound(self, size_bytes_max: int) -> None:
        """Another byte bound: others have filled the disk, or no more."""
        self.keep = replace(self.keep, size_bytes_max=size_bytes_max)
        self._room_bytes = 0.0

    async def load(self) -> None:
        """Learn what the last opening left: cursors that nobody used, losses that were not told."""
        self._unused = await self._head.store.unused()
        kept = await self._head.store.loss()
        self._loss = None if kept is None else loss.decode(kept)
        self._room_bytes = 0.0
        await self.thinner.load()

    async def trim(self, protected: int, consumers: Collection[str] | None) -> bool:
        """See `EventLog.trim`; `consumers` are those in use, None where nobody has said so yet."""
        if consumers is not None:
            await self._mind_unused(consumers)
        most = await self._head.store.after_batches(TRIM_BATCHES_MAX)
        wanted = min(max(await self._aged(), await self._over_count()), protected, await self._needed())
        upto = await self._whole_batches(wanted if most is None else min(wanted, most))
        if upto > self._head.first_offset:
            await self.cut(upto)
        if await self.near_bound():
            return await self.make_room() and await self.near_bound()
        return most is not None and wanted > most

    async def near_bound(self, needed_bytes: int = 0) -> bool:
        """Whether it is our own bound that leaves no room for so much more."""
        return await self._excess() + needed_bytes > 0

    async def _excess(self) -> float:
        """By how many bytes the log is beyond the point where room has to be made. Negative: so many are left."""
        _, used = await self._head.store.pages()
        excess = used * store.PAGE_BYTES - FULL_AT * self.keep.size_bytes_max
        self._room_bytes = -excess
        return excess

    def written(self, batch: Batch) -> None:
        """This batch was committed."""
        self._room_bytes -= len(batch.blob) + ROW_BYTES

    # -- at the byte bound --------------------------------------------------------------------------------------------

    async def admit(self, events: Sequence[Event]) -> None:
        """Under `refuse`: whether these may be written. Urgent events have most of the last part to themselves.

        Raises:
            LogFull: there is no room for them that could be made without losing what is unread. Without those that are
                not urgent there may be.
        """
        if self.keep.when_full != "refuse" or not events:
            return
        urgent = all(event.urgent for event in events)
        more = (URGENT_UNTIL - FULL_AT) * self.keep.size_bytes_max if urgent else 0.0
        if self._room_bytes + more > 0:
            return
        while await self._excess() > more:
            if not await self.make_room():
                raise self.full()

    def full(self) -> LogFull:
        return LogFull(
            f"the log is at its bound of {self.keep.size_bytes_max} bytes, and nothing in it was read by every sink: "
            "it is set to refuse what is new"
        )

    async def make_room(self, needed_bytes: int = 0) -> bool:
        """Make room as `when_full` says: 1 % of the bytes, what is needed, or all above a lowered bound.

        False where there is nothing to be made.
        """
        wanted = max(TRIM_STEP * self.keep.size_bytes_max, await self._excess() + needed_bytes)
        limit = await self._needed()
        match self.keep.when_full:
            case "thin":
                return await self.thinner.make_room(wanted, limit) or await self._evict(wanted, limit)
            case "refuse":
                unread = [at.next_offset for at in self._head.cursors.values()]
                return await self._evict(wanted, min([limit, *unread]))
            case "evict":
                return await self._evict(wanted, limit)

    async def _evict(self, wanted_bytes: float, limit: int) -> bool:
        """Forget the oldest batches before `limit`, and count what was unread; False where there are none."""
        head = self._head
        upto = head.first_offset
        rows = await head.store.heads_from(upto, TRIM_BATCHES_MAX + 1)
        for row in rows:
            # The newest batch stays: it tells how far offsets went.
            if row.last_offset >= min(limit, head.next_offset - 1) or wanted_bytes <= 0:
                break
            upto, wanted_bytes = row.last_offset + 1, wanted_bytes - row.bytes
        if upto == head.first_offset:
            return False
        unread = [at.next_offset for at in head.cursors.values() if at.next_offset < upto]
        await self.cut(upto, await self._lost(max(min(unread), head.first_offset), upto) if unread else None)
        return True

    async def cut(self, upto: int, lost: Loss | None = None) -> None:
        """Forget everything before `upto`, and in the same transaction count what was lost, or tell it."""
        head = self._head
        statements: list[Statement] = [(writes.TRIM, (upto,)), (writes.TRIM_RUNS, ()), (writes.TRIM_ANCHORS, ())]
        if upto >= head.next_offset:
            statements.append((writes.KEEP_NEXT_OFFSET, (head.next_offset,)))
        logger.debug("trimmed offsets %d to %d%s", head.first_offset, upto - 1, " (some unread)" if lost else "")
        if lost is None:
            await head.store.transaction(statements)
        elif self._may_tell():
            await self._tell(lost.plus(self._loss), statements)
        else:
            total = lost.plus(self._loss)
            await head.store.transaction([*statements, (writes.KEEP_LOSS, (loss.encode(total),))])
            self._loss = total
        head.first_offset = upto

    async def _lost(self, first: int, upto: int) -> Loss:
        """What the log holds of the offsets [first, upto)."""
        total: Loss | None = None
        at, unread = first, 0
        while at < upto:
            for row in await self._head.store.batches_from(at, PAGE_BATCHES_MAX):
                if at <= row.last_offset and row.base_offset < upto:
                    begin, last = max(row.base_offset, at), row.last_offset
                    held = [event for event in readable(row) if event.offset >= at]
                    unread += sum(event.stands_for for event in held) if held else last - begin + 1
                    total = (loss_of(held, begin, last) if held else unreadable(begin, last)).plus(total)
                    await asyncio.sleep(0)
                at = max(at, row.last_offset + 1)
        assert total is not None, "a cut has something to lose"
        self.events_trimmed_unread += unread
        return total

    # -- telling of losses --------------------------------------------------------------------------------------------

    @property
    def owes(self) -> bool:
        """Whether a loss is to be told now."""
        return self._loss is not None and self._may_tell()

    def _may_tell(self) -> bool:
        if not self._head.begun:
            return False
        return self._told_ns is None or self._clock.mono_ns() - self._told_ns >= loss.TELL_EVERY_S * NS_PER_S

    async def tell(self) -> bool:
        """Record the `log.gap` of what was lost and not told yet; says whether there was something."""
        if self._loss is None:
            return False
        await self._tell(self._loss, [])
        return True

    async def _tell(self, lost: Loss, statements: Sequence[Statement]) -> None:
        now, mono = read_together(self._clock)
        synced, simulated = self._clock.synced(), lost.simulated
        told = Event(
            "log.gap", "gateway", now, mono, reason="size", data=lost.told(), simulated=simulated, synced=synced
        )
        batch = self._head.batch([told])
        await self._head.store.transaction([*statements, *batch.statements, (writes.FORGET_LOSS, ())])
        self._head.accepted(batch)
        self._head.own += batch.events
        self._loss, self._told_ns = None, mono
        logger.warning("no room: %d events that some sink had not read are gone (log.gap)", lost.count)

    # -- by age and count ---------------------------------------------------------------------------------------------

    async def _needed(self) -> int:
        """The offset from which on events are needed to know what was true at the newest checkpoint and since."""
        checkpoint = await self._head.store.checkpoint()
        return self._head.next_offset if checkpoint is None else checkpoint

    async def _whole_batches(self, upto: int) -> int:
        """The same offset, or the first one of the batch that it is in the middle of."""
        row = await self._head.store.at_or_before(upto)
        return row.base_offset if row is not None and row.last_offset >= upto else upto

    async def _over_count(self) -> int:
        """The offset before which everything is beyond the bound of the count."""
        head, most = self._head, self.keep.events_max
        if most is None or head.next_offset - head.first_offset <= most:
            return head.first_offset
        return await head.index.newest_begin_at(most, head.first_offset, head.next_offset)

    async def _aged(self) -> int:
        """The offset before which everything is older than the age bound.

        Events of this boot are judged by the boot clock alone. Those of earlier boots only while the wall clock is
        believed, and then by the earliest time that this boot has had reason to believe: a step into the future must
        not delete what it makes look old.
        """
        head, boot, mono = self._head, self._clock.boot_id, self._clock.mono_ns()
        since = mono - round(self.keep.for_s * NS_PER_S)
        least = head.anchor.least
        wall = since + least if least is not None and self._clock.synced() else None
        return await head.index.aged(Age(boot, since, wall), head.first_offset, head.next_offset)

    async def _mind_unused(self, consumers: Collection[str]) -> None:
        """Mark the cursors that nobody uses, and drop those that nobody has used for 7 days.

        A day is a day of the wall clock, so one that is known to be wrong marks without a time, and drops nothing.
        """
        now = self._clock.wall_ns() if self._clock.synced() else 0
        own = {name for name in self._head.cursors if name.startswith("consumer/")}  # they expire by themselves
        unused = self._head.cursors.keys() - set(consumers) - own
        since = {name: self._unused.get(name) or now for name in unused}
        expired = {name for name, at in since.items() if at and now - at > CURSOR_KEPT_S * NS_PER_S}
        kept = {name: at for name, at in since.items() if name not in expired}
        marks = [(writes.MARK_UNUSED, mark) for mark in kept.items() if mark not in self._unused.items()]
        unmarks = [(writes.UNMARK_UNUSED, (name,)) for name in self._unused if name not in kept]
        drops = [(writes.DROP_CURSOR, (name,)) for name in expired]
        if marks or unmarks or drops:
            await self._head.store.transaction([*marks, *unmarks, *drops])
        self._unused = kept
        for name in expired:
            del self._head.cursors[name]
            logger.info("the cursor of %s is dropped: it was not used for 7 days", name)
