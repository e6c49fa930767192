"""What is on its way to one sink and not yet answered for. Pure.

Events are sent in order and settle in any order; the cursor is the first that has not settled, so a crash repeats
at most a window, and never skips. A *held* event stays where it is and is offered again; everything behind it that
was accepted meanwhile is not sent twice.

Readings that wait for a plausible clock are *passed over*: the cursor stays at the first of them, what is not a
reading goes ahead, and `turn_back` returns to them once everything sent has settled. What went ahead is remembered,
so it is not sent twice; a lost connection forgets that, and repeats it like any window.
"""

from __future__ import annotations

from collections import deque

from gateway.eventlog import Cursor
from gateway.sink import Outgoing

HELD_MAX = 5
"""How often an event may be held, others having been accepted in between, before it counts as refused."""


AHEAD_MAX = 10_000
"""How many events may go ahead of readings that wait. Beyond it everything waits."""


class Window:
    """The unsettled events of one session, oldest first."""

    def __init__(self, cursor: Cursor) -> None:
        self._order: deque[Outgoing] = deque()
        self._settled: set[int] = set()
        self._held: set[int] = set()
        self._strikes: dict[int, tuple[int, int]] = {}  # offset -> (strikes, what was accepted at the last one)
        self._accepted = 0
        self._end = cursor
        self._passed_over: Cursor | None = None  # where the first event stands that was passed over
        self._ahead: set[int] = set()  # what was sent from behind it

    def __len__(self) -> int:
        """How many events are unsettled, held ones included."""
        return len(self._order) - len(self._settled)

    @property
    def cursor(self) -> Cursor:
        """From where to go on if the connection were lost now."""
        oldest = self._end
        if self._order:
            oldest = Cursor(self._order[0].event.offset, self._order[0].previous)
        return oldest if self._passed_over is None else min(oldest, self._passed_over, key=_position)

    @property
    def read_from(self) -> int:
        """The next offset to read from the log."""
        return self._end.next_offset

    @property
    def previous(self) -> int | None:
        """The last offset of the selection that was handed out."""
        return self._end.previous

    @property
    def oldest(self) -> int | None:
        """The offset of the oldest event that the destination owes an answer for, None where it owes none."""
        for outgoing in self._order:
            offset = outgoing.event.offset
            if offset not in self._settled and offset not in self._held:
                return offset
        return None

    @property
    def holding(self) -> bool:
        return bool(self._held)

    @property
    def doubted(self) -> bool:
        """An event was held and has not settled since, whatever happened to others."""
        return bool(self._strikes)

    @property
    def all_held(self) -> bool:
        """Nothing is in flight but what the destination does not take now."""
        return bool(self._held) and len(self) == len(self._held)

    def sent(self, outgoing: Outgoing) -> None:
        """An event was handed to the wire. Offsets only ever increase."""
        self._order.append(outgoing)
        if self._passed_over is not None:
            self._ahead.add(outgoing.event.offset)
        self._end = Cursor(outgoing.event.offset + 1, outgoing.event.offset)

    def pass_over(self, offset: int) -> bool:
        """Leave an event for later; False when so many went ahead that nothing more may."""
        if self._passed_over is None:
            self._passed_over = self._end
        if len(self._ahead) >= AHEAD_MAX:
            return False
        self._end = Cursor(offset + 1, offset)
        return True

    @property
    def passing_over(self) -> bool:
        """Whether events wait behind what was sent."""
        return self._passed_over is not None

    def turn_back(self) -> None:
        """Go on with the first event that was passed over. Everything sent has settled."""
        assert not self._order, "nothing may be in flight"
        self._end, self._passed_over = self._passed_over or self._end, None

    def went_ahead(self, offset: int) -> bool:
        """Whether the event at `read_from` went ahead; then it is behind us now."""
        if offset not in self._ahead:
            return False
        if self._passed_over is None:  # otherwise we come by here once more
            self._ahead.discard(offset)
        self._end = Cursor(offset + 1, offset)
        return True

    def skip_to(self, next_offset: int) -> None:
        """Offsets below `next_offset` hold nothing for this sink."""
        self._end = Cursor(next_offset, self._end.previous)

    def settle(self, offset: int) -> Outgoing | None:
        """The destination answered for good; returns the event, None if it was not (or no longer) on its way."""
        outgoing = self._find(offset)
        if outgoing is None:
            return None
        self._settled.add(offset)
        self._held.discard(offset)
        self._strikes.pop(offset, None)
        self._accepted += 1
        while self._order and self._order[0].event.offset in self._settled:
            self._settled.remove(self._order.popleft().event.offset)
        return outgoing

    def hold(self, offset: int) -> int:
        """The destination does not take the event now. Returns its strikes: the first refusal, and each later one
        if other events were answered for in between. A destination that takes nothing strikes nobody out.
        """
        if self._find(offset) is None:
            return 0
        self._held.add(offset)
        strikes, accepted = self._strikes.get(offset, (0, -1))
        if self._accepted > accepted:
            self._strikes[offset] = (strikes + 1, self._accepted)
        return self._strikes[offset][0]

    def offer_again(self) -> list[Outgoing]:
        """The held events, in order, to be sent once more."""
        again = [outgoing for outgoing in self._order if outgoing.event.offset in self._held]
        self._held.clear()
        return again

    def _find(self, offset: int) -> Outgoing | None:
        if not self._order or offset in self._settled:
            return None
        if self._order[0].event.offset == offset:  # acknowledgements come in order nearly always
            return self._order[0]
        return next((outgoing for outgoing in self._order if outgoing.event.offset == offset), None)


def _position(cursor: Cursor) -> int:
    return cursor.next_offset
