"""The event log: append-only, durable, replayable.

`log` is the door, `head` its writing end, `tail` the newest events in memory. `retention` forgets, `times` and
`anchors` know the time, `pages` reads, `codec` packs, `store` speaks SQL, `lock` keeps it to one writer.
"""

from gateway.eventlog.log import MAX_BATCH_EVENTS, EventLog
from gateway.eventlog.words import Bounds, Checkpoint, Cursor, DeadLetter, Page, Riders

__all__ = ["MAX_BATCH_EVENTS", "Bounds", "Checkpoint", "Cursor", "DeadLetter", "EventLog", "Page", "Riders"]
