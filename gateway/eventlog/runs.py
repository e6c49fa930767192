"""How a run begins: the log file opened and in use, at the start of the gateway and anew after a fault.

The order of the steps is the point. A salvage that was cut off is ended first. The file is opened, its write-ahead log
folded in, its newest part checked; then what is held in memory is appended, and the new run begins behind it. Until
then the former one is read on. A file that is damaged is salvaged, once, and what is left of it opened; on a disk that
is full the ballast goes, once.
"""

from __future__ import annotations

import logging
from pathlib import Path

from gateway.clock import Clock
from gateway.errors import LogCorrupt, StoreUnavailable
from gateway.eventlog import opening
from gateway.eventlog.ballast import Room
from gateway.eventlog.damage import finish
from gateway.eventlog.faults import Faults
from gateway.eventlog.head import Head
from gateway.eventlog.lock import WriterLock
from gateway.eventlog.retention import Retention
from gateway.eventlog.scrub import check_end
from gateway.eventlog.store import Store

logger = logging.getLogger("gateway.eventlog")


class Runs:
    """The runs of one log, one after the other. Nobody else writes while one begins."""

    def __init__(
        self,
        head: Head,
        retention: Retention,
        room: Room,
        faults: Faults,
        lock: WriterLock,
        clock: Clock,
        path: Path,
        machine: str,
    ) -> None:
        """`machine` names the machine; a log that another one wrote says so."""
        self._head, self._retention, self._room, self._faults = head, retention, room, faults
        self._lock, self._clock, self._path, self._machine = lock, clock, path, machine

    async def begin(self) -> None:
        """The first one.

        Raises:
            LogCorrupt, LogTooNew, StoreUnavailable: see `gateway.errors`.
        """
        await self._begin(again=False)

    async def begin_anew(self) -> None:
        """Open anew after an error that left the handle unfit. Offsets go on; what was unsure is looked up.

        Until that succeeds, what is in the file can be read.
        """
        former = self._head.store
        await former.end_writing()
        self._lock.renew()
        try:
            await self._begin(again=True)
        finally:
            if self._head.store is not former:
                await former.close()
        logger.debug("log opened again at offset %d", self._head.next_offset)

    async def _begin(self, *, again: bool) -> None:
        try:
            await self._begin_once(again=again)
        except StoreUnavailable as error:
            if not error.full or not self._room.release():
                raise
            await self._begin_once(again=again)

    async def _begin_once(self, *, again: bool) -> None:
        finish(self._path)  # a salvage that was cut off between its renames
        try:
            opened = await self._opened(again=again)
        except LogCorrupt as error:
            from gateway.eventlog.salvage import salvage  # noqa: PLC0415 - rarely needed, and a tenth of a megabyte

            head, size_bytes_max = self._head, self._room.configured_bytes
            await salvage(self._path, error, self._clock, size_bytes_max=size_bytes_max, held=head.held)
            opened = await self._opened(again=again)
        try:
            await self._room.take(opened)
            self._retention.bound(self._room.size_bytes_max)
            await self._retention.load()
            await self._faults.note_machine(self._machine)
        except BaseException:
            await opened.close()
            raise

    async def _opened(self, *, again: bool) -> Store:
        """The file open and in use, its newest part checked, and what is held in memory appended."""
        if self._room.emptied():
            raise LogCorrupt("the file is empty, and was not")
        bound, held_bytes = self._retention.keep.size_bytes_max, self._head.held_bytes
        # What is held has to get in, also where the log is at its bound. It is trimmed afterwards.
        opened = await opening.open_store(self._path, size_bytes_max=bound + held_bytes)
        try:
            await opened.fold(patient=not again)
            await check_end(opened)
            await self._head.bring_home(opened)
            await self._head.load(opened)
            self._head.is_home()
            if held_bytes:
                await opened.bound(bound)
        except BaseException:
            await opened.close()
            raise
        return opened
