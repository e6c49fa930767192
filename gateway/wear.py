"""How long readings wait for company so that no more than so many bytes a day reach the card (`buffer.wear`). Pure.

Theory. A commit costs the card some 5 kB whatever it holds, an event in it some tens of bytes (`budget`). So bytes a
day are almost commits a day, and fewer commits means that readings wait longer for theirs. Urgent events do not wait:
what they write is spent all the same, and readings make room for it.

A *credit* in bytes grows with time, at the rate of the limit, and every byte that the process wrote is taken off. It
never exceeds what may be written in an hour, so a quiet week does not pay for a wild day, and it never falls below
nothing, so a wild day is not paid back for a week. The wait follows the credit:

    credit   full ........ half ........................... nothing
    wait     as configured |  longer, in a straight line  | 60 s
    mode     free            spread                          over

Less credit, fewer commits, less spent: it settles where as much is written as the limit allows, and does not swing,
because an hour's credit moves slowly against the seconds of the wait. Over any time t the process writes at most
`limit * (t + 1 h)`, unless a minute's wait is not enough: then the mode is `over`, and that is said.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final, Literal

from gateway.clock import NS_PER_S

DAY_S: Final = 86400.0
WAIT_S_MAX: Final = 60.0
"""Readings never wait longer: what is not committed is lost in a power cut, and no sink has it."""

CREDIT_S: Final = 3600.0
"""The credit is at most what may be written in this time."""

SPREAD_BELOW, FREE_ABOVE, NOT_OVER_ABOVE = 0.5, 0.75, 0.25
"""Parts of the full credit at which the mode changes. Apart, so that a load near one of them does not flutter."""

RATE_OVER_S: Final = 3600.0
RATE_SAMPLE_S: Final = 60.0
"""The measured rate is that of the last hour, from samples a minute apart; it is not told of less than a minute."""

Mode = Literal["free", "spread", "over"]


@dataclass(frozen=True, slots=True)
class WearState:
    """What is shown. `commit_within_s` is in force now; `bytes_per_day` is measured, None in the first minute."""

    commit_within_s: float = 1.0
    mode: Mode = "free"
    limit_bytes_per_day: int | None = None
    bytes_per_day: float | None = None


class Wear:
    """Decides from what was written how long readings wait. `look` is called every few seconds."""

    def __init__(self, commit_within_s: float, limit_bytes_per_day: int | None) -> None:
        self._configured_s, self._limit = commit_within_s, limit_bytes_per_day
        self._credit = self._credit_max
        self._last: tuple[int, int] | None = None
        self._samples: deque[tuple[int, int]] = deque()
        self.mode: Mode = "free"

    def retune(self, commit_within_s: float, limit_bytes_per_day: int | None) -> None:
        """Another configuration. A changed limit begins with full credit; the measured rate goes on."""
        self._configured_s = commit_within_s
        if limit_bytes_per_day != self._limit:
            self._limit, self.mode = limit_bytes_per_day, "free"
            self._credit = self._credit_max

    def look(self, mono_ns: int, written_bytes: int) -> Mode | None:
        """Take in what the process had written at that instant of the boot clock; returns the mode if it changed."""
        last, self._last = self._last, (mono_ns, written_bytes)
        self._sample(mono_ns, written_bytes)
        if last is None or self._limit is None:
            return None
        earned = (mono_ns - last[0]) / NS_PER_S * self._limit / DAY_S
        spent = written_bytes - last[1]
        self._credit = max(0.0, min(self._credit_max, self._credit + earned) - spent)
        before, self.mode = self.mode, self._next_mode()
        return None if self.mode == before else self.mode

    @property
    def commit_within_s(self) -> float:
        """How long readings wait now: at least as configured, at most `WAIT_S_MAX`."""
        if self._limit is None:
            return self._configured_s
        missing = max(0.0, 1 - self._share / SPREAD_BELOW)
        return self._configured_s + missing * max(0.0, WAIT_S_MAX - self._configured_s)

    @property
    def state(self) -> WearState:
        return WearState(self.commit_within_s, self.mode, self._limit, self._bytes_per_day())

    @property
    def _credit_max(self) -> float:
        return (self._limit or 0) * CREDIT_S / DAY_S

    @property
    def _share(self) -> float:
        return self._credit / self._credit_max

    def _next_mode(self) -> Mode:
        share = self._share
        if share == 0:
            return "over"
        if self.mode == "over":
            return "over" if share < NOT_OVER_ABOVE else "spread"
        if self.mode == "spread":
            return "spread" if share < FREE_ABOVE else "free"
        return "spread" if share < SPREAD_BELOW else "free"

    def _sample(self, mono_ns: int, written_bytes: int) -> None:
        samples = self._samples
        if samples and mono_ns - samples[-1][0] < RATE_SAMPLE_S * NS_PER_S:
            return
        samples.append((mono_ns, written_bytes))
        while mono_ns - samples[0][0] > RATE_OVER_S * NS_PER_S:
            samples.popleft()

    def _bytes_per_day(self) -> float | None:
        if self._last is None:
            return None
        took_s = (self._last[0] - self._samples[0][0]) / NS_PER_S
        if took_s < RATE_SAMPLE_S:
            return None
        return (self._last[1] - self._samples[0][1]) / took_s * DAY_S
