"""Finding events by time and by age, in a log whose wall clock was not always right.

`recorded` is what the wall clock said, and wall clocks step. CLOCK_BOOTTIME does not, so a boot is searched by halving
on `mono`, and its corrected anchor (`anchors`) says what wall time that was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from gateway.clock import NS_PER_S
from gateway.eventlog.anchors import BootAnchor
from gateway.eventlog.queries import BatchRow
from gateway.eventlog.store import Store

SLEW_NS = NS_PER_S
"""Within this distance the wall clock's own word counts for more than the anchor: smaller steps are not recorded."""

PAGE_BATCHES = 64


class Span(NamedTuple):
    """The offsets [low, high) of one run, and the boot they belong to."""

    boot: str
    low: int
    high: int


def spans(runs: Sequence[tuple[str, int]], first_offset: int, next_offset: int) -> Iterator[Span]:
    """The runs that still have events, oldest first. `runs` are (boot, first offset)."""
    ends = [*(first for _, first in runs), next_offset][1:]
    for (boot, first), end in zip(runs, ends, strict=True):
        low = max(first, first_offset)
        if low < end:
            yield Span(boot, low, end)


NEWEST_RUNS = 32
"""How many runs without a known time are passed over in the search for the newest known one."""


class Age(NamedTuple):
    """What is too old. All instants in ns.

    `boot` and `mono` say until when on the boot clock of this boot, which needs no wall clock. `wall` says the same in
    UTC for earlier boots, None while nobody knows what time it is: then those are not judged.
    """

    boot: str
    mono: int
    wall: int | None


class TimeIndex:
    """Looks into one open log."""

    def __init__(self, store: Store, anchors: Mapping[str, BootAnchor]) -> None:
        self._store, self._anchors = store, anchors

    async def offset_at(self, time_ns: int, first_offset: int, next_offset: int) -> int:
        """The first offset recorded at `time_ns` (corrected UTC) or later."""
        for span in spans(await self._store.runs(), first_offset, next_offset):
            anchor = self._anchors[span.boot].best
            last = await self._store.at_or_before(span.high - 1)
            if last is not None and _when(last, anchor) >= time_ns:
                near = await self._halve(span, time_ns - anchor - SLEW_NS)
                return await self._first_since(near, time_ns, anchor, next_offset)
        return next_offset

    async def _first_since(self, offset: int, time_ns: int, anchor: int, next_offset: int) -> int:
        while rows := await self._store.batches_from(offset, PAGE_BATCHES):
            for row in rows:
                if _when(row, anchor) >= time_ns:
                    return row.base_offset
            offset = rows[-1].last_offset + 1
        return next_offset

    async def newest(self, first_offset: int, next_offset: int) -> int | None:
        """The newest known time (corrected UTC); None if no boot of the log knew the time."""
        for span in list(spans(await self._store.runs(), first_offset, next_offset))[: -NEWEST_RUNS - 1 : -1]:
            known = self._anchors[span.boot].synced
            last = await self._store.at_or_before(span.high - 1) if known is not None else None
            if last is not None and known is not None:
                return last.mono + known
        return None

    async def aged(self, age: Age, first_offset: int, next_offset: int) -> int:
        """The offset before which everything is too old, whatever the wall clock was or is.

        A boot that never knew the time goes when the first events behind it go that did.
        """
        upto = first_offset
        for span in spans(await self._store.runs(), first_offset, next_offset):
            until = self._until(span.boot, age)
            if until is None:
                continue
            last = await self._store.at_or_before(span.high - 1)
            if last is None or last.mono < until:
                upto = span.high
                continue
            begins = await self._halve(span, until)
            return begins if begins > span.low else upto
        return upto

    async def newest_begin_at(self, count: int, first_offset: int, next_offset: int) -> int:
        """The offset at which the newest `count` events begin. Offsets that a run skipped count for nothing."""
        for span in reversed(list(spans(await self._store.runs(), first_offset, next_offset))):
            last = await self._store.at_or_before(span.high - 1)
            end = span.low if last is None else last.last_offset + 1
            if end - span.low >= count:
                return end - count
            count -= max(0, end - span.low)
        return first_offset

    def _until(self, boot: str, age: Age) -> int | None:
        """The instant of that boot's clock before which its events are too old; None if nobody can tell."""
        if boot == age.boot:
            return age.mono
        known = self._anchors[boot].synced
        return None if known is None or age.wall is None else age.wall - known

    async def _halve(self, span: Span, mono_ns: int) -> int:
        """The base offset of the first batch of the run whose `mono` is `mono_ns` or later, or the run's end."""
        low, high = span.low, span.high
        while low < high:
            row = await self._store.at_or_before((low + high) // 2)
            if row is None:
                break
            if row.mono >= mono_ns:
                high = max(low, row.base_offset)
                if row.base_offset <= low:
                    break
            else:
                low = row.last_offset + 1
        return low


def _when(row: BatchRow, anchor: int) -> int:
    """When a batch was recorded. Its own wall clock is more exact, unless it was stepped since."""
    told = row.mono + anchor
    return row.recorded if abs(row.recorded - told) < SLEW_NS else told
