"""The newest value of each subject: where a consumer begins that wants to know what is so, and then what changes."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from gateway.eventlog import EventLog
from gateway.present import SHOWN
from gateway.selection import Selection

READ_EVENTS: Final = 500
LAST_EVENTS_MAX: Final = 200_000
"""How far back `last` looks for values."""

LAST_STEP_EVENTS: Final = 5_000


async def last_values(log: EventLog, selection: Selection, upto: int, subjects: Collection[str]) -> list[int]:
    """Offsets of the newest value of each subject before `upto`, found by reading backwards.

    Ends when a value was found for each of `subjects` that the selection names, where any are known.
    """
    wanted = {subject for subject in subjects if selection.names_subject(subject)}
    found: dict[str, int] = {}
    stop = max(log.first_offset, upto - LAST_EVENTS_MAX)
    while upto > stop and not (wanted and wanted <= found.keys()):
        start = max(stop, upto - LAST_STEP_EVENTS)
        newer: dict[str, int] = {}
        at = start
        while at < upto:
            page = await log.read(at, READ_EVENTS, selection=selection)
            newer |= {e.subject: e.offset for e in page.events if e.type in SHOWN and e.offset < upto}
            if page.next_offset <= at:
                break
            at = page.next_offset
        found = newer | found
        upto = start
    return sorted(found.values())
