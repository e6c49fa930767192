"""The writing end of an open log: where it ends, and everything that an append moves.

`EventLog` loads a `Head` for each run and lets one caller at a time at it. What is known of the clocks of each boot
(`anchors`) and rule time move with the records that tell them, when those are committed, and with nothing else.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence

import msgspec

from gateway.clock import Clock, read_together
from gateway.event import Event, stamped
from gateway.eventlog import anchors, codec, riders, writes
from gateway.eventlog.anchors import ANCHORING, BootAnchor
from gateway.eventlog.batches import Batch, decode, insert, once
from gateway.eventlog.damage import Damage
from gateway.eventlog.ring import Ring
from gateway.eventlog.store import PAGE_BYTES, Store
from gateway.eventlog.tail import Tail
from gateway.eventlog.times import TimeIndex
from gateway.eventlog.words import Cursor
from gateway.eventlog.writes import HOLES, Statement
from gateway.figures import Tally

HOME_BATCHES = 256
"""How many held batches are appended in one transaction."""


class Head:
    """One opening of the log for writing, and the next ones after a fault. `load` makes it whole.

    Offsets, the tail, cursors and rule time outlive a fault; `store` and `run` are new after each.
    """

    def __init__(self, clock: Clock, tally: Tally) -> None:
        self._clock, self._tally = clock, tally
        self.tail = Tail()
        self.store: Store
        self.index: TimeIndex
        self.run = ""
        self.first_offset = self.next_offset = 1
        self.last_event: Event | None = None
        self.begun = False
        """Whether something was appended since the start. First come the gateway's first words, of the downtime."""
        self.own: list[Event] = []
        """What the log recorded on its own account since somebody took it from here."""
        self.newest_ns: int | None = None
        self.anchors: dict[str, BootAnchor] = {}
        self.cursors: dict[str, Cursor] = {}
        self._run_id = 0
        self._rule_time = 0
        self._rule_anchor: int | None = None
        self._unsure: Batch | None = None
        self.ring = Ring()
        self.damage = Damage()
        self.ring_run = ""
        """The run of what is held in memory next."""

    # -- a run begins -------------------------------------------------------------------------------------------------

    async def load(self, opened: Store) -> None:
        """Begin a new run in this file, behind whatever is in it and all that is held in memory.

        Raises:
            StoreUnavailable, LogCorrupt: the file does not answer, or its end cannot be read: then it must not be
                continued as if nothing were. Nothing has changed: what was open before stays in use.
        """
        newest = await opened.newest()
        at_the_end = decode(newest) if newest is not None else []
        last_event = at_the_end[-1] if at_the_end else None
        rule_time = newest.rule_time if newest else 0
        first, last = await opened.ends()
        next_offset = max(await opened.kept_next_offset(), (last or 0) + 1)
        next_offset = max(next_offset, self.next_offset)  # none is given twice, whatever became of the file
        first_offset = first if first is not None else next_offset
        wall, mono = read_together(self._clock)
        known = await self._known_anchors(opened, wall - mono)
        index = TimeIndex(opened, known)
        newest_ns = await index.newest(first_offset, next_offset)
        cursors = await opened.cursors()
        holes = [await opened.holes(kind) for kind in HOLES]
        run, boot = secrets.token_hex(8), self._clock.boot_id
        told = msgspec.msgpack.encode(known[boot])
        begin: list[Statement] = [
            (writes.UPSERT_ANCHOR, (boot, told)),
            (writes.INSERT_RUN, (run, boot, next_offset, wall - mono)),
        ]
        self._run_id = await opened.transaction(begin)
        if self.run and next_offset != self.next_offset:
            self._grew(at_the_end)
        self.store, self.index, self.anchors, self.run = opened, index, known, run
        self.ring_run = secrets.token_hex(8)
        self.last_event, self._rule_time, self.newest_ns = last_event, rule_time, newest_ns
        self.first_offset, self.next_offset = first_offset, next_offset
        self.damage.load(*holes)
        if self._rule_anchor is None:  # from here on only records move it, also when the file is opened anew
            self._rule_anchor = wall - mono
        for name, at, previous, kept in cursors:
            self.cursors.setdefault(name, riders.cursor(at, previous, kept))

    def _grew(self, at_the_end: list[Event]) -> None:
        """The file has more than anybody was told: a commit that seemed to fail. What the log itself said in it is
        heard now; a batch of somebody else's is looked for by `found_after_all`.
        """
        self.tail.clear()
        if not at_the_end or at_the_end[0].offset < self.next_offset:  # salvaged: offsets go on far behind
            return
        if self._unsure is None or self._unsure.events[0].offset != at_the_end[0].offset:
            self.own += at_the_end

    async def _known_anchors(self, opened: Store, anchor: int) -> dict[str, BootAnchor]:
        """What the records told of each boot's clock; of boots from before they did, what the run was told."""
        known: dict[str, BootAnchor] = {}
        for boot, told in await opened.run_anchors():
            known.setdefault(boot, anchors.after(None, told, synced=True))
        for boot, kept in await opened.anchors():
            known[boot] = msgspec.msgpack.decode(kept, type=BootAnchor)
        known.setdefault(self._clock.boot_id, anchors.after(None, anchor, synced=False))
        return known

    @property
    def anchor(self) -> BootAnchor:
        """What is known of the clock of this boot."""
        return self.anchors[self._clock.boot_id]

    # -- a batch ------------------------------------------------------------------------------------------------------

    def batch(self, events: Sequence[Event], run: str | None = None) -> Batch:
        """The events stamped and packed, and the statements that write them. Moves nothing. `run`: if not this one."""
        recorded, mono = self._clock.wall_ns(), self._clock.mono_ns()
        boot = self._clock.boot_id
        taken = stamped(events, first=self.next_offset, recorded=recorded, run=run or self.run, boot=boot)
        blob = codec.pack(taken, recorded=recorded, mono=mono)
        crc, telling = codec.checksum(blob), _telling(taken)
        rule_time = self._rule_time_of(telling, mono)
        row = insert(taken, blob, crc, run_id=self._run_id, recorded=recorded, mono=mono, rule_time=rule_time)
        return Batch(taken, blob, crc, mono, [row, *self._anchor_statements(telling)])

    def sent(self, batch: Batch) -> None:
        """The batch is on its way to the disk. If its fate stays unknown, `found_after_all` looks for it."""
        self._unsure = batch

    def accepted(self, batch: Batch) -> None:
        """The batch is committed."""
        self._tally.batch(batch.events, len(batch.blob))
        self.next_offset = batch.events[-1].offset + 1
        self._unsure, self.begun = None, True
        telling = _telling(batch.events)
        self._rule_time = self._rule_time_of(telling, batch.mono)
        if (known := self._told(telling)) is not None:
            self.anchors[self._clock.boot_id], self._rule_anchor = known, known.latest
        self.tail.append(batch.events)

    # -- what no disk takes -------------------------------------------------------------------------------------------

    def hold(self, events: Sequence[Event], run: str) -> list[Event]:
        """Take a batch into memory only, and give it its offsets; returns its events, marked as not durable.

        `run` is `ring_run`, or the one under which an attempt was made to append this very batch.
        """
        unsure = self._unsure
        batch = unsure if unsure and len(unsure.events) == len(events) else self.batch(events, run)
        batch = batch._replace(events=[msgspec.structs.replace(event, durable=False) for event in batch.events])
        self.ring.append(batch)
        self.accepted(batch)
        return batch.events

    async def bring_home(self, opened: Store) -> None:
        """Append all that is held, with its runs and offsets. What a failed attempt left there is not doubled.

        Raises:
            StoreUnavailable: the disk refuses still; everything is held on.
        """
        batches = list(self.ring)
        for some in (batches[at : at + HOME_BATCHES] for at in range(0, len(batches), HOME_BATCHES)):
            await opened.transaction([statement for batch in some for statement in once(batch)])
        if self.ring.holes:
            await opened.transaction([(writes.KEEP, (f"ring/{first}", last)) for first, last in self.ring.holes])

    @property
    def held(self) -> tuple[int, int]:
        """The offsets [first, end) that are held in memory. `end` is the next offset also where nothing is held."""
        return self.ring.first_offset or self.next_offset, self.next_offset

    @property
    def held_bytes(self) -> int:
        """About what they will take in the file."""
        return sum(2 * len(batch.blob) + PAGE_BYTES for batch in self.ring)

    def is_home(self) -> None:
        """What was held is on the disk: from here on it is read from there."""
        if self.ring:
            self.damage.overflowed(self.ring.holes)
            self.ring.clear()
            self.tail.clear()

    async def found_after_all(self, events: Sequence[Event]) -> list[Event] | None:
        """The stamped events, if the commit that seemed to fail is in the file. Its riders are in the file with it."""
        unsure, self._unsure = self._unsure, None
        if unsure is None:
            return None
        base = unsure.events[0].offset
        row = await self.store.at_or_before(base)
        if row is None or row.base_offset != base or row.crc != unsure.crc or len(unsure.events) != len(events):
            return None
        self.accepted(unsure._replace(mono=row.mono))
        return unsure.events

    def moved(self, cursors: Mapping[str, Cursor]) -> None:
        """These cursors are committed. One that is further on already stays: its next commit is on its way."""
        for name, at in cursors.items():
            if name not in self.cursors or self.cursors[name].next_offset < at.next_offset:
                self.cursors[name] = at

    # -- what records tell of the clocks ------------------------------------------------------------------------------

    def _rule_time_of(self, telling: list[Event], mono: int) -> int:
        """The rule time of a batch: it never runs backwards, and only records move its anchor."""
        return max(self._rule_time, mono + (telling[-1].time - telling[-1].mono if telling else self._rule_anchor or 0))

    def _anchor_statements(self, telling: list[Event]) -> list[Statement]:
        known = self._told(telling)
        return [(writes.UPSERT_ANCHOR, (self._clock.boot_id, msgspec.msgpack.encode(known)))] if known else []

    def _told(self, telling: list[Event]) -> BootAnchor | None:
        """What is known of this boot after these events, None where they tell nothing."""
        known = None
        for event in telling:
            before = known or self.anchors.get(self._clock.boot_id)
            known = anchors.after(before, event.time - event.mono, synced=event.synced)
        return known


def _telling(events: Sequence[Event]) -> list[Event]:
    """Those that tell the anchor of this boot."""
    return [event for event in events if event.type in ANCHORING]
