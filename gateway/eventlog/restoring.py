"""Putting a backup where a log belongs: copied under a temporary name, checked batch by batch, then renamed.

Opening it writes nothing to the backup itself. A backup of an older version is brought up to date in the copy.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Self

from gateway.errors import StoreUnavailable
from gateway.eventlog import opening
from gateway.eventlog.batches import decode
from gateway.eventlog.excerpt import SIZE_BYTES_MAX, SUFFIX, settle
from gateway.eventlog.lock import WriterLock
from gateway.eventlog.store import Store

BESIDE: Final = ("", "-wal", "-shm")
"""What belongs to an SQLite file. A copy that was made with `cp` after a crash has its newest events in the second."""

PAGE_BATCHES: Final = 64


@asynccontextmanager
async def held(path: Path) -> AsyncIterator[None]:
    """Be the writer of the log at `path`, so that no gateway is.

    Raises:
        LogLocked: a gateway writes it. StoreUnavailable: the folder cannot be written.
    """
    lock = WriterLock(path)
    try:
        yield
    finally:
        lock.release()


def move_aside(path: Path, stamp: str) -> Path:
    """Keep the log at `path` under another name; returns that."""
    aside = path.with_name(f"{path.name}.before-{stamp}")
    for ending in reversed(BESIDE):  # the file itself last: until then it is whole where it is
        part = path.with_name(path.name + ending)
        if part.exists():
            part.rename(aside.with_name(aside.name + ending))
    return aside


class Restoration:
    """A copy of a backup under a temporary name, inside its `async with`; `finish` gives it the final one."""

    def __init__(self, backup: Path, path: Path) -> None:
        self._backup, self._path = backup, path
        self._partial = path.with_name(f".{path.name}{SUFFIX}")
        self._store: Store | None = None

    async def __aenter__(self) -> Self:
        """Raises StoreUnavailable, LogCorrupt, LogTooNew: the copy cannot be made, or is no log of ours."""
        self._sweep()
        try:
            await asyncio.to_thread(self._copy)
            self._store = await opening.open_store(self._partial, size_bytes_max=SIZE_BYTES_MAX)
        except OSError as error:
            self._sweep()
            raise StoreUnavailable(f"{self._partial}: {error.strerror or error}") from error
        except BaseException:
            self._sweep()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()
        self._sweep()

    async def check(self) -> AsyncIterator[int]:
        """Read every batch; yields how many events were whole so far.

        Raises:
            LogCorrupt: a batch is damaged, or overlaps another.
        """
        assert self._store is not None, "checked inside of `async with`"
        offset, events = 0, 0
        while rows := await self._store.batches_from(offset, PAGE_BATCHES):
            for row in rows:
                events += len(decode(row))
            offset = rows[-1].last_offset + 1
            yield events
            if len(rows) < PAGE_BATCHES:
                break
        await self._close()

    def finish(self) -> None:
        """Flush the copy, and give it the log's name. `check` comes first.

        Raises:
            StoreUnavailable: the disk refuses, or there is a log by now.
        """
        assert self._store is None, "check comes first"
        settle(self._partial, self._path)

    async def _close(self) -> None:
        if self._store is not None:
            await self._store.close()
            self._store = None

    def _copy(self) -> None:
        for ending in BESIDE[:2]:
            part = self._backup.with_name(self._backup.name + ending)
            if part.exists():
                shutil.copyfile(part, self._partial.with_name(self._partial.name + ending))

    def _sweep(self) -> None:
        for ending in (*BESIDE, "-journal"):
            self._partial.with_name(self._partial.name + ending).unlink(missing_ok=True)
