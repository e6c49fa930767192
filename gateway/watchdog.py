"""Decides whether the gateway still works, so that systemd may restart it when it does not.

A token travels through the stages that every event passes: the acquire queue, the recorder, the log's writer thread,
each forwarder. A stage lets it pass while it is idle, or when it has stepped: a commit that ended (well or not), a turn
of delivery. So a dead link, a disk that refuses, a hung device or one slow fsync hold nothing up for long: they are
states. What holds the token is a hang, and `judge` names it.

Pure: stages note when they step, the time is an argument, and `gateway.pulse` does what the verdict says.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

Passed = Callable[[], None]

PARTS = 3
"""A token leaves this often in the time after which systemd gives up: two of them may be late."""


class Stage:
    """Where a part of the gateway shows that it is alive: the token waits here until the part has stepped.

    A part awaits its next task through `idle`, and needs nothing else. `forgotten` says whether one that is idle has
    work that nobody will wake it for: then it holds the token like one that is stuck.
    """

    def __init__(self, forgotten: Callable[[], bool] = lambda: False) -> None:
        self._forgotten = forgotten
        self._idle = False
        self._waiting: list[Passed] = []

    def enter(self, passed: Passed) -> None:
        """The token comes; `passed` is called once the part is idle, which may be at once."""
        self._waiting.append(passed)
        if self._idle and not self._forgotten():
            self._release()

    async def idle(self, task: Awaitable[object]) -> None:
        """Await the part's next task: what was begun has ended, and the token passes."""
        self._idle = True
        self._release()
        try:
            await task
        finally:
            self._idle = False

    def end(self) -> None:
        """The part has ended, as it should: it holds nothing up any more."""
        self._idle = True
        self._release()

    def _release(self) -> None:
        waiting, self._waiting = self._waiting, []
        for passed in waiting:
            passed()


@dataclass(frozen=True, slots=True)
class Token:
    """Where the token is and since when (seconds of any steady clock). `stage` is None when it is home."""

    stage: str | None
    since_s: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """`send`: let the token leave again. `stuck`: who holds it up, None for nobody."""

    send: bool
    stuck: str | None = None


def judge(token: Token, now_s: float, every_s: float) -> Verdict:
    """What to do every `every_s`. systemd is told whenever the token gets ahead, so a verdict is no ping."""
    if token.stage is None:
        return Verdict(send=True)
    return Verdict(send=False, stuck=token.stage if now_s - token.since_s >= every_s else None)


def every_s(environ: Mapping[str, str], pid: int) -> float | None:
    """How often the token leaves, by what systemd asks for (sd_watchdog_enabled(3)); None where it asks for nothing.

    WATCHDOG_PID names the process that is meant: a child that inherits the variables is not.
    """
    asked, meant = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not asked.isascii() or not asked.isdigit() or int(asked) == 0 or meant not in {"", str(pid)}:
        return None
    return int(asked) / 1e6 / PARTS
