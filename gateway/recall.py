"""Remembering at start what was true when the gateway stopped: the newest recorded events, read backwards.

Retained state is what was recorded last. A device that reports once an hour would otherwise have none for an hour after
each restart.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Final

from gateway.errors import LogError
from gateway.event import Event
from gateway.eventlog import EventLog
from gateway.present import newest

logger = logging.getLogger("gateway.recall")

STEP_EVENTS: Final = 2_000
EVENTS_MAX: Final = 20_000
"""How far back is read at most."""


async def recall(log: EventLog, devices: Mapping[str, Collection[str]]) -> list[Event]:
    """What `present.Latest` is to be fed with, so that it shows what it showed at the stop.

    `devices` is device id -> those of its channels that have a lasting value. Reading ends when each was found, or
    after `EVENTS_MAX` events. A log that cannot be read is remembered nothing of: its own trouble is told elsewhere.
    """
    subjects = {f"{device}/{channel}" for device, channels in devices.items() for channel in channels}
    known = {*subjects, *devices}
    found: list[Event] = []
    upto, stop = log.next_offset, max(log.first_offset, log.next_offset - EVENTS_MAX)
    try:
        while upto > stop and known - {event.subject for event in found}:
            start = max(stop, upto - STEP_EVENTS)
            found = newest([*await _between(log, start, upto), *found], known)
            upto = start
    except LogError as error:
        logger.warning("the newest values cannot be read from the log: %s", error)
    return found


async def _between(log: EventLog, start: int, upto: int) -> list[Event]:
    events: list[Event] = []
    while start < upto:
        page = await log.read(start, upto - start)
        if not page.events:
            break
        events += [event for event in page.events if event.offset < upto]
        start = page.next_offset
    return events
