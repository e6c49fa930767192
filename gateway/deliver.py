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
    an event ends connections        sent alone; convicted on evidence (`suspect.py`), then refused for good
    the log was trimmed behind us    go on at its first offset: the `log.gap` in the log names what is missing
    the wall clock cannot be right   readings wait until it was put right, for at most an hour; all else goes ahead

What it gets next, and what it does not, is the feed's (`feed.py`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from gateway.clock import Clock
from gateway.errors import LinkError, LogError
from gateway.event import Event
from gateway.eventlog import Cursor, DeadLetter, EventLog
from gateway.feed import Feed
from gateway.record import Recorder
from gateway.selection import Selection
from gateway.sink import Destination, Outgoing, Session, Verdict
from gateway.suspect import Trial
from gateway.watchdog import Stage
from gateway.window import HELD_MAX

logger = logging.getLogger("gateway.deliver")

CONNECT_WITHIN_S = 3.0
ACK_WITHIN_S = 5.0
BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.25, 4.0
PASSED_OVER_NOTED = 1000
"""The cursor is written when it passed over this many events without sending one; passing over again costs little."""


class Patience(NamedTuple):
    """How long a destination may be silent while it owes an answer, and the ceilings of the waits between attempts."""

    ack_within_s: float
    backoff_first_s: float
    backoff_max_s: float


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
        self,
        sink_id: str,
        sink: Destination,
        log: EventLog,
        recorder: Recorder,
        *,
        clock: Clock,
        random: Random,
        selection: Selection | None = None,
        readings_wait: Callable[[], bool] = lambda: False,
        patience: Patience | None = None,
    ) -> None:
        """`readings_wait` says whether readings of this boot shall wait for the clock."""
        self.sink_id = sink_id
        self._called = sink_id if "/" in sink_id else f"sink {sink_id}"  # an action is called rule/..
        self._loop = asyncio.get_running_loop()  # asking for it costs a system call, too much for every event
        self.delivery = Delivery(since_ns=clock.wall_ns())
        self.stage = Stage()
        self._sink, self._log, self._recorder, self._clock, self._random = sink, log, recorder, clock, random
        self._own_patience = patience
        self._feed = Feed(
            sink_id, log, boot_id=clock.boot_id, selection=selection or Selection(), readings_wait=readings_wait
        )
        self._trial = Trial()
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
    def _patience(self) -> Patience:
        return self._own_patience or Patience(ACK_WITHIN_S, BACKOFF_FIRST_S, BACKOFF_MAX_S)

    @property
    def cursor(self) -> Cursor:
        """The first event that is not settled, and the ledger of everything before it."""
        return self._feed.cursor

    @property
    def handed_out(self) -> int:
        """The offset behind the last event that this sink may have seen, or is about to see."""
        return self._feed.handed_out

    # -- the session's ear (`gateway.sink.Report`) --------------------------------------------------------------------

    def settled(self, offset: int, verdict: Verdict, reason: str = "") -> None:
        self._progress_at = self._loop.time()
        if verdict == "held":
            self._held(offset, reason)
        elif verdict == "refused":
            self._refuse(offset, reason)
        elif (outgoing := self._feed.settle(offset)) is not None:
            self._accepted(outgoing)
        self._trial.answered(offset, verdict)
        self._wake.set()

    def lost(self, reason: str, retry_after_s: float | None = None, *, unrelated: bool = False) -> None:
        if not unrelated and retry_after_s is None:
            self._suspect(reason)
        self._lost = LinkError(reason, retry_after_s=retry_after_s)
        self._wake.set()

    def _suspect(self, reason: str) -> None:
        """The destination ended the connection: was it for an event?"""
        window, silent_s = self._feed.window, self._loop.time() - self._progress_at
        oldest = window.oldest
        if self._trial.ended(oldest, until=window.read_from, silent_s=silent_s) and oldest is not None:
            self._refuse(oldest, f"the connection ended whenever it was sent, and others pass ({reason})")

    def _accepted(self, outgoing: Outgoing) -> None:
        self._acks += 1
        self.delivery.delivered += 1
        self._trial.accepted(outgoing, self._feed.window.cursor.next_offset)
        self._attempts = 0
        if self._troubled and not self._feed.window.doubted:
            self._troubled = False
            logger.info("%s delivers again", self._called)

    def _held(self, offset: int, reason: str) -> None:
        strikes = self._feed.window.hold(offset)
        self._trouble(f"events are held back: {reason}")
        if strikes >= HELD_MAX:
            self._refuse(offset, f"{reason} ({strikes} times, while other events were accepted)")
        elif self._again_at is None and strikes:
            self._again_at = self._loop.time() + self._backoff()

    def _refuse(self, offset: int, reason: str) -> None:
        if (outgoing := self._feed.settle(offset, refused=reason)) is None:
            return
        self._acks += 1
        self.delivery.refused += 1
        self._recorder.bury(DeadLetter(self.sink_id, outgoing.event, reason))

    def _trouble(self, reason: str) -> None:
        """Remember the reason; say it when the trouble begins."""
        self.delivery.last_error = reason
        if not self._troubled:
            self._troubled = True
            logger.warning("%s: %s", self._called, reason)

    # -- life ---------------------------------------------------------------------------------------------------------

    @property
    def sink_name(self) -> str:
        return self._sink.name

    @property
    def destination(self) -> Destination:
        return self._sink

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
                        logger.exception("%s failed; this is a bug in it", self._called)
                    self._trouble(f"{type(error).__name__}: {error}")
                    wait_s = self._backoff()
                self._state(connected=False)
                if self._close_by is not None:
                    return
                await self._pause(wait_s)
        finally:
            if self._timer is not None:
                self._timer.cancel()
            self.stage.end()
            self._ended.set()

    async def drain(self, timeout_s: float) -> None:
        """Deliver what is in the log if the sink is connected, for at most this time, and let `run` end."""
        self._close_by = self._loop.time() + timeout_s
        self._wake.set()
        await self._ended.wait()

    def _backoff(self) -> float:
        """Full jitter: many gateways that lost one broker must not return together."""
        ceiling = min(self._patience.backoff_max_s, self._patience.backoff_first_s * 2.0**self._attempts)
        self._attempts = min(self._attempts + 1, 16)
        return self._random.uniform(0.0, ceiling)

    async def _pause(self, seconds: float) -> None:
        until = self._loop.time() + seconds
        while self._close_by is None and self._loop.time() < until:
            self._wake.clear()
            self._wake_at(until)
            await self.stage.idle(self._wake.wait())

    def _state(self, *, connected: bool) -> None:
        if self.delivery.connected != connected:
            self.delivery.connected, self.delivery.since_ns = connected, self._clock.wall_ns()
            self.delivery.connections += connected

    async def _connect(self) -> Session:
        self._lost, self._again_at = None, None
        self._feed.begin_again()
        self._trial.connecting(self._feed.cursor.next_offset)
        try:
            async with asyncio.timeout(CONNECT_WITHIN_S):
                return await self._sink.connect(self)
        except TimeoutError:
            raise LinkError(f"no connection within {CONNECT_WITHIN_S:g} s") from None

    async def _serve(self, session: Session) -> None:
        """Keep one session busy until it is lost (raises `LinkError`) or everything is delivered and we stop."""
        self._state(connected=True)
        if not self._troubled:
            logger.info("%s is connected", self._called)
        try:
            while not await self._turn(session):
                await self.stage.idle(self._wake.wait())
            await session.close(max(0.2, (self._close_by or 0.0) - self._loop.time()))
        except BaseException:
            session.abort()
            raise
        finally:
            self._note_cursor(leaving=True)

    async def _turn(self, session: Session) -> bool:
        """Do what there is to do now; says whether the session has done its work."""
        self._wake.clear()
        now = self._loop.time()
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
        return now >= self._close_by or (not len(self._feed.window) and self._feed.at_end)

    def _check_silence(self, now: float) -> None:
        window = self._feed.window
        if (not len(window) or window.all_held) and not self._trial.waiting:
            return
        if now >= self._progress_at + self._patience.ack_within_s:
            raise LinkError(f"no acknowledgement for {self._patience.ack_within_s:g} s")
        self._wake_at(self._progress_at + self._patience.ack_within_s)

    def _offer_again(self, session: Session) -> None:
        self._again_at = None
        for outgoing in self._feed.window.offer_again():
            session.send(outgoing)
        session.flush()

    async def _fill(self, session: Session) -> None:
        """Send until the window is full or the log's end is reached. While events are held, nothing new follows."""
        if self._again_at is not None:
            self._wake_at(self._again_at)
            return
        if self._trial.waiting:
            return
        window, window_max = self._feed.window, session.window_max
        if not len(window):
            self._progress_at = self._loop.time()
        if self._trial.isolating:
            window_max = 1
            if await self._show_that_events_pass(session):
                return
        if not self._feed.ready():
            return
        sent = False
        while len(window) < window_max and (outgoing := await self._feed.next()) is not None:
            session.send(outgoing)
            sent = True
        if sent:
            session.flush()
            self._wake_at(self._progress_at + self._patience.ack_within_s)

    async def _show_that_events_pass(self, session: Session) -> bool:
        """Before the suspect is sent alone: see `suspect.py`. False when there is nothing (more) to show."""
        unsettled = len(self._feed.window)
        alone = self._trial.alone(unsettled)
        if alone is None:
            if not self._trial.lacks_witness(unsettled):
                return False
            both = [outgoing for _ in range(2) if (outgoing := await self._feed.next()) is not None]
            if not both:
                return True
            alone = self._trial.let_go_first(both)
        self._progress_at = self._loop.time()
        session.send(alone)
        session.flush()
        self._wake_at(self._progress_at + self._patience.ack_within_s)
        return True

    def _note_cursor(self, *, leaving: bool = False) -> None:
        passed_over = self._feed.passed_over
        if self._acks or passed_over >= PASSED_OVER_NOTED or (leaving and passed_over):
            self._recorder.ride(self.sink_id, self._feed.cursor, self._acks)
            self._acks = self._feed.passed_over = 0

    def _wake_at(self, at: float) -> None:
        """Wake no later than that; a timer that is due earlier stays and finds nothing to do."""
        if self._timer is not None and not self._timer.cancelled():
            if self._timer.when() <= at and self._timer.when() > self._loop.time():
                return
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(at, self._wake.set)
