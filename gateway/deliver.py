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

What a sink does not want (`selection.py`) is passed over: the cursor moves, and `previous` chains what it does get.

What goes ahead keeps its place in the chain: `previous` names the event before it in the log, waiting or not, and the
hole is filled when the readings follow, at their corrected times.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from gateway.clock import Clock
from gateway.errors import LinkError, LogError
from gateway.event import Event
from gateway.eventlog import Cursor, DeadLetter, EventLog
from gateway.record import Recorder
from gateway.selection import Selection
from gateway.sink import Outgoing, Session, Sink, Verdict
from gateway.suspect import PROMPT_S, Suspicion
from gateway.watchdog import Stage
from gateway.window import HELD_MAX, Window

logger = logging.getLogger("gateway.deliver")

CONNECT_WITHIN_S = 3.0
ACK_WITHIN_S = 5.0
WAITING_TYPES = frozenset({"reading"})
"""Types that are worth less at a wrong time than late."""

BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.25, 4.0
READ_EVENTS = 500
PASSED_OVER_NOTED = 1000
"""The cursor is written when it passed over this many events without sending one; passing over again costs little."""


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
        sink: Sink,
        log: EventLog,
        recorder: Recorder,
        *,
        clock: Clock,
        random: Random,
        selection: Selection | None = None,
        readings_wait: Callable[[], bool] = lambda: False,
    ) -> None:
        """`readings_wait` says whether readings of this boot shall wait for the clock."""
        self.sink_id = sink_id
        self._loop = asyncio.get_running_loop()  # asking for it costs a system call, too much for every event
        self.delivery = Delivery(since_ns=clock.wall_ns())
        self.stage = Stage()
        self._sink, self._log, self._recorder, self._clock, self._random = sink, log, recorder, clock, random
        self._readings_wait = readings_wait
        self._window = Window(log.cursors.setdefault(sink_id, Cursor(log.first_offset)))
        self._selection = selection or Selection()
        self._read: deque[Event] = deque()
        self._passed_over = 0
        self._suspicion = Suspicion()
        self._last_accepted: Outgoing | None = None
        self._witness: int | None = None
        self._delayed: Outgoing | None = None
        self._passes = False
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
                self._accepted(outgoing)
            else:
                self._refuse(outgoing, reason)
        elif offset == self._witness:
            self._passes = verdict == "accepted"
        if offset == self._witness:
            self._witness = None
        self._wake.set()

    def lost(self, reason: str, retry_after_s: float | None = None, *, unrelated: bool = False) -> None:
        if not unrelated and retry_after_s is None:
            self._suspect(reason)
        self._lost = LinkError(reason, retry_after_s=retry_after_s)
        self._wake.set()

    def _suspect(self, reason: str) -> None:
        """The destination ended the connection: was it for an event?"""
        oldest, silent_s = self._window.oldest, asyncio.get_running_loop().time() - self._progress_at
        if oldest is None or self._delayed is not None or silent_s > PROMPT_S:
            return
        if not self._suspicion.ended(oldest, until=self._window.read_from, passes=self._passes):
            return
        if (outgoing := self._window.settle(oldest)) is not None:
            self._acks += 1
            self._refuse(outgoing, f"the connection ended whenever it was sent, and others pass ({reason})")

    def _accepted(self, outgoing: Outgoing) -> None:
        self.delivery.delivered += 1
        self._last_accepted, self._passes = outgoing, True
        self._suspicion.settled(self._window.cursor.next_offset)
        self._attempts = 0
        if self._troubled and not self._window.doubted:
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
            if self._timer is not None:
                self._timer.cancel()
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
        self._suspicion.settled(self._window.cursor.next_offset)
        self._witness, self._delayed, self._passes = None, None, False
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
            self._note_cursor(leaving=True)

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
        if (not len(self._window) or self._window.all_held) and self._witness is None:
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
        if self._witness is not None:
            return
        if not len(self._window):
            self._progress_at = asyncio.get_running_loop().time()
        window_max = session.window_max
        if self._suspicion.isolating:
            window_max = 1
            if await self._show_that_events_pass(session):
                return
        if self._window.passing_over and not self._readings_wait() and not self._turned_back():
            return
        sent = False
        while len(self._window) < window_max and (event := await self._next_event()) is not None:
            outgoing = Outgoing(event, self._window.previous)
            self._window.sent(outgoing)
            session.send(outgoing)
            sent = True
        if sent:
            session.flush()
            self._wake_at(self._progress_at + ACK_WITHIN_S)

    async def _show_that_events_pass(self, session: Session) -> bool:
        """Before the suspect is sent alone: see `suspect.py`. False when there is nothing (more) to show."""
        if self._delayed is not None and len(self._window) == 1:
            self._send_alone(session, self._delayed)
            self._delayed = None
        elif self._passes or len(self._window):
            return False
        elif self._last_accepted is not None:
            self._witness = self._last_accepted.event.offset
            self._send_alone(session, self._last_accepted)
        else:
            await self._let_the_next_go_first(session)
        return True

    async def _let_the_next_go_first(self, session: Session) -> None:
        """Nothing was accepted since the start, so the event behind the suspect must show it."""
        both: list[Outgoing] = []
        while len(both) < 2 and (event := await self._next_event()) is not None:
            both.append(Outgoing(event, self._window.previous))
            self._window.sent(both[-1])
        if both:
            self._delayed = both[0] if len(both) > 1 else None
            self._send_alone(session, both[-1])

    def _send_alone(self, session: Session, outgoing: Outgoing) -> None:
        self._progress_at = asyncio.get_running_loop().time()
        session.send(outgoing)
        session.flush()
        self._wake_at(self._progress_at + ACK_WITHIN_S)

    def _turned_back(self) -> bool:
        """Return to the readings that waited, as soon as everything that went ahead has settled."""
        if len(self._window):
            return False
        self._window.turn_back()
        self._read.clear()
        return True

    def _waits(self, event: Event) -> bool:
        if event.synced or event.type not in WAITING_TYPES or event.boot != self._clock.boot_id:
            return False
        return self._readings_wait()

    async def _next_event(self) -> Event | None:
        """The next event of the selection that may go now, None at the log's end."""
        while True:
            if not self._read and self._window.read_from < self._log.next_offset:
                await self._read_on()
            if not self._read:
                return None
            event = self._read.popleft()
            if not self._selection.selects(event):
                self._window.skip_to(event.offset + 1)
                self._passed_over += 1
            elif self._window.went_ahead(event.offset):
                continue
            elif not self._waits(event):
                return event
            elif not self._window.pass_over(event.offset):
                self._read.appendleft(event)
                return None

    async def _read_on(self) -> None:
        page = await self._log.read(self._window.read_from, READ_EVENTS)
        if page.gap is not None:
            logger.warning("sink %s: offsets %d to %d were trimmed unread", self.sink_id, *page.gap)
            self._window.skip_to(page.gap[1] + 1)
        self._read.extend(page.events)

    def _note_cursor(self, *, leaving: bool = False) -> None:
        if self._acks or self._passed_over >= PASSED_OVER_NOTED or (leaving and self._passed_over):
            self._recorder.ride(self.sink_id, self._window.cursor, self._acks)
            self._acks = self._passed_over = 0

    def _wake_at(self, at: float) -> None:
        """Wake no later than that; a timer that is due earlier stays and finds nothing to do."""
        if self._timer is not None and not self._timer.cancelled():
            if self._timer.when() <= at and self._timer.when() > asyncio.get_running_loop().time():
                return
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(at, self._wake.set)
