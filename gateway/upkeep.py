"""Looks after the log while the gateway runs: room on the disk, a disk that takes no writes, damage that is to be told.

Every second it asks the log to mind itself, tells what was found damaged in a `log.gap`, and lets the scrub read on
while nothing waits to be recorded.
"""

from __future__ import annotations

import contextlib
import logging
from typing import Final

from gateway.errors import LogError, StoreUnavailable
from gateway.eventlog import EventLog, gap_of
from gateway.record import Recorder

logger = logging.getLogger("gateway.upkeep")

EVERY_S: Final = 1.0
SCRUB_EVERY: Final = 2
"""The scrub reads on with every second look: 128 KiB a second, so half a gigabyte in an hour."""

TOLD_AT_ONCE_MAX: Final = 50


class Upkeep:
    """The upkeep of one log. `run` it until the recorder has ended."""

    def __init__(self, log: EventLog, recorder: Recorder) -> None:
        self._log, self._recorder = log, recorder
        self._looks = 0

    async def run(self) -> None:
        while not await self._recorder.ends_within(EVERY_S):
            await self.look()

    async def look(self) -> None:
        """One look after everything."""
        self._looks += 1
        try:
            await self._log.faults.mind()
        except StoreUnavailable as error:
            logger.debug("upkeep: %s", error)
            self._recorder.try_disk()
            return
        self._recorder.look_at_room()
        with contextlib.suppress(LogError):  # the recorder meets it too, and says so
            if self._looks % SCRUB_EVERY == 0 and not self._recorder.pending:
                await self._log.faults.scrub()
            await self._tell_damage()

    async def _tell_damage(self) -> None:
        """First the `log.gap`, then the mark that it was told: a crash in between tells it twice, never not at all."""
        ranges = self._log.faults.untold[:TOLD_AT_ONCE_MAX]
        if not ranges or self._recorder.trouble:
            return
        for first, last in ranges:
            logger.error("offsets %d to %d of the log cannot be read", first, last)
            self._recorder.note("log.gap", gap_of(first, last), reason="corrupt")
        await self._recorder.flush()
        if self._recorder.settled:
            await self._log.faults.told(ranges)
