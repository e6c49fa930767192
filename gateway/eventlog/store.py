"""The SQL of the event log, and nothing else: this is the only file that speaks to SQLite.

Settings, and why. WAL with `synchronous=FULL` loses no committed transaction in a power cut (NORMAL does,
DELETE+FULL does). Pages of 1 KiB write a third of the bytes of 4 KiB pages at our batch sizes. One connection
writes *and* checkpoints, and readers are `mode=ro`: SQLite's WAL-reset bug (3.7.0 to 3.51.2) needs a second
connection that checkpoints. No `mmap_size`.

Transactions are whole: they run in a task of their own that cancelling the caller does not touch, one at a time.
After an error that is not plain lack of room the connection is not used again (a failed fsync must never be retried
on its handle): `broken` says so, and the owner opens anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeVar

import aiosqlite

from gateway.errors import LogCorrupt, LogTooNew, StoreUnavailable

APPLICATION_ID = 0x45_47_4C_31  # "EGL1", shown by file(1)
VERSION = 2
PAGE_BYTES = 1024
WAL_PAGES = 512
"""Checkpoint when the write-ahead log has this many pages: small files are rewritten in place, growing ones are not."""

DEAD_LETTERS_MAX = 10_000
"""Per consumer; beyond it the oldest go. They were refused for good, and are kept for a person to look at."""

HoleKind = Literal["hole", "lost", "ring"]
HOLES: Final[tuple[HoleKind, ...]] = ("hole", "lost", "ring")
"""Keys of `meta`, before the first offset of a range without events; the value is the last offset. Damage that a
`log.gap` told of, damage that is still to be told, what overflowed in memory."""

Statement = tuple[str, Sequence[Any]]

_ROOM = frozenset({"SQLITE_FULL", "SQLITE_BUSY"})  # the transaction is rolled back and the handle is sound

_CORRUPT = frozenset({"SQLITE_CORRUPT", "SQLITE_CORRUPT_INDEX", "SQLITE_CORRUPT_SEQUENCE", "SQLITE_NOTADB"})

INSERT_RUN = "INSERT INTO run(nonce, boot, first_offset, anchor) VALUES (?, ?, ?, ?)"
INSERT_BATCH = (
    "INSERT INTO batch(base_offset, last_offset, count, run, recorded, mono, rule_time, codec, crc, records) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
INSERT_RUN_ONCE = (
    "INSERT INTO run(nonce, boot, first_offset, anchor) SELECT ?1, ?2, ?3, ?4 "
    "WHERE NOT EXISTS (SELECT 1 FROM run WHERE nonce = ?1)"
)
INSERT_BATCH_ONCE = (
    "INSERT OR IGNORE INTO batch(base_offset, last_offset, count, run, recorded, mono, rule_time, codec, crc, records) "
    "VALUES (?, ?, ?, (SELECT id FROM run WHERE nonce = ?), ?, ?, ?, ?, ?, ?)"
)
"""Of a batch that may be there already: offsets are given once, so its base offset is its name."""

UPSERT_CURSOR = (
    "INSERT INTO cursor(name, next_offset, previous, ledger) VALUES (?, ?, ?, ?) ON CONFLICT(name) DO UPDATE SET "
    "next_offset = excluded.next_offset, previous = excluded.previous, ledger = excluded.ledger"
)
INSERT_DEAD_LETTER = (
    "INSERT INTO dead_letter(consumer, offset, time, reason, event) VALUES (?, ?, ?, ?, ?) "
    "ON CONFLICT(consumer, offset) DO UPDATE SET time = excluded.time, reason = excluded.reason"
)
LIMIT_DEAD_LETTERS = (
    "DELETE FROM dead_letter WHERE consumer = ?1 AND offset <= "
    "(SELECT offset FROM dead_letter WHERE consumer = ?1 ORDER BY offset DESC LIMIT 1 OFFSET ?2)"
)
INSERT_CHECKPOINT = "INSERT OR REPLACE INTO checkpoint(offset, codec, crc, state) VALUES (?, ?, ?, ?)"
LIMIT_CHECKPOINTS = (
    "DELETE FROM checkpoint WHERE offset NOT IN (SELECT offset FROM checkpoint ORDER BY offset DESC LIMIT ?)"
)
UPSERT_CONSUMER = (
    "INSERT INTO consumer(name, spec, next_offset, previous, open, used) VALUES (?, ?, ?, ?, ?, ?) "
    "ON CONFLICT(name) DO UPDATE SET spec = excluded.spec, next_offset = excluded.next_offset, "
    "previous = excluded.previous, open = excluded.open, used = excluded.used"
)
PURGE = ("DELETE FROM dead_letter WHERE offset < ?", "DELETE FROM checkpoint WHERE offset <= ?")
DROP_CONSUMER = "DELETE FROM consumer WHERE name = ?"
DROP_DEAD_LETTERS = "DELETE FROM dead_letter WHERE consumer = ?"
TRIM = "DELETE FROM batch WHERE last_offset < ?"
TRIM_RUNS = "DELETE FROM run WHERE id < (SELECT min(run) FROM batch)"
DROP_ROWS = "DELETE FROM batch WHERE base_offset >= ? AND base_offset < ?"
REWRITE = (  # of several neighbours the last is left: it keeps its instants and its run
    "UPDATE batch SET base_offset = ?, count = ?, codec = ?, crc = ?, records = ? WHERE base_offset = ?"
)
KEEP_THINNED = (
    "INSERT INTO meta(key, value) VALUES ('thinned', ?) ON CONFLICT(key) DO UPDATE SET value = excluded.value"
)
KEEP_LOSS = "INSERT INTO meta(key, value) VALUES ('loss', ?) ON CONFLICT(key) DO UPDATE SET value = excluded.value"
FORGET_LOSS = "DELETE FROM meta WHERE key = 'loss'"
DROP_CURSOR = "DELETE FROM cursor WHERE name = ?"
MARK_UNUSED = (
    "INSERT INTO meta(key, value) VALUES ('unused/' || ?, ?) ON CONFLICT(key) DO UPDATE SET value = excluded.value"
)
UNMARK_UNUSED = "DELETE FROM meta WHERE key = 'unused/' || ?"
UPSERT_ANCHOR = (
    "INSERT INTO meta(key, value) VALUES ('anchor/' || ?, ?) ON CONFLICT(key) DO UPDATE SET value = excluded.value"
)
TRIM_ANCHORS = "DELETE FROM meta WHERE key LIKE 'anchor/%' AND substr(key, 8) NOT IN (SELECT boot FROM run)"
KEEP = "INSERT INTO meta(key, value) VALUES (?, ?) ON CONFLICT(key) DO UPDATE SET value = excluded.value"
FORGET = "DELETE FROM meta WHERE key = ?"
KEEP_NEXT_OFFSET = (
    "INSERT INTO meta(key, value) VALUES ('next_offset', ?) ON CONFLICT(key) DO UPDATE SET value = excluded.value"
)


class BatchRow(NamedTuple):
    """One group commit as stored, with the run it belongs to."""

    base_offset: int
    last_offset: int
    recorded: int
    mono: int
    rule_time: int
    codec: int
    crc: int
    records: bytes
    nonce: str
    boot: str
    anchor: int


class BatchHead(NamedTuple):
    """What a stored batch is, without its records."""

    base_offset: int
    last_offset: int
    codec: int
    nonce: str
    bytes: int


_BATCHES = (
    "SELECT base_offset, last_offset, recorded, mono, rule_time, codec, crc, records, nonce, boot, anchor "
    "FROM batch JOIN run ON run.id = batch.run "
)
_FROM = _BATCHES + (  # noqa: S608 - joined from constants only
    "WHERE base_offset >= coalesce((SELECT max(base_offset) FROM batch WHERE base_offset <= ?), 0) "
    "ORDER BY base_offset LIMIT ?"
)
_HEADS = (
    "SELECT base_offset, last_offset, codec, nonce, length(records) FROM batch JOIN run ON run.id = batch.run "
    "WHERE last_offset >= ?1 AND base_offset >= "
    "coalesce((SELECT max(base_offset) FROM batch WHERE base_offset <= ?1), 0) ORDER BY base_offset LIMIT ?2"
)
_RAW_BATCHES = (
    "SELECT base_offset, last_offset, count, run, recorded, mono, rule_time, codec, crc, records FROM batch "
    "WHERE base_offset BETWEEN ? AND ? ORDER BY base_offset LIMIT ?"
)
_BASE_SINCE = "SELECT base_offset FROM batch WHERE base_offset >= ? ORDER BY base_offset LIMIT 1"
_NEWEST = _BATCHES + "ORDER BY base_offset DESC LIMIT 1"
_NEWEST_ONES = _BATCHES + "ORDER BY base_offset DESC LIMIT ?"
_AT_OR_BEFORE = _BATCHES + "WHERE base_offset <= ? ORDER BY base_offset DESC LIMIT 1"
_RUNS = "SELECT boot, first_offset FROM run ORDER BY id"
_RUN_ANCHORS = "SELECT boot, anchor FROM run ORDER BY id"
_ANCHORS = "SELECT substr(key, 8), value FROM meta WHERE key LIKE 'anchor/%'"
_AFTER_BATCHES = "SELECT base_offset FROM batch ORDER BY base_offset LIMIT 1 OFFSET ?"
_NEWEST_LAST = "(SELECT last_offset FROM batch ORDER BY base_offset DESC LIMIT 1)"
_ENDS = f"SELECT (SELECT min(base_offset) FROM batch), {_NEWEST_LAST}"  # noqa: S608 - constants only
_BOUNDS = (
    f"SELECT (SELECT min(base_offset) FROM batch), {_NEWEST_LAST}, "  # noqa: S608 - constants only
    "(SELECT count(*) FROM batch), "
    "(SELECT recorded FROM batch ORDER BY base_offset LIMIT 1), "
    "(SELECT recorded FROM batch ORDER BY base_offset DESC LIMIT 1)"
)


_ROWS = {
    table: f"SELECT * FROM {table}"  # noqa: S608 - joined from constants only
    for table in ("run", "cursor", "consumer", "checkpoint", "meta")
}
_LETTERS_AFTER = "SELECT * FROM dead_letter WHERE (consumer, offset) > (?, ?) ORDER BY consumer, offset LIMIT ?"
_BATCH_ROWS = "SELECT * FROM batch WHERE base_offset >= ? AND last_offset < ? ORDER BY base_offset LIMIT ?"
_COLUMNS = "SELECT name FROM pragma_table_info(?)"

SCRUB_BYTES = 256 * 1024
_SECURE = "secure_delete = ON"
_USUAL = "secure_delete = FAST"
"""Overwrites what costs no page more. Debian's default is ON: then a trim writes all that it deletes once more. A purge
does ask for that."""

_DROP_SCRUB = "DROP TABLE IF EXISTS scrub"
"""The table that holds all free pages while they are overwritten; also dropped when a log is opened."""


def insert_rows(table: str, columns: Sequence[str]) -> str:
    """What writes a row of that table, the values in the order of `columns`.

    Raises:
        LogCorrupt: no table or columns of ours.
    """
    if table not in {*_ROWS, "batch", "dead_letter"} or not all(name.isidentifier() for name in columns):
        raise LogCorrupt(f"no part of a log: {table!r} with the columns {', '.join(map(repr, columns))}")
    places = ", ".join("?" * len(columns))
    return f"INSERT INTO {table}({', '.join(columns)}) VALUES ({places})"  # noqa: S608 - checked above


Result = TypeVar("Result")


class _Writer(aiosqlite.Connection):
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


class Reader:
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
            if _code(error) in _CORRUPT:
                raise LogCorrupt(_sentence(error)) from error
            raise StoreUnavailable(_sentence(error)) from error
        except ValueError as error:  # aiosqlite's word for closed
            raise StoreUnavailable("the log was opened anew, or closed") from error

    async def every(self, table: str) -> list[tuple[Any, ...]]:
        """All rows of a small table."""
        return [tuple(row) for row in await self.fetch(f"SELECT * FROM {table}")]  # noqa: S608 - a name of ours

    async def columns(self, table: str) -> int:
        """How many columns a table has."""
        return len(await self.fetch(f"PRAGMA table_info({table})"))

    async def raw_batches(self, first: int, end: int | None, limit: int) -> list[tuple[Any, ...]]:
        """Rows of `batch` as they are, those that begin in [first, end)."""
        most = 2**63 - 1 if end is None else end - 1
        return [tuple(row) for row in await self.fetch(_RAW_BATCHES, (first, most, limit))]

    async def close(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            await self._reader.close()


class Store(Reader):
    """An open log file. Made by `open_store`."""

    def __init__(self, writer: _Writer, reader: aiosqlite.Connection) -> None:
        super().__init__(reader)
        self._writer = writer
        self._turn = asyncio.Lock()
        self.broken: str | None = None

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
                raise StoreUnavailable(_sentence(error), full=_is_full(error)) from error

    async def _give_up(self, error: sqlite3.Error) -> None:
        if _code(error) not in _ROOM:
            self.broken = _sentence(error)
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

    async def batches_from(self, offset: int, limit: int) -> list[BatchRow]:
        """At most `limit` batches, the first being the one that holds `offset` (or the first after it)."""
        return [BatchRow(*row) for row in await self.fetch(_FROM, (offset, limit))]

    async def heads_from(self, offset: int, limit: int) -> list[BatchHead]:
        """The batches that hold `offset` or come behind it."""
        return [BatchHead(*row) for row in await self.fetch(_HEADS, (offset, limit))]

    async def base_since(self, offset: int) -> int | None:
        """The base offset of the first batch that begins at `offset` or behind it, None if there is none.

        Raises:
            StoreUnavailable, LogCorrupt: the disk does not answer, or the file's tree does not lead there.
        """
        rows = await self.fetch(_BASE_SINCE, (offset,))
        return int(rows[0][0]) if rows else None

    async def newest(self) -> BatchRow | None:
        return next((BatchRow(*row) for row in await self.fetch(_NEWEST)), None)

    async def newest_batches(self, limit: int) -> list[BatchRow]:
        return [BatchRow(*row) for row in await self.fetch(_NEWEST_ONES, (limit,))]

    async def at_or_before(self, offset: int) -> BatchRow | None:
        return next((BatchRow(*row) for row in await self.fetch(_AT_OR_BEFORE, (offset,))), None)

    async def runs(self) -> list[tuple[str, int]]:
        """(boot, first offset) of each run that still has batches, and of the newest."""
        return [(boot, first) for boot, first in await self.fetch(_RUNS)]

    async def run_anchors(self) -> list[tuple[str, int]]:
        """(boot, anchor as known when the run began) of the same runs."""
        return [(boot, anchor) for boot, anchor in await self.fetch(_RUN_ANCHORS)]

    async def anchors(self) -> list[tuple[str, bytes]]:
        """(boot, what was known of its anchor), as kept by `UPSERT_ANCHOR`."""
        return [(boot, kept) for boot, kept in await self.fetch(_ANCHORS)]

    async def after_batches(self, count: int) -> int | None:
        """The first offset behind the oldest `count` batches; None if there are no more than that."""
        rows = await self.fetch(_AFTER_BATCHES, (count,))
        return int(rows[0][0]) if rows else None

    async def checkpoints(self) -> list[tuple[int, int, int, bytes]]:
        """(offset, codec, crc, state), the newest first."""
        return [tuple(row) for row in await self.fetch("SELECT * FROM checkpoint ORDER BY offset DESC")]

    async def ends(self) -> tuple[int | None, int | None]:
        """(first offset, last offset): found without a look at what lies between."""
        ((first, last),) = await self.fetch(_ENDS)
        return first, last

    async def bounds(self) -> tuple[int | None, int | None, int, int | None, int | None]:
        """(first offset, last offset, batches, oldest recorded ns, newest recorded ns)."""
        (row,) = await self.fetch(_BOUNDS)
        first, last, batches, oldest, newest = row
        return first, last, batches, oldest, newest

    async def cursors(self) -> list[tuple[str, int, int | None, bytes | None]]:
        return [tuple(row) for row in await self.fetch("SELECT name, next_offset, previous, ledger FROM cursor")]

    async def consumers(self) -> list[tuple[str, bytes, int, int | None, bytes | None, int]]:
        """(name, spec, next offset, previous, open, used) of each named consumer."""
        sql = "SELECT name, spec, next_offset, previous, open, used FROM consumer ORDER BY name"
        return [tuple(row) for row in await self.fetch(sql)]

    async def unused(self) -> dict[str, int]:
        """Consumers whose cursor nobody uses, and since when (ns UTC; 0 where the clock was not to be trusted)."""
        rows = await self.fetch("SELECT substr(key, 8), value FROM meta WHERE key GLOB 'unused/*'")
        return {str(name): int(since) for name, since in rows}

    async def dead_letters(self, consumer: str) -> int:
        (row,) = await self.fetch("SELECT count(*) FROM dead_letter WHERE consumer = ?", (consumer,))
        return int(row[0])

    async def rows_of(self, table: str) -> tuple[tuple[str, ...], list[list[Any]]]:
        """(columns, rows) of one of the small tables, as they are."""
        return await self._columns(table), [list(row) for row in await self.fetch(_ROWS[table])]

    async def letters_after(self, after: tuple[str, int], limit: int) -> tuple[tuple[str, ...], list[Sequence[Any]]]:
        """(columns, rows) of the dead letters behind (consumer, offset), in that order."""
        return await self._columns("dead_letter"), await self.fetch(_LETTERS_AFTER, (*after, limit))

    async def batch_rows(self, offset: int, upto: int, limit: int) -> tuple[tuple[str, ...], list[Sequence[Any]]]:
        """(columns, rows) of the batches that lie in [offset, upto), as they are."""
        return await self._columns("batch"), await self.fetch(_BATCH_ROWS, (offset, upto, limit))

    async def _columns(self, table: str) -> tuple[str, ...]:
        return tuple(str(name) for (name,) in await self.fetch(_COLUMNS, (table,)))

    async def secure(self, *, on: bool) -> None:
        """Whether SQLite overwrites what it frees."""
        await self._alone(f"PRAGMA {_SECURE if on else _USUAL}")

    async def empty_wal(self) -> None:
        """Fold the write-ahead log into the file and cut it to nothing."""
        await self._alone("PRAGMA wal_checkpoint(TRUNCATE)")

    async def overwrite_free(self) -> None:
        """Overwrite all free pages. Takes their room for as long as it runs, so nobody may append meanwhile."""
        await self._alone("CREATE TABLE scrub(zeros BLOB)")
        while (await self.fetch("PRAGMA freelist_count"))[0][0] > SCRUB_BYTES // PAGE_BYTES:
            await self.transaction([("INSERT INTO scrub(zeros) VALUES (zeroblob(?))", (SCRUB_BYTES,))])
        while (await self.fetch("PRAGMA freelist_count"))[0][0] > 0:
            await self.transaction([("INSERT INTO scrub(zeros) VALUES (zeroblob(?))", (PAGE_BYTES // 2,))])
        await self._alone(_DROP_SCRUB)

    async def _alone(self, sql: str) -> None:
        """One statement outside of a transaction.

        Raises:
            StoreUnavailable: the disk does not answer.
        """
        async with self._turn:
            try:
                await asyncio.shield(self._writer.execute_fetchall(sql))
            except sqlite3.Error as error:
                raise StoreUnavailable(_sentence(error)) from error

    async def holes(self, kind: HoleKind) -> list[tuple[int, int]]:
        """First and last offset of ranges without events."""
        rows = await self.fetch("SELECT substr(key, 6), value FROM meta WHERE key GLOB ?", (f"{kind}/*",))
        return [(int(first), int(last)) for first, last in rows]

    async def kept(self, key: str) -> Any:
        """A value of `meta`, None where it is not there."""
        rows = await self.fetch("SELECT value FROM meta WHERE key = ?", (key,))
        return rows[0][0] if rows else None

    async def kept_next_offset(self) -> int:
        rows = await self.fetch("SELECT value FROM meta WHERE key = 'next_offset'")
        return int(rows[0][0]) if rows else 0

    async def loss(self) -> bytes | None:
        """What was lost and is not told yet, as kept by `KEEP_LOSS`."""
        return next((row[0] for row in await self.fetch("SELECT value FROM meta WHERE key = 'loss'")), None)

    async def thinned(self) -> int:
        """Up to which offset batches were rewritten, or found not worth it."""
        return next((int(row[0]) for row in await self.fetch("SELECT value FROM meta WHERE key = 'thinned'")), 0)

    async def checkpoint(self) -> int | None:
        """The offset of the newest checkpoint: what comes from there on is read again at a start."""
        ((offset,),) = await self.fetch("SELECT max(offset) FROM checkpoint")
        return None if offset is None else int(offset)

    async def bound(self, size_bytes_max: int) -> None:
        """The file may grow to this size from now on. It never shrinks: what is freed is used again.

        Raises:
            StoreUnavailable: the disk does not answer.
        """
        async with self._turn:
            try:
                await asyncio.shield(self._writer.execute_fetchall(_bound(size_bytes_max)))
            except sqlite3.Error as error:
                raise StoreUnavailable(_sentence(error)) from error

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
                raise StoreUnavailable(_sentence(error), full=_is_full(error)) from error
            if busy and not patient:
                raise StoreUnavailable("another process reads the log for long: it cannot be checkpointed")

    async def pages(self) -> tuple[int, int]:
        """(pages in the file, pages in use)."""
        (count,) = (await self.fetch("PRAGMA page_count"))[0]
        (free,) = (await self.fetch("PRAGMA freelist_count"))[0]
        return int(count), int(count) - int(free)

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


async def open_store(path: Path, *, size_bytes_max: int) -> Store:
    """Open the log file at the absolute `path` for writing, making it where it is missing.

    Raises:
        StoreUnavailable: cannot be created or written. LogCorrupt: not a log. LogTooNew: a newer version wrote it.
    """
    try:
        writer = _Writer(lambda: sqlite3.connect(path, isolation_level=None), iter_chunk_size=64)
        await writer
    except sqlite3.Error as error:
        raise StoreUnavailable(f"{path}: {_sentence(error)}") from error
    try:
        await _prepare(writer, path, size_bytes_max)
        reader = await aiosqlite.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None)
        await reader.execute_fetchall("PRAGMA cache_size = -256")  # pages are read once: what is new is in memory
    except BaseException:
        await writer.close()
        raise
    return Store(writer, reader)


async def open_damaged(path: Path) -> Reader:
    """Open a damaged log to read what can be read. It is not changed.

    Raises:
        StoreUnavailable: it cannot even be opened.
    """
    try:
        reader = await aiosqlite.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None)
    except sqlite3.Error as error:
        raise StoreUnavailable(f"{path}: {_sentence(error)}") from error
    with contextlib.suppress(sqlite3.Error):  # a file shorter than it says it is can be read so
        await reader.execute_fetchall("PRAGMA writable_schema = ON")
    return Reader(reader)


def put(table: str, row: Sequence[Any]) -> Statement:
    """Inserts a whole row, in the order of the columns, unless one with its key is there."""
    marks = ", ".join("?" * len(row))
    return (f"INSERT OR IGNORE INTO {table} VALUES ({marks})", row)  # noqa: S608 - a name of ours


async def _prepare(writer: _Writer, path: Path, size_bytes_max: int) -> None:
    try:
        await writer.execute(f"PRAGMA page_size = {PAGE_BYTES}")  # only has a say in a new file
        application_id, version, tables = await _header(writer)
        if tables and application_id != APPLICATION_ID:
            raise LogCorrupt(f"{path} is an SQLite file but no event log")
        if version > VERSION:
            raise LogTooNew(
                f"{path} has schema version {version}, this gateway reads up to {VERSION}: "
                "install the newer version again, or choose another `buffer.path`"
            )
        for pragma in ("journal_mode = WAL", "synchronous = FULL", f"wal_autocheckpoint = {WAL_PAGES}", _USUAL):
            await writer.execute_fetchall(f"PRAGMA {pragma}")
        await writer.execute_fetchall(_bound(size_bytes_max))
        await writer.execute_fetchall("PRAGMA cache_size = -512")
        await _migrate(writer, version if tables else 0)
    except sqlite3.Error as error:
        if _code(error) in _CORRUPT:
            raise LogCorrupt(f"{path} is no event log ({error})") from error
        raise StoreUnavailable(f"{path}: {_sentence(error)}", full=_is_full(error)) from error


def _bound(size_bytes_max: int) -> str:
    return f"PRAGMA max_page_count = {size_bytes_max // PAGE_BYTES}"


async def _header(writer: aiosqlite.Connection) -> tuple[int, int, int]:
    found = []
    for sql in ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_schema"):
        ((value,),) = await writer.execute_fetchall(sql)
        found.append(int(value))
    return found[0], found[1], found[2]


async def _migrate(writer: aiosqlite.Connection, version: int) -> None:
    """Bring a file of that version (0: an empty one) to ours, one version at a time, each in one transaction."""
    for step in range(version + 1, VERSION + 1):
        schema = files("gateway.eventlog").joinpath(f"schema_v{step}.sql").read_text(encoding="utf-8")
        header = f"PRAGMA application_id = {APPLICATION_ID};\nPRAGMA user_version = {step};"
        await writer.executescript(f"BEGIN IMMEDIATE;\n{schema}\n{header}\nCOMMIT;")
    await writer.execute_fetchall(_DROP_SCRUB)


def _code(error: sqlite3.Error) -> str:
    """The name of SQLite's code. Text that is no UTF-8 has none, and is what damage looks like."""
    return getattr(error, "sqlite_errorname", None) or "SQLITE_CORRUPT"


def _is_full(error: sqlite3.Error) -> bool:
    return _code(error) == "SQLITE_FULL"


def _sentence(error: sqlite3.Error) -> str:
    """What SQLite says, with the name of the code: `database or disk is full (SQLITE_FULL)`."""
    name = getattr(error, "sqlite_errorname", None)
    return f"{error} ({name})" if name else str(error)
