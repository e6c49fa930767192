"""The log file opened: made where it is missing, checked, given its settings, and brought to our version.

Settings, and why. WAL with `synchronous=FULL` loses no committed transaction in a power cut (NORMAL does,
DELETE+FULL does). Pages of 1 KiB write a third of the bytes of 4 KiB pages at our batch sizes. One connection
writes *and* checkpoints, and readers are `mode=ro`: SQLite's WAL-reset bug (3.7.0 to 3.51.2) needs a second
connection that checkpoints. No `mmap_size`.

Versions. A file says what it is (`application_id`) and how its tables are laid out (`user_version`). One of a newer
version is refused untouched; an older one is migrated by `schema_v<n>.sql`, one version after the other, each in one
transaction, so that a power cut leaves one version or the next.
"""

from __future__ import annotations

import contextlib
import sqlite3
from importlib.resources import files
from pathlib import Path

import aiosqlite

from gateway.errors import LogCorrupt, LogTooNew, StoreUnavailable
from gateway.eventlog.store import (
    DROP_SCRUB,
    OVERWRITE_CHEAP,
    PAGE_BYTES,
    Reader,
    Store,
    Writer,
    is_corrupt,
    is_full,
    page_bound,
    sentence,
)

APPLICATION_ID = 0x45_47_4C_31  # "EGL1", shown by file(1)
VERSION = 2
WAL_PAGES = 512
"""Checkpoint when the write-ahead log has this many pages: small files are rewritten in place, growing ones are not."""


async def open_store(path: Path, *, size_bytes_max: int) -> Store:
    """Open the log file at the absolute `path` for writing, making it where it is missing.

    Raises:
        StoreUnavailable: cannot be created or written. LogCorrupt: not a log. LogTooNew: a newer version wrote it.
    """
    try:
        writer = Writer(lambda: sqlite3.connect(path, isolation_level=None), iter_chunk_size=64)
        await writer
    except sqlite3.Error as error:
        raise StoreUnavailable(f"{path}: {sentence(error)}") from error
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
        raise StoreUnavailable(f"{path}: {sentence(error)}") from error
    with contextlib.suppress(sqlite3.Error):  # a file shorter than it says it is can be read so
        await reader.execute_fetchall("PRAGMA writable_schema = ON")
    return Reader(reader)


async def _prepare(writer: Writer, path: Path, size_bytes_max: int) -> None:
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
        for pragma in ("journal_mode = WAL", "synchronous = FULL", f"wal_autocheckpoint = {WAL_PAGES}"):
            await writer.execute_fetchall(f"PRAGMA {pragma}")
        for pragma in (OVERWRITE_CHEAP, page_bound(size_bytes_max), "PRAGMA cache_size = -512"):
            await writer.execute_fetchall(pragma)
        await _migrate(writer, version if tables else 0)
    except sqlite3.Error as error:
        if is_corrupt(error):
            raise LogCorrupt(f"{path} is no event log ({error})") from error
        raise StoreUnavailable(f"{path}: {sentence(error)}", full=is_full(error)) from error


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
    await writer.execute_fetchall(DROP_SCRUB)
