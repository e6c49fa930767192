"""What time it was: corrects the times of events that a wrong wall clock wrote down. Pure.

The *anchor* of a boot is wall clock minus CLOCK_BOOTTIME. It is constant until the wall clock is stepped, so one
number puts a whole boot right, also the part of it that passed before the clock was synchronised. Two kinds of record
tell it, `ANCHORING`; nothing else moves an anchor.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from gateway.event import Event

ANCHORING: Final = frozenset({"gateway.started", "clock.step"})
"""Types whose `time` and `mono` are one instant on both clocks."""


class BootAnchor(msgspec.Struct, frozen=True, array_like=True):
    """What is known of one boot, nanoseconds.

    `latest` is the newest anchor, `synced` the newest of a clock that was not known to be wrong (None: there
    was no such clock yet), `least` the smallest of those: by it the boot is youngest.
    """

    latest: int
    synced: int | None = None
    least: int | None = None

    @property
    def best(self) -> int:
        """For times that need some answer."""
        return self.latest if self.synced is None else self.synced


def after(known: BootAnchor | None, anchor: int, *, synced: bool) -> BootAnchor:
    """What is known of a boot after one more record that tells its anchor."""
    if not synced:
        return BootAnchor(anchor, *((known.synced, known.least) if known else ()))
    least = anchor if known is None or known.least is None else min(known.least, anchor)
    return BootAnchor(anchor, anchor, least)


def corrected(anchors: Mapping[str, BootAnchor], boot: str, mono: int) -> int | None:
    """The wall time (ns UTC) of an instant of a boot; None if that boot never had a clock to be believed."""
    known = anchors.get(boot)
    return None if known is None or known.synced is None else mono + known.synced


def dated(anchors: Mapping[str, BootAnchor], events: list[Event]) -> list[Event]:
    """The events as readers see them: those of an unsynchronised stretch at their corrected time, still marked so."""
    if all(event.synced for event in events):
        return events
    return [event if event.synced else _dated(anchors, event) for event in events]


def _dated(anchors: Mapping[str, BootAnchor], event: Event) -> Event:
    time_ns = corrected(anchors, event.boot, event.mono)
    return event if time_ns is None else msgspec.structs.replace(event, time=time_ns)
