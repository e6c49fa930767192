"""The event log: a Kafka topic with one partition, in one SQLite file.

Theory of operation
-------------------
*Offsets* count events from 1, are given by `append` in one transaction per call, and are never used twice. *Accepted*
means committed: from there an event survives kill -9 and power cuts. The one honest exception is a card that
acknowledges flushes it did not do.

*Runs* (`runs`). Each opening of the file for writing draws 64 random bits; `<run>-<offset>` is the id of an event.
After an error that leaves the outcome of a commit unknown, the file is opened anew (a new run), and if the batch turns
out to be there, it is not appended again. So equal ids are always the same event, and an event never has two.

*Reading* (`reader`) is by offset. The newest events are also kept in memory, so that a consumer that keeps up never
touches the disk; the rest is read batch-wise over a read-only connection, and no read transaction outlives one page of
results.

*Time.* Events are kept as the clocks told them and never rewritten. A reader gets those of an unsynchronised stretch at
their corrected time (`anchors`); looking up a time and judging age go by the boot clock (`times`), so that no step
of the wall clock hides or deletes anything.

*What the disk does not take* is held in memory (`keep_in_memory`, `ring`), delivered from there, and appended with the
same runs and offsets as soon as the disk takes events again. A handle that failed is never used again: the file is
opened anew, and its write-ahead log is folded in, flushed, before anything rests on it.

*Damage* (`damage`, `scrub`) is passed over and told. A file that cannot be opened for what is in it is salvaged
(`salvage`): what can be read goes into a fresh log, and the file is kept beside it.

*The byte bound* is `max_page_count`. Before it is reached, and whenever SQLite reports no room, room is made in steps
of 1 % of the log, as `when_full` says: the oldest batches go (`retention`), or old readings are summed up (`thin`), or
what is new is refused. What a sink had not read is counted in the same transaction, and told in a `log.gap`. When
others fill the disk, a reserve is released and the bound is lowered (`ballast`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from pathlib import Path

from gateway.clock import NS_PER_S, Clock
from gateway.errors import LogCorrupt, LogMoved, StoreUnavailable
from gateway.event import Event
from gateway.eventlog import store
from gateway.eventlog.ballast import Room
from gateway.eventlog.batches import Batch
from gateway.eventlog.faults import Faults
from gateway.eventlog.head import Head
from gateway.eventlog.lock import WriterLock
from gateway.eventlog.purge import Purge
from gateway.eventlog.reader import LogReader
from gateway.eventlog.retention import Retention
from gateway.eventlog.riders import statements as rider_statements
from gateway.eventlog.runs import Runs
from gateway.eventlog.thin import Holds
from gateway.eventlog.words import (
    Bounds,
    Cursor,
    Keep,
    LogEnd,
    Riders,
    WhenFull,
)
from gateway.eventlog.writes import Statement
from gateway.figures import Tally

MAX_BATCH_EVENTS = 4096


class EventLog(LogReader):
    """The log, open for writing. Made by `open`, ended by `close`; holds the writer lock in between."""

    @classmethod
    async def open(
        cls,
        path: Path,
        clock: Clock,
        *,
        size_bytes_max: int = 512_000_000,
        keep_for_s: float = 30 * 86400.0,
        events_max: int | None = None,
        when_full: WhenFull = "evict",
        machine: str = "",
    ) -> EventLog:
        """Open the log at `path`, making it and its folder where they are missing. The bounds are those of `Keep`.

        A log that is damaged is salvaged. `machine` names the machine; a log that another one wrote says so
        (`faults.cloned`).

        Raises:
            LogLocked, LogCorrupt, LogTooNew, StoreUnavailable: see `gateway.errors`.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnavailable(
                f"{path.parent}: the log's folder cannot be made ({error.strerror}): "
                "make it, or choose another `buffer.path`"
            ) from error
        keep = Keep(keep_for_s, size_bytes_max, events_max, when_full)
        log = cls(path, clock, WriterLock(path), keep, machine)
        try:
            await log._runs.begin()
        except BaseException:
            log._lock.release()
            raise
        return log

    def __init__(self, path: Path, clock: Clock, lock: WriterLock, keep: Keep, machine: str) -> None:
        self.path = path.absolute()
        self._clock, self._lock = clock, lock
        self.tally = Tally()
        super().__init__(Head(clock, self.tally), asyncio.Lock())
        self._retention = Retention(self._head, clock, keep, self.tally)
        self._room = Room(self.path, keep.size_bytes_max)
        self.faults = Faults(self._head, self._retention, self._room, lock, clock, self._turn)
        self._runs = Runs(self._head, self._retention, self._room, self.faults, lock, clock, self.path, machine)
        self.consumers: Collection[str] | None = None
        """Who reads this log; None where nobody has said so yet. The cursors of all others are kept for 7 days."""

    async def close(self) -> None:
        """Let the transaction under way end, tell what was lost, checkpoint, let the lock go. Safe to call twice."""
        async with self._turn:
            with contextlib.suppress(StoreUnavailable):  # it is in the file, and told at the next start
                await self._retention.tell()
            await self._head.store.close()
            self._lock.release()

    @property
    def run(self) -> str:
        """The first half of the ids of what is appended now."""
        return self._head.run

    @property
    def end(self) -> LogEnd:
        """Where an `append` would begin now, if nothing came between."""
        return LogEnd(self._head.run, self._head.next_offset)

    @property
    def end_in_memory(self) -> LogEnd:
        """Where `keep_in_memory` would begin now."""
        return LogEnd(self._head.ring_run, self._head.next_offset)

    @property
    def size_bytes_max(self) -> int:
        return self._retention.keep.size_bytes_max

    @property
    def events_trimmed_unread(self) -> int:
        return self._retention.events_trimmed_unread

    # -- writing ------------------------------------------------------------------------------------------------------

    async def append(
        self, events: Sequence[Event], riders: Riders | None = None, *, at: LogEnd | None = None
    ) -> list[Event]:
        """Append at most `MAX_BATCH_EVENTS` events and everything in `riders` in one transaction; returns them stamped.

        `at` is where the caller takes it for granted that the events will stand, because they name each other by id.
        Cancelling the caller does not tear the transaction. After an error nothing has changed; after
        `StoreUnavailable` call again with the same events.

        Raises:
            StoreUnavailable: the disk refused.
            LogFull: the log is set to refuse, and is full. Without those of the events that are not urgent it may do.
            LogMoved: the log goes on elsewhere than at `at`.
        """
        return await asyncio.shield(asyncio.ensure_future(self._append(events, riders or Riders(), at)))

    async def _append(self, events: Sequence[Event], riders: Riders, at: LogEnd | None) -> list[Event]:
        async with self._turn:
            if self.ailing:
                await self._runs.begin_anew()
                if (found := await self._head.found_after_all(events)) is not None:
                    self._committed(found, riders.cursors)
                    return found
            await self._retention.admit(events)
            if at is None:
                await self._tell_what_is_owed()
            while True:
                if at is not None and events and at != self.end:
                    raise LogMoved(f"the log goes on at {self.end}, and not at {at}")
                try:
                    return await self._commit(events, riders)
                except StoreUnavailable as error:
                    needed = len(self._head.batch(events).blob) if events else 0
                    if not await self.faults.make_room(error, needed):
                        raise await self.faults.said(error, needed) from None
                except LogCorrupt as error:
                    self.faults.is_broken(error)
                    raise

    @property
    def ailing(self) -> bool:
        """Whether the next append has to open the file anew first."""
        return bool(self._head.store.broken or self._head.ring)

    async def keep_in_memory(self, events: Sequence[Event], at: LogEnd | None = None) -> list[Event]:
        """Take events in memory only, because `append` was refused; returns them stamped, and readers find them.

        They are marked as not durable. The next `append` that succeeds appends them first. `at` is as for `append`:
        `end_in_memory`, or where an attempt was made to append these very events.
        """
        async with self._turn:
            stamped = self._head.hold(events, self._head.ring_run if at is None else at.run)
            self._tell()
            return stamped

    @property
    def held(self) -> int:
        """How many events are in memory only."""
        return len(self._head.ring)

    async def prepare(self, events: Sequence[Event]) -> None:
        """Have an `append` of these events begin at `end`: open the file anew where it has to be, and write what
        the log itself has to say. To be called while nothing waits to be appended.

        Raises:
            StoreUnavailable: the disk refused.
            LogFull: as for `append`.
        """
        await asyncio.shield(asyncio.ensure_future(self._prepare(events)))

    async def _prepare(self, events: Sequence[Event]) -> None:
        async with self._turn:
            if self.ailing:
                await self._runs.begin_anew()
            await self._retention.admit(events)
            if self._retention.owes:
                await self._tell_what_is_owed()
                self._tell()

    async def touch(self) -> None:
        """Return when the writing thread has done all that it was given. A disk that refuses does not hold it up."""
        await self._head.store.touch()

    async def admit(self, events: Sequence[Event]) -> None:
        """Whether these will be taken along with others that wait to be appended.

        Raises:
            StoreUnavailable: the disk does not answer.
            LogFull: as for `append`.
        """
        async with self._turn:
            await self._retention.admit(events)

    @property
    def owes(self) -> bool:
        """Whether `prepare` would have something to tell."""
        return self._retention.owes

    async def _tell_what_is_owed(self) -> None:
        while self._retention.owes:
            try:
                await self._retention.tell()
            except StoreUnavailable as error:
                if not await self.faults.make_room(error, 0):
                    raise await self.faults.said(error, 0) from None

    def take_own(self) -> list[Event]:
        """What the log recorded on its own account since this was asked last, in order: `log.gap`."""
        own, self._head.own = self._head.own, []
        return own

    async def _commit(self, events: Sequence[Event], riders: Riders) -> list[Event]:
        if len(events) > MAX_BATCH_EVENTS:
            raise ValueError(f"{len(events)} events in one batch, at most {MAX_BATCH_EVENTS} fit")
        batch = self._head.batch(events) if events else None
        statements = (batch.statements if batch else []) + rider_statements(riders, self._clock.wall_ns())
        if statements:
            await self._write(statements, batch)
        stamped = batch.events if batch else []
        self._committed(stamped, riders.cursors)
        return stamped

    async def _write(self, statements: Sequence[Statement], batch: Batch | None) -> None:
        began_ns = self._clock.mono_ns()
        if batch:
            self._head.sent(batch)
        await self._head.store.transaction(statements)
        self.tally.commit_s.observe((self._clock.mono_ns() - began_ns) / NS_PER_S)
        self.faults.written()
        if batch:
            self._head.accepted(batch)
            self._retention.written(batch)

    def _committed(self, stamped: list[Event], cursors: Mapping[str, Cursor]) -> None:
        self._head.moved(cursors)
        if stamped:
            self._tell()

    # -- retention ----------------------------------------------------------------------------------------------------

    async def keep(
        self,
        *,
        size_bytes_max: int,
        keep_for_s: float,
        events_max: int | None = None,
        when_full: WhenFull = "evict",
    ) -> None:
        """New bounds for this log. A smaller size is reached by the trims that follow, in steps.

        Raises:
            StoreUnavailable: the disk does not answer; nothing has changed.
        """
        async with self._turn:
            before, self._room.configured_bytes = self._room.configured_bytes, size_bytes_max
            try:
                await self._head.store.bound(self._room.size_bytes_max)
            except StoreUnavailable:
                self._room.configured_bytes = before
                raise
            self._retention.keep = Keep(keep_for_s, self._room.size_bytes_max, events_max, when_full)

    async def bounds(self) -> Bounds:
        _, _, batches, oldest, newest = await self._head.store.bounds()
        count, _ = await self._head.store.pages()
        return Bounds(
            self.first_offset, self.next_offset, batches, count * store.PAGE_BYTES, self.size_bytes_max, oldest, newest
        )

    async def trim(self, protected: int) -> bool:
        """Forget batches beyond the bounds of age and count that every sink has read; make room under that of bytes.

        `protected` is the lowest offset that some sink has still to read. True where another step should follow soon.
        """
        async with self._turn:
            try:
                more = await self._retention.trim(protected, self.consumers)
            except LogCorrupt as error:  # told by whoever reads there; the next start salvages
                self._head.damage.structure = self._head.damage.structure or str(error)
                return False
            self._tell()  # of a gap, if there was one
            return more

    def hold(self, holds: Holds) -> Callable[[], None]:
        """`holds` tells, whenever asked, which ranges [begin, end) of offsets a consumer has in its hands.

        Those are not thinned. Returns what ends that.
        """
        self._retention.thinner.holds.add(holds)
        return lambda: self._retention.thinner.holds.discard(holds)

    async def purge(self, upto: int, *, free_too: bool = False) -> AsyncIterator[Purge]:
        """Forget everything before `upto` for good, read or not, step by step; yields how far it is after each.

        `free_too` also overwrites what earlier trims left; while it does so, nothing is appended.

        Raises:
            StoreUnavailable, LogCorrupt: the disk does not answer, or a batch is damaged; what was purged stays so.
        """
        purge = Purge(self._head, self._clock, upto)
        more = True
        while more:
            async with self._turn:
                more = await purge.step()
                self._tell()  # of a gap, if there was one
            yield purge
        async with self._turn:
            await purge.finish(free_too=free_too)
