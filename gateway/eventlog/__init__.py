"""The event log: append-only, durable, replayable.

`log` is the door, `runs` opens it, `head` is its writing end, `tail` the newest events in memory. `reader` is the log
as readers see it, page by page (`pages`); `riders` and `consumers` are what is kept beside the events. `retention`
forgets, `loss` counts what was not read, `thin` sums old readings up (`thinning` decides how). `times` and `anchors`
know the time, `codec` packs, `lock` keeps it to one writer. The file: `opening` makes a `store` of it, which runs what
is in `writes` and `queries`: SQL is nowhere else.

For the bad days: `ring` holds in memory what the disk refuses, `ballast` keeps a reserve on it, `scrub` and `damage`
find and name what cannot be read, `salvage` makes a fresh log of a damaged one, with what `carve` finds in its pages.
"""

from gateway.eventlog.damage import gap_of
from gateway.eventlog.log import MAX_BATCH_EVENTS, EventLog
from gateway.eventlog.loss import TELL_EVERY_S, told
from gateway.eventlog.thin import HELD_AT_START
from gateway.eventlog.words import (
    Bounds,
    Checkpoint,
    ConsumerSpec,
    ConsumerState,
    Cursor,
    DeadLetter,
    Keep,
    LogEnd,
    Page,
    Riders,
    WhenFull,
)

__all__ = [
    "HELD_AT_START",
    "MAX_BATCH_EVENTS",
    "TELL_EVERY_S",
    "Bounds",
    "Checkpoint",
    "ConsumerSpec",
    "ConsumerState",
    "Cursor",
    "DeadLetter",
    "EventLog",
    "Keep",
    "LogEnd",
    "Page",
    "Riders",
    "WhenFull",
    "gap_of",
    "told",
]
