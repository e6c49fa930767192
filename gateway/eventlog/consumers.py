"""Named consumers as rows of the log: packed and unpacked."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from gateway.errors import LogCorrupt
from gateway.eventlog import writes
from gateway.eventlog.store import Store
from gateway.eventlog.words import ConsumerSpec, ConsumerState, Cursor
from gateway.eventlog.writes import Statement

Open = dict[int, tuple[int, int, int | None, bool, bool]]

_encode = msgspec.msgpack.encode
_spec = msgspec.msgpack.Decoder(ConsumerSpec).decode
_open = msgspec.msgpack.Decoder(Open).decode


def statements(consumers: Mapping[str, ConsumerState | None]) -> list[Statement]:
    """What writes these consumers; None forgets one, with its dead letters."""
    written: list[Statement] = []
    for name, state in consumers.items():
        if state is None:
            written += [(writes.DROP_CONSUMER, (name,)), (writes.DROP_DEAD_LETTERS, (letters_of(name),))]
            continue
        still_open = _encode(dict(state.open)) if state.open else None
        row = (name, _encode(state.spec), state.cursor.next_offset, state.cursor.previous, still_open, state.used)
        written.append((writes.UPSERT_CONSUMER, row))
    return written


async def load(opened: Store) -> dict[str, ConsumerState]:
    """All named consumers of the log.

    Raises:
        StoreUnavailable, LogCorrupt: the file does not answer, or holds a consumer that cannot be read.
    """
    found = {}
    for name, spec, next_offset, previous, still_open, used in await opened.consumers():
        try:
            kept = _open(still_open) if still_open is not None else {}
            found[name] = ConsumerState(_spec(spec), Cursor(next_offset, previous), kept, used)
        except msgspec.DecodeError as error:
            raise LogCorrupt(f"what the log keeps of the consumer {name!r} cannot be read: {error}") from error
    return found


def letters_of(name: str) -> str:
    """Under which name the dead letters of a consumer lie: sinks have ids without a slash."""
    return f"consumer/{name}"
