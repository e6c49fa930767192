"""How long the disk has refused, and what follows from it. Pure; seconds of any steady clock.

Short trouble is waited out: the batch is kept and tried again, and nobody notices but for the delay. Where it lasts,
events are held in memory and delivered from there, and the disk is asked now and then whether it takes them back.
"""

from __future__ import annotations

from typing import Final

RETRY_FIRST_S: Final = 0.1
RETRY_MAX_S: Final = 4.0
"""So that everything is back to normal within 5 s."""

HOLD_AFTER_S: Final = 1.0
"""A flush that failed once, a reopening: less than this. After it, delivery goes on without the disk."""


class Outage:
    """Trouble that begins with a refusal and ends with a success."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._again_at = 0.0
        self._wait_s = RETRY_FIRST_S

    def refused(self, now: float) -> float:
        """The disk refused; returns after how many seconds to ask again."""
        self._since = now if self._since is None else self._since
        wait_s, self._wait_s = self._wait_s, min(2 * self._wait_s, RETRY_MAX_S)
        self._again_at = now + wait_s
        return wait_s

    def over(self) -> None:
        """The disk takes events."""
        self._since, self._again_at, self._wait_s = None, 0.0, RETRY_FIRST_S

    def lasts(self, now: float) -> bool:
        """Whether it has lasted so long that delivery goes on without the disk."""
        return self._since is not None and now - self._since >= HOLD_AFTER_S

    def asks_again_in(self, now: float) -> float:
        """Seconds until the disk is to be asked again; 0 when it is time, or when there is no trouble."""
        return 0.0 if self._since is None else max(0.0, self._again_at - now)
