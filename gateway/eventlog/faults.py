"""What the log does about faults of its store, beside keeping on: room, probes, damage that is told, a foreign machine.

`EventLog` owns one `Faults` and shares its turn with it. The recorder asks what is to be told, `gateway.upkeep` calls
`mind` and `scrub` while the gateway runs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from gateway.clock import NS_PER_S, Clock
from gateway.errors import LogCorrupt, LogError, StoreUnavailable
from gateway.eventlog import writes
from gateway.eventlog.ballast import Room
from gateway.eventlog.damage import Range
from gateway.eventlog.head import Head
from gateway.eventlog.lock import WriterLock
from gateway.eventlog.retention import Retention
from gateway.eventlog.scrub import Scrub

logger = logging.getLogger("gateway.eventlog")

PROBE_AFTER_S = 60.0
"""A disk that nothing was written to for so long is asked whether it would take it: no other look at it tells."""


class Faults:
    """The faults of one log's store."""

    def __init__(
        self, head: Head, retention: Retention, room: Room, lock: WriterLock, clock: Clock, turn: asyncio.Lock
    ) -> None:
        self._head, self._retention, self._room = head, retention, room
        self._lock, self._clock, self._turn = lock, clock, turn
        self._scrub = Scrub()
        self._probed_ns = clock.mono_ns()
        self.cloned = False
        """Another machine wrote this log before: its card, or a copy of it, is in this one now."""

    @property
    def shortage(self) -> str | None:
        """Why the log is smaller than it might be: others fill the disk. None while that is not so."""
        return self._room.shortage

    @property
    def scrubbed(self) -> int:
        """How often the whole log was checked since the start."""
        return self._scrub.passes

    @property
    def broken(self) -> str | None:
        """Why the next start salvages, None where nothing calls for it."""
        return self._head.damage.structure

    # -- when a transaction is refused --------------------------------------------------------------------------------

    async def make_room(self, error: StoreUnavailable, needed_bytes: int = 0) -> bool:
        """Under our own bound history makes room; where others filled the disk, the ballast does at first."""
        if self._head.store.broken:
            return False
        if await self._retention.near_bound(needed_bytes):
            return await self._retention.make_room(needed_bytes)
        if not error.full or not await self._room.give_way(self._head.store):
            return False
        self._retention.bound(self._room.size_bytes_max)
        return True

    async def said(self, error: StoreUnavailable, needed_bytes: int) -> LogError:
        """What an append that found no room raises: under our own bound a log that refuses says so itself."""
        own = not self._head.store.broken and await self._retention.near_bound(needed_bytes)
        return self._retention.full() if own and self._retention.keep.when_full == "refuse" else error

    def is_broken(self, error: LogCorrupt) -> None:
        """The file's tree is broken where it has to be written: the next append salvages."""
        self._head.damage.structure = self._head.damage.structure or str(error)
        self._head.store.broken = self._head.store.broken or str(error)

    # -- what is to be told -------------------------------------------------------------------------------------------

    def take_lost(self) -> dict[str, Any] | None:
        """What a `log.gap` says about held events that overflowed, each of them once; None where there is nothing."""
        return self._head.ring.take_lost(self._clock.mono_ns())

    @property
    def untold(self) -> list[Range]:
        """First and last offset of ranges that were found damaged and that no `log.gap` has told of."""
        return self._head.damage.untold

    async def told(self, ranges: Sequence[Range]) -> None:
        """A `log.gap` told of these ranges; no later start will tell of them again.

        Raises:
            StoreUnavailable: the disk refused; they stay untold.
        """
        async with self._turn:
            damage = self._head.damage
            keep = [(writes.KEEP, (f"hole/{first}", last)) for first, last in ranges]
            forget = [f"lost/{first}" for first, _ in ranges]
            gone = damage.forget_before(self._head.first_offset)
            forget += [f"{kind}/{first}" for first, _ in gone for kind in writes.HOLES]
            await self._head.store.transaction([*keep, *((writes.FORGET, (key,)) for key in forget)])
            damage.told(ranges)

    def missing(self, first: int, end: int) -> int:
        """How many of the offsets in [first, end) are known to hold nothing, because they were lost or never given."""
        return self._head.damage.between(first, end)

    def reason(self, offset: int) -> str:
        """Why there is no event at this offset: the reason that a `log.gap` gives, or `trimmed`."""
        return self._head.damage.reason(offset)

    # -- upkeep -------------------------------------------------------------------------------------------------------

    def written(self) -> None:
        """A transaction succeeded: the disk takes writes."""
        self._probed_ns = self._clock.mono_ns()

    async def mind(self) -> None:
        """To be called every second or so: takes back the ballast, and finds out whether a quiet disk takes writes.

        Raises:
            StoreUnavailable: it does not. The next append opens the file anew.
        """
        async with self._turn:
            opened, damage, now_ns = self._head.store, self._head.damage, self._clock.mono_ns()
            if opened.broken:
                return
            if await self._room.mind(opened):
                self._retention.bound(self._room.size_bytes_max)
            if damage.structure and not damage.marked:
                await opened.transaction([(writes.KEEP, ("broken", damage.structure))])
                damage.marked = True
            if now_ns - self._probed_ns >= PROBE_AFTER_S * NS_PER_S:
                self._probed_ns = now_ns
                await self._probe()

    async def _probe(self) -> None:
        """A real write and a real flush: a file system that went read-only shows in nothing else."""
        opened = self._head.store
        try:
            await opened.beside(self._lock.probe)
        except OSError as error:
            opened.broken = f"the disk does not take a write ({error.strerror})"
            raise StoreUnavailable(opened.broken) from error

    async def scrub(self) -> None:
        """Check some batches that nobody reads. To be called while nothing else is to do.

        Raises:
            StoreUnavailable: the disk does not answer.
        """
        head = self._head
        await self._scrub.step(head.store, head.damage, head.first_offset, head.next_offset, self._clock.mono_ns())

    async def note_machine(self, machine: str) -> None:
        """Say it once when another machine wrote this log."""
        before = await self._head.store.kept("machine")
        if not machine or before == machine:
            return
        if before is not None:
            self.cloned = True
            logger.warning(
                "another machine wrote this log: if its card was copied, one of both needs another `gateway.id`"
            )
        await self._head.store.transaction([(writes.KEEP, ("machine", machine))])
