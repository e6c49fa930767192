"""A timer that keeps the earliest of the times it was asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Wakeup:
    """Calls `then` once, on the event loop, at the earliest time asked for since it last did."""

    def __init__(self, then: Callable[[], object]) -> None:
        self._then = then
        self._timer: asyncio.TimerHandle | None = None
        self._at = float("inf")

    def __bool__(self) -> bool:
        """Whether it is set."""
        return self._timer is not None

    def within(self, seconds: float) -> None:
        """Call no later than that. An earlier time stays."""
        loop = asyncio.get_running_loop()
        at = loop.time() + seconds
        if at < self._at:
            self.cancel()
            self._timer, self._at = loop.call_at(at, self._fire), at

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._at = None, float("inf")

    def _fire(self) -> None:
        self._timer, self._at = None, float("inf")
        self._then()
