"""What is asked of a log file, in SQL: each question as a function with an answer in our words.

A question is one `fetch`: what it returns was true at one instant, and no read transaction outlives it. Where a page of
batches is asked for, the caller bounds it. There is no secondary index: every question about batches goes by the base
offset, which is the key, or looks at the ends.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

from gateway.eventlog.writes import HoleKind


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


class Queries(ABC):
    """The questions; who inherits them knows how to `fetch`."""

    @abstractmethod
    async def fetch(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """Rows of a query, read in one go.

        Raises:
            StoreUnavailable, LogCorrupt: the disk or the file does not answer. So do all that follow.
        """

    # -- batches ------------------------------------------------------------------------------------------------------

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

    async def after_batches(self, count: int) -> int | None:
        """The first offset behind the oldest `count` batches; None if there are no more than that."""
        rows = await self.fetch(_AFTER_BATCHES, (count,))
        return int(rows[0][0]) if rows else None

    async def ends(self) -> tuple[int | None, int | None]:
        """(first offset, last offset): found without a look at what lies between."""
        ((first, last),) = await self.fetch(_ENDS)
        return first, last

    async def bounds(self) -> tuple[int | None, int | None, int, int | None, int | None]:
        """(first offset, last offset, batches, oldest recorded ns, newest recorded ns)."""
        (row,) = await self.fetch(_BOUNDS)
        first, last, batches, oldest, newest = row
        return first, last, batches, oldest, newest

    # -- runs and their clocks ----------------------------------------------------------------------------------------

    async def runs(self) -> list[tuple[str, int]]:
        """(boot, first offset) of each run that still has batches, and of the newest."""
        return [(boot, first) for boot, first in await self.fetch(_RUNS)]

    async def run_anchors(self) -> list[tuple[str, int]]:
        """(boot, anchor as known when the run began) of the same runs."""
        return [(boot, anchor) for boot, anchor in await self.fetch(_RUN_ANCHORS)]

    async def anchors(self) -> list[tuple[str, bytes]]:
        """(boot, what was known of its anchor), as kept by `UPSERT_ANCHOR`."""
        return [(boot, kept) for boot, kept in await self.fetch(_ANCHORS)]

    # -- readers, letters and checkpoints -----------------------------------------------------------------------------

    async def cursors(self) -> list[tuple[str, int, int | None, bytes | None]]:
        return [tuple(row) for row in await self.fetch("SELECT name, next_offset, previous, ledger FROM cursor")]

    async def consumers(self) -> list[tuple[str, bytes, int, int | None, bytes | None, int]]:
        """(name, spec, next offset, previous, open, used) of each named consumer."""
        sql = "SELECT name, spec, next_offset, previous, open, used FROM consumer ORDER BY name"
        return [tuple(row) for row in await self.fetch(sql)]

    async def dead_letters(self, consumer: str) -> int:
        (row,) = await self.fetch("SELECT count(*) FROM dead_letter WHERE consumer = ?", (consumer,))
        return int(row[0])

    async def checkpoint(self) -> int | None:
        """The offset of the newest checkpoint: what comes from there on is read again at a start."""
        ((offset,),) = await self.fetch("SELECT max(offset) FROM checkpoint")
        return None if offset is None else int(offset)

    async def checkpoints(self) -> list[tuple[int, int, int, bytes]]:
        """(offset, codec, crc, state), the newest first."""
        return [tuple(row) for row in await self.fetch("SELECT * FROM checkpoint ORDER BY offset DESC")]

    # -- single values ------------------------------------------------------------------------------------------------

    async def kept(self, key: str) -> Any:
        """A value of `meta`, None where it is not there."""
        rows = await self.fetch("SELECT value FROM meta WHERE key = ?", (key,))
        return rows[0][0] if rows else None

    async def kept_next_offset(self) -> int:
        rows = await self.fetch("SELECT value FROM meta WHERE key = 'next_offset'")
        return int(rows[0][0]) if rows else 0

    async def unused(self) -> dict[str, int]:
        """Consumers whose cursor nobody uses, and since when (ns UTC; 0 where the clock was not to be trusted)."""
        rows = await self.fetch("SELECT substr(key, 8), value FROM meta WHERE key GLOB 'unused/*'")
        return {str(name): int(since) for name, since in rows}

    async def holes(self, kind: HoleKind) -> list[tuple[int, int]]:
        """First and last offset of ranges without events."""
        rows = await self.fetch("SELECT substr(key, 6), value FROM meta WHERE key GLOB ?", (f"{kind}/*",))
        return [(int(first), int(last)) for first, last in rows]

    async def loss(self) -> bytes | None:
        """What was lost and is not told yet, as kept by `KEEP_LOSS`."""
        return next((row[0] for row in await self.fetch("SELECT value FROM meta WHERE key = 'loss'")), None)

    async def thinned(self) -> int:
        """Up to which offset batches were rewritten, or found not worth it."""
        return next((int(row[0]) for row in await self.fetch("SELECT value FROM meta WHERE key = 'thinned'")), 0)

    # -- for copies: rows as they are, with the names of their columns ------------------------------------------------

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

    # -- for salvage: rows as they are, whatever the version of the file ----------------------------------------------

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
