"""The event log: append-only, durable, replayable.

`log` is the door, `codec` packs, `store` speaks SQL, `lock` keeps it to one writer.
"""

from gateway.eventlog.log import MAX_BATCH_EVENTS, Bounds, Cursor, DeadLetter, EventLog, Page, Riders

__all__ = ["MAX_BATCH_EVENTS", "Bounds", "Cursor", "DeadLetter", "EventLog", "Page", "Riders"]
