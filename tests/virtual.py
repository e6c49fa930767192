"""An event loop whose time passes as fast as nothing happens: an hour of timers in a second.

Time stands still while SQLite's threads work, so that a slow disk is not mistaken for a long wait.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import aiosqlite.core
import pytest

T = TypeVar("T")

NOTHING_LEFT_S = 10.0


class LoopClock:
    """Implements `gateway.clock.Clock` on the time of the loop that runs where it is made; any thread may ask."""

    boot_id = "virtual"

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    def mono_ns(self) -> int:
        return round((1000 + self._loop.time()) * 1e9)

    def wall_ns(self) -> int:
        return 1_800_000_000_000_000_000 + self.mono_ns()

    def synced(self) -> bool:
        return True


class _Selector(selectors.DefaultSelector):  # type: ignore[misc, valid-type]  # the best of the platform
    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.threads_at_work = 0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if self.threads_at_work or timeout is None:
            ready = super().select(NOTHING_LEFT_S)
            assert ready, "nothing is left that could happen"
            return ready
        self.now_s += max(0.0, timeout)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self, selector: _Selector) -> None:
        super().__init__(selector)
        self._of = selector

    def time(self) -> float:
        return self._of.now_s


async def passes(seconds: float) -> None:
    """So much virtual time passes. Nobody waits for it in a real loop."""
    assert isinstance(asyncio.get_running_loop(), VirtualLoop)
    await asyncio.sleep(seconds)


def run(main: Callable[[], Coroutine[Any, Any, T]], monkeypatch: pytest.MonkeyPatch) -> T:
    """Run a coroutine function in virtual time."""
    selector = _Selector()

    def counted(work: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Coroutine[Any, Any, Any]]:
        async def counts(*args: Any, **kwargs: Any) -> Any:
            selector.threads_at_work += 1
            try:
                return await work(*args, **kwargs)
            finally:
                selector.threads_at_work -= 1

        return counts

    for name in ("_connect", "_execute", "close"):
        work = getattr(aiosqlite.core.Connection, name)
        monkeypatch.setattr(aiosqlite.core.Connection, name, counted(work))
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(selector)) as runner:
        return runner.run(main())
