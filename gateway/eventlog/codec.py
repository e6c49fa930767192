"""How the events of one commit become one small blob, and back. Pure.

A batch is a MessagePack array of records, deflated with a preset dictionary. Events repeat themselves, and deflate
turns that into 10-20 bytes for a typical reading in a batch of a hundred; the dictionary makes even a batch of one
small. Times are stored as differences from the batch's own, because small integers pack into fewer bytes.

Rules of the file: what is written once is read for ever. A change to `_Record`, `_DICTIONARY` or the framing is a
new codec number with a reader of its own; nothing that `CODEC` 1 means may change. New record fields may only be
appended, with defaults: msgspec then reads old, shorter arrays.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from gateway.errors import LogCorrupt
from gateway.event import Event, Quality, Value
from gateway.selection import Selection

CODEC = 1

RAW_BYTES_MAX = 64 * 2**20
"""What one batch may inflate to: more is not a batch of ours, whatever the checksum says."""

_SYNCED, _SIMULATED = 1, 2

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


class _Name(msgspec.Struct, array_like=True, gc=False):
    """The beginning of a record: enough to know whether somebody wants it, at a quarter of the cost of an event."""

    type: str
    subject: str


FEW = 4
"""Where at most one record in so many is wanted, these are decoded one by one, and the others not at all."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[_Record]).decode
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
            (_SYNCED if e.synced else 0) | (_SIMULATED if e.simulated else 0),
            e.data,
        )
        for e in events
    ]
    deflate = zlib.compressobj(level=1, wbits=-15, zdict=_DICTIONARY)
    return deflate.compress(_encode(records)) + deflate.flush()


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
    if codec != CODEC:
        raise LogCorrupt(f"batch at offset {base_offset} has codec {codec}, this version reads {CODEC}")
    inflate = zlib.decompressobj(wbits=-15, zdict=_DICTIONARY)
    try:
        raw = inflate.decompress(blob, RAW_BYTES_MAX)
        records = enumerate(_decode(raw), base_offset) if selection is None else _wanted(raw, base_offset, selection)
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
            False,
            offset,
            recorded,
            run,
            boot,
        )
        for offset, r in records
    ]
    return events if selection is None or selection.by_name else list(filter(selection.selects, events))


def _wanted(raw: bytes, base_offset: int, selection: Selection) -> Iterable[tuple[int, _Record]]:
    """The records whose type and subject are wanted, with their offsets."""
    names, heads = selection.names, _decode_names(raw)
    wanted = [index for index, head in enumerate(heads) if names(head.type, head.subject)]
    if len(wanted) * FEW > len(heads):
        every = _decode(raw)
        return [(base_offset + index, every[index]) for index in wanted]
    packed = _decode_raw(raw) if wanted else []
    return [(base_offset + index, _decode_one(packed[index])) for index in wanted]


def checksum(blob: bytes) -> int:
    """CRC-32 (zlib's, ISO 3309) of a packed batch."""
    return zlib.crc32(blob)
