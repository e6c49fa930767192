"""Which event ends connections. Pure.

A broker may close the connection for what is in a message: 3.1.1 has no other way to refuse. Such an event would end
every connection and hold up all behind it for ever. But links are also lost for no reason of an event's, so it is given
up only on evidence:

1. A connection ends soon after something was sent or answered. The oldest unsettled event is suspect, for destinations
   work in order. When it is the same one three times in a row, events go one at a time from then on, until everything
   that was in flight is settled: what follows may be the culprit as well.
2. One at a time, each connection first shows that events pass: the last event that was accepted is sent once more,
   with its own id. Then the suspect follows alone. A connection that took the one and ends soon after the other counts.
3. Twice, and the event is convicted.

So a link that flaps, or a broker that ends every connection whatever is sent, never costs an event.
"""

from __future__ import annotations

from typing import Final

PROMPT_S: Final = 2.0
"""A connection that ends later than this after the last sign of life says nothing about an event."""

ENDS_MAX: Final = 3
ALONE_ENDS_MAX: Final = 2


class Suspicion:
    """What was learnt from the connections that ended."""

    def __init__(self) -> None:
        self.offset: int | None = None
        self._ends = 0
        self._alone_ends = 0
        self._until = 0

    @property
    def isolating(self) -> bool:
        """Events are to be sent one at a time."""
        return bool(self._until)

    def settled(self, cursor: int) -> None:
        """The first unsettled offset is now `cursor`."""
        if self.offset is not None and cursor > self.offset:
            self.offset, self._ends, self._alone_ends = None, 0, 0
        if self._until and cursor >= self._until:
            self._until = 0

    def ended(self, offset: int, *, until: int, passes: bool) -> bool:
        """A connection ended soon after `offset`, the oldest unsettled event, was sent. Says whether it is convicted.

        `until` is the first offset that was not sent, `passes` whether another event was accepted on that connection
        before this one was sent alone.
        """
        if offset != self.offset:
            self.offset, self._ends, self._alone_ends = offset, 0, 0
        self._ends += 1
        if self.isolating:
            self._alone_ends += passes
        elif self._ends >= ENDS_MAX:
            self._until = until
        return self._alone_ends >= ALONE_ENDS_MAX
