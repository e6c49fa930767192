"""Time is an argument. This is the only module that reads the system's clocks.

Two clocks matter. The *wall* clock says when something happened, and steps: a Pi without a battery clock starts in the
past and jumps when the network answers. The *boot* clock (CLOCK_BOOTTIME) only ever runs forward, also through suspend,
so order and durations are judged by it, and `boot_id` says which boot it counts from.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Protocol

NS_PER_S = 1_000_000_000

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_TIMESYNCD = Path("/run/systemd/timesync")


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

    def __init__(self, boot_id_file: Path = _BOOT_ID, timesyncd: Path = _TIMESYNCD) -> None:
        self._timesyncd = timesyncd
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
        # timesyncd makes its directory when it starts and the file once it has synchronised. Without timesyncd nobody
        # can say, and containers and virtual machines say nothing for ever: that is not a reason to doubt the clock.
        return not self._timesyncd.is_dir() or (self._timesyncd / "synchronized").exists()
