"""What rides along with a batch, as rows of the log: packed and unpacked.

Cursors, dead letters, named consumers and checkpoints are written in the transaction of the batch that they go with:
then they can never tell of an event that the log does not have, and cost no flush of their own. Each kind is kept
small: the oldest dead letters of a consumer and all checkpoints but the newest few go in the same transaction.
"""

from __future__ import annotations

import zlib

import msgspec

from gateway.eventlog import codec, consumers, writes
from gateway.eventlog.words import Checkpoint, Cursor, DeadLetter, Riders
from gateway.eventlog.writes import Statement
from gateway.ledger import Ledger

CHECKPOINT_CODEC = 1  # zlib (RFC 1950)
CHECKPOINTS_KEPT = 2
"""The newest is read at start; the one before it, where the newest turns out to be damaged."""

_encode = msgspec.msgpack.encode
_ledger = msgspec.msgpack.Decoder(Ledger).decode


def statements(riders: Riders, now_ns: int) -> list[Statement]:
    """What writes these riders, at that wall time."""
    written = [_cursor_statement(name, at) for name, at in riders.cursors.items()]
    written += [_letter_statement(letter, now_ns) for letter in riders.dead_letters]
    buried = {letter.consumer for letter in riders.dead_letters}
    written += [(writes.LIMIT_DEAD_LETTERS, (consumer, writes.DEAD_LETTERS_MAX)) for consumer in buried]
    written += consumers.statements(riders.consumers)
    if riders.checkpoint is not None:
        written += _checkpoint_statements(*riders.checkpoint)
    return written


def _cursor_statement(name: str, at: Cursor) -> Statement:
    ledger = None if at.ledger is None else _encode(at.ledger)
    return (writes.UPSERT_CURSOR, (name, at.next_offset, at.previous, ledger))


def _letter_statement(letter: DeadLetter, now_ns: int) -> Statement:
    row = (letter.consumer, letter.event.offset, now_ns, letter.reason, _encode(letter.event))
    return (writes.INSERT_DEAD_LETTER, row)


def _checkpoint_statements(offset: int, state: bytes) -> list[Statement]:
    packed = zlib.compress(state, 1)
    kept = (offset, CHECKPOINT_CODEC, codec.checksum(packed), packed)
    return [(writes.INSERT_CHECKPOINT, kept), (writes.LIMIT_CHECKPOINTS, (CHECKPOINTS_KEPT,))]


def cursor(next_offset: int, previous: int | None, ledger: bytes | None) -> Cursor:
    """A cursor as it was kept."""
    return Cursor(next_offset, previous, None if ledger is None else _ledger(ledger))


def checkpoint(offset: int, kind: int, crc: int, packed: bytes) -> Checkpoint | None:
    """A checkpoint as it was kept; None where its bytes are not those that were written."""
    whole = kind == CHECKPOINT_CODEC and codec.checksum(packed) == crc
    return Checkpoint(offset, zlib.decompress(packed)) if whole else None
