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
        self._source, self._stack, self._reconnect = source, stack, reconnect
        self._start, self._wish, self._prefetch = start, spec, prefetch
        self._session: str | None = None
        self._lanes: AsyncExitStack | None = None
        self._fetching: Asked | None = None
        self._settling: Asked | None = None
        self._ready: deque[Received] = deque()
        self._attempts = 0
        self._warned = False

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
            assert self._fetching is not None
            found = await self._fetching.ask("fetch", args, FETCH_WAIT_S + ANSWER_WITHIN_S)
        except (Disconnected, NotRunning):
            if not self._reconnect:
                raise
            await self._again()
            return
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
        lanes = AsyncExitStack()
        try:
            self._fetching = await lanes.enter_async_context(self._source.lane())
            self._settling = await lanes.enter_async_context(self._source.lane())
            args = {"name": self.name, "from": self._start, "spec": spec}
            begun = await self._fetching.ask("consume", args, ANSWER_WITHIN_S)
        except BaseException:
            await lanes.aclose()
            raise
        self._lanes = lanes
        self._stack.push_async_callback(lanes.aclose)
        self._session, self.created = begun["session"], begun["created"]
        self.next_offset: int = begun["next_offset"]
        self.spec = msgspec.convert(begun["spec"], ConsumerSpec)

    async def _again(self) -> None:
        """The gateway has gone. What it gave and we have not handled will be given again."""
        if self._attempts == 0:
            logger.warning("the gateway has gone; waiting for it")
        if self._lanes is not None:
            await self._lanes.aclose()
        self._session, self._lanes = None, None
        self._ready.clear()
        wait_s = min(AGAIN_MAX_S, AGAIN_FIRST_S * 2.0 ** min(self._attempts, 10))
        self._attempts += 1
        await asyncio.sleep(Random().uniform(wait_s / 2, wait_s))

    async def _settle(self, verdict: str, answer: object) -> None:
        """An answer that the gateway does not get any more counts for nothing: the event comes again."""
        if self._session is None or self._settling is None:
            return
        args = {"name": self.name, "session": self._session, verdict: [answer]}
        try:
            await self._settling.ask("settle", args, ANSWER_WITHIN_S)
        except (Disconnected, NotRunning):
            if not self._reconnect:
                raise

    async def _no_answer(self, verdict: str, answer: object) -> None:
        """A gap is no event of the log: there is nothing to settle."""

    def _warn(self, *, full: bool) -> None:
        if full and not self._ready and not self._warned:
            self._warned = True
            logger.warning(
                "%s: nothing more comes until some of its open events are acknowledged (`await event.ack()`)", self.name
            )
