"""Named consumers over an open log, as their readers meet them: sessions, what is handed out, and what is answered for.

See the package for what they promise. Each consumer hands out in one turn at a time, but acknowledgements come whenever
they come: after every wait it is looked at anew what is still in the reader's hands.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Collection
from typing import Any, Final

from gateway.clock import NS_PER_S, Clock
from gateway.consumers.known import Known
from gateway.consumers.register import Register
from gateway.consumers.words import (
    Begun,
    ConsumerError,
    Fetched,
    Handed,
    Standing,
    check_name,
    check_spec,
    spans,
)
from gateway.event import Event
from gateway.eventlog import ConsumerSpec, DeadLetter, EventLog
from gateway.eventlog.consumers import letters_of
from gateway.position import Position
from gateway.record import Recorder

READ_EVENTS: Final = 500
PAGES_MAX: Final = 20
"""How many pages one `fetch` looks through before it lets others have their turn."""

LOOK_EVERY_S: Final = 600.0


class Consumers:
    """All named consumers of one open log."""

    def __init__(
        self,
        log: EventLog,
        recorder: Recorder,
        clock: Clock,
        *,
        subjects: Callable[[], Collection[str]] = tuple,
    ) -> None:
        """`subjects` are those that are known to have values: when `last` has found them all, it looks no further."""
        self._log, self._recorder, self._clock = log, recorder, clock
        self._register = Register(log, recorder, clock, subjects)

    async def load(self) -> None:
        """Take up what the log keeps.

        Raises:
            StoreUnavailable, LogCorrupt: the file does not answer, or is damaged.
        """
        await self._register.load()

    def __contains__(self, name: str) -> bool:
        return name in self._register

    def standings(self) -> list[Standing]:
        """All consumers, by name."""
        return self._register.standings()

    async def run(self, stopped: asyncio.Event) -> None:
        """Forget what nobody uses, now and then."""
        while not stopped.is_set():
            self.expire()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopped.wait(), LOOK_EVERY_S)

    def expire(self) -> None:
        """Forget the unprotected consumers that nobody has asked for 7 days of a clock that is believed."""
        self._register.expire()

    # -- what readers ask ---------------------------------------------------------------------------------------------

    async def begin(self, name: str, start: Position, spec: ConsumerSpec | None) -> Begun:
        """A session for the consumer of that name, which is made where there is none; `start` matters only then.

        `spec` None leaves an existing consumer as it is. Returns when what is new is committed.

        Raises:
            ConsumerError: the name or the spec is wrong. TooManyConsumers: there are as many as may be.
            StoreUnavailable: the disk refuses.
        """
        check_name(name)
        if spec is not None:
            check_spec(spec)
        created = name not in self._register
        if created:
            await self._register.create(name, start, spec or ConsumerSpec())
        consumer = self._register.named(name)
        consumer.session = session = secrets.token_hex(8)
        consumer.wake()
        async with consumer.turn:
            if spec is not None and spec != consumer.spec:
                self._register.change(consumer, spec)
            consumer.progress.begin(self._clock.mono_ns())
            consumer.forget_ahead()
            consumer.passed_noted = consumer.progress.read_from
            self._register.use(consumer)
        await self._recorder.written(name)
        return Begun(session, created, consumer.progress.floor, consumer.spec)

    async def fetch(self, name: str, session: str, limit: int, wait_s: float) -> Fetched:
        """At most `limit` events, waiting up to `wait_s` where there are none.

        Raises:
            ConsumerError: no such consumer. SessionTaken: another reader has begun.
            StoreUnavailable, LogCorrupt: the log cannot be read.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + wait_s
        while True:
            consumer = self._register.of(name, session)
            self._register.use(consumer)
            async with consumer.turn:
                self._register.of(name, session)
                fetched = await self._hand(consumer, limit)
            if fetched.events or fetched.gaps or loop.time() >= until:
                return fetched
            await self._pause(consumer, until - loop.time())

    def ack(self, name: str, session: str, offset: int) -> int:
        """That event is dealt with (and all before it, where the consumer acknowledges by cursor). Returns how many.

        An event that is in nobody's hands any more counts for nothing: it will be given again.
        """
        consumer = self._register.of(name, session)
        return self._register.settled(consumer, consumer.progress.ack(offset))

    def nak(self, name: str, session: str, offset: int, wait_s: float | None = None) -> int:
        """Give that event again, after its back-off or after `wait_s`."""
        consumer = self._each(name, session)
        done = consumer.progress.nak(offset, self._clock.mono_ns(), wait_s)
        return self._register.settled(consumer, int(done))

    async def reject(self, name: str, session: str, offset: int, reason: str) -> int:
        """Give that event up now: into the dead letters."""
        consumer = self._each(name, session)
        if not consumer.progress.holds(offset):
            return 0
        async with consumer.turn:
            return int(await self._give_up(consumer, offset, reason) is None)

    async def forget(self, name: str) -> None:
        """Forget a consumer, its place and its dead letters. Its reader is told with its next question.

        Raises:
            ConsumerError: no such consumer. StoreUnavailable: the disk refuses; it is forgotten when it answers.
        """
        self._register.drop(self._register.named(name))
        await self._recorder.written(name)

    def _each(self, name: str, session: str) -> Known:
        consumer = self._register.of(name, session)
        if consumer.spec.ack != "each":
            raise ConsumerError(f"{name!r} acknowledges by cursor, and gives nothing back: begin it with ack='each'")
        return consumer

    # -- handing out --------------------------------------------------------------------------------------------------

    async def _hand(self, consumer: Known, limit: int) -> Fetched:
        """What there is now."""
        progress, now_ns = consumer.progress, self._clock.mono_ns()
        handed: list[Handed] = []
        gone: list[int] = []
        for offset in progress.spent(now_ns):
            if not progress.holds(offset):  # settled while others were buried
                continue
            deliveries = progress.given[offset].deliveries
            reason = f"not acknowledged in {deliveries} deliver{'y' if deliveries == 1 else 'ies'}"
            if (lost := await self._give_up(consumer, offset, reason)) is not None:
                gone.append(lost)
        for offset in progress.due(now_ns, limit):
            event = await self._event(offset)
            if event is None:
                gone.append(offset)
            elif progress.is_due(offset, now_ns):  # not settled, and not given back, while it was read
                handed.append(self._give(consumer, event, now_ns))
        if gone:
            self._register.settled(consumer, progress.drop(gone) or len(gone))
        gaps = spans(gone)
        new, new_gaps = await self._hand_new(consumer, min(limit - len(handed), progress.room), now_ns)
        self._register.note_passed(consumer)
        return Fetched(handed + new, gaps + new_gaps, not progress.room)

    async def _hand_new(self, consumer: Known, limit: int, now_ns: int) -> tuple[list[Handed], list[tuple[int, int]]]:
        progress, handed = consumer.progress, list[Handed]()
        pages = 0
        while len(handed) < limit:
            while consumer.ahead and len(handed) < limit:
                handed.append(self._give(consumer, consumer.ahead.popleft(), now_ns))
            if consumer.ahead or handed:
                break
            progress.pass_over(consumer.ahead_upto)
            if progress.read_from >= self._log.next_offset or pages == PAGES_MAX:
                break
            page = await self._log.read(progress.read_from, READ_EVENTS, selection=consumer.selection)
            pages += 1
            consumer.ahead.extend(page.events)
            consumer.ahead_upto = page.next_offset
            if page.gap is not None:
                progress.pass_over(page.gap[1] + 1)
                return handed, [page.gap]
        return handed, []

    def _give(self, consumer: Known, event: Event, now_ns: int) -> Handed:
        given = consumer.progress.give(event.offset, now_ns)
        consumer.delivered += 1
        consumer.redelivered += given.deliveries > 1
        return Handed(event, given)

    async def _event(self, offset: int) -> Event | None:
        """That event, None if the log holds it no more."""
        events = (await self._log.read(offset, 1)).events
        return events[0] if events and events[0].offset == offset else None

    async def _give_up(self, consumer: Known, offset: int, reason: str) -> int | None:
        """Bury an event; returns its offset if there is nothing left to bury."""
        event = await self._event(offset)
        if not consumer.progress.drop([offset]):
            return None  # it was settled meanwhile
        if event is None:
            return offset
        consumer.given_up += 1
        self._recorder.bury(DeadLetter(letters_of(consumer.name), event, reason))
        self._register.settled(consumer, 1)
        return None

    async def _pause(self, consumer: Known, left_s: float) -> None:
        """Wait until there may be something to hand out."""
        progress = consumer.progress
        if (due_ns := progress.next_due_ns()) is not None:
            left_s = min(left_s, max(0.001, (due_ns - self._clock.mono_ns()) / NS_PER_S))
        if progress.read_from < self._log.next_offset and progress.room:
            await asyncio.sleep(0)  # a page more to look through
            return
        waits: list[asyncio.Task[Any]] = [asyncio.create_task(consumer.changed.wait())]
        if progress.room:
            waits.append(asyncio.create_task(self._log.wait(progress.read_from)))
        try:
            await asyncio.wait(waits, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
