"""The forwarder: moves the log to one sink, at least once, in order.

One forwarder for each sink; they know nothing of each other. It reads from its cursor, keeps at most a window of
events unsettled, and moves the cursor over what was settled. The log is the only memory: after a lost connection
everything that was not acknowledged is sent again, in order, with the same ids.

What can happen to a link, and what is done:

    cannot connect, refused          wait (full jitter, at most 4 s), try again, say it once
    lost                             the same, starting with a short wait
    silent                           no acknowledgement for 5 s while some are owed: cut it, then as lost
    an event refused for good        dead letter, `event.refused`, go on
    an event held                    offered again after a wait; after 5 times, while others pass, refused for good
    the log was trimmed behind us    go on at its first offset: the `log.gap` in the log names what is missing
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from random import Random

from gateway.clock import Clock
from gateway.errors import LinkError, LogError
from gateway.event import Event
from gateway.eventlog import Cursor, DeadLetter, EventLog
from gateway.record import Recorder
from gateway.sink import Outgoing, Session, Sink, Verdict
from gateway.watchdog import Stage
from gateway.window import HELD_MAX, Window

logger = logging.getLogger("gateway.deliver")

CONNECT_WITHIN_S = 3.0
ACK_WITHIN_S = 5.0
BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.25, 4.0
READ_EVENTS = 500


@dataclass(slots=True)
class Delivery:
    """How a sink is doing, for `gateway status`. Times are ns UTC; counts are since the start."""

    connected: bool = False
    since_ns: int = 0
    last_error: str | None = None
    delivered: int = 0
    refused: int = 0
    connections: int = 0


class Forwarder:
    """Moves the log to one sink. Is the `Report` of its sessions."""

    def __init__(
        self, sink_id: str, sink: Sink, log: EventLog, recorder: Recorder, *, clock: Clock, random: Random
    ) -> None:
        self.sink_id = sink_id
        self._loop = asyncio.get_running_loop()  # asking for it costs a system call, too much for every event
        self.delivery = Delivery(since_ns=clock.wall_ns())
        self.stage = Stage()
        self._sink, self._log, self._recorder, self._clock, self._random = sink, log, recorder, clock, random
        self._window = Window(log.cursors.setdefault(sink_id, Cursor(log.first_offset)))
        self._read: deque[Event] = deque()
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._lost: LinkError | None = None
        self._again_at: float | None = None
        self._progress_at = 0.0
        self._attempts = 0
        self._acks = 0
        self._troubled = False
        self._close_by: float | None = None
        self._ended = asyncio.Event()

    @property
    def cursor(self) -> Cursor:
        """The first event that is not settled."""
        return self._window.cursor

    # -- the session's ear (`gateway.sink.Report`) --------------------------------------------------------------------

    def settled(self, offset: int, verdict: Verdict, reason: str = "") -> None:
        self._progress_at = self._loop.time()
        if verdict == "held":
            self._held(offset, reason)
        elif (outgoing := self._window.settle(offset)) is not None:
            self._acks += 1
            if verdict == "accepted":
                self._accepted()
            else:
                self._refuse(outgoing, reason)
        self._wake.set()

    def lost(self, reason: str, retry_after_s: float | None = None) -> None:
        self._lost = LinkError(reason, retry_after_s=retry_after_s)
        self._wake.set()

    def _accepted(self) -> None:
        self.delivery.delivered += 1
        self._attempts = 0
        if self._troubled:
            self._troubled = False
            logger.info("sink %s delivers again", self.sink_id)

    def _held(self, offset: int, reason: str) -> None:
        strikes = self._window.hold(offset)
        self._trouble(f"events are held back: {reason}")
        if strikes >= HELD_MAX and (outgoing := self._window.settle(offset)) is not None:
            self._acks += 1
            self._refuse(outgoing, f"{reason} ({strikes} times, while other events were accepted)")
        elif self._again_at is None and strikes:
            self._again_at = asyncio.get_running_loop().time() + self._backoff()

    def _refuse(self, outgoing: Outgoing, reason: str) -> None:
        self.delivery.refused += 1
        self._recorder.bury(DeadLetter(self.sink_id, outgoing.event, reason))

    def _trouble(self, reason: str) -> None:
        """Remember the reason; say it when the trouble begins."""
        self.delivery.last_error = reason
        if not self._troubled:
            self._troubled = True
            logger.warning("sink %s: %s", self.sink_id, reason)

    # -- life ---------------------------------------------------------------------------------------------------------

    @property
    def sink_name(self) -> str:
        return self._sink.name

    def wake(self, events: list[Event]) -> None:
        """Something was committed."""
        del events
        self._wake.set()

    async def run(self) -> None:
        """Deliver until `drain`: a session, a wait, the next session."""
        try:
            while True:
                try:
                    await self._serve(await self._connect())
                    wait_s = 0.0
                except LinkError as error:
                    self._trouble(error.reason)
                    wait_s = self._backoff() if error.retry_after_s is None else error.retry_after_s
                except LogError as error:
                    self._trouble(f"the log cannot be read: {error}")
                    wait_s = self._backoff()
                except Exception as error:
                    if not self._troubled:
                        logger.exception("sink %s failed; this is a bug in the sink", self.sink_id)
                    self._trouble(f"{type(error).__name__}: {error}")
                    wait_s = self._backoff()
                self._state(connected=False)
                if self._close_by is not None:
                    return
                await self._pause(wait_s)
        finally:
            self.stage.end()
            self._ended.set()

    async def drain(self, timeout_s: float) -> None:
        """Deliver what is in the log if the sink is connected, for at most this time, and let `run` end."""
        self._close_by = asyncio.get_running_loop().time() + timeout_s
        self._wake.set()
        await self._ended.wait()

    def _backoff(self) -> float:
        """Full jitter: many gateways that lost one broker must not return together."""
        ceiling = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0**self._attempts)
        self._attempts = min(self._attempts + 1, 16)
        return self._random.uniform(0.0, ceiling)

    async def _pause(self, seconds: float) -> None:
        until = asyncio.get_running_loop().time() + seconds
        while self._close_by is None and asyncio.get_running_loop().time() < until:
            self._wake.clear()
            self._wake_at(until)
            await self.stage.idle(self._wake.wait())

    def _state(self, *, connected: bool) -> None:
        if self.delivery.connected != connected:
            self.delivery.connected, self.delivery.since_ns = connected, self._clock.wall_ns()
            self.delivery.connections += connected

    async def _connect(self) -> Session:
        self._lost, self._again_at = None, None
        self._window = Window(self._window.cursor)
        self._read.clear()
        try:
            async with asyncio.timeout(CONNECT_WITHIN_S):
                return await self._sink.connect(self)
        except TimeoutError:
            raise LinkError(f"no connection within {CONNECT_WITHIN_S:g} s") from None

    async def _serve(self, session: Session) -> None:
        """Keep one session busy until it is lost (raises `LinkError`) or everything is delivered and we stop."""
        self._state(connected=True)
        if not self._troubled:
            logger.info("sink %s is connected", self.sink_id)
        try:
            while not await self._turn(session):
                await self.stage.idle(self._wake.wait())
            await session.close(max(0.2, (self._close_by or 0.0) - asyncio.get_running_loop().time()))
        except BaseException:
            session.abort()
            raise
        finally:
            self._note_cursor()

    async def _turn(self, session: Session) -> bool:
        """Do what there is to do now; says whether the session has done its work."""
        self._wake.clear()
        now = asyncio.get_running_loop().time()
        if self._lost is not None:
            raise self._lost
        self._check_silence(now)
        if self._again_at is not None and now >= self._again_at:
            self._offer_again(session)
        await self._fill(session)
        self._note_cursor()
        if self._close_by is None:
            return False
        self._wake_at(self._close_by)
        return now >= self._close_by or (not len(self._window) and self._window.read_from >= self._log.next_offset)

    def _check_silence(self, now: float) -> None:
        if not len(self._window) or self._window.all_held:
            return
        if now >= self._progress_at + ACK_WITHIN_S:
            raise LinkError(f"no acknowledgement for {ACK_WITHIN_S:g} s")
        self._wake_at(self._progress_at + ACK_WITHIN_S)

    def _offer_again(self, session: Session) -> None:
        self._again_at = None
        for outgoing in self._window.offer_again():
            session.send(outgoing)
        session.flush()

    async def _fill(self, session: Session) -> None:
        """Send until the window is full or the log's end is reached. While events are held, nothing new follows."""
        if self._again_at is not None:
            self._wake_at(self._again_at)
            return
        if not len(self._window):
            self._progress_at = asyncio.get_running_loop().time()
        sent = False
        while len(self._window) < session.window_max and (event := await self._next_event()) is not None:
            outgoing = Outgoing(event, self._window.previous)
            self._window.sent(outgoing)
            session.send(outgoing)
            sent = True
        if sent:
            session.flush()
            self._wake_at(self._progress_at + ACK_WITHIN_S)

    async def _next_event(self) -> Event | None:
        if not self._read and self._window.read_from < self._log.next_offset:
            page = await self._log.read(self._window.read_from, READ_EVENTS)
            if page.gap is not None:
                logger.warning("sink %s: offsets %d to %d were trimmed unread", self.sink_id, *page.gap)
                self._window.skip_to(page.gap[1] + 1)
            self._read.extend(page.events)
        return self._read.popleft() if self._read else None

    def _note_cursor(self) -> None:
        if self._acks:
            self._recorder.ride(self.sink_id, self._window.cursor, self._acks)
            self._acks = 0

    def _wake_at(self, at: float) -> None:
        """Wake no later than that; a timer that is due earlier stays and finds nothing to do."""
        if self._timer is not None and not self._timer.cancelled():
            if self._timer.when() <= at and self._timer.when() > asyncio.get_running_loop().time():
                return
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(at, self._wake.set)
