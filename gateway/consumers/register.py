"""Which consumers a log has, and what it keeps of each: made, changed, forgotten, and their places written.

A place is written seldom: it rides in a commit that happens anyway, once something was settled, once much was passed
over without an event, and now and then to tell that somebody still asks. What the log may forget meanwhile is said to
it as soon as it changes: a protected consumer has a cursor among those of the sinks (`_guard`), and what a consumer has
in its hands is not thinned (`_held`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterator
from typing import Final

from gateway.clock import NS_PER_S, Clock
from gateway.consumer import Given, Progress
from gateway.consumers.known import Known, restored, standing_of, state_of
from gateway.consumers.last import last_values
from gateway.consumers.words import (
    ConsumerError,
    SessionTaken,
    Standing,
    TooManyConsumers,
    selection_of,
    terms_of,
)
from gateway.eventlog import ConsumerSpec, Cursor, EventLog
from gateway.eventlog.consumers import letters_of
from gateway.position import Position
from gateway.record import Recorder

logger = logging.getLogger("gateway.consumers")

CONSUMERS_MAX: Final = 64

PASSED_OVER_NOTED: Final = 1000
"""The place is written when it passed over this many offsets without an event: passing over again costs little."""

KEPT_S: Final = 7 * 86400.0
GRACE_S: Final = 3600.0
"""Nothing is forgotten this soon after a start: a gateway that was off for a week did not answer anybody."""

USED_NOTED_S: Final = 3600.0


class Register:
    """All named consumers of one open log."""

    def __init__(
        self, log: EventLog, recorder: Recorder, clock: Clock, subjects: Callable[[], Collection[str]]
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

    def standings(self) -> list[Standing]:
        """All consumers, by name."""
        return [standing_of(self._known[name], self._log) for name in sorted(self._known)]

    # -- finding ------------------------------------------------------------------------------------------------------

    def named(self, name: str) -> Known:
        """Raises ConsumerError where there is none of that name."""
        consumer = self._known.get(name)
        if consumer is None:
            known = ", ".join(sorted(self._known)) or "none"
            raise ConsumerError(f"the log knows no consumer {name!r} (it knows: {known})")
        return consumer

    def of(self, name: str, session: str) -> Known:
        """The consumer whose reader began that session; raises SessionTaken where another one has begun since."""
        consumer = self.named(name)
        if consumer.session != session:
            raise SessionTaken(f"another reader has begun as {name!r}: one name has one reader at a time")
        return consumer

    # -- making, changing and forgetting ------------------------------------------------------------------------------

    async def create(self, name: str, start: Position, spec: ConsumerSpec) -> None:
        """A consumer that begins at `start`.

        Raises:
            TooManyConsumers: there are as many as may be. StoreUnavailable, LogCorrupt: the log cannot be read.
        """
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

    def change(self, consumer: Known, spec: ConsumerSpec) -> None:
        consumer.spec, consumer.selection = spec, selection_of(spec)
        consumer.progress.change(terms_of(spec))
        self._guard(consumer)
        self._ride(consumer, 0)

    def drop(self, consumer: Known) -> None:
        """Forget it, its place and its dead letters."""
        del self._known[consumer.name]
        self._log.cursors.pop(letters_of(consumer.name), None)
        consumer.session = None
        consumer.wake()
        self._recorder.ride_consumer(consumer.name, lambda: None, 0)

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
                self.drop(consumer)

    # -- what is written ----------------------------------------------------------------------------------------------

    def settled(self, consumer: Known, count: int) -> int:
        """So many events are dealt with; returns how many."""
        if count:
            self._guard(consumer)
            self._ride(consumer, count)
            consumer.wake()
        return count

    def note_passed(self, consumer: Known) -> None:
        """Something was handed out or passed over."""
        self._guard(consumer)
        if not consumer.progress.given and consumer.progress.read_from - consumer.passed_noted >= PASSED_OVER_NOTED:
            self._ride(consumer, 0)

    def use(self, consumer: Known) -> None:
        """Its reader asks."""
        consumer.asked_s = asyncio.get_running_loop().time()
        if self._clock.synced():
            consumer.used = self._clock.wall_ns()
        if abs(consumer.used - consumer.used_noted) > USED_NOTED_S * NS_PER_S:
            self._ride(consumer, 0)

    def _ride(self, consumer: Known, acks: int) -> None:
        if self._is_gone(consumer):
            return
        consumer.passed_noted, consumer.used_noted = consumer.progress.read_from, consumer.used
        self._recorder.ride_consumer(consumer.name, lambda: state_of(consumer, self._clock), acks)

    # -- what the log may not touch -----------------------------------------------------------------------------------

    def _guard(self, consumer: Known) -> None:
        """Have the log wait for a protected consumer, as it waits for sinks."""
        if self._is_gone(consumer):
            return
        name = letters_of(consumer.name)
        if consumer.spec.protect:
            self._log.cursors[name] = Cursor(consumer.progress.floor)
        else:
            self._log.cursors.pop(name, None)

    def _held(self) -> Iterator[tuple[int, int]]:
        """What consumers have in their hands, or may have had when the gateway was killed: it is not thinned."""
        for consumer in self._known.values():
            progress = consumer.progress
            begin = min(consumer.kept_floor, progress.floor)
            yield begin, max(progress.read_from, begin + progress.terms.in_flight_max)

    def _is_gone(self, consumer: Known) -> bool:
        """Forgotten while it was being given something: it stays so, and leaves nothing behind."""
        return self._known.get(consumer.name) is not consumer
