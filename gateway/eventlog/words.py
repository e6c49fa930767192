"""What goes into the event log and comes out of it, beside events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal, NamedTuple

import msgspec

from gateway.event import Event, Quality
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


class LogEnd(NamedTuple):
    """Where the log goes on: the run and the offset of the next event, which together are its id."""

    run: str
    offset: int


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


class ConsumerSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a named consumer wants, how it acknowledges, and whether the log waits for it. Times in seconds.

    None stands for no restriction. `types` and `subjects` are patterns, see `gateway.selection`.
    """

    types: tuple[str, ...] | None = None
    subjects: tuple[str, ...] | None = None
    quality: tuple[Quality, ...] | None = None
    ack: Literal["cursor", "each"] = "cursor"
    ack_within_s: Annotated[float, msgspec.Meta(gt=0, le=86400)] = 30.0
    deliveries_max: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 5
    backoff_s: Annotated[
        tuple[Annotated[float, msgspec.Meta(ge=0, le=86400)], ...], msgspec.Meta(min_length=1, max_length=16)
    ] = (1.0, 5.0, 30.0, 300.0)
    in_flight_max: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100
    protect: bool = False


class ConsumerState(NamedTuple):
    """A named consumer as the log keeps it.

    Everything from `cursor` on is new to it. `open` holds what lies before and is not settled: offset -> (deliveries,
    when it is due again in ns UTC, offset of the preceding event, resting, owed), see `gateway.consumer.Given`. `used`
    is when somebody last asked (ns UTC; 0 where the clock was not to be trusted).
    """

    spec: ConsumerSpec
    cursor: Cursor
    open: Mapping[int, tuple[int, int, int | None, bool, bool]]
    used: int


@dataclass(frozen=True, slots=True)
class Keep:
    """How much history the log holds. Age and count never take what a consumer has still to read; the bytes may."""

    for_s: float = 30 * 86400.0
    size_bytes_max: int = 512_000_000
    events_max: int | None = None
    when_full: WhenFull = "evict"


@dataclass(frozen=True, slots=True)
class Riders:
    """What else goes into the transaction of an append: cursors, dead letters, named consumers, a checkpoint.

    A consumer of None is forgotten. The checkpoint is of what was before the append.
    """

    cursors: Mapping[str, Cursor] = field(default_factory=dict)
    dead_letters: Sequence[DeadLetter] = ()
    checkpoint: Checkpoint | None = None
    consumers: Mapping[str, ConsumerState | None] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.cursors or self.dead_letters or self.consumers or self.checkpoint)


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


class Packing(NamedTuple):
    """What the newest `batches` take: as stored, and before they were deflated. Bytes."""

    batches: int
    events: int
    stored_bytes: int
    raw_bytes: int
