"""What of the log cannot be read: found when it is read or scrubbed, told once, and passed over.

A damaged batch is a hole in the offsets. It is *found* when its checksum does not match or the file's tree does not
lead to it, *told* by a `log.gap` with the reason `corrupt`, and *known* from there on: its range stands in `meta`, so
that no later start tells it again. The bytes stay where they are until retention passes them.

Where the tree itself is broken the file is not to be trusted with more: it is marked, and the next opening salvages.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from gateway.errors import LogCorrupt
from gateway.event import sequence
from gateway.eventlog import codec
from gateway.eventlog.store import BatchRow, Store

logger = logging.getLogger("gateway.eventlog")

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


def finish(path: Path) -> None:
    """Take a fresh log that a salvage had made when it was cut off between its two renames."""
    fresh = salvaged_beside(path)
    if fresh.exists() and not path.exists():
        fresh.rename(path)
        logger.warning("%s: a salvage that was cut off is finished", path)
