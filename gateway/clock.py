"""Time is an argument. This is the only module that reads the system's clocks.

Two clocks matter. The *wall* clock says when something happened, and steps: a Pi without a battery clock starts in the
past and jumps when the network answers. The *boot* clock (CLOCK_BOOTTIME) only ever runs forward, also through suspend,
so order and durations are judged by it, and `boot_id` says which boot it counts from. The difference between the two,
the *anchor*, is constant until the wall clock is stepped: both are slewed alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Protocol

from gateway import EARLIEST
from gateway.sync import Synchronisation

NS_PER_S = 1_000_000_000
HOUR_NS = 3600 * NS_PER_S
DAY_NS = 24 * HOUR_NS

BEHIND_NS = DAY_NS
"""How far the wall clock may lie before what it must have passed: time zones, and a clock saved once an hour."""

AHEAD_NS = 20 * 365 * DAY_NS
"""How far it may lie after it: longer than a gateway lies on a shelf."""

SETTLE_NS = 60 * NS_PER_S
"""How long readings wait on after that, until the time of this boot is on record: NTP sets the clock, then says so."""

DOUBT_NS_MAX = HOUR_NS
"""How long readings wait for a plausible clock, and how long a log that claims to come from the future is believed."""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_SYNCED_LOOK_NS = NS_PER_S
_TOGETHER_NS = NS_PER_S // 1000
_TOGETHER_TRIES = 5


def monotonic_us() -> int:
    """CLOCK_MONOTONIC in microseconds: the one clock that systemd compares ours with (sd_notify(3))."""
    return time.monotonic_ns() // 1000


class Clock(Protocol):
    """What the gateway asks of time."""

    @property
    def boot_id(self) -> str:
        """Identifies this boot of the machine; `mono_ns` of different boots cannot be compared."""

    def wall_ns(self) -> int:
        """UTC now, nanoseconds since 1970. May step in either direction."""

    def mono_ns(self) -> int:
        """Nanoseconds since boot, suspend included. Never steps."""

    def synced(self) -> bool:
        """False only while the machine *knows* that its wall clock is not synchronised."""


class SystemClock:
    """The machine's own clocks."""

    def __init__(self, boot_id_file: Path = _BOOT_ID, synchronisation: Callable[[], bool | None] | None = None) -> None:
        self._synchronisation = synchronisation
        self._synced, self._look_ns = True, 0
        self._mono_id = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # macOS has no CLOCK_BOOTTIME
        try:
            self._boot_id = boot_id_file.read_text(encoding="ascii").strip()
        except OSError:  # not Linux: the time of boot, to the second, tells boots apart well enough
            self._boot_id = f"boot-{(self.wall_ns() - self.mono_ns()) // NS_PER_S}"

    @property
    def boot_id(self) -> str:
        return self._boot_id

    def wall_ns(self) -> int:
        return time.time_ns()

    def mono_ns(self) -> int:
        return time.clock_gettime_ns(self._mono_id)

    def synced(self) -> bool:
        now = self.mono_ns()
        if now >= self._look_ns:  # every event asks; who keeps the clock is asked once a second
            self._look_ns = now + _SYNCED_LOOK_NS
            self._synchronisation = self._synchronisation or Synchronisation()
            self._synced = self._synchronisation() is not False
        return self._synced


class JudgedClock:
    """A clock that is not called synchronised while what it says cannot be.

    It cannot be before this software was begun, nor a day before the newest time in the log, nor decades after them.
    Implements `Clock`.
    """

    def __init__(self, clock: Clock, earliest: str = EARLIEST) -> None:
        self._clock = clock
        self._earliest_ns = _midnight_ns(date.fromisoformat(earliest))
        self._newest_ns: int | None = None
        self._doubted_ns: int | None = None
        self._settled_ns = 0

    @property
    def boot_id(self) -> str:
        return self._clock.boot_id

    def wall_ns(self) -> int:
        return self._clock.wall_ns()

    def mono_ns(self) -> int:
        return self._clock.mono_ns()

    def synced(self) -> bool:
        plausible = self.plausible()  # first, and always: it notes when doubt begins and ends
        return plausible and self._clock.synced()

    def has_seen(self, newest_ns: int | None) -> None:
        """The newest time in the log (UTC) when it was opened, None for an empty log."""
        self._newest_ns = newest_ns

    def plausible(self) -> bool:
        """Whether the wall clock can be right."""
        since = max(self._earliest_ns, self._newest_ns or 0)
        if since - BEHIND_NS <= self.wall_ns() <= since + AHEAD_NS:
            if self._doubted_ns is not None:
                self._doubted_ns, self._settled_ns = None, self.mono_ns() + SETTLE_NS
            return True
        now = self.mono_ns()
        if self._doubted_ns is None:
            self._doubted_ns = now
        elif now - self._doubted_ns > DOUBT_NS_MAX:
            self._newest_ns = None  # a log written by a wrong clock must not accuse a right one for ever
        return False

    def readings_wait(self, *, time_known: bool) -> bool:
        """Whether readings are worth holding back until the clock was put right: for an hour, not for ever.

        `time_known` says whether the log can correct the times of this boot.
        """
        if self.plausible() or self._doubted_ns is None:
            return not time_known and self.mono_ns() < self._settled_ns
        return self.mono_ns() - self._doubted_ns <= DOUBT_NS_MAX


def read_together(clock: Clock) -> tuple[int, int]:
    """(wall ns, mono ns) of one instant, to the millisecond, also where the scheduler comes between the looks."""
    best: tuple[int, int, int] | None = None
    for _ in range(_TOGETHER_TRIES):
        before, wall, after = clock.mono_ns(), clock.wall_ns(), clock.mono_ns()
        if best is None or after - before < best[0]:
            best = (after - before, wall, (before + after) // 2)
        if best[0] <= _TOGETHER_NS:
            break
    assert best is not None
    return best[1], best[2]


def _midnight_ns(day: date) -> int:
    return (day - date(1970, 1, 1)).days * DAY_NS
