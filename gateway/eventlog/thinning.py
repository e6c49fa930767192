"""Which old batches are rewritten, and what becomes of their events: the thinking of `thin`. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.clock import NS_PER_S
from gateway.event import THINNED, Event

if TYPE_CHECKING:
    from gateway.eventlog.queries import BatchHead

EVENTS_MAX = 4096
BYTES_MAX = 2**18
"""What one rewrite takes in at most: it is decoded in one go, and its records stay below what a batch may hold."""

MINUTE_NS = 60 * NS_PER_S


class Stretch(NamedTuple):
    """Rows [low, high) become one; none where they are equal. Then the look goes on at `upto`."""

    low: int
    high: int
    upto: int


def stretch(
    rows: Sequence[BatchHead], *, limit: int, cursors: Iterable[int], held: Iterable[tuple[int, int]], thinned: int
) -> Stretch:
    """The first rows that may become one: neighbours of one run, all before `limit`, not of the codec `thinned`.

    No row that overlaps a range of `held` is among them, because a consumer has those events in its hands, and none
    with a cursor inside; a cursor at the beginning of a row begins a new stretch. So no consumer ever gets a summary of
    readings of which it had some.
    """
    starts, hands = frozenset(cursors), tuple(held)
    low = 0
    while low < len(rows) and not _free(rows[low], limit, starts, hands, thinned):
        if rows[low].last_offset >= limit:
            return Stretch(low, low, rows[low].base_offset)
        low += 1
    high, events, size = low, 0, 0
    while high < len(rows) and _free(rows[high], limit, starts, hands, thinned):
        row = rows[high]
        events, size = events + row.last_offset - row.base_offset + 1, size + row.bytes
        if high > low and (not _adjoin(rows[high - 1], row, starts) or events > EVENTS_MAX or size > BYTES_MAX):
            break
        high += 1
    return Stretch(low, high, rows[high - 1].last_offset + 1 if high else limit)


def _free(row: BatchHead, limit: int, starts: frozenset[int], held: Sequence[tuple[int, int]], thinned: int) -> bool:
    if row.codec == thinned or row.last_offset >= limit:
        return False
    if any(row.base_offset < end and row.last_offset >= begin for begin, end in held):
        return False
    return not any(row.base_offset < start <= row.last_offset for start in starts)


def _adjoin(former: BatchHead, row: BatchHead, starts: frozenset[int]) -> bool:
    return row.base_offset == former.last_offset + 1 and row.nonce == former.nonce and row.base_offset not in starts


# -- what becomes of the events ---------------------------------------------------------------------------------------


def summed_up(events: Sequence[Event]) -> list[Event]:
    """The events of a stretch with its readings summed up by minute, subject, unit and quality; all others as they are.

    A summary takes the place of its last reading: its offset, time and instant of recording. So offsets stay unique and
    in order, the last offset of the stretch stays taken, and a reading that is alone in its minute stays itself.
    """
    kept: list[Event] = []
    groups: dict[tuple[Any, ...], list[Event]] = {}
    for event in events:
        if of_low_priority(event):
            groups.setdefault(_alike(event), []).append(event)
        else:
            kept.append(event)
    kept += [group[0] if len(group) == 1 else summary(group) for group in groups.values()]
    return sorted(kept, key=_offset)


def of_low_priority(event: Event) -> bool:
    """A number (or its absence) that was read periodically and caused nothing to be known at once."""
    if event.type != "reading" or event.urgent or event.data or event.cause or isinstance(event.value, (bool, str)):
        return False
    return event.value is None or math.isfinite(event.value)


def summary(readings: Sequence[Event]) -> Event:
    """What stands for these readings, which are alike and in order. `span_s` is how long they took."""
    first, last = readings[0], readings[-1]
    values = [reading.value for reading in readings if isinstance(reading.value, (int, float))]
    of_values = (min(values), math.fsum(values) / len(values), max(values)) if values else (None, None, None)
    data = {
        **dict(zip(("min", "mean", "max"), of_values, strict=True)),
        "count": len(readings),
        "span_s": round((last.mono - first.mono) / NS_PER_S, 3),
    }
    return Event(
        THINNED,
        last.subject,
        last.time,
        last.mono,
        None,
        last.unit,
        last.quality,
        last.reason,
        "",
        data,
        last.synced,
        last.simulated,
        urgent=False,
        offset=last.offset,
        recorded=last.recorded,
        run=last.run,
        boot=last.boot,
    )


def _alike(e: Event) -> tuple[Any, ...]:
    minute = e.time // MINUTE_NS
    return e.subject, minute, e.unit, e.quality, e.reason, e.synced, e.simulated, e.value is None, e.boot


def _offset(event: Event) -> int:
    return event.offset
