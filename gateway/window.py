"""What is on its way to one sink and not yet answered for. Pure.

Events are sent in order and settle in any order; the cursor is the first that has not settled, so a crash repeats
at most a window, and never skips. A *held* event stays where it is and is offered again; everything behind it that
was accepted meanwhile is not sent twice.
"""

from __future__ import annotations

from collections import deque

from gateway.eventlog import Cursor
from gateway.sink import Outgoing

HELD_MAX = 5
"""How often an event may be held, others having been accepted in between, before it counts as refused."""


class Window:
    """The unsettled events of one session, oldest first."""

    def __init__(self, cursor: Cursor) -> None:
        self._order: deque[Outgoing] = deque()
        self._settled: set[int] = set()
        self._held: set[int] = set()
        self._strikes: dict[int, tuple[int, int]] = {}  # offset -> (strikes, what was accepted at the last one)
        self._accepted = 0
        self._end = cursor

    def __len__(self) -> int:
        """How many events are unsettled, held ones included."""
        return len(self._order) - len(self._settled)

    @property
    def cursor(self) -> Cursor:
        """From where to go on if the connection were lost now."""
        if self._order:
            oldest = self._order[0]
            return Cursor(oldest.event.offset, oldest.previous)
        return self._end

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
        self._end = Cursor(outgoing.event.offset + 1, outgoing.event.offset)

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
