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

from collections.abc import Sequence
from typing import Final

from gateway.sink import Outgoing, Verdict

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


class Trial:
    """Suspicion through the connections of one sink: who is suspect, and what shows that other events pass."""

    def __init__(self) -> None:
        self._suspicion = Suspicion()
        self._accepted: Outgoing | None = None
        self._witness: int | None = None
        self._delayed: Outgoing | None = None
        self._passes = False

    @property
    def isolating(self) -> bool:
        """Events are to be sent one at a time."""
        return self._suspicion.isolating

    @property
    def waiting(self) -> bool:
        """A witness is on its way: nothing else may be."""
        return self._witness is not None

    def connecting(self, cursor: int) -> None:
        """A new connection begins at `cursor`."""
        self._suspicion.settled(cursor)
        self._witness, self._delayed, self._passes = None, None, False

    def accepted(self, outgoing: Outgoing, cursor: int) -> None:
        self._accepted, self._passes = outgoing, True
        self._suspicion.settled(cursor)

    def answered(self, offset: int, verdict: Verdict) -> None:
        """The destination said something of `offset`: was it the witness?"""
        if offset == self._witness:
            self._passes, self._witness = verdict == "accepted", None

    def ended(self, oldest: int | None, *, until: int, silent_s: float) -> bool:
        """The connection ended, `silent_s` after its last sign of life. Says whether `oldest` is convicted."""
        if oldest is None or self._delayed is not None or silent_s > PROMPT_S:
            return False
        return self._suspicion.ended(oldest, until=until, passes=self._passes)

    def alone(self, unsettled: int) -> Outgoing | None:
        """What is to be sent alone before anything else: the last event that was accepted, or who waited for that."""
        if self._delayed is not None and unsettled == 1:
            delayed, self._delayed = self._delayed, None
            return delayed
        if self._passes or unsettled or self._accepted is None:
            return None
        self._witness = self._accepted.event.offset
        return self._accepted

    def lacks_witness(self, unsettled: int) -> bool:
        """Nothing was accepted since the start, so the event behind the suspect must show that events pass."""
        return not (self._passes or unsettled or self._accepted)

    def let_go_first(self, suspect_and_next: Sequence[Outgoing]) -> Outgoing:
        """The one of these two (or of a last single one) to be sent now; the other follows by `alone`."""
        *delayed, first = suspect_and_next
        self._delayed = delayed[0] if delayed else None
        return first
