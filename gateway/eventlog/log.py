"""The event log: a Kafka topic with one partition, in one SQLite file.

Theory of operation
-------------------
*Offsets* count events from 1, are given by `append` in one transaction per call, and are never used twice. *Accepted*
means committed: from there an event survives kill -9 and power cuts. The one honest exception is a card that
acknowledges flushes it did not do.

*Runs.* Each opening of the file for writing draws 64 random bits; `<run>-<offset>` is the id of an event. After an
error that leaves the outcome of a commit unknown, the file is opened anew (a new run), and if the batch turns out
to be there, it is not appended again. So equal ids are always the same event, and an event never has two.

*Reading* is by offset. The newest events are also kept in memory, so that a consumer that keeps up never touches
the disk; the rest is read batch-wise over a read-only connection, and no read transaction outlives one page of
results.

*Time.* Events are kept as the clocks told them and never rewritten. A reader gets those of an unsynchronised stretch at
their corrected time (`anchors`); looking up a time and judging age go by the boot clock (`times`), so that no step
of the wall clock hides or deletes anything.

*The byte bound* is `max_page_count`. Before it is reached, and whenever SQLite reports no room, the oldest batches
go in steps of 1 % of the log. What a sink had not read becomes a `log.gap` event in the same transaction.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
from collections import Counter, deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import msgspec

from gateway.clock import NS_PER_S, Clock, read_together
from gateway.errors import LogCorrupt, StoreUnavailable
from gateway.event import Event, sequence, stamp
from gateway.eventlog import anchors, codec, store
from gateway.eventlog.anchors import ANCHORING, BootAnchor
from gateway.eventlog.lock import WriterLock
from gateway.eventlog.store import BatchRow, Statement, Store
from gateway.eventlog.times import Age, TimeIndex
from gateway.figures import Tally

logger = logging.getLogger("gateway.eventlog")

MAX_BATCH_EVENTS = 4096
TAIL_EVENTS_MAX = 4096
"""How many of the newest events stay in memory for consumers that keep up."""

PAGE_BATCHES_MAX = 64
TRIM_STEP = 0.01
FULL_AT = 0.95
"""Trim when this part of the byte bound is in use: the rest is room for the write-ahead log to be folded in."""

GAP_SUBJECTS_MAX = 50
CURSOR_KEPT_S = 7 * 86400.0
"""How long the cursor of a consumer that is configured no more waits for its return."""

TRIM_BATCHES_MAX = 5000
"""How many batches one trim by age may delete: a commit a second makes 600 between two trims."""


class Cursor(NamedTuple):
    """How far a consumer has read: the next offset to read, and the last one of its selection before that."""

    next_offset: int
    previous: int | None = None


class DeadLetter(NamedTuple):
    """An event that a consumer gave up on."""

    consumer: str
    event: Event
    reason: str


class Page(NamedTuple):
    """What a read gave. `gap` names offsets that were asked for and are no more; reading goes on behind them."""

    events: list[Event]
    next_offset: int
    gap: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Riders:
    """What else goes into the transaction of an append: cursors and dead letters."""

    cursors: Mapping[str, Cursor] = field(default_factory=dict)
    dead_letters: Sequence[DeadLetter] = ()

    def __bool__(self) -> bool:
        return bool(self.cursors or self.dead_letters)


@dataclass(frozen=True, slots=True)
class Bounds:
    """The log from outside. `first_offset` equals `next_offset` where it is empty; times are ns UTC."""

    first_offset: int
    next_offset: int
    batches: int
    bytes: int
    bytes_max: int
    oldest: int | None
    newest: int | None


class EventLog:
    """The log, open for writing. Made by `open`, ended by `close`; holds the writer lock in between."""

    @classmethod
    async def open(
        cls, path: Path, clock: Clock, *, size_bytes_max: int = 512_000_000, keep_for_s: float = 30 * 86400.0
    ) -> EventLog:
        """Open the log at `path`, making it and its folder where they are missing.

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
        log = cls(path, clock, WriterLock(path), size_bytes_max=size_bytes_max, keep_for_s=keep_for_s)
        try:
            await log._open()
        except BaseException:
            log._lock.release()
            raise
        return log

    def __init__(self, path: Path, clock: Clock, lock: WriterLock, *, size_bytes_max: int, keep_for_s: float) -> None:
        self.path, self.size_bytes_max = path.absolute(), size_bytes_max
        self._clock, self._lock, self._keep_for_s = clock, lock, keep_for_s
        self._store: Store
        self._turn = asyncio.Lock()
        self._tail: deque[list[Event]] = deque()
        self._tail_events = 0
        self._appended = asyncio.Event()
        self._unsure: tuple[int, int, list[Event]] | None = None
        self.last_event: Event | None = None
        """The newest event when the log was opened."""
        self.cursors: dict[str, Cursor] = {}
        self.consumers: Collection[str] | None = None
        """Who reads this log; None where nobody has said so yet. The cursors of all others are kept for 7 days."""
        self._unused: dict[str, int] = {}
        self.next_offset = 1
        self.first_offset = 1
        self.events_trimmed_unread = 0
        self.tally = Tally()
        self.newest_ns: int | None = None
        """The newest known time (corrected UTC) in the log when it was opened; None: no clock could be believed."""
        self._anchors: dict[str, BootAnchor] = {}
        self._index: TimeIndex
        self._rule_anchor: int | None = None

    # -- opening and closing ------------------------------------------------------------------------------------------

    async def _open(self) -> None:
        self._store = await store.open_store(self.path, size_bytes_max=self.size_bytes_max)
        try:
            await self._begin_run()
        except BaseException:
            await self._store.close()
            raise

    async def _begin_run(self) -> None:
        newest = await self._store.newest()
        # A log whose end cannot be read must not be continued as if nothing were.
        self.last_event = _decode(newest)[-1] if newest is not None else None
        first, last, *_ = await self._store.bounds()
        kept = await self._store.kept_next_offset()
        self.next_offset = max(kept, (last or 0) + 1)
        self.first_offset = first if first is not None else self.next_offset
        self._rule_time = newest.rule_time if newest else 0
        self.run = secrets.token_hex(8)
        wall, mono = read_together(self._clock)
        await self._load_anchors(wall - mono)
        boot = self._clock.boot_id
        known = msgspec.msgpack.encode(self._anchors[boot])
        self._run_id = await self._store.transaction(
            [
                (store.UPSERT_ANCHOR, (boot, known)),
                (store.INSERT_RUN, (self.run, boot, self.next_offset, wall - mono)),
            ]
        )
        for name, next_offset, previous in await self._store.cursors():
            self.cursors.setdefault(name, Cursor(next_offset, previous))
        self._unused = await self._store.unused()

    async def _load_anchors(self, anchor: int) -> None:
        """What the records told of each boot's clock; of boots from before they did, what the run was told."""
        self._anchors.clear()
        for boot, known in await self._store.run_anchors():
            self._anchors.setdefault(boot, anchors.after(None, known, synced=True))
        for boot, kept in await self._store.anchors():
            self._anchors[boot] = msgspec.msgpack.decode(kept, type=BootAnchor)
        self._anchors.setdefault(self._clock.boot_id, anchors.after(None, anchor, synced=False))
        self._index = TimeIndex(self._store, self._anchors)
        self.newest_ns = await self._index.newest(self.first_offset, self.next_offset)
        if self._rule_anchor is None:  # from here on only records move it, also when the file is opened anew
            self._rule_anchor = anchor

    async def _reopen(self) -> None:
        """Open anew after an error that left the handle unfit. Offsets go on; what was unsure is looked up."""
        await self._store.close()
        await self._open()
        logger.debug("log opened again at offset %d", self.next_offset)

    async def close(self) -> None:
        """Let the transaction under way end, checkpoint, let the lock go. Safe to call twice."""
        async with self._turn:
            await self._store.close()
            self._lock.release()

    # -- writing ------------------------------------------------------------------------------------------------------

    async def append(self, events: Sequence[Event], riders: Riders | None = None) -> list[Event]:
        """Append at most `MAX_BATCH_EVENTS` events and everything in `riders` in one transaction; returns them stamped.

        Cancelling the caller does not tear the transaction. After `StoreUnavailable` nothing has changed; call again
        with the same events.

        Raises:
            StoreUnavailable: the disk refused.
        """
        return await asyncio.shield(asyncio.ensure_future(self._append(events, riders or Riders())))

    async def _append(self, events: Sequence[Event], riders: Riders) -> list[Event]:
        async with self._turn:
            if self._store.broken:
                await self._reopen()
                if (found := await self._found_after_all(events)) is not None:
                    self._moved(riders.cursors)
                    return found
            while True:
                try:
                    return await self._commit(events, riders)
                except StoreUnavailable:
                    # Only our own bound is ours to make room under: when others filled the disk, history is no use.
                    if self._store.broken or not await self._near_bound() or not await self._trim_for_room():
                        raise

    async def _commit(self, events: Sequence[Event], riders: Riders) -> list[Event]:
        if len(events) > MAX_BATCH_EVENTS:
            raise ValueError(f"{len(events)} events in one batch, at most {MAX_BATCH_EVENTS} fit")
        recorded, mono = self._clock.wall_ns(), self._clock.mono_ns()
        stamped = [
            stamp(event, offset=offset, recorded=recorded, run=self.run, boot=self._clock.boot_id)
            for offset, event in enumerate(events, self.next_offset)
        ]
        statements: list[Statement] = []
        if stamped:
            blob = codec.pack(stamped, recorded=recorded, mono=mono)
            telling = _telling(stamped)
            rule_time = self._rule_time_of(telling, mono)
            statements.append((store.INSERT_BATCH, self._batch_row(stamped, blob, recorded, mono, rule_time)))
            statements += self._anchor_statements(telling)
            self._unsure = (stamped[0].offset, codec.checksum(blob), stamped)
        statements += self._rider_statements(riders, recorded)
        if statements:
            await self._store.transaction(statements)
            self.tally.commit_s.observe((self._clock.mono_ns() - mono) / NS_PER_S)
        if stamped:
            self._accepted(stamped, len(blob), mono)
        self._moved(riders.cursors)
        return stamped

    def _moved(self, cursors: Mapping[str, Cursor]) -> None:
        """These cursors are committed. One that is further on already stays: its next commit is on its way."""
        for name, at in cursors.items():
            if name not in self.cursors or self.cursors[name].next_offset < at.next_offset:
                self.cursors[name] = at

    def _rule_time_of(self, telling: list[Event], mono: int) -> int:
        """The rule time of a batch: it never runs backwards, and only records move its anchor."""
        return max(self._rule_time, mono + (telling[-1].time - telling[-1].mono if telling else self._rule_anchor or 0))

    def _anchor_statements(self, telling: list[Event]) -> list[Statement]:
        known = self._told(telling)
        return [(store.UPSERT_ANCHOR, (self._clock.boot_id, msgspec.msgpack.encode(known)))] if known else []

    def _told(self, telling: list[Event]) -> BootAnchor | None:
        """What is known of this boot after these events, None where they tell nothing."""
        known = None
        for event in telling:
            before = known or self._anchors.get(self._clock.boot_id)
            known = anchors.after(before, event.time - event.mono, synced=event.synced)
        return known

    def _batch_row(
        self, stamped: list[Event], blob: bytes, recorded: int, mono: int, rule_time: int
    ) -> tuple[object, ...]:
        first, last = stamped[0].offset, stamped[-1].offset
        crc = codec.checksum(blob)
        return (first, last, len(stamped), self._run_id, recorded, mono, rule_time, codec.CODEC, crc, blob)

    @staticmethod
    def _rider_statements(riders: Riders, now: int) -> list[Statement]:
        statements: list[Statement] = [(store.UPSERT_CURSOR, (name, *at)) for name, at in riders.cursors.items()]
        for letter in riders.dead_letters:
            body = msgspec.msgpack.encode(letter.event)
            row = (letter.consumer, letter.event.offset, now, letter.reason, body)
            statements.append((store.INSERT_DEAD_LETTER, row))
        consumers = {letter.consumer for letter in riders.dead_letters}
        return statements + [(store.LIMIT_DEAD_LETTERS, (consumer, store.DEAD_LETTERS_MAX)) for consumer in consumers]

    def _accepted(self, stamped: list[Event], stored_bytes: int, mono: int) -> None:
        self.tally.batch(stamped, stored_bytes)
        self.next_offset = stamped[-1].offset + 1
        self._unsure = None
        telling = _telling(stamped)
        self._rule_time = self._rule_time_of(telling, mono)
        if (known := self._told(telling)) is not None:
            self._anchors[self._clock.boot_id], self._rule_anchor = known, known.latest
        self._tail.append(stamped)
        self._tail_events += len(stamped)
        while self._tail_events > TAIL_EVENTS_MAX and len(self._tail) > 1:
            self._tail_events -= len(self._tail.popleft())
        self._appended.set()
        self._appended = asyncio.Event()

    async def _found_after_all(self, events: Sequence[Event]) -> list[Event] | None:
        """The stamped events, if the commit that seemed to fail is in the file. Its riders are in the file with it."""
        if self._unsure is None:
            return None
        base, crc, stamped = self._unsure
        self._unsure = None
        row = await self._store.at_or_before(base)
        if row is None or row.base_offset != base or row.crc != crc or len(stamped) != len(events):
            return None
        self._accepted(stamped, len(row.records), row.mono)
        return stamped

    # -- retention ----------------------------------------------------------------------------------------------------

    async def keep(self, *, size_bytes_max: int, keep_for_s: float) -> None:
        """New bounds for this log. A smaller size is reached by the trims that follow, in steps.

        Raises:
            StoreUnavailable: the disk does not answer; nothing has changed.
        """
        async with self._turn:
            await self._store.bound(size_bytes_max)
            self.size_bytes_max, self._keep_for_s = size_bytes_max, keep_for_s

    async def trim(self, protected: int) -> bool:
        """Forget batches older than the age bound that every sink has read, and make room under the byte bound.

        `protected` is the lowest offset that some sink has still to read. True where another step should follow soon.
        """
        async with self._turn:
            await self._mind_unused()
            upto = min(await self._aged(), protected)
            if upto > self.first_offset:
                await self._cut(upto, ())
            if not await self._near_bound():
                return False
            return await self._trim_for_room() and await self._near_bound()

    async def _mind_unused(self) -> None:
        """Mark the cursors that nobody uses, and drop those that nobody has used for 7 days.

        A day is a day of the wall clock, so one that is known to be wrong marks without a time, and drops nothing.
        """
        if self.consumers is None:
            return
        now = self._clock.wall_ns() if self._clock.synced() else 0
        unused = self.cursors.keys() - set(self.consumers)
        since = {name: self._unused.get(name) or now for name in unused}
        expired = {name for name, at in since.items() if at and now - at > CURSOR_KEPT_S * NS_PER_S}
        kept = {name: at for name, at in since.items() if name not in expired}
        marks = [(store.MARK_UNUSED, mark) for mark in kept.items() if mark not in self._unused.items()]
        unmarks = [(store.UNMARK_UNUSED, (name,)) for name in self._unused if name not in kept]
        drops = [(store.DROP_CURSOR, (name,)) for name in expired]
        if marks or unmarks or drops:
            await self._store.transaction([*marks, *unmarks, *drops])
        self._unused = kept
        for name in expired:
            del self.cursors[name]
            logger.info("the cursor of %s is dropped: it was not used for 7 days", name)

    async def _near_bound(self) -> bool:
        _, used = await self._store.pages()
        return used * store.PAGE_BYTES > FULL_AT * self.size_bytes_max

    async def _aged(self) -> int:
        """The offset before which everything is older than the age bound, as far as one trim may go.

        Events of this boot are judged by the boot clock alone. Those of earlier boots only while the wall clock is
        believed, and then by the earliest time that this boot has had reason to believe: a step into the future must
        not delete what it makes look old.
        """
        boot, mono = self._clock.boot_id, self._clock.mono_ns()
        since = mono - round(self._keep_for_s * NS_PER_S)
        least = self._anchors[boot].least
        wall = since + least if least is not None and self._clock.synced() else None
        upto = await self._index.aged(Age(boot, since, wall), self.first_offset, self.next_offset)
        most = await self._store.after_batches(TRIM_BATCHES_MAX)
        return upto if most is None else min(upto, most)

    async def _trim_for_room(self) -> bool:
        """Evict the oldest 1 % of the bytes, or all above a lowered bound; says whether there was anything to evict."""
        _, used = await self._store.pages()
        excess = used * store.PAGE_BYTES - FULL_AT * self.size_bytes_max  # after the bound was lowered
        wanted, upto = max(TRIM_STEP * self.size_bytes_max, excess), self.first_offset
        rows = await self._store.batches_from(self.first_offset, 4 * PAGE_BATCHES_MAX)
        for row in rows[:-1]:  # the newest batch stays: it tells how far offsets went
            upto, wanted = row.last_offset + 1, wanted - len(row.records)
            if wanted <= 0:
                break
        if upto == self.first_offset:
            return False
        unread = [name for name, at in self.cursors.items() if at.next_offset < upto]
        gap = self._gap(rows, min(self.cursors[name].next_offset for name in unread), upto) if unread else ()
        await self._cut(upto, gap)
        return True

    def _gap(self, rows: Sequence[BatchRow], first: int, upto: int) -> tuple[Event, ...]:
        first = max(first, self.first_offset)
        lost = [e for row in rows if row.base_offset < upto for e in _decode(row) if first <= e.offset < upto]
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

    async def _cut(self, upto: int, gap: Sequence[Event]) -> None:
        statements: list[Statement] = [(store.TRIM, (upto,)), (store.TRIM_RUNS, ()), (store.TRIM_ANCHORS, ())]
        if upto >= self.next_offset:
            statements.append((store.KEEP_NEXT_OFFSET, (self.next_offset,)))
        stamped: list[Event] = []
        if gap:
            recorded, mono = self._clock.wall_ns(), self._clock.mono_ns()
            stamped = [
                stamp(event, offset=offset, recorded=recorded, run=self.run, boot=self._clock.boot_id)
                for offset, event in enumerate(gap, self.next_offset)
            ]
            blob = codec.pack(stamped, recorded=recorded, mono=mono)
            rule_time = self._rule_time_of([], mono)
            statements.append((store.INSERT_BATCH, self._batch_row(stamped, blob, recorded, mono, rule_time)))
        await self._store.transaction(statements)
        logger.info("trimmed offsets %d to %d%s", self.first_offset, upto - 1, " (some unread)" if gap else "")
        self.first_offset = upto
        if stamped:
            self._accepted(stamped, len(blob), mono)

    # -- reading ------------------------------------------------------------------------------------------------------

    async def read(self, offset: int, limit: int = 500, *, as_told: bool = False) -> Page:
        """Whole batches from `offset` on, until `limit` events are reached; empty at the end of the log.

        Events of an unsynchronised stretch come at their corrected time; `as_told` leaves them as they were recorded.

        Raises:
            StoreUnavailable, LogCorrupt: the disk does not answer, or a batch is damaged.
        """
        start = max(offset, self.first_offset)
        gap = (offset, start - 1) if start > offset else None
        if start >= self.next_offset:
            return Page([], start, gap)
        if self._tail and start >= self._tail[0][0].offset:
            events = self._from_tail(start, limit)
        else:
            events = await self._from_store(start, limit)
        if events and events[0].offset > start:  # trimmed between the look and the read
            gap = (offset, events[0].offset - 1)
        if not as_told:
            events = self.dated(events)
        return Page(events, events[-1].offset + 1 if events else start, gap)

    @property
    def time_known(self) -> bool:
        """Whether the times of this boot can be corrected where they need to be."""
        return self._anchors[self._clock.boot_id].synced is not None

    def dated(self, events: list[Event]) -> list[Event]:
        """Events of this log as readers see them: those of an unsynchronised stretch at their corrected time."""
        return anchors.dated(self._anchors, events)

    def _from_tail(self, start: int, limit: int) -> list[Event]:
        """Looks from the newest batch back: who keeps up finds what is new without passing what is old."""
        wanted = list(itertools.takewhile(lambda batch: batch[-1].offset >= start, reversed(self._tail)))
        events: list[Event] = []
        while wanted and len(events) < limit:
            batch = wanted.pop()
            events += batch if batch[0].offset >= start else batch[start - batch[0].offset :]
        return events

    async def _from_store(self, start: int, limit: int) -> list[Event]:
        events: list[Event] = []
        while len(events) < limit:
            rows = await self._store.batches_from(start, PAGE_BATCHES_MAX)
            for row in rows:
                events += [event for event in _decode(row) if event.offset >= start]
                if len(events) >= limit:
                    break
            if len(rows) < PAGE_BATCHES_MAX:
                break
            start = rows[-1].last_offset + 1
        return events

    async def wait(self, offset: int) -> None:
        """Return once `offset` has been appended."""
        while self.next_offset <= offset:
            await self._appended.wait()

    async def offset_at(self, time_ns: int) -> int:
        """The first offset recorded at `time_ns` (corrected UTC) or later."""
        return await self._index.offset_at(time_ns, self.first_offset, self.next_offset)

    async def bounds(self) -> Bounds:
        _, _, batches, oldest, newest = await self._store.bounds()
        count, _ = await self._store.pages()
        return Bounds(
            self.first_offset, self.next_offset, batches, count * store.PAGE_BYTES, self.size_bytes_max, oldest, newest
        )

    async def touch(self) -> None:
        """Return when the writing thread has done all that it was given. A disk that refuses does not hold it up."""
        await self._store.touch()

    async def dead_letters(self, consumer: str) -> int:
        """How many events lie in the dead letters of that consumer."""
        return await self._store.dead_letters(consumer)


def _telling(events: Sequence[Event]) -> list[Event]:
    """Those that tell the anchor of this boot."""
    return [event for event in events if event.type in ANCHORING]


def _decode(row: BatchRow) -> list[Event]:
    """The events of a stored batch, checked.

    Raises:
        LogCorrupt: the checksum does not match.
    """
    if codec.checksum(row.records) != row.crc:
        raise LogCorrupt(
            f"the batch of offsets {row.base_offset} to {row.last_offset} does not match its checksum: "
            "the file was damaged, by the card or by another program"
        )
    return codec.unpack(
        row.records,
        codec=row.codec,
        base_offset=row.base_offset,
        recorded=row.recorded,
        mono=row.mono,
        run=row.nonce,
        boot=row.boot,
    )
