"""Named consumers over an open log; see the package."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable, Collection, Iterator
from typing import Any, Final

from gateway.clock import NS_PER_S, Clock
from gateway.consumer import Given, Progress
from gateway.consumers.known import Known, restored, standing_of, state_of
from gateway.consumers.last import last_values
from gateway.consumers.words import (
    Begun,
    ConsumerError,
    Fetched,
    Handed,
    SessionTaken,
    Standing,
    TooManyConsumers,
    check_name,
    check_spec,
    selection_of,
    spans,
    terms_of,
)
from gateway.event import Event
from gateway.eventlog import ConsumerSpec, Cursor, DeadLetter, EventLog
from gateway.eventlog.consumers import letters_of
from gateway.position import Position
from gateway.record import Recorder

logger = logging.getLogger("gateway.consumers")

CONSUMERS_MAX: Final = 64
READ_EVENTS: Final = 500
PAGES_MAX: Final = 20
"""How many pages one `fetch` looks through before it lets others have their turn."""

PASSED_OVER_NOTED: Final = 1000
"""The place is written when it passed over this many offsets without an event: passing over again costs little."""

KEPT_S: Final = 7 * 86400.0
LOOK_EVERY_S: Final = 600.0
GRACE_S: Final = 3600.0
"""Nothing is forgotten this soon after a start: a gateway that was off for a week did not answer anybody."""

USED_NOTED_S: Final = 3600.0


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
        self._log, self._recorder, self._clock, self._subjects = log, recorder, clock, subjects
        self._known: dict[str, Known] = {}
        self._began_s = asyncio.get_running_loop().time()
        log.hold(self._held)

    async def load(self) -> None:
        """Take up what the log keeps.

        Raises:
            StoreUnavailable, LogCorrupt: the file does not answer, or is damaged.
        """
        for name, state in (await self._log.named_consumers()).items():
            self._known[name] = consumer = Known(name, state.spec, restored(state, self._clock), state.used)
            self._guard(consumer)

    def __contains__(self, name: str) -> bool:
        return name in self._known

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
        created = name not in self._known
        if created:
            await self._create(name, start, spec or ConsumerSpec())
        consumer = self._known[name]
        consumer.session = session = secrets.token_hex(8)
        consumer.wake()
        async with consumer.turn:
            if spec is not None and spec != consumer.spec:
                self._change(consumer, spec)
            consumer.progress.begin(self._clock.mono_ns())
            consumer.forget_ahead()
            consumer.passed_noted = consumer.progress.read_from
            self._use(consumer)
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
            consumer = self._of(name, session)
            self._use(consumer)
            async with consumer.turn:
                self._of(name, session)
                fetched = await self._hand(consumer, limit)
            if fetched.events or fetched.gaps or loop.time() >= until:
                return fetched
            await self._pause(consumer, until - loop.time())

    def ack(self, name: str, session: str, offset: int) -> int:
        """That event is dealt with (and all before it, where the consumer acknowledges by cursor). Returns how many.

        An event that is in nobody's hands any more counts for nothing: it will be given again.
        """
        consumer = self._of(name, session)
        return self._settled(consumer, consumer.progress.ack(offset))

    def nak(self, name: str, session: str, offset: int, wait_s: float | None = None) -> int:
        """Give that event again, after its back-off or after `wait_s`."""
        consumer = self._each(name, session)
        done = consumer.progress.nak(offset, self._clock.mono_ns(), wait_s)
        return self._settled(consumer, int(done))

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
        self._drop(self._named(name))
        await self._recorder.written(name)

    def standings(self) -> list[Standing]:
        """All consumers, by name."""
        return [standing_of(self._known[name], self._log) for name in sorted(self._known)]

    # -- life ---------------------------------------------------------------------------------------------------------

    async def run(self, stopped: asyncio.Event) -> None:
        """Forget what nobody uses, now and then."""
        while not stopped.is_set():
            self.expire()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopped.wait(), LOOK_EVERY_S)

    def expire(self) -> None:
        """Forget the unprotected consumers that nobody has asked for 7 days of a clock that is believed."""
        loop_s = asyncio.get_running_loop().time()
        if not self._clock.synced() or loop_s - self._began_s < GRACE_S:
            return
        now = self._clock.wall_ns()
        for consumer in list(self._known.values()):
            if consumer.used == 0:
                consumer.used = now
            elif not consumer.spec.protect and now - consumer.used > KEPT_S * NS_PER_S:
                logger.info("the consumer %s is forgotten: nobody asked for it for 7 days", consumer.name)
                self._drop(consumer)

    # -- making and changing ------------------------------------------------------------------------------------------

    async def _create(self, name: str, start: Position, spec: ConsumerSpec) -> None:
        if len(self._known) >= CONSUMERS_MAX:
            raise TooManyConsumers(
                f"the log keeps {CONSUMERS_MAX} consumers, as many as it may: forget one that is not needed "
                "(`gateway log` lists them, `gateway consume NAME --forget`)"
            )
        log, owed = self._log, list[int]()
        match start.kind:
            case "earliest":
                at = log.first_offset
            case "offset":
                at = start.at
            case "time":
                at = await log.offset_at(start.at)
            case _:
                at = log.next_offset
        if start.kind == "last":
            owed = await last_values(log, selection_of(spec), at, self._subjects())
        if name in self._known:  # somebody else came first
            return
        progress = Progress(terms_of(spec), at, None, {offset: Given(0, 0, owed=True) for offset in owed})
        self._known[name] = consumer = Known(name, spec, progress, 0)
        self._guard(consumer)
        self._ride(consumer, 0)

    def _change(self, consumer: Known, spec: ConsumerSpec) -> None:
        consumer.spec, consumer.selection = spec, selection_of(spec)
        consumer.progress.change(terms_of(spec))
        self._guard(consumer)
        self._ride(consumer, 0)

    def _drop(self, consumer: Known) -> None:
        del self._known[consumer.name]
        self._log.cursors.pop(letters_of(consumer.name), None)
        consumer.session = None
        consumer.wake()
        self._recorder.ride_consumer(consumer.name, lambda: None, 0)

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
            self._settled(consumer, progress.drop(gone) or len(gone))
        gaps = spans(gone)
        new, new_gaps = await self._hand_new(consumer, min(limit - len(handed), progress.room), now_ns)
        self._note_passed(consumer)
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
        self._settled(consumer, 1)
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

    # -- keeping ------------------------------------------------------------------------------------------------------

    def _settled(self, consumer: Known, count: int) -> int:
        if count:
            self._guard(consumer)
            self._ride(consumer, count)
            consumer.wake()
        return count

    def _ride(self, consumer: Known, acks: int) -> None:
        if self._is_gone(consumer):
            return
        consumer.passed_noted, consumer.used_noted = consumer.progress.read_from, consumer.used
        self._recorder.ride_consumer(consumer.name, lambda: state_of(consumer, self._clock), acks)

    def _note_passed(self, consumer: Known) -> None:
        self._guard(consumer)
        if not consumer.progress.given and consumer.progress.read_from - consumer.passed_noted >= PASSED_OVER_NOTED:
            self._ride(consumer, 0)

    def _use(self, consumer: Known) -> None:
        consumer.asked_s = asyncio.get_running_loop().time()
        if self._clock.synced():
            consumer.used = self._clock.wall_ns()
        if abs(consumer.used - consumer.used_noted) > USED_NOTED_S * NS_PER_S:
            self._ride(consumer, 0)

    def _held(self) -> Iterator[tuple[int, int]]:
        """What consumers have in their hands, or may have had when the gateway was killed: it is not thinned."""
        for consumer in self._known.values():
            progress = consumer.progress
            begin = min(consumer.kept_floor, progress.floor)
            yield begin, max(progress.read_from, begin + progress.terms.in_flight_max)

    def _guard(self, consumer: Known) -> None:
        """Have the log wait for a protected consumer, as it waits for sinks."""
        if self._is_gone(consumer):
            return
        name = letters_of(consumer.name)
        if consumer.spec.protect:
            self._log.cursors[name] = Cursor(consumer.progress.floor)
        else:
            self._log.cursors.pop(name, None)

    def _is_gone(self, consumer: Known) -> bool:
        """Forgotten while it was being given something: it stays so, and leaves nothing behind."""
        return self._known.get(consumer.name) is not consumer

    # -- finding ------------------------------------------------------------------------------------------------------

    def _named(self, name: str) -> Known:
        consumer = self._known.get(name)
        if consumer is None:
            known = ", ".join(sorted(self._known)) or "none"
            raise ConsumerError(f"the log knows no consumer {name!r} (it knows: {known})")
        return consumer

    def _of(self, name: str, session: str) -> Known:
        consumer = self._named(name)
        if consumer.session != session:
            raise SessionTaken(f"another reader has begun as {name!r}: one name has one reader at a time")
        return consumer

    def _each(self, name: str, session: str) -> Known:
        consumer = self._of(name, session)
        if consumer.spec.ack != "each":
            raise ConsumerError(f"{name!r} acknowledges by cursor, and gives nothing back: begin it with ack='each'")
        return consumer
