"""One named consumer while the log is open, and what is stored and shown of it."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from gateway.clock import Clock
from gateway.consumer import Given, Progress
from gateway.consumers.words import Standing, selection_of, terms_of
from gateway.event import Event
from gateway.eventlog import ConsumerSpec, ConsumerState, Cursor, EventLog

ATTENDED_S: Final = 40.0
"""A consumer whose reader asked this recently has one: longer than one `fetch` may wait."""


class Known:
    """One consumer while the log is open."""

    def __init__(self, name: str, spec: ConsumerSpec, progress: Progress, used: int) -> None:
        self.name, self.spec, self.progress, self.used = name, spec, progress, used
        self.selection = selection_of(spec)
        self.session: str | None = None
        self.ahead: deque[Event] = deque()  # read, and not given yet
        self.ahead_upto = 0
        self.turn = asyncio.Lock()
        self.changed = asyncio.Event()
        self.asked_s: float | None = None  # when its reader asked last, by the loop's clock
        self.used_noted = used
        self.passed_noted = progress.read_from
        self.kept_floor = self._snapshot_floor = progress.floor
        self.delivered = self.redelivered = self.given_up = 0

    def noted(self) -> None:
        """What is so now is about to be written; what was before is on the disk."""
        self.kept_floor, self._snapshot_floor = self._snapshot_floor, self.progress.floor

    def forget_ahead(self) -> None:
        self.ahead.clear()
        self.ahead_upto = 0

    def wake(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()


def state_of(consumer: Known, clock: Clock) -> ConsumerState:
    """What is to be stored. Instants of the boot clock mean nothing after the next start: they become UTC."""
    stored, ahead_ns = consumer.progress.stored(), clock.wall_ns() - clock.mono_ns()
    consumer.noted()
    still_open = {
        offset: (one.deliveries, one.due_ns + ahead_ns, one.previous, one.resting, one.owed)
        for offset, one in stored.given.items()
    }
    return ConsumerState(consumer.spec, Cursor(stored.read_from, stored.previous), still_open, consumer.used)


def restored(state: ConsumerState, clock: Clock) -> Progress:
    """A clock that was wrong, then or now, makes nothing wait longer than it may."""
    terms, now_ns, wall_ns = terms_of(state.spec), clock.mono_ns(), clock.wall_ns()
    given = {
        offset: Given(deliveries, now_ns + min(max(0, due - wall_ns), terms.longest_ns), previous, resting, owed)
        for offset, (deliveries, due, previous, resting, owed) in state.open.items()
    }
    return Progress(terms, state.cursor.next_offset, state.cursor.previous, given)


def standing_of(consumer: Known, log: EventLog) -> Standing:
    """How it is doing now."""
    progress, floor = consumer.progress, consumer.progress.floor
    at = max(floor, log.first_offset)
    loop_s = asyncio.get_running_loop().time()
    attended = consumer.session is not None and consumer.asked_s is not None
    return Standing(
        consumer.name,
        consumer.spec,
        floor,
        max(0, log.next_offset - at),
        progress.in_flight,
        consumer.delivered,
        consumer.redelivered,
        consumer.given_up,
        attended and loop_s - (consumer.asked_s or 0.0) < ATTENDED_S,
        consumer.used,
    )
