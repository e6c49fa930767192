"""What of the log cannot be read: found when it is read or scrubbed, told once, and passed over.

A damaged batch is a hole in the offsets. It is *found* when its checksum does not match or the file's tree does not
lead to it, *told* by a `log.gap` with the reason `corrupt`, and *known* from there on: its range stands in `meta`, so
that no later start tells it again. The bytes stay where they are until retention passes them.

Where the tree itself is broken the file is not to be trusted with more: it is marked, and the next opening salvages.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from gateway.errors import LogCorrupt
from gateway.event import sequence
from gateway.eventlog import codec
from gateway.eventlog.queries import BatchRow
from gateway.eventlog.store import Store

JUMP: Final = 10**9
"""A salvaged log goes on so far behind its highest known offset: nobody knows how many there were behind that."""

FOUND_MAX: Final = 1000
"""Ranges that wait to be told. What is found beyond is found again."""

Range = tuple[int, int]


class Damage:
    """Ranges of offsets, first and last, of one log."""

    def __init__(self) -> None:
        self._known: dict[int, int] = {}
        self._found: dict[int, int] = {}
        self._overflowed: dict[int, int] = {}
        self.structure: str | None = None
        """Why the file is to be salvaged when it is opened next."""
        self.marked = False

    def load(self, known: Iterable[Range], untold: Iterable[Range], overflowed: Iterable[Range]) -> None:
        """What the file tells of itself."""
        self._known, self._found, self._overflowed = dict(known), dict(untold), dict(overflowed)

    def overflowed(self, ranges: Iterable[Range]) -> None:
        """These were held in memory while the disk refused, and were too many."""
        self._overflowed |= dict(ranges)

    def reason(self, offset: int) -> str:
        """Why there is no event at this offset: the reason that a `log.gap` gives, or `trimmed`."""
        for reason, ranges in (("memory", self._overflowed), ("corrupt", self._known | self._found)):
            if any(first <= offset <= last for first, last in ranges.items()):
                return reason
        return "trimmed"

    def note(self, first: int, last: int) -> None:
        """This cannot be read."""
        if self._known.get(first, 0) < last and len(self._found) < FOUND_MAX:
            self._found[first] = max(last, self._found.get(first, 0))

    @property
    def untold(self) -> list[Range]:
        return sorted(self._found.items())

    def told(self, ranges: Iterable[Range]) -> None:
        for first, last in ranges:
            self._known[first] = last
            if self._found.get(first) == last:
                del self._found[first]

    def between(self, first: int, end: int) -> int:
        """How many offsets in [first, end) are known to hold nothing."""
        ranges = (self._known | self._found | self._overflowed).items()
        return sum(max(0, min(end, last + 1) - max(first, begin)) for begin, last in ranges)

    def forget_before(self, first_offset: int) -> list[Range]:
        """Trimmed history has no holes: returns those that went with it."""
        gone = [hole for ranges in (self._known, self._overflowed) for hole in ranges.items() if hole[1] < first_offset]
        for first, _ in gone:
            self._known.pop(first, None)
            self._overflowed.pop(first, None)
        return gone


def gap_of(first: int, last: int) -> dict[str, Any]:
    """What the `log.gap` of a damaged range says. Behind a salvage nobody can count."""
    counted = last - first < JUMP - 2
    count = last - first + 1 if counted else 0
    data = {"first": sequence(first), "last": sequence(last), "count": count, "subjects": {}, "rest": count}
    return data if counted else data | {"uncounted": True}


def is_sound(row: BatchRow) -> bool:
    """Whether a batch is what was written."""
    return codec.checksum(row.records) == row.crc and row.base_offset <= row.last_offset


async def readable_from(opened: Store, offset: int, end: int) -> int:
    """The base offset of the first batch behind `offset` to which the file's tree leads; `end` if there is none.

    Steps are doubled until one succeeds, then halved: some dozens of looks, however much is broken.
    """
    low, step = offset, 1
    found = await _next_batch(opened, min(low + step, end), end)
    while found is None:
        low, step = low + step, 2 * step
        found = await _next_batch(opened, min(low + step, end), end)
    high = min(low + step, end)
    while low + 1 < high:
        middle = (low + high) // 2
        if (there := await _next_batch(opened, middle, end)) is None:
            low = middle
        else:
            high, found = middle, there
    return found


async def _next_batch(opened: Store, offset: int, end: int) -> int | None:
    """The base offset of the first batch at `offset` or behind it, at most `end`; None where the tree is broken."""
    if offset >= end:
        return end
    try:
        base = await opened.base_since(offset)
    except LogCorrupt:
        return None
    return end if base is None else min(base, end)


def salvaged_beside(path: Path) -> Path:
    """Where a salvage makes the fresh log."""
    return path.with_name(path.name + ".salvage")


def damaged_beside(path: Path) -> list[Path]:
    """The damaged files that were kept."""
    there = path.parent.glob(f"{path.name}.corrupt-*")
    return [file for file in there if not file.name.endswith(("-wal", "-shm"))]


def finish(path: Path) -> None:
    """Put the fresh log of a salvage in the place of the damaged file, where that has gone already.

    What is left of the damaged file's write-ahead log goes after it: SQLite would take it for the fresh one's.
    """
    fresh = salvaged_beside(path)
    if path.exists() or not fresh.exists():
        return
    wal = path.with_name(path.name + "-wal")
    if wal.exists():
        newest = max(damaged_beside(path), key=lambda file: file.stat().st_ctime_ns, default=None)
        wal.rename(newest.with_name(newest.name + "-wal")) if newest else wal.unlink()
    path.with_name(path.name + "-shm").unlink(missing_ok=True)
    fresh.rename(path)
