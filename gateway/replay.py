"""Replay: recorded events once more to one sink, over a connection of its own.

Log -> sink only. Each event is marked `historical`; the session says nothing of what is true now (`Identity.probe`), so
no state topic changes, and nothing here leads to rules or outputs. What the sink has not answered for when a link is
lost is sent again, with the same ids.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from gateway.clock import NS_PER_S
from gateway.errors import LinkError
from gateway.event import Event
from gateway.sink import Outgoing, Session, Sink, Verdict

CONNECT_WITHIN_S: Final = 5.0
ANSWER_WITHIN_S: Final = 10.0
CLOSE_WITHIN_S: Final = 2.0
ATTEMPTS_MAX: Final = 5
"""How often in a row the link may fail without anything being accepted."""

HELD_MAX: Final = 5
PAUSE_S: Final = 0.5
WINDOW_MAX: Final = 100

_TIMES: Final = re.compile(r"x([0-9]+(?:\.[0-9]+)?)")


class Interrupted(LinkError):
    """The sink could not be reached any more. `next_offset` is where to go on."""

    def __init__(self, reason: str, next_offset: int | None) -> None:
        super().__init__(reason)
        self.next_offset = next_offset


def parse_speed(text: str) -> float | None:
    """How many times as fast as it happened; None for as fast as the sink takes it.

    Raises:
        ValueError: it is no speed.
    """
    if text == "max":
        return None
    found = _TIMES.fullmatch(text)
    if text == "original":
        return 1.0
    if found is None or not float(found[1]):
        raise ValueError(f"found {text!r}, expected original, max, or a factor such as x10")
    return float(found[1])


class Pace:
    """When each event is due. Pure: instants are seconds of any clock that does not step.

    Time in the log may step back and leap; a step back waits for nothing, and what follows keeps its distance to it.
    """

    def __init__(self, speed: float | None) -> None:
        self._speed = speed
        self._last_ns: int | None = None
        self._due_s = 0.0

    def due_s(self, event: Event, now_s: float) -> float:
        """When the event shall go."""
        if self._speed is None:
            return now_s
        if self._last_ns is None:
            self._due_s = now_s
        else:
            self._due_s += max(0, event.time - self._last_ns) / NS_PER_S / self._speed
        self._last_ns = event.time
        return self._due_s


@dataclass(slots=True)
class Tally:
    """What came of it so far."""

    sent: int = 0
    accepted: int = 0
    refused: int = 0
    reason: str = ""
    """Why the last one was refused."""


class Replay:
    """One run of events to one sink. Is the `Report` of its sessions."""

    def __init__(self, sink: Sink, pace: Pace, told: Callable[[Tally], None] = lambda _: None) -> None:
        """`told` hears of every answer."""
        self.tally = Tally()
        self._sink, self._pace, self._told = sink, pace, told
        self._open: dict[int, Outgoing] = {}  # sent and not answered for, in order
        self._held: dict[int, int] = {}  # offset -> how often
        self._again: set[int] = set()
        self._session: Session | None = None
        self._lost: str | None = None
        self._attempts = 0
        self._changed = asyncio.Event()

    # -- the session's ear --------------------------------------------------------------------------------------------

    def settled(self, offset: int, verdict: Verdict, reason: str = "") -> None:
        self._attempts = 0
        self._changed.set()
        if offset not in self._open:
            return
        if verdict == "held" and self._held.get(offset, 0) + 1 < HELD_MAX:
            self._held[offset] = self._held.get(offset, 0) + 1
            self._again.add(offset)
            return
        del self._open[offset]
        self.tally.accepted += verdict == "accepted"
        self.tally.refused += verdict != "accepted"
        self.tally.reason = reason or self.tally.reason
        self._told(self.tally)

    def lost(self, reason: str, retry_after_s: float | None = None, *, unrelated: bool = False) -> None:
        del retry_after_s, unrelated
        self._lost = reason
        self._changed.set()

    # -- the run ------------------------------------------------------------------------------------------------------

    async def run(self, events: AsyncIterator[Event]) -> Tally:
        """Send all of them, and wait for the answers.

        Raises:
            Interrupted: the sink could not be reached any more.
        """
        try:
            previous: int | None = None
            async for event in events:
                await self._until_due(event)
                historical = msgspec.structs.replace(event, historical=True)
                await self._send(Outgoing(historical, previous))
                previous = event.offset
            while self._open:
                await self._turn()
            if self._session is not None:
                session, self._session = self._session, None
                await session.close(CLOSE_WITHIN_S)
        finally:
            if self._session is not None:
                self._session.abort()
        return self.tally

    async def _until_due(self, event: Event) -> None:
        loop = asyncio.get_running_loop()
        due_s = self._pace.due_s(event, loop.time())
        while (left_s := due_s - loop.time()) > 0:
            await asyncio.sleep(min(left_s, PAUSE_S))
            if self._lost is not None or self._again:
                await self._turn()

    async def _send(self, outgoing: Outgoing) -> None:
        while self._session is None or self._lost or self._again or len(self._open) >= self._window:
            await self._turn()
        self._open[outgoing.event.offset] = outgoing
        self.tally.sent += 1
        self._session.send(outgoing)
        self._session.flush()
        await asyncio.sleep(0)  # the answers to what was sent

    @property
    def _window(self) -> int:
        return WINDOW_MAX if self._session is None else min(WINDOW_MAX, self._session.window_max)

    async def _turn(self) -> None:
        """Whatever is to be done before the next event can go: connect, offer again, wait for an answer."""
        if self._lost is not None and self._session is not None:
            self._session.abort()
            self._session = None
        if self._session is None:
            await self._connect()
        if self._again:
            await asyncio.sleep(PAUSE_S)
            self._resend(self._again & self._open.keys())
            self._again = set()
        if self._open and self._lost is None:
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), ANSWER_WITHIN_S)
                return
            self._lost = f"no answer within {ANSWER_WITHIN_S:g} s"

    async def _connect(self) -> None:
        reason, self._lost = self._lost, None
        while self._session is None:
            if self._attempts >= ATTEMPTS_MAX:
                raise Interrupted(reason or "no connection", min(self._open, default=None))
            if self._attempts:
                await asyncio.sleep(PAUSE_S * self._attempts)
            self._attempts += 1
            try:
                async with asyncio.timeout(CONNECT_WITHIN_S):
                    self._session = await self._sink.connect(self)
            except LinkError as error:
                reason = error.reason
            except TimeoutError:
                reason = f"no connection within {CONNECT_WITHIN_S:g} s"
        self._resend(set(self._open))

    def _resend(self, offsets: set[int]) -> None:
        if self._session is None:
            return
        for offset in sorted(offsets):
            self._session.send(self._open[offset])
        self._session.flush()
