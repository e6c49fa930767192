"""An open log file: the connection that writes it, the one that reads it, and what their errors mean.

Transactions are whole: they run in a task of their own that cancelling the caller does not touch, one at a time.
After an error that is not plain lack of room the connection is not used again (a failed fsync must never be retried
on its handle): `broken` says so, and the owner opens anew.

Reading goes over a connection of its own, which cannot write and holds up no transaction. What can be asked is in
`queries`, what is written in `writes`; `opening` makes a `Store` of a path. No other part speaks to SQLite.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import aiosqlite

from gateway.errors import LogCorrupt, StoreUnavailable
from gateway.eventlog.queries import Queries
from gateway.eventlog.writes import Statement

PAGE_BYTES = 1024

OVERWRITE_ALL = "PRAGMA secure_delete = ON"
OVERWRITE_CHEAP = "PRAGMA secure_delete = FAST"
"""Overwrites what costs no page more. Debian's default is ON: then a trim writes all that it deletes once more. A purge
does ask for that."""

SCRUB_BYTES = 256 * 1024
DROP_SCRUB = "DROP TABLE IF EXISTS scrub"
"""The table that holds all free pages while they are overwritten; also dropped when a log is opened."""

_ROOM = frozenset({"SQLITE_FULL", "SQLITE_BUSY"})  # the transaction is rolled back and the handle is sound
_CORRUPT = frozenset({"SQLITE_CORRUPT", "SQLITE_CORRUPT_INDEX", "SQLITE_CORRUPT_SEQUENCE", "SQLITE_NOTADB"})

Result = TypeVar("Result")


class Writer(aiosqlite.Connection):
    """The connection that writes. A transaction is one visit to its thread, which costs more than the statements do."""

    async def transaction(self, statements: Sequence[Statement]) -> int:
        """Run all statements and commit; returns the row id of the last insert. After an error: `rollback`."""
        row: int = await self._execute(_run, self._conn, statements)  # type: ignore[no-untyped-call] # aiosqlite's own
        return row

    async def beside(self, work: Callable[[], Result]) -> Result:
        """Run `work` in the connection's thread."""
        result: Result = await asyncio.shield(self._execute(work))  # type: ignore[no-untyped-call] # aiosqlite's own
        return result


def _run(connection: sqlite3.Connection, statements: Sequence[Statement]) -> int:
    row = 0
    connection.execute("BEGIN IMMEDIATE")
    for sql, parameters in statements:
        row = connection.execute(sql, parameters).lastrowid or row
    connection.execute("COMMIT")
    return row


class Reader(Queries):
    """A log file that can be read, as far as it is whole."""

    def __init__(self, reader: aiosqlite.Connection) -> None:
        self._reader = reader

    async def fetch(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """Rows of a query, read on the read-only connection in one go; no read transaction outlives the call.

        Raises:
            StoreUnavailable, LogCorrupt: the disk or the file does not answer.
        """
        try:
            return list(await asyncio.shield(self._reader.execute_fetchall(sql, parameters)))
        except sqlite3.DatabaseError as error:
            if is_corrupt(error):
                raise LogCorrupt(sentence(error)) from error
            raise StoreUnavailable(sentence(error)) from error
        except ValueError as error:  # aiosqlite's word for closed
            raise StoreUnavailable("the log was opened anew, or closed") from error

    async def close(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            await self._reader.close()


class Store(Reader):
    """An open log file. Made by `open_store`."""

    def __init__(self, writer: Writer, reader: aiosqlite.Connection) -> None:
        super().__init__(reader)
        self._writer = writer
        self._turn = asyncio.Lock()
        self.broken: str | None = None

    # -- what is written ----------------------------------------------------------------------------------------------

    async def transaction(self, statements: Sequence[Statement]) -> int:
        """Run all statements or none; returns the row id of the last insert.

        A cancelled caller leaves the transaction to finish by itself.

        Raises:
            StoreUnavailable: the disk refused. Nothing was written, unless `broken` says that nobody can know.
        """
        return await asyncio.shield(asyncio.ensure_future(self._transaction(statements)))

    async def _transaction(self, statements: Sequence[Statement]) -> int:
        async with self._turn:
            if self.broken:
                raise StoreUnavailable(self.broken)
            try:
                return await self._writer.transaction(statements)
            except sqlite3.Error as error:
                await self._give_up(error)
                raise StoreUnavailable(sentence(error), full=is_full(error)) from error

    async def _give_up(self, error: sqlite3.Error) -> None:
        if _code(error) not in _ROOM:
            self.broken = sentence(error)
        with contextlib.suppress(sqlite3.Error):  # SQLite may have rolled back by itself
            await self._writer.rollback()

    async def beside(self, work: Callable[[], Result]) -> Result:
        """Run blocking `work` on files beside the log in the thread that writes; what it raises is raised here."""
        if self.broken:
            raise StoreUnavailable(self.broken)
        return await self._writer.beside(work)

    async def touch(self) -> None:
        """Return when the writing thread has done all that it was given, or has refused."""
        with contextlib.suppress(sqlite3.Error, ValueError):  # aiosqlite's word for closed: ValueError
            await self._writer.execute_fetchall("SELECT 1")

    # -- the file -----------------------------------------------------------------------------------------------------

    async def pages(self) -> tuple[int, int]:
        """(pages in the file, pages in use)."""
        (count,) = (await self.fetch("PRAGMA page_count"))[0]
        (free,) = (await self.fetch("PRAGMA freelist_count"))[0]
        return int(count), int(count) - int(free)

    async def bound(self, size_bytes_max: int) -> None:
        """The file may grow to this size from now on. It never shrinks: what is freed is used again.

        Raises:
            StoreUnavailable: the disk does not answer.
        """
        await self._alone(page_bound(size_bytes_max))

    async def fold(self, *, patient: bool = True) -> None:
        """Bring the whole write-ahead log into the file, flushed: from here on nothing rests on what was not.

        Somebody who reads may be in the way; `patient` leaves it for later then.

        Raises:
            StoreUnavailable: the disk refused; the handle is not used again.
        """
        async with self._turn:
            try:
                ((busy, *_),) = await asyncio.shield(self._writer.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)"))
            except sqlite3.Error as error:
                await self._give_up(error)
                raise StoreUnavailable(sentence(error), full=is_full(error)) from error
            if busy and not patient:
                raise StoreUnavailable("another process reads the log for long: it cannot be checkpointed")

    async def empty_wal(self) -> None:
        """Fold the write-ahead log into the file and cut it to nothing."""
        await self._alone("PRAGMA wal_checkpoint(TRUNCATE)")

    async def _alone(self, sql: str) -> None:
        """One statement outside of a transaction.

        Raises:
            StoreUnavailable: the disk does not answer.
        """
        async with self._turn:
            try:
                await asyncio.shield(self._writer.execute_fetchall(sql))
            except sqlite3.Error as error:
                raise StoreUnavailable(sentence(error)) from error

    # -- what is overwritten, for a purge -----------------------------------------------------------------------------

    async def secure(self, *, on: bool) -> None:
        """Whether SQLite overwrites what it frees."""
        await self._alone(OVERWRITE_ALL if on else OVERWRITE_CHEAP)

    async def overwrite_free(self) -> None:
        """Overwrite all free pages. Takes their room for as long as it runs, so nobody may append meanwhile."""
        await self._alone("CREATE TABLE scrub(zeros BLOB)")
        while (await self.fetch("PRAGMA freelist_count"))[0][0] > SCRUB_BYTES // PAGE_BYTES:
            await self.transaction([("INSERT INTO scrub(zeros) VALUES (zeroblob(?))", (SCRUB_BYTES,))])
        while (await self.fetch("PRAGMA freelist_count"))[0][0] > 0:
            await self.transaction([("INSERT INTO scrub(zeros) VALUES (zeroblob(?))", (PAGE_BYTES // 2,))])
        await self._alone(DROP_SCRUB)

    # -- the end ------------------------------------------------------------------------------------------------------

    async def end_writing(self) -> None:
        """Close the connection that writes; what is in the file can still be read."""
        async with self._turn:
            self.broken = self.broken or "closed"
            with contextlib.suppress(sqlite3.Error):
                await self._writer.close()

    async def close(self) -> None:
        """Wait for the transaction under way, checkpoint, close both connections."""
        async with self._turn:
            self.broken = self.broken or "closed"
            for connection in (self._reader, self._writer):  # the writer last: it takes the log file with it
                with contextlib.suppress(sqlite3.Error):  # a dying disk must not keep the gateway from stopping
                    await connection.close()


def page_bound(size_bytes_max: int) -> str:
    """What keeps the file to that size, as long as this connection is open."""
    return f"PRAGMA max_page_count = {size_bytes_max // PAGE_BYTES}"


def is_corrupt(error: sqlite3.Error) -> bool:
    return _code(error) in _CORRUPT


def is_full(error: sqlite3.Error) -> bool:
    return _code(error) == "SQLITE_FULL"


def sentence(error: sqlite3.Error) -> str:
    """What SQLite says, with the name of the code: `database or disk is full (SQLITE_FULL)`."""
    name = getattr(error, "sqlite_errorname", None)
    return f"{error} ({name})" if name else str(error)


def _code(error: sqlite3.Error) -> str:
    """The name of SQLite's code. Text that is no UTF-8 has none, and is what damage looks like."""
    return getattr(error, "sqlite_errorname", None) or "SQLITE_CORRUPT"
