"""What goes into the event log and comes out of it, beside events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from gateway.event import Event
from gateway.ledger import Ledger

WhenFull = Literal["evict", "refuse", "thin"]
"""What happens at the byte bound: the oldest events go; the newest are not taken; old readings are summed up."""


class Cursor(NamedTuple):
    """How far a consumer has read: the next offset to read, and the last one of its selection before that.

    `ledger` says what became of everything before; None where nobody counted.
    """

    next_offset: int
    previous: int | None = None
    ledger: Ledger | None = None


class DeadLetter(NamedTuple):
    """An event that a consumer gave up on."""

    consumer: str
    event: Event
    reason: str


class Checkpoint(NamedTuple):
    """What the events before `offset` amount to, in the words of whoever folds them."""

    offset: int
    state: bytes


class Page(NamedTuple):
    """What a read gave. `gap` names offsets that were asked for and are no more; reading goes on behind them."""

    events: list[Event]
    next_offset: int
    gap: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Keep:
    """How much history the log holds. Age and count never take what a consumer has still to read; the bytes may."""

    for_s: float = 30 * 86400.0
    size_bytes_max: int = 512_000_000
    events_max: int | None = None
    when_full: WhenFull = "evict"


@dataclass(frozen=True, slots=True)
class Riders:
    """What else goes into the transaction of an append: cursors, dead letters, a checkpoint of what was before it."""

    cursors: Mapping[str, Cursor] = field(default_factory=dict)
    dead_letters: Sequence[DeadLetter] = ()
    checkpoint: Checkpoint | None = None

    def __bool__(self) -> bool:
        return bool(self.cursors or self.dead_letters or self.checkpoint)


@dataclass(frozen=True, slots=True)
class Bounds:
    """The log from outside. `first_offset` equals `next_offset` where it is empty; times are ns UTC."""

    first_offset: int
    next_offset: int
    batches: int
    bytes: int
    bytes_max: int
    oldest: int | None
    newest: int | None
