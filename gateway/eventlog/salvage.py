"""Makes a fresh log of a damaged one: everything that can be read, and the rest named.

Theory of operation
-------------------
The fresh log is made beside the damaged file. Small tables come first (runs, anchors, cursors, dead letters), then the
batches from the lowest cursor on, which is what somebody still waits for, then the older ones. Rows are asked of SQLite
first; where its tree is broken, the rest is carved out of the pages (`carve`). A batch is taken if its checksum
matches. Where the disk has no room for everything, the oldest history stays in the damaged file.

Nobody knows how many events there were behind the newest that can be read. So the fresh log goes on 10^9 behind the
highest offset that anything in the file names, and no offset is given twice. That stretch and each hole are written
down as lost, in the same file, and told by a `log.gap` when the gateway runs.

The damaged file is renamed, and kept, then its write-ahead log, then the fresh file gets the name. A crash in between
leaves no log and a whole fresh one beside it, which the next start takes (`damage.finish`). The order matters: a
damaged file without its write-ahead log might pass for a whole one, and SQLite would take one that was left behind for
that of the fresh file.

A file that holds nothing of ours is not touched.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

from gateway.clock import NS_PER_S, Clock
from gateway.errors import LogCorrupt, LogError, LogForeign, StoreUnavailable
from gateway.eventlog import carve, codec, writes
from gateway.eventlog.carve import Carved, Pages
from gateway.eventlog.damage import JUMP, Range, damaged_beside, finish, salvaged_beside
from gateway.eventlog.opening import open_damaged, open_store
from gateway.eventlog.store import Reader, Store
from gateway.eventlog.writes import Statement

logger = logging.getLogger("gateway.eventlog")

STEP_ROWS: Final = 64
STEP_CARVED: Final = 1024
"""Rows, and pages without one: most pages are without."""

KEPT_FILES: Final = 2
"""Damaged files that are kept beside a log; older ones go when another one comes."""

CLUE_PAGES: Final = 65_536
"""Where nothing of ours stands in so many pages, the file is somebody else's."""

_SMALL: Final = ("cursor", "checkpoint", "dead_letter", "meta", "consumer")
_HOLES: Final = frozenset(f"{kind}/" for kind in writes.HOLES)
_NOT_COPIED: Final = frozenset({"next_offset", "broken"})


class Salvaged(NamedTuple):
    """What came of it. `lost` are ranges of offsets, first and last; `kept` is the new name of the damaged file."""

    batches: int
    lost: list[Range]
    next_offset: int
    kept: Path


async def salvage(path: Path, why: LogCorrupt, clock: Clock, *, size_bytes_max: int, held: Range = (1, 1)) -> Salvaged:
    """Put a fresh log with all that can be read in the place of the damaged one at `path`.

    `held` are the offsets [first, end) that are in memory and will be appended behind it.

    Raises:
        LogForeign: the file holds nothing of ours; it is left alone. StoreUnavailable: the disk refuses.
    """
    pages = Pages(path)
    try:
        if not _is_ours(pages):
            raise LogForeign(f"{why}: choose another `buffer.path`, or move that file aside") from why
        logger.error("%s is damaged: what can be read goes into a fresh log (%s)", path, why)
        _remove(salvaged_beside(path))
        fresh = await open_store(salvaged_beside(path), size_bytes_max=size_bytes_max)
        try:
            wreck = await open_damaged(path)
            try:
                done = await _Salvage(wreck, pages, fresh, held).run()
            finally:
                await wreck.close()
            await fresh.fold()
        finally:
            await fresh.close()
    finally:
        pages.close()
    kept = _swap(path, clock)
    _say(path, done, kept)
    return done._replace(kept=kept)


def _is_ours(pages: Pages) -> bool:
    for row in carve.rows(pages, last=min(pages.count, CLUE_PAGES)):
        if row is not None and (row.kind == "run" or (row.kind == "batch" and _sound(row.values))):
            return True
    return pages.blank()


def _sound(batch: tuple[Any, ...]) -> bool:
    """Whether a row of `batch` is what was written."""
    base, last, count, *_, crc, records = batch
    return bool(0 < count <= last - base + 1 and base > 0 and codec.checksum(records) == crc)


class _Salvage:
    """The copying of one file."""

    def __init__(self, wreck: Reader, pages: Pages, fresh: Store, held: Range) -> None:
        self._wreck, self._pages, self._fresh = wreck, pages, fresh
        self._runs: dict[int, tuple[Any, ...]] = {}
        self._cursors: dict[str, tuple[Any, ...]] = {}
        self._copied: dict[int, int] = {}  # base offset -> last offset
        self._known: list[Range] = [(held[0], held[1] - 1)]
        self._highest = held[1] - 1
        self._whole = True
        self._seen_first: int | None = None

    async def run(self) -> Salvaged:
        for table in _SMALL:
            await self._small(table)
        try:
            self._runs = {row[0]: row for row in await self._wreck.every("run")}
        except LogError:
            self._whole = False
        if not self._whole:
            await self._carve_small()
        await self._keep_runs()
        unread = min((row[1] for row in self._cursors.values()), default=0)
        try:
            await self._copy(self._by_tree(unread, None))
            await self._copy(self._by_tree(0, unread))
            if not self._whole or self._lost(unread):
                await self._copy(self._by_carving())
        except StoreUnavailable as error:
            if not error.full:
                raise
            logger.warning("no room for everything: the oldest history stays in the damaged file")
        lost, next_offset = self._lost(unread), self._highest + JUMP
        behind = (self._highest + 1, next_offset - 1)
        keys = [(writes.KEEP, (f"lost/{first}", last)) for first, last in [*lost, behind]]
        await self._fresh.transaction([*keys, (writes.KEEP_NEXT_OFFSET, (next_offset,))])
        return Salvaged(len(self._copied), lost, next_offset, Path())

    # -- small tables -------------------------------------------------------------------------------------------------

    async def _small(self, table: str) -> None:
        try:
            rows = await self._wreck.every(table)
        except LogError as error:
            logger.debug("%s: %s", table, error)
            self._whole = False
            return
        await self._put_small(table, rows)

    async def _put_small(self, table: str, rows: list[tuple[Any, ...]]) -> None:
        for row in rows:
            self._learn(table, row)
        rows = [row for row in rows if table != "meta" or row[0] not in _NOT_COPIED]
        if table == "cursor":
            rows = list(self._cursors.values())
        columns = await self._fresh.columns(table)  # an older version has fewer
        await self._fresh.transaction([writes.put(table, (*row, *(None,) * (columns - len(row)))) for row in rows])

    def _learn(self, table: str, row: tuple[Any, ...]) -> None:
        """What a row tells of offsets, and the furthest cursors."""
        if table == "cursor":
            self._highest = max(self._highest, row[1] - 1)
            if row[0] not in self._cursors or self._cursors[row[0]][1] < row[1]:
                self._cursors[row[0]] = row
        elif table == "dead_letter":
            self._highest = max(self._highest, row[1])
        elif table == "checkpoint":
            self._highest = max(self._highest, row[0] - 1)
        elif table == "meta" and row[0] == "next_offset" and isinstance(row[1], int):
            self._highest = max(self._highest, row[1] - 1)
        elif table == "meta" and row[0][:5] in _HOLES and isinstance(row[1], int):
            self._known.append((int(row[0][5:]), row[1]))

    async def _carve_small(self) -> None:
        """The same out of the pages. What lies in freed pages is older: the furthest cursor counts, the first run."""
        found: dict[str, list[tuple[Any, ...]]] = {"cursor": [], "dead_letter": [], "meta": []}
        async for some in self._carved():
            for row in some:
                if row.kind == "run":
                    self._runs.setdefault(row.values[0], row.values)
                elif row.kind in found:
                    found[row.kind].append(row.values)
        for table, rows in found.items():
            await self._put_small(table, rows)

    async def _keep_runs(self) -> None:
        for row in self._runs.values():
            self._highest = max(self._highest, row[3] - 1)
        await self._fresh.transaction([writes.put("run", row) for row in self._runs.values()])

    # -- batches ------------------------------------------------------------------------------------------------------

    async def _by_tree(self, first: int, end: int | None) -> AsyncIterator[list[tuple[Any, ...]]]:
        """Rows of `batch` in [first, end) as SQLite finds them; where it finds no way, the rest is left to carving."""
        at, limit = first, STEP_ROWS
        while end is None or at < end:
            try:
                rows = await self._wreck.raw_batches(at, end, limit)
            except LogError:
                if limit == 1:
                    self._whole = False
                    step = await self._step(at, end)
                    if step is None:
                        return
                    at = step
                limit = 1
                continue
            yield rows
            if len(rows) < limit:
                return
            if rows[-1][0] < at:  # a tree that is out of order
                self._whole = False
                return
            at, limit = rows[-1][0] + 1, min(STEP_ROWS, 4 * limit)

    async def _step(self, at: int, end: int | None) -> int | None:
        """The next offset from which SQLite finds a batch, looked for in doubled steps; None if there is none."""
        step, most = 1, (self._highest if end is None else end) + JUMP
        while at + step <= most:
            try:
                return at + step if await self._wreck.raw_batches(at + step, end, 1) else None
            except LogError:
                step *= 2
        return None

    async def _by_carving(self) -> AsyncIterator[list[tuple[Any, ...]]]:
        async for rows in self._carved():
            yield [row.values for row in rows if row.kind == "batch"]

    async def _carved(self) -> AsyncIterator[list[Carved]]:
        rows: Iterator[Carved | None] = carve.rows(self._pages)
        while some := await self._fresh.beside(lambda: list(islice(rows, STEP_CARVED))):
            yield [row for row in some if row is not None]

    async def _copy(self, source: AsyncIterator[list[tuple[Any, ...]]]) -> None:
        async for rows in source:
            new = [row for row in rows if self._takes(row)]
            statements: list[Statement] = []
            for row in new:
                if row[3] not in self._runs:
                    self._runs[row[3]] = run = (row[3], secrets.token_hex(8), "", row[0], row[4] - row[5])
                    statements.append(writes.put("run", run))
                statements.append(writes.put("batch", row))
            if statements:
                await self._fresh.transaction(statements)
            for row in new:
                self._copied[row[0]] = row[1]
                self._highest = max(self._highest, row[1])

    def _takes(self, row: tuple[Any, ...]) -> bool:
        if isinstance(row[0], int) and row[0] > 0:
            self._seen_first = min(row[0], self._seen_first or row[0])
        whole = all(isinstance(value, int) for value in row[:9]) and isinstance(row[9], bytes)
        return whole and row[0] not in self._copied and _sound(row)

    def _lost(self, unread: int) -> list[Range]:
        """The holes in what was copied, but for those that were known before."""
        first = min(self._seen_first or self._highest + 1, unread or self._highest + 1)
        lost: list[Range] = []
        for base, last in sorted([*self._copied.items(), *self._known]):
            if base > first:
                lost.append((first, base - 1))
            first = max(first, last + 1)
        if first <= self._highest:
            lost.append((first, self._highest))
        return lost


# -- files ------------------------------------------------------------------------------------------------------------


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _swap(path: Path, clock: Clock) -> Path:
    """The damaged file gets a name with the time, the fresh one gets its name."""
    at = datetime.fromtimestamp(clock.wall_ns() / NS_PER_S, UTC)
    kept = path.with_name(f"{path.name}.corrupt-{at:%Y%m%dT%H%M%SZ}")
    while kept.exists():
        kept = kept.with_name(kept.name + "-2")
    path.rename(kept)
    finish(path)
    for old in sorted(damaged_beside(path), key=lambda other: (other != kept, -other.stat().st_mtime_ns))[KEPT_FILES:]:
        logger.warning("%s is removed: the newest %d damaged files are kept", old, KEPT_FILES)
        _remove(old)
    return kept


def _say(path: Path, done: Salvaged, kept: Path) -> None:
    events = sum(last - first + 1 for first, last in done.lost)
    logger.error(
        "%s: %d batches were salvaged, %d events in %d ranges are lost; the log goes on at offset %d, "
        "the damaged file is kept as %s",
        path,
        done.batches,
        events,
        len(done.lost),
        done.next_offset,
        kept.name,
    )
