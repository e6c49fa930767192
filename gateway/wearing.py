"""Watches what the process writes, and has readings wait for their commit accordingly (`wear` decides how long)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from gateway.clock import Clock
from gateway.config import BufferConfig
from gateway.config.sentences import size_text
from gateway.wear import WAIT_S_MAX, Mode, Wear, WearState

logger = logging.getLogger("gateway.wear")

LOOK_EVERY_S = 10.0
_IO = Path("/proc/self/io")


def written_bytes() -> int | None:
    """What this process caused to be written to disks, as the kernel counts it (proc(5), `write_bytes`).

    None where nobody counts: no Linux, or a kernel without I/O accounting.
    """
    try:
        counted = dict(line.split(": ") for line in _IO.read_text(encoding="ascii").splitlines())
        return int(counted["write_bytes"])
    except (OSError, ValueError, KeyError):
        return None


class Commits(Protocol):
    """What is steered: the recorder."""

    commit_within_s: float


class Wearing:
    """Sets `commit_within_s` of `commits`, every few seconds while `run` runs, and says so when the mode changes."""

    def __init__(
        self,
        commits: Commits,
        clock: Clock,
        buffer: BufferConfig,
        written: Callable[[], int | None] = written_bytes,
    ) -> None:
        self._commits, self._clock, self._written = commits, clock, written
        self._wear = Wear(buffer.commit_within_s, buffer.wear_bytes_per_day)
        self._ended = asyncio.Event()
        self._blind = False
        self.look()

    @property
    def state(self) -> WearState:
        return self._wear.state

    def retune(self, buffer: BufferConfig) -> None:
        """Another configuration is in force from now on."""
        self._wear.retune(buffer.commit_within_s, buffer.wear_bytes_per_day)
        self._blind = False
        self.look()

    async def run(self) -> None:
        """Look every few seconds, until `stop`."""
        while not self._ended.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), LOOK_EVERY_S)
            self.look()

    def stop(self) -> None:
        self._ended.set()

    def look(self) -> None:
        """Decide anew."""
        written = self._written()
        if written is not None:
            mode = self._wear.look(self._clock.mono_ns(), written)
            if mode is not None:
                self._tell(mode)
        elif self._wear.state.limit_bytes_per_day is not None and not self._blind:
            self._blind = True
            logger.warning("buffer.wear has no effect: this kernel does not count what a process writes (%s)", _IO)
        self._commits.commit_within_s = self._wear.commit_within_s

    def _tell(self, mode: Mode) -> None:
        state = self._wear.state
        limit = f"{size_text(state.limit_bytes_per_day or 0)}/day"
        if mode == "free":
            logger.info("readings wait %g s for their commit again: that stays below %s", state.commit_within_s, limit)
        elif mode == "spread":
            logger.info("readings wait longer for their commit, up to %g s, to stay below %s", WAIT_S_MAX, limit)
        else:
            logger.warning(
                "more than %s is written although readings wait %g s for their commit, the most that they may: "
                "record less, give channels `urgent: false`, or raise buffer.wear",
                limit,
                WAIT_S_MAX,
            )
