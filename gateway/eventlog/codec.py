"""How the events of one commit become one small blob, and back. Pure.

A batch is a MessagePack array of records, deflated with a preset dictionary. Events repeat themselves, and deflate
turns that into 10-20 bytes for a typical reading in a batch of a hundred; the dictionary makes even a batch of one
small. Times are stored as differences from the batch's own, because small integers pack into fewer bytes.

`CODEC` 1 is a commit: its records have the offsets from the batch's first to its last, all recorded at one instant.
`SPARSE` 2 is what thinning leaves of several commits (`thin`): each record brings its own offset and instant.

Rules of the file: what is written once is read for ever. A change to `_Record`, `_DICTIONARY` or the framing is a
new codec number with a reader of its own; nothing that `CODEC` 1 means may change. New record fields may only be
appended, with defaults: msgspec then reads old, shorter arrays.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from itertools import count, repeat
from typing import Any

import msgspec

from gateway.errors import LogCorrupt
from gateway.event import Event, Quality, Value
from gateway.selection import Selection

CODEC, SPARSE = 1, 2

RAW_BYTES_MAX = 64 * 2**20
"""What one batch may inflate to: more is not a batch of ours, whatever the checksum says."""

_SYNCED, _SIMULATED, _URGENT = 1, 2, 4  # logs from before version 0.2 never set the last one

# Deflate looks back for repetitions, and finds the end of the dictionary cheapest: the most frequent text comes last.
_DICTIONARY = (
    b"event.refused\xa9log.gapstore.degradedstore.recoveredconfig.loadedgateway.stoppedgateway.startedoccurrence"
    b"reasoncountfirstlastsubjectsversionconfig_hashcleanpreviousno answer for bad/rangebad/sensorbad/communcertain"
    b"device.unavailabledevice.availablebutton/pressedbutton/clickshortlongpressure\xa2Pahumidity\xa3%RH\xa2lx\xa1V"
    b"\xa1A\xa1W\xa1B\xa1s\xa1/\xa11system/loadsystem/memorysystem/disktemperature\xa3Cel\xc0\xa3bad\xa0\xa0"
    b"\xa5input\xa5state\xc3\xc0\xa4good\xa0\xa0\x01\x80\x9b\xa7reading\xa3Cel\xa4good\xa0\xa0\x01\x80"
)


class _Record(msgspec.Struct, array_like=True, gc=False):
    """One event as the log keeps it. `time` and `mono` are relative to the batch."""

    type: str
    subject: str
    time: int
    mono: int
    value: Value
    unit: str | None
    quality: Quality | None
    reason: str
    cause: str
    flags: int
    data: dict[str, Any]


class _SparseRecord(_Record, array_like=True, gc=False):
    """One event of a thinned batch. `offset` and `recorded` are relative to the batch."""

    offset: int
    recorded: int


class _Name(msgspec.Struct, array_like=True, gc=False):
    """The beginning of a record: enough to know whether somebody wants it, at a quarter of the cost of an event."""

    type: str
    subject: str


FEW = 4
"""Where at most one record in so many is wanted, these are decoded one by one, and the others not at all."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[_Record]).decode
_decode_sparse = msgspec.msgpack.Decoder(list[_SparseRecord]).decode
_decode_names = msgspec.msgpack.Decoder(list[_Name]).decode
_decode_raw = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_decode_one = msgspec.msgpack.Decoder(_Record).decode


def pack(events: Sequence[Event], *, recorded: int, mono: int) -> bytes:
    """The events of one commit as bytes. `recorded` and `mono` (ns) are those of the batch."""
    records = [
        _Record(
            e.type,
            e.subject,
            e.time - recorded,
            e.mono - mono,
            e.value,
            e.unit,
            e.quality,
            e.reason,
            e.cause,
            (_SYNCED if e.synced else 0) | (_SIMULATED if e.simulated else 0) | (_URGENT if e.urgent else 0),
            e.data,
        )
        for e in events
    ]
    return _deflated(_encode(records))


def pack_sparse(events: Sequence[Event], *, base_offset: int, recorded: int, mono: int) -> bytes:
    """What is left of several commits as bytes, to be unpacked as `SPARSE`."""
    records = [
        _SparseRecord(
            *(e.type, e.subject, e.time - recorded, e.mono - mono, e.value, e.unit, e.quality, e.reason, e.cause),
            (_SYNCED if e.synced else 0) | (_SIMULATED if e.simulated else 0) | (_URGENT if e.urgent else 0),
            e.data,
            e.offset - base_offset,
            e.recorded - recorded,
        )
        for e in events
    ]
    return _deflated(_encode(records))


def _deflated(raw: bytes) -> bytes:
    deflate = zlib.compressobj(level=1, wbits=-15, zdict=_DICTIONARY)
    return deflate.compress(raw) + deflate.flush()


def unpack(
    blob: bytes,
    *,
    codec: int,
    base_offset: int,
    recorded: int,
    mono: int,
    run: str,
    boot: str,
    selection: Selection | None = None,
) -> list[Event]:
    """The events of one batch, stamped; only those that `selection` wants where one is given.

    Raises:
        LogCorrupt: the blob does not inflate to records, or its codec is unknown.
    """
    if codec not in {CODEC, SPARSE}:
        raise LogCorrupt(f"batch at offset {base_offset} has codec {codec}, this version reads {CODEC} and {SPARSE}")
    inflate = zlib.decompressobj(wbits=-15, zdict=_DICTIONARY)
    records: Iterable[tuple[int, int, _Record]]
    try:
        raw = inflate.decompress(blob, RAW_BYTES_MAX)
        if codec == SPARSE:
            records = [(base_offset + r.offset, recorded + r.recorded, r) for r in _decode_sparse(raw)]
        elif selection is None:
            records = zip(count(base_offset), repeat(recorded), _decode(raw), strict=False)
        else:
            records = [(base_offset + index, recorded, r) for index, r in _wanted(raw, selection)]
    except (zlib.error, msgspec.DecodeError) as error:
        raise LogCorrupt(f"batch at offset {base_offset} cannot be read: {error}") from error
    events = [
        Event(
            r.type,
            r.subject,
            r.time + recorded,
            r.mono + mono,
            r.value,
            r.unit,
            r.quality,
            r.reason,
            r.cause,
            r.data,
            bool(r.flags & _SYNCED),
            bool(r.flags & _SIMULATED),
            bool(r.flags & _URGENT),
            offset,
            at,
            run,
            boot,
        )
        for offset, at, r in records
    ]
    if selection is None or (selection.by_name and codec == CODEC):
        return events
    return list(filter(selection.selects, events))


def _wanted(raw: bytes, selection: Selection) -> Iterable[tuple[int, _Record]]:
    """The records whose type and subject are wanted, with their places."""
    may_select, heads = selection.may_select, _decode_names(raw)
    wanted = [index for index, head in enumerate(heads) if may_select(head.type, head.subject)]
    if len(wanted) * FEW > len(heads):
        every = _decode(raw)
        return [(index, every[index]) for index in wanted]
    packed = _decode_raw(raw) if wanted else []
    return [(index, _decode_one(packed[index])) for index in wanted]


def inflated_bytes(blob: bytes) -> int:
    """How long a packed batch is before it is deflated.

    Raises:
        LogCorrupt: it does not inflate.
    """
    try:
        return len(zlib.decompressobj(wbits=-15, zdict=_DICTIONARY).decompress(blob, RAW_BYTES_MAX))
    except zlib.error as error:
        raise LogCorrupt(f"a batch cannot be read: {error}") from error


def checksum(blob: bytes) -> int:
    """CRC-32 (zlib's, ISO 3309) of a packed batch."""
    return zlib.crc32(blob)
