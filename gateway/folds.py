"""State that is folded from the log, and the checkpoints that spare a start the reading of all of it.

    state = the newest checkpoint + the records after it

Each part that has such state (`Fold`) is fed with every committed event, in order and as it was recorded; nothing else
moves it. So a start that restores a checkpoint and reads on is where the gateway was, whenever it ended. A checkpoint
rides in a commit, at the offset before that batch. It is taken when reading on would take too long, and at a stop; two
are kept, so that a damaged one costs time and nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import msgspec

from gateway.errors import StateUnfit
from gateway.event import Event
from gateway.eventlog import Checkpoint, EventLog

logger = logging.getLogger("gateway.folds")

EVENTS_MAX: Final = 10_000
"""How many events a start reads again at most: half a second on the smallest Pi, where one costs about 50 µs."""

EVENTS_MIN: Final = 500
READ_EVENTS: Final = 2000
WITHOUT_CHECKPOINT_MAX: Final = 2 * EVENTS_MAX
"""How far back is read where no checkpoint is usable: a log of this version has had one by then."""


class Fold(Protocol):
    """A part whose state is a fold of the log."""

    def snapshot(self) -> bytes:
        """All of the state, as it is after everything that was folded."""

    def restore(self, state: bytes | None) -> None:
        """Take over a snapshot, or begin anew (None).

        Raises:
            StateUnfit: it is not one of this version's. `restore` follows once more.
        """

    def fold(self, events: Sequence[Event]) -> None:
        """These were committed next."""


Folds = Mapping[str, Fold]
"""Name in the checkpoint -> part."""


def due(since: int, held: int) -> bool:
    """Whether it is time for a checkpoint, `since` events after the last one, in a log that holds so many.

    A small log turns over fast: trims, which go no further than the newest checkpoint, must find it near the end.
    """
    return since >= min(EVENTS_MAX, max(EVENTS_MIN, held // 4))


def pack(folds: Folds) -> bytes:
    """What a checkpoint holds: MessagePack of part -> its state."""
    return msgspec.msgpack.encode({name: fold.snapshot() for name, fold in folds.items()})


async def recover(log: EventLog, folds: Folds) -> int:
    """Bring the parts to the end of the log; returns the offset from which on events had to be read.

    A part that the checkpoint does not know yet begins anew with the records after it.

    Raises:
        StoreUnavailable, LogCorrupt: the log does not answer.
    """
    offset = max(log.first_offset, log.next_offset - WITHOUT_CHECKPOINT_MAX)
    for checkpoint in await log.checkpoints():
        if _restored(checkpoint, folds):
            offset = checkpoint.offset
            break
    else:
        for fold in folds.values():
            fold.restore(None)
    at = offset
    while (page := await log.read(at, READ_EVENTS, as_told=True)).events:
        for fold in folds.values():
            fold.fold(page.events)
        at = page.next_offset
    return offset


def _restored(checkpoint: Checkpoint, folds: Folds) -> bool:
    try:
        states = msgspec.msgpack.decode(checkpoint.state, type=dict[str, bytes])
        for name, fold in folds.items():
            fold.restore(states.get(name))
    except (StateUnfit, msgspec.DecodeError) as error:
        logger.warning(
            "the checkpoint at offset %d cannot be used, the log is read instead: %s", checkpoint.offset, error
        )
        return False
    return True
