"""A reserve for the day when somebody else fills the disk.

Theory of operation
-------------------
On a full disk SQLite cannot even forget: DELETE and checkpoint need room too (SQLITE_FULL). So a file of 2 MiB beside
the log holds some. When the disk is full below our own byte bound, the ballast goes, the write-ahead log is brought
into the file, and the byte bound is lowered to what the file has by then and half the ballast more. From there on the
log lives in the room that it has: at the lowered bound the policy of `buffer.keep` decides, as at any other bound.
When there is room for the ballast twice over, it is taken again, and the bound of the configuration holds.

A disk that is nearly full when the gateway starts gets no ballast: taking it would bring about what it is for.
"""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path
from typing import Final

from gateway.errors import StoreUnavailable
from gateway.eventlog import store
from gateway.eventlog.store import Store

logger = logging.getLogger("gateway.eventlog")

BALLAST_BYTES: Final = 2 * 2**20
GROWTH_BYTES: Final = BALLAST_BYTES // 2
"""How far the file may grow on what the ballast gave; the rest is for the write-ahead log."""


class Ballast:
    """The file. Its calls are blocking."""

    def __init__(self, log_path: Path) -> None:
        self.path = log_path.with_name(log_path.name + ".ballast")

    @property
    def held(self) -> bool:
        return self.path.exists()

    def room_for(self) -> bool:
        """Whether the disk has room for the ballast twice over."""
        disk = os.statvfs(self.path.parent)
        return disk.f_bavail * disk.f_frsize >= 2 * BALLAST_BYTES

    def take(self) -> bool:
        """Have the ballast if the disk has room; says whether it is there. Real blocks: a sparse file reserves none."""
        try:
            if self.held and self.path.stat().st_size == BALLAST_BYTES:
                return True
            if not self.room_for():
                return False
            half = self.path.with_name(self.path.name + ".new")
            with half.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, BALLAST_BYTES)
            half.rename(self.path)
        except OSError as error:
            logger.debug("no ballast: %s", error)
            return False
        return True

    def release(self) -> None:
        """Give its room back."""
        for path in (self.path, self.path.with_name(self.path.name + ".new")):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


class Room:
    """How large the log may be: what the configuration says, and less while others fill the disk."""

    def __init__(self, log_path: Path, size_bytes_max: int) -> None:
        self._ballast = Ballast(log_path)
        self.configured_bytes = size_bytes_max
        self._lowered_bytes: int | None = None
        self._path, self._released = log_path, False

    def emptied(self) -> bool:
        """Whether the log's file has nothing in it, although there is a ballast, which only a log that was open has."""
        return self._ballast.held and self._path.exists() and not self._path.stat().st_size

    @property
    def size_bytes_max(self) -> int:
        """The bound that is in force."""
        return self.configured_bytes if self._lowered_bytes is None else min(self.configured_bytes, self._lowered_bytes)

    @property
    def shortage(self) -> str | None:
        """Why the log is smaller than it might be, None while it is not."""
        if self._lowered_bytes is None:
            return None
        return f"the disk is full: until there is room, the log lives in the {self.size_bytes_max} bytes that it has"

    async def take(self, opened: Store) -> None:
        """Have the ballast from the start, where there is room for it.

        Raises:
            StoreUnavailable: the disk does not answer.
        """
        if self._released:
            self._released = False
            await self._live_in_what_there_is(opened)
        elif self._lowered_bytes is None and not await opened.beside(self._ballast.take):
            logger.info("the disk has no room for the ballast of %d bytes: see `buffer.path`", BALLAST_BYTES)

    async def give_way(self, opened: Store) -> bool:
        """The disk is full below our bound: release the ballast, and live in what there is. False if that was done.

        Raises:
            StoreUnavailable: the disk does not answer.
        """
        if self._lowered_bytes is not None or not self._ballast.held:
            return False
        await opened.beside(self._ballast.release)
        await opened.fold()
        await self._live_in_what_there_is(opened)
        return True

    async def _live_in_what_there_is(self, opened: Store) -> None:
        pages, _ = await opened.pages()
        await self._bound(opened, pages * store.PAGE_BYTES + GROWTH_BYTES)
        logger.warning("%s", self.shortage)

    def release(self) -> bool:
        """Give the ballast away because the log cannot even be opened; says whether there was one."""
        held = self._ballast.held
        self._ballast.release()
        self._released = self._released or held
        return held

    async def mind(self, opened: Store) -> bool:
        """Take the ballast again once there is room; says whether the bound has risen."""
        if self._lowered_bytes is None and self._ballast.held:
            return False
        if not await opened.beside(self._ballast.take) or self._lowered_bytes is None:
            return False
        try:
            await self._bound(opened, None)
        except StoreUnavailable:
            return False
        logger.warning("the disk has room again: the log may grow to %d bytes", self.configured_bytes)
        return True

    async def _bound(self, opened: Store, lowered_bytes: int | None) -> None:
        before, self._lowered_bytes = self._lowered_bytes, lowered_bytes
        try:
            await opened.bound(self.size_bytes_max)
        except StoreUnavailable:
            self._lowered_bytes = before
            raise
