"""One group commit, on its way into the file and back out of it."""

from __future__ import annotations

from typing import NamedTuple

from gateway.errors import LogCorrupt
from gateway.event import Event
from gateway.eventlog import codec, writes
from gateway.eventlog.queries import BatchRow
from gateway.eventlog.writes import Statement
from gateway.selection import Selection


class Batch(NamedTuple):
    """Stamped events and what is stored of them. `mono` is the instant of the commit (CLOCK_BOOTTIME, ns)."""

    events: list[Event]
    blob: bytes
    crc: int
    mono: int
    statements: list[Statement]


def insert(
    events: list[Event], blob: bytes, crc: int, *, run_id: int, recorded: int, mono: int, rule_time: int
) -> Statement:
    """What writes the row of a batch."""
    first, last = events[0].offset, events[-1].offset
    row = (first, last, len(events), run_id, recorded, mono, rule_time, codec.CODEC, crc, blob)
    return (writes.INSERT_BATCH, row)


def readable(row: BatchRow) -> list[Event]:
    """The events of a stored batch, none if it is damaged: for those who only want to know what goes with it."""
    try:
        return decode(row)
    except LogCorrupt:
        return []


def once(batch: Batch) -> list[Statement]:
    """What writes a batch with the run and the offsets that its events have, unless it is there already."""
    event = batch.events[0]
    (_, row), *others = batch.statements
    run = (event.run, event.boot, event.offset, event.recorded - batch.mono)
    return [(writes.INSERT_RUN_ONCE, run), (writes.INSERT_BATCH_ONCE, (*row[:3], event.run, *row[4:])), *others]


def decode(row: BatchRow, selection: Selection | None = None) -> list[Event]:
    """The events of a stored batch, checked; only those that `selection` wants where one is given.

    Raises:
        LogCorrupt: the checksum does not match.
    """
    if codec.checksum(row.records) != row.crc:
        raise LogCorrupt(
            f"the batch of offsets {row.base_offset} to {row.last_offset} does not match its checksum: "
            "the file was damaged, by the card or by another program"
        )
    return codec.unpack(
        row.records,
        codec=row.codec,
        base_offset=row.base_offset,
        recorded=row.recorded,
        mono=row.mono,
        run=row.nonce,
        boot=row.boot,
        selection=selection,
    )
