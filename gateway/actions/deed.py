"""What the actions that are done at least once share: one event at a time, in order, each settled by how it went.

A deed is a function of one event. It returns when it is done, or raises: `Refused` where this event will never be
taken, `Held` where nothing is taken now, `LinkError` where nobody answers. The forwarder does the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from gateway.errors import LinkError
from gateway.event import Event
from gateway.sink import Outgoing, Report, Session

logger = logging.getLogger("gateway.actions")

WINDOW: Final = 4
"""Events that may wait for the one that is being done. More than one, so that an event which is always refused shows
that others pass, and does not stand in their way for ever."""


class Refused(Exception):
    """This event will never be taken, and why."""


class Held(Exception):
    """Nothing of the kind is taken now, and why."""


Do = Callable[[Outgoing], Awaitable[None]]
Close = Callable[[], Awaitable[None]]


class DeedSession(Session):
    """One task that does one event after the other, from `connect` to the end."""

    window_max = WINDOW

    def __init__(self, name: str, do: Do, close: Close, report: Report) -> None:
        self._name, self._do, self._close, self._report = name, do, close, report
        self._waiting: deque[Outgoing] = deque()
        self._wake, self._idle = asyncio.Event(), asyncio.Event()
        self._idle.set()
        self._over = False
        self._task = asyncio.create_task(self._work(), name=f"do {name}")

    def send(self, outgoing: Outgoing) -> None:
        if not self._over:
            self._waiting.append(outgoing)
            self._idle.clear()
            self._wake.set()

    async def close(self, timeout_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        self.abort()
        await asyncio.wait([self._task])

    def abort(self) -> None:
        if not self._over:
            self._over = True
            self._idle.set()
            self._task.cancel()

    async def _work(self) -> None:
        try:
            while not self._over:
                if self._waiting:
                    await self._one(self._waiting.popleft())
                else:
                    self._idle.set()
                    self._wake.clear()
                    await self._wake.wait()
        finally:
            self._over = True
            self._idle.set()
            await self._close()

    async def _one(self, outgoing: Outgoing) -> None:
        offset = outgoing.event.offset
        try:
            await self._do(outgoing)
        except Refused as refused:
            self._settle(offset, "refused", str(refused))
        except Held as held:
            self._settle(offset, "held", str(held))
        except LinkError as error:
            self._lose(error.reason, error.retry_after_s)
        except Exception as error:
            logger.exception("%s failed; this is a bug in the gateway", self._name)
            self._settle(offset, "refused", f"{type(error).__name__}: {error}")
        else:
            self._settle(offset, "accepted", "")

    def _settle(self, offset: int, verdict: str, reason: str) -> None:
        if not self._over:
            self._report.settled(offset, verdict, reason)  # type: ignore[arg-type]  # one of the three words above

    def _lose(self, reason: str, retry_after_s: float | None) -> None:
        if not self._over:
            self._over = True
            self._report.lost(reason, retry_after_s, unrelated=True)


async def nothing_to_close() -> None:
    """For deeds that hold nothing."""


class Deed:
    """A `gateway.sink.Destination` of one function."""

    def __init__(self, name: str, do: Callable[[Event], Awaitable[None]]) -> None:
        self.name = name
        self._do = do

    async def connect(self, report: Report) -> Session:
        async def do(outgoing: Outgoing) -> None:
            await self._do(outgoing.event)

        return DeedSession(self.name, do, nothing_to_close, report)
