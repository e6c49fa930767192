"""Deadlines of all rules in one heap. Pure: time is what the caller says it is.

A `Timer` is one deadline of one key of one rule: armed, moved, and disarmed, and it fires once when its time has
come. Moving a deadline later costs no more than an assignment: the old entry of the heap stays, and finds out when it
comes up. That is the usual case by far: every reading moves the deadline of `absent`.

Order. Equal deadlines fire in the order in which they were armed.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Final

NEVER: Final = 1 << 62
"""A time (ns) that does not come: 146 years of nanoseconds."""

_ENTRIES_MIN: Final = 1024


class Timer:
    """One deadline. `due` and `queued` are ns of rule time: what is meant, and where the heap knows of it."""

    __slots__ = ("armed", "due", "queued")

    def __init__(self) -> None:
        self.due = self.queued = NEVER
        self.armed = 0

    def fire(self, at: int) -> None:
        """The deadline `at` has come. The timer is disarmed already, and may be armed anew."""
        raise NotImplementedError

    def forgotten(self) -> None:
        """There was no room for whom it belongs to."""


class Timers:
    """All deadlines. `next_due` is never later than the earliest of them."""

    __slots__ = ("_armed", "_entries_max", "_heap", "next_due")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Timer]] = []
        self._armed = 0
        self._entries_max = _ENTRIES_MIN
        self.next_due = NEVER

    def arm(self, timer: Timer, due: int) -> None:
        """The timer is to fire at `due`, and at no other time."""
        self._armed += 1
        timer.due, timer.armed = due, self._armed
        if due < timer.queued:
            self._push(timer)

    def put_back(self, timer: Timer) -> None:
        """A timer that was popped and did not fire keeps its deadline and its place among equal ones."""
        if timer.due < timer.queued:
            self._push(timer)

    @staticmethod
    def disarm(timer: Timer) -> None:
        timer.due = NEVER

    @staticmethod
    def forget(timer: Timer) -> None:
        """The timer is no longer wanted, nor its place in the heap."""
        timer.due = timer.queued = NEVER

    def deadline(self) -> int | None:
        """The earliest time at which a timer fires; None for no time."""
        self._settle()
        return self._heap[0][0] if self._heap else None

    def pop(self, until: int) -> tuple[int, Timer] | None:
        """The next timer that is due at `until` or before, disarmed, and when it was due."""
        while self.next_due <= until:
            self._settle()
            if not self._heap or self._heap[0][0] > until:
                return None
            due, _, timer = heappop(self._heap)
            self._look()
            timer.due = timer.queued = NEVER
            return due, timer
        return None

    def _settle(self) -> None:
        """Bring a timer that is really due to the top."""
        heap = self._heap
        while heap:
            due, armed, timer = heap[0]
            if timer.queued == due and timer.due == due and timer.armed == armed:
                break
            heappop(heap)
            if timer.queued == due:
                timer.queued = NEVER
                if timer.due < NEVER:
                    self._push(timer)
        self._look()

    def _look(self) -> None:
        self.next_due = self._heap[0][0] if self._heap else NEVER

    def _push(self, timer: Timer) -> None:
        if len(self._heap) >= self._entries_max:
            self._compact()
        timer.queued = timer.due
        heappush(self._heap, (timer.due, timer.armed, timer))
        self.next_due = min(self.next_due, timer.due)

    def _compact(self) -> None:
        """Drop entries of timers that moved or are gone; keys that come and go must not fill the memory."""
        self._heap = [entry for entry in self._heap if entry[2].queued == entry[0] and entry[2].due < NEVER]
        heapify(self._heap)
        self._entries_max = max(_ENTRIES_MIN, 2 * len(self._heap))
