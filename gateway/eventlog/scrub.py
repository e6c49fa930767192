"""Reads what nobody reads, so that damage is found while it is young, and looks closely at the end of a log at start.

A card that loses power while it writes damages what was written last; one that grows old, anything. The newest batches
are checked at each start. The rest is read little by little while nothing else is to do, once a day at most.
"""

from __future__ import annotations

from typing import Final

from gateway.clock import NS_PER_S
from gateway.errors import LogCorrupt
from gateway.eventlog.damage import Damage, is_sound, readable_from
from gateway.eventlog.store import Store

NEWEST_BATCHES: Final = 100
NEWEST_BYTES_MAX: Final = 16 * 2**20
"""What is checked at start at most; only batches of thousands of events reach it."""

STEP_BYTES: Final = 256 * 1024
STEP_BATCHES_MAX: Final = 64
PASS_EVERY_S: Final = 86_400.0


async def check_end(opened: Store) -> None:
    """Look at the newest batches, one by one, from the newest back.

    Raises:
        LogCorrupt: one of them is not what was written, or the file was marked as broken.
    """
    if (reason := await opened.kept("broken")) is not None:
        raise LogCorrupt(f"the file was found to be broken when it was open last: {reason}")
    row, bytes_left = await opened.newest(), NEWEST_BYTES_MAX
    known = dict(await opened.holes("hole"))
    for _ in range(NEWEST_BATCHES):
        if row is None or bytes_left < 0:
            return
        if not is_sound(row) and row.base_offset not in known:
            raise LogCorrupt(
                f"the batch of offsets {row.base_offset} to {row.last_offset}, one of the newest, does not match "
                "its checksum"
            )
        bytes_left -= len(row.records)
        row = await opened.at_or_before(row.base_offset - 1)


class Scrub:
    """One look after another at a log, from its oldest batch to its newest."""

    def __init__(self) -> None:
        self._offset = 0
        self._batches = 1
        self._pass_at_ns = 0
        self.passes = 0

    async def step(self, opened: Store, damage: Damage, first_offset: int, next_offset: int, now_ns: int) -> None:
        """Check some 256 KiB, if it is time for that.

        Raises:
            StoreUnavailable: the disk does not answer.
        """
        if now_ns < self._pass_at_ns:
            return
        offset = max(self._offset, first_offset)
        try:
            rows = await opened.batches_from(offset, self._batches)
        except LogCorrupt as error:
            if self._batches > 1:  # perhaps a later one of these
                self._batches = 1
                return
            self._offset = await readable_from(opened, offset, next_offset)
            damage.note(offset, self._offset - 1)
            damage.structure = damage.structure or str(error)
            return
        for row in rows:
            if not is_sound(row):
                damage.note(row.base_offset, max(row.base_offset, row.last_offset))
        if rows:
            self._offset = rows[-1].last_offset + 1
            mean_bytes = sum(len(row.records) for row in rows) // len(rows) + 1
            self._batches = max(1, min(STEP_BATCHES_MAX, STEP_BYTES // mean_bytes))
        if not rows or self._offset >= next_offset:
            self._offset, self._pass_at_ns = 0, now_ns + round(PASS_EVERY_S * NS_PER_S)
            self.passes += 1
