"""Rows of a log as they are, for a copy of it; and a new log made of such rows, or of events.

A copy is logical, table by table, page by page: no read transaction outlives a page, no room is needed beside the live
log, and the copy has no free pages. It is whole because the log is append-only: the places of the readers are taken
first, then the batches up to where the log ended at that moment. What is trimmed meanwhile is missing at the beginning,
as it is in the log itself.

A new log bears a temporary name until it is whole and flushed. So nothing that was cut short ever has the final name.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Self

import msgspec

from gateway.errors import LogCorrupt, LogError, StoreUnavailable
from gateway.event import Event
from gateway.eventlog import codec, opening, writes
from gateway.eventlog.batches import insert
from gateway.eventlog.store import Store
from gateway.eventlog.writes import Statement

BEFORE_BATCHES: Final = ("run", "cursor", "consumer", "checkpoint", "meta")
"""Tables of a few rows each, copied whole before the batches."""

PAGE_ROWS_MAX: Final = 64
PAGE_BYTES_MAX: Final = 2**20
"""A page ends with the row that exceeds this; one row alone may be larger."""

SIZE_BYTES_MAX: Final = 2**40
SUFFIX: Final = ".partial"
BOOT: Final = "imported"
"""The boot of imported events. Its clock counts from 1970: their `mono` is their time."""


class Excerpt(msgspec.Struct, frozen=True, array_like=True):
    """Some rows of one table, as they are stored."""

    table: str
    columns: tuple[str, ...]
    rows: list[list[Any]]


_encode = msgspec.msgpack.encode
_decode = msgspec.msgpack.Decoder(Excerpt).decode


def pack(excerpt: Excerpt) -> bytes:
    return _encode(excerpt)


def unpack(blob: bytes) -> Excerpt:
    """Raises LogCorrupt where the bytes are no excerpt."""
    try:
        return _decode(blob)
    except msgspec.DecodeError as error:
        raise LogCorrupt(f"not a part of a log: {error}") from None


async def small_tables(opened: Store) -> list[Excerpt]:
    """Everything but the batches and dead letters."""
    return [Excerpt(table, *await opened.rows_of(table)) for table in BEFORE_BATCHES]


async def dead_letters(opened: Store, after: tuple[str, int]) -> Excerpt:
    """A page of dead letters behind (consumer, offset); no rows at the end."""
    columns, rows = await opened.letters_after(after, PAGE_ROWS_MAX)
    return Excerpt("dead_letter", columns, _some(rows))


async def batches(opened: Store, offset: int, upto: int) -> Excerpt:
    """A page of the batches that lie in [offset, upto); no rows at the end."""
    columns, rows = await opened.batch_rows(offset, upto, PAGE_ROWS_MAX)
    return Excerpt("batch", columns, _some(rows))


def _some(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """As many rows as make a page."""
    kept: list[list[Any]] = []
    size = 0
    for row in rows:
        kept.append(list(row))
        size += sum(len(value) for value in row if isinstance(value, (bytes, str)))
        if size >= PAGE_BYTES_MAX:
            break
    return kept


def last_offset(excerpt: Excerpt) -> int:
    """The last offset in a page of batches."""
    return int(excerpt.rows[-1][excerpt.columns.index("last_offset")])


def events_in(excerpt: Excerpt) -> int:
    """How many events a page of batches holds."""
    at = excerpt.columns.index("count")
    return sum(row[at] for row in excerpt.rows)


class NewLog:
    """A log file in the making. Inside its `async with` it has a temporary name; `finish` gives it the final one."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.partial = self.path.with_name(f".{self.path.name}{SUFFIX}")
        self._store: Store | None = None
        self._runs: dict[str, int] = {}
        self._next_offset = 1
        self._mono = 0

    async def __aenter__(self) -> Self:
        """Raises StoreUnavailable where the file cannot be made."""
        refuse_existing(self.path)
        self._sweep()
        self._store = await opening.open_store(self.partial, size_bytes_max=SIZE_BYTES_MAX)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._store is not None:
            await self._store.close()
            self._store = None
            self._sweep()

    async def add(self, excerpt: Excerpt) -> None:
        """Rows of another log, as they are."""
        sql = writes.insert_rows(excerpt.table, excerpt.columns)
        await self._write([(sql, row) for row in excerpt.rows])

    def check(self, excerpt: Excerpt) -> None:
        """Whether batches came here as they were written.

        Raises:
            LogCorrupt: one does not match its checksum.
        """
        at = {name: index for index, name in enumerate(excerpt.columns)}
        for row in excerpt.rows:
            if codec.checksum(row[at["records"]]) != row[at["crc"]]:
                raise LogCorrupt(f"the batch at offset {row[at['base_offset']]} does not match its checksum")

    async def add_events(self, events: Sequence[Event]) -> None:
        """Events with their own ids and offsets, which only increase. Offsets that are missing stay missing.

        Raises:
            LogError: an offset is not above the one before it.
        """
        statements: list[Statement] = []
        for batch in contiguous(events):
            first, last = batch[0].offset, batch[-1].offset
            if first < self._next_offset:
                raise LogError(f"offset {first} follows offset {self._next_offset - 1}: expected one that is higher")
            if batch[0].run not in self._runs:
                self._runs[batch[0].run] = len(self._runs) + 1
                statements.append((writes.INSERT_RUN, (batch[0].run, BOOT, first, 0)))
            recorded = batch[0].recorded
            self._mono = mono = max(
                self._mono, recorded
            )  # a boot clock never runs backwards, whatever the wall clock did
            blob = codec.pack(batch, recorded=recorded, mono=mono)
            crc, run_id = codec.checksum(blob), self._runs[batch[0].run]
            row = insert(batch, blob, crc, run_id=run_id, recorded=recorded, mono=mono, rule_time=mono)
            statements.append(row)
            self._next_offset = last + 1
        await self._write(statements)

    async def finish(self) -> None:
        """Flush it, and give it its name.

        Raises:
            StoreUnavailable: the disk refuses, or there is a file of that name by now.
        """
        assert self._store is not None, "finish comes once, inside of `async with`"
        await self._store.close()
        self._store = None
        settle(self.partial, self.path)

    async def _write(self, statements: Sequence[Statement]) -> None:
        assert self._store is not None, "rows are added inside of `async with`"
        await self._store.transaction(statements)

    def _sweep(self) -> None:
        """Remove what an attempt left that was cut short."""
        for ending in ("", "-wal", "-shm", "-journal"):
            self.partial.with_name(self.partial.name + ending).unlink(missing_ok=True)


def contiguous(events: Sequence[Event]) -> Iterator[list[Event]]:
    """Stretches of one run, recorded at one instant, whose offsets have no holes: each can be a batch."""
    batch: list[Event] = []
    for event in events:
        follows = batch and event.offset == batch[-1].offset + 1
        if batch and not (follows and (event.run, event.recorded) == (batch[-1].run, batch[-1].recorded)):
            yield batch
            batch = []
        batch.append(event)
    if batch:
        yield batch


def refuse_existing(path: Path) -> None:
    """Raises StoreUnavailable where there is something of that name."""
    if path.exists():
        raise StoreUnavailable(f"{path} exists: choose another name, or move it away")


def settle(partial: Path, path: Path) -> None:
    """Flush a finished file and rename it, both so that a power cut leaves all of it or nothing.

    Raises:
        StoreUnavailable: the disk refuses, or there is a file of the final name by now.
    """
    refuse_existing(path)
    try:
        if (
            os.geteuid() == 0
        ):  # what root makes in somebody's folder is for them: a service must be able to write its log
            folder = path.parent.stat()
            os.chown(partial, folder.st_uid, folder.st_gid)
        flush(partial)
        partial.rename(path)
        flush(path.parent)
    except OSError as error:
        raise StoreUnavailable(f"{path}: {error.strerror}") from error


def flush(path: Path) -> None:
    """Have a file or folder on the disk (fsync)."""
    opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(PermissionError):
            os.fsync(opened)
    finally:
        os.close(opened)
