"""What a named consumer was given, what it has settled, and what is due again. Pure.

Theory of operation
-------------------
A consumer reads the log in order and settles what it was given, in one of two ways.

*Cursor*: an acknowledgement of one event is one of everything before it too. What was given and not acknowledged is
given again to the next reader, in order. This is Kafka's way: cheap, ordered, and an event that cannot be dealt with
stops it.

*Each*: every event is settled for itself. `ack` ends it. `nak` asks for it again, after a wait that grows with its
deliveries. No word within `ack_within_s` counts as a silent nak without the wait: the reader has had its time. What was
delivered `deliveries_max` times without an ack is given up, and so is what the reader rejects: a dead letter.

    new ──give──> given ──ack──────────────> settled
                   │  ▲
             nak / │  │ due, deliveries < max
            silent └──┘
                   └──due, deliveries = max──> given up

*Owed* events have not been delivered yet although they lie before the position: a consumer that starts at the last
values owes itself one event of each subject. They are given before anything new.

Instants are nanoseconds of the boot clock. A position is what has to be stored so that nothing is skipped: all that is
not settled lies behind it, or is named in `given`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from gateway.clock import NS_PER_S

Acknowledges = Literal["cursor", "each"]


class Terms(NamedTuple):
    """How a consumer acknowledges. `backoff_s` are the waits after the first, second, ... nak; the last one stays."""

    ack: Acknowledges = "cursor"
    ack_within_s: float = 30.0
    deliveries_max: int = 5
    backoff_s: tuple[float, ...] = (1.0, 5.0, 30.0, 300.0)
    in_flight_max: int = 100

    def wait_ns(self, deliveries: int) -> int:
        """How long an event rests after that many deliveries."""
        waits = self.backoff_s or (0.0,)
        return round(waits[min(deliveries, len(waits)) - 1] * NS_PER_S)

    @property
    def longest_ns(self) -> int:
        """The longest time for which an event may lie here without being due."""
        return round(max(self.ack_within_s, *self.backoff_s, 0.0) * NS_PER_S)


class Given(NamedTuple):
    """One event that is not settled. `due_ns` is when it is given again; `resting` says that a nak asked for that wait.

    `previous` is the offset of the preceding event of the selection, equal at every delivery. An `owed` event lay
    before the position when the consumer began, outside of that chain.
    """

    deliveries: int
    due_ns: int
    previous: int | None = None
    resting: bool = False
    owed: bool = False


class Progress:
    """One consumer's place in the log, and what lies open before it."""

    def __init__(
        self, terms: Terms, read_from: int, previous: int | None = None, given: Mapping[int, Given] | None = None
    ) -> None:
        """`read_from` is the next offset that is new; `previous` the last of the selection before it."""
        self.terms = terms
        self.read_from, self.previous = read_from, previous
        self.given: dict[int, Given] = dict(sorted((given or {}).items()))

    # -- giving -------------------------------------------------------------------------------------------------------

    @property
    def in_flight(self) -> int:
        """Delivered and not settled."""
        return sum(one.deliveries > 0 for one in self.given.values())

    @property
    def room(self) -> int:
        """How many more may be in flight."""
        return max(0, self.terms.in_flight_max - self.in_flight)

    @property
    def floor(self) -> int:
        """The lowest offset that is still needed."""
        return min(self.given, default=self.read_from)

    def due(self, now_ns: int, limit: int) -> list[int]:
        """At most `limit` offsets to be delivered (again) now, oldest first; first deliveries only within the room."""
        due: list[int] = []
        room = self.room
        for offset in self._waiting(now_ns):
            if len(due) == limit:
                break
            if self._spent(self.given[offset]):
                continue
            if self.given[offset].deliveries == 0:
                if not room:
                    continue
                room -= 1
            due.append(offset)
        return due

    def is_due(self, offset: int, now_ns: int) -> bool:
        """Whether that event is open, and to be delivered (again) now."""
        return offset in self.given and self.given[offset].due_ns <= now_ns

    def spent(self, now_ns: int) -> list[int]:
        """The offsets to be given up now: delivered as often as they may be, and due again."""
        return [offset for offset in self._waiting(now_ns) if self._spent(self.given[offset])]

    def next_due_ns(self) -> int | None:
        """When something becomes due of itself, None where nothing does."""
        each = self.terms.ack == "each"
        return min((one.due_ns for one in self.given.values() if each or not one.deliveries), default=None)

    def give(self, offset: int, now_ns: int) -> Given:
        """Note the delivery of an event, new or due."""
        known = self.given.get(offset) or Given(0, 0, self.previous)
        due_ns = now_ns + round(self.terms.ack_within_s * NS_PER_S)
        given = known._replace(deliveries=known.deliveries + 1, due_ns=due_ns, resting=False)
        self.given[offset] = given
        if offset >= self.read_from:
            self.read_from, self.previous = offset + 1, offset
        return given

    def pass_over(self, next_offset: int) -> None:
        """Nothing below that offset is for this consumer."""
        self.read_from = max(self.read_from, next_offset)

    # -- settling -----------------------------------------------------------------------------------------------------

    def ack(self, offset: int) -> int:
        """Settle what was given: that event, or all up to it. Returns how many that were."""
        if self.terms.ack == "each":
            return self.drop([offset])
        return self.drop([given for given, one in self.given.items() if given <= offset and one.deliveries])

    def nak(self, offset: int, now_ns: int, wait_s: float | None = None) -> bool:
        """The reader wants it again later: after its back-off, or after `wait_s`. False if it is not in its hands."""
        known = self.given.get(offset)
        if known is None or not known.deliveries or known.resting:
            return False
        wait_ns = self.terms.wait_ns(known.deliveries) if wait_s is None else round(wait_s * NS_PER_S)
        if self._spent(known):  # nothing is left to wait for
            wait_ns = 0
        self.given[offset] = known._replace(due_ns=now_ns + wait_ns, resting=True)
        return True

    def holds(self, offset: int) -> bool:
        """Whether that event was delivered and is not settled."""
        return offset in self.given and self.given[offset].deliveries > 0

    def drop(self, offsets: Iterable[int]) -> int:
        """Forget these; returns how many were there."""
        return sum(self.given.pop(offset, None) is not None for offset in list(offsets))

    # -- readers come and go ------------------------------------------------------------------------------------------

    def begin(self, now_ns: int) -> None:
        """A new reader: what the former one was given and has not answered for is due at once."""
        if self.terms.ack == "cursor":
            self._turn_back()
        self.given = {
            offset: one if one.resting else one._replace(due_ns=min(one.due_ns, now_ns))
            for offset, one in self.given.items()
        }

    def change(self, terms: Terms) -> None:
        """Go on under other terms. Whoever acknowledges by cursor from now on begins at the first open event."""
        self.terms = terms
        if terms.ack == "cursor":
            self._turn_back()

    def stored(self) -> Progress:
        """What has to be kept so that nothing is skipped whatever happens now."""
        kept = Progress(self.terms, self.read_from, self.previous, self.given)
        if kept.terms.ack == "cursor":
            kept._turn_back()
        return kept

    def _turn_back(self) -> None:
        """Read on at the first event that was read and not acknowledged. What was owed and delivered is owed again."""
        open_ = [offset for offset, one in self.given.items() if not one.owed]
        if open_:
            self.read_from, self.previous = min(open_), self.given[min(open_)].previous
        self.given = {offset: Given(0, 0, owed=True) for offset, one in self.given.items() if one.owed}

    def _waiting(self, now_ns: int) -> list[int]:
        each = self.terms.ack == "each"
        return sorted(o for o, one in self.given.items() if one.due_ns <= now_ns and (each or not one.deliveries))

    def _spent(self, one: Given) -> bool:
        return self.terms.ack == "each" and one.deliveries >= self.terms.deliveries_max
