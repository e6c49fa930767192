"""What one sink is to get next: reads the log from the sink's cursor, and keeps account of what became of each offset.

What the sink does not want (`selection.py`) is passed over: the cursor moves, and `previous` chains what it does get.
Readings whose time cannot be right may have to wait; what is not a reading goes ahead of them and keeps its place in
the chain: `previous` names the event before it in the log, waiting or not. The hole is filled when the readings
follow, at their corrected times.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

from gateway.event import THINNED, Event
from gateway.eventlog import HELD_AT_START, Cursor, EventLog
from gateway.ledger import Book, Ledger
from gateway.selection import Selection
from gateway.sink import Outgoing
from gateway.window import Window

logger = logging.getLogger("gateway.deliver")

WAITING_TYPES = frozenset({"reading", THINNED})
"""Types that are worth less at a wrong time than late."""

READ_EVENTS = 500


class Feed:
    """The events of one sink in the order of the log, and the window of those that are on their way."""

    def __init__(
        self,
        sink_id: str,
        log: EventLog,
        *,
        boot_id: str,
        selection: Selection,
        readings_wait: Callable[[], bool],
    ) -> None:
        """`readings_wait` says whether readings of this boot shall wait for the clock."""
        self._sink_id, self._log, self._boot_id = sink_id, log, boot_id
        self._selection, self._readings_wait = selection, readings_wait
        start = log.cursors.setdefault(sink_id, Cursor(log.first_offset))
        # A cursor of a version that kept no ledger, or kept it badly: counted from here on.
        ledger = start.ledger if start.ledger and start.ledger.next_offset == start.next_offset else None
        self._book = Book(ledger or Ledger(start.next_offset))
        self.window = Window(start)
        self._read: deque[Event] = deque()
        self._handed_out = start.next_offset + HELD_AT_START
        self.passed_over = 0
        """How many events were not wanted, since somebody set this to 0."""

    @property
    def cursor(self) -> Cursor:
        """The first event that is not settled, and the ledger of everything before it."""
        cursor = self.window.cursor
        self._book.close(cursor.next_offset)
        return Cursor(cursor.next_offset, cursor.previous, self._book.ledger)

    @property
    def handed_out(self) -> int:
        """The offset behind the last event that was ever handed out, or is in memory for that."""
        read = self._read[-1].offset + 1 if self._read else self.window.read_from
        self._handed_out = max(self._handed_out, read)
        return self._handed_out

    @property
    def at_end(self) -> bool:
        """Everything in the log has been handed out or passed over."""
        return self.window.read_from >= self._log.next_offset

    def begin_again(self) -> None:
        """From the cursor on, after a lost connection: everything that was not settled is handed out again."""
        cursor, self._handed_out = self.cursor, self.handed_out
        self._book.begin_again()
        self.window = Window(cursor)
        self._read.clear()

    def settle(self, offset: int, refused: str | None = None) -> Outgoing | None:
        """The destination answered for good, with a refusal or without; None if the event was not on its way."""
        outgoing = self.window.settle(offset)
        if outgoing is not None and refused is None:
            self._book.delivered(offset)
        elif outgoing is not None and refused is not None:
            self._book.dead_lettered(offset, refused)
        return outgoing

    def ready(self) -> bool:
        """Whether new events may be handed out. Returns to readings that waited once what went ahead has settled."""
        if not self.window.passing_over or self._readings_wait():
            return True
        if len(self.window):
            return False
        self.window.turn_back()
        self._read.clear()
        return True

    async def next(self) -> Outgoing | None:
        """The next event that may go now, which counts as sent with this; None at the log's end.

        Raises:
            LogError: the log does not answer.
        """
        event = await self._next_event()
        if event is None:
            return None
        outgoing = Outgoing(event, self.window.previous)
        self.window.sent(outgoing)
        return outgoing

    async def _next_event(self) -> Event | None:
        while True:
            if not self._read and not self.at_end:
                await self._read_on()
            if not self._read:
                return None
            event = self._read.popleft()
            self._pass_what_was_summed_up(event.offset)
            if not self._selection.selects(event):
                self._pass_by(event.offset)
            elif self.window.went_ahead(event.offset):
                continue
            elif not self._waits(event):
                return event
            elif not self.window.pass_over(event.offset):
                self._read.appendleft(event)
                return None

    def _pass_what_was_summed_up(self, upto: int) -> None:
        """Offsets that the log has no more because a later event stands for them (`eventlog.thin`)."""
        at = self.window.read_from
        if at < upto and not self.window.passing_over:
            self._book.evicted(at, upto - 1, "thinned")

    def _pass_by(self, offset: int) -> None:
        self.window.skip_to(offset + 1)
        self.passed_over += 1
        if not self.window.passing_over:  # else we come by here once more
            self._book.not_selected(offset)

    def _waits(self, event: Event) -> bool:
        if event.synced or event.type not in WAITING_TYPES or event.boot != self._boot_id:
            return False
        return self._readings_wait()

    async def _read_on(self) -> None:
        page = await self._log.read(self.window.read_from, READ_EVENTS)
        if page.gap is not None:
            reason = self._log.faults.reason(page.gap[1])
            logger.warning("sink %s: there is nothing at offsets %d to %d (%s)", self._sink_id, *page.gap, reason)
            self.window.skip_to(page.gap[1] + 1)
            if not self.window.passing_over:
                self._book.evicted(*page.gap, reason)
        self._read.extend(page.events)
