"""Sends the watchdog's token on its way, and tells systemd that we live whenever it gets ahead.

The decisions are in `gateway.watchdog`. This runs on the event loop: where that is stuck, nobody pings.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from gateway import watchdog
from gateway.notify import notify
from gateway.watchdog import Passed, Token, judge

logger = logging.getLogger("gateway.pulse")

Enter = Callable[[Passed], None]
Route = Sequence[tuple[str, Enter]]
"""The stages in the order of an event's way: a name, and what takes the token in."""


@asynccontextmanager
async def beating(route: Callable[[], Route], environ: Mapping[str, str], pid: int) -> AsyncIterator[None]:
    """While inside, systemd's watchdog is told that we live. Does nothing where no watchdog asks."""
    every_s = watchdog.every_s(environ, pid)
    if every_s is None:
        yield
        return
    pulse = Pulse(route, lambda: notify("WATCHDOG=1", environ), every_s)
    task = asyncio.create_task(pulse.run(), name="pulse")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def through(work: Callable[[], Coroutine[Any, Any, None]]) -> Enter:
    """A stage made of a coroutine function: the token passes when it returns, however that ends."""
    running: set[asyncio.Task[None]] = set()  # the loop itself holds tasks only weakly

    def enter(passed: Passed) -> None:
        task = asyncio.create_task(work(), name="watchdog")
        running.add(task)
        task.add_done_callback(running.discard)
        task.add_done_callback(lambda _: passed())

    return enter


class Pulse:
    """One token over a route that is asked for at each start, because sinks come and go."""

    def __init__(self, route: Callable[[], Route], ping: Callable[[], object], every_s: float) -> None:
        self._route, self._ping, self._every_s = route, ping, every_s
        self._token = Token(None, 0.0)
        self._stuck: str | None = None

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._beat()
            await asyncio.sleep(self._every_s)

    def _beat(self) -> None:
        now_s = asyncio.get_running_loop().time()
        verdict = judge(self._token, now_s, self._every_s)
        if verdict.stuck is not None and self._stuck is None:
            self._stuck = verdict.stuck
            logger.error(
                "%s has not stepped for %.0f s: no more pings for the watchdog until it does",
                verdict.stuck,
                now_s - self._token.since_s,
            )
        if verdict.send:
            self._enter_next(iter(self._route()))

    def _enter_next(self, route: Iterator[tuple[str, Enter]]) -> None:
        name, enter = next(route, (None, None))
        self._token = Token(name, asyncio.get_running_loop().time())
        if enter is not None:
            enter(lambda: self._passed(route))

    def _passed(self, route: Iterator[tuple[str, Enter]]) -> None:
        self._ping()
        if self._stuck is not None:
            waited_s = asyncio.get_running_loop().time() - self._token.since_s
            logger.warning("%s steps again after %.0f s", self._stuck, waited_s)
            self._stuck = None
        self._enter_next(route)
