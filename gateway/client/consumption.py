"""A consumer being read: asks for events, hands them out one by one, and waits for a gateway that restarts."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import AsyncExitStack
from random import Random
from typing import Final, Self

import msgspec

from gateway.client.received import Received, gap_event
from gateway.client.sources import ANSWER_WITHIN_S, Asked, Source
from gateway.control import Disconnected
from gateway.errors import NotRunning
from gateway.eventlog import ConsumerSpec

logger = logging.getLogger("gateway.client")

FETCH_WAIT_S: Final = 25.0
AGAIN_FIRST_S, AGAIN_MAX_S = 0.1, 4.0


class Consumption:
    """An endless iterator over the events of one consumer."""

    def __init__(
        self,
        source: Source,
        stack: AsyncExitStack,
        name: str,
        start: str,
        spec: ConsumerSpec | None,
        *,
        prefetch: int | None,
        reconnect: bool,
    ) -> None:
        self.name = name
        self.created = False
        self.spec: ConsumerSpec | None = spec
        self._source, self._reconnect = source, reconnect
        self._start, self._wish, self._prefetch = start, spec, prefetch
        self._session: str | None = None
        self._lanes = AsyncExitStack()
        self._lane: Asked | None = None
        self._second: Asked | None = None
        self._ready: deque[Received] = deque()
        self._attempts = 0
        self._warned = False
        stack.push_async_callback(self._lanes.aclose)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Received:
        while not self._ready:
            await self._more()
        return self._ready.popleft()

    async def begin(self) -> Self:
        """Begin now, instead of with the first event that is asked for.

        Raises:
            NotRunning: nobody answers. ControlError: the consumer cannot be as it is wanted.
        """
        if self._session is None:
            await self._begin()
        return self

    async def _more(self) -> None:
        try:
            await self.begin()
            args = {"name": self.name, "session": self._session, "limit": self._limit, "wait_s": FETCH_WAIT_S}
            assert self._lane is not None
            found = await self._lane.ask("fetch", args, FETCH_WAIT_S + ANSWER_WITHIN_S)
        except (Disconnected, NotRunning):
            if not self._reconnect:
                raise
            await self._again()
            return
        except asyncio.CancelledError:
            await self._leave()  # what was on its way is lost to us: a new session is given it again
            raise
        self._attempts = 0
        self._ready.extend(gap_event(first, last, self._no_answer) for first, last in found["gaps"])
        self._ready.extend(Received(one["event"], one["deliveries"], self._settle) for one in found["events"])
        self._warn(full=found["full"])

    @property
    def _limit(self) -> int:
        each = self.spec is not None and self.spec.ack == "each"
        return self._prefetch or (1 if each else 100)

    async def _begin(self) -> None:
        spec = None if self._wish is None else msgspec.to_builtins(self._wish)
        try:
            self._lane = await self._lanes.enter_async_context(self._source.lane())
            begun = await self._lane.ask("consume", {"name": self.name, "from": self._start, "spec": spec})
        except BaseException:
            await self._leave()
            raise
        self._session, self.created = begun["session"], begun["created"]
        self.next_offset: int = begun["next_offset"]
        self.spec = msgspec.convert(begun["spec"], ConsumerSpec)

    async def _leave(self) -> None:
        """End the session. What it gave and was not settled will be given again."""
        self._session = self._lane = self._second = None
        self._ready.clear()
        await self._lanes.aclose()

    async def _again(self) -> None:
        """The gateway has gone: begin anew before long."""
        if self._attempts == 0:
            logger.warning("the gateway has gone; waiting for it")
        await self._leave()
        wait_s = min(AGAIN_MAX_S, AGAIN_FIRST_S * 2.0 ** min(self._attempts, 10))
        self._attempts += 1
        await asyncio.sleep(Random().uniform(wait_s / 2, wait_s))

    async def _settle(self, verdict: str, answer: object) -> None:
        """An answer that the gateway does not get any more counts for nothing: the event comes again."""
        try:
            if (lane := await self._free_lane()) is not None:
                await lane.ask("settle", {"name": self.name, "session": self._session, verdict: [answer]})
        except (Disconnected, NotRunning):
            if not self._reconnect:
                raise

    async def _free_lane(self) -> Asked | None:
        """A connection that nobody waits on: a second one only where a fetch is under way. None without a session."""
        if self._lane is None or not self._lane.busy:
            return self._lane
        if self._second is None:
            self._second = await self._lanes.enter_async_context(self._source.lane())
        return self._second

    async def _no_answer(self, verdict: str, answer: object) -> None:
        """A gap is no event of the log: there is nothing to settle."""

    def _warn(self, *, full: bool) -> None:
        if full and not self._ready and not self._warned:
            self._warned = True
            logger.warning(
                "%s: nothing more comes until some of its open events are acknowledged (`await event.ack()`)", self.name
            )
