"""Finds the rows of a log in the bytes of its file, where SQLite finds no way to them. Pure but for reading the file.

Theory of operation
-------------------
An SQLite file is pages of one size (here 1 KiB). The rows of a table lie in the leaves of its tree, and each leaf says
by itself where its rows begin; so a leaf can be read although the way to it, or the whole first page, is gone. A row
that does not fit runs on over a chain of overflow pages. (SQLite's file format: sqlite.org/fileformat2.html, sections
1.6 "B-tree Pages", 2.1 "Record Format" and 4 "The Write-Ahead Log".)

Which table a row is of, its columns tell: their number and their types differ from table to table. A batch has a
checksum of its own, so what is found in a page that was freed long ago is either whole or not taken.

The newest pages are in the write-ahead log until a checkpoint. Its frames are chained by checksums; those up to the
last commit count, each in place of the page of that number in the file.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from gateway.eventlog.store import PAGE_BYTES

Kind = Literal["batch", "run", "cursor", "dead_letter", "meta"]

_TABLE_LEAF: Final = 0x0D
_INDEX_LEAF: Final = 0x0A
_INDEX_INNER: Final = 0x02
_HEADER: Final = {_TABLE_LEAF: 8, _INDEX_LEAF: 8, _INDEX_INNER: 12}
_INTEGER_BYTES: Final = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
_LOCAL_MIN: Final = (PAGE_BYTES - 12) * 32 // 255 - 23
_LOCAL_MAX: Final = {_TABLE_LEAF: PAGE_BYTES - 35, _INDEX_LEAF: (PAGE_BYTES - 12) * 64 // 255 - 23}
_PAYLOAD_BYTES_MAX: Final = 64 * 2**20
_FRAME_HEADER: Final = 24
_MAGIC: Final = {0x377F0682: "<", 0x377F0683: ">"}
"""Of a write-ahead log, and the byte order of its checksums."""


class Carved(NamedTuple):
    """One row: its table, and its columns in order; for `batch` and `run` the first is the row id."""

    kind: Kind
    values: tuple[Any, ...]


class Pages:
    """The pages of a file, those of its write-ahead log in their place. `close` it."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._newer = committed(path.with_name(path.name + "-wal"))
        self.count = max([os.fstat(self._fd).st_size // PAGE_BYTES, *self._newer])

    def __getitem__(self, number: int) -> bytes:
        """The page of that number, from 1; empty where the disk does not give it."""
        if (newer := self._newer.get(number)) is not None:
            return newer
        try:
            page = os.pread(self._fd, PAGE_BYTES, (number - 1) * PAGE_BYTES)
        except OSError:
            return b""
        return page if len(page) == PAGE_BYTES else b""

    def blank(self) -> bool:
        """Whether there is nothing but zeros."""
        return not any(any(self[number]) for number in range(1, self.count + 1))

    def close(self) -> None:
        os.close(self._fd)


def rows(pages: Pages, first: int = 1, last: int | None = None) -> Iterator[Carved | None]:
    """Every row that can be found in the pages [first, last]. After each page that gives none: None."""
    for number in range(first, (last or pages.count) + 1):
        page = pages[number]
        at = 100 if number == 1 else 0
        found = False
        if page and page[at] in _HEADER:
            for payload, row_id in _cells(pages, page, at):
                if (row := _row(payload, row_id)) is not None:
                    found = True
                    yield row
        if not found:
            yield None


def _cells(pages: Pages, page: bytes, at: int) -> Iterator[tuple[bytes, int | None]]:
    """(payload, row id) of the cells of one page; damaged ones are passed over."""
    kind = page[at]
    pointers = at + _HEADER[kind]
    (count,) = struct.unpack_from(">H", page, at + 3)
    for index in range(min(count, (PAGE_BYTES - pointers) // 2)):
        (cell,) = struct.unpack_from(">H", page, pointers + 2 * index)
        try:
            yield _cell(pages, page, kind, cell)
        except (IndexError, ValueError, struct.error):
            continue


def _cell(pages: Pages, page: bytes, kind: int, at: int) -> tuple[bytes, int | None]:
    """Raises ValueError, IndexError where there is no whole cell."""
    row_id = None
    if kind == _INDEX_INNER:
        at += 4  # the page of the branch to the left
    size, at = _varint(page, at)
    if kind == _TABLE_LEAF:
        row_id, at = _varint(page, at)
    if not 0 < size <= _PAYLOAD_BYTES_MAX:
        raise ValueError("no row of ours")
    most = _LOCAL_MAX[_TABLE_LEAF if kind == _TABLE_LEAF else _INDEX_LEAF]
    if size <= most:
        payload = page[at : at + size]
    else:
        local = _LOCAL_MIN + (size - _LOCAL_MIN) % (PAGE_BYTES - 4)
        local = local if local <= most else _LOCAL_MIN
        payload = page[at : at + local] + _overflow(pages, page, at + local, size - local)
    if len(payload) != size:
        raise ValueError("the row is cut off")
    return payload, row_id


def _overflow(pages: Pages, page: bytes, at: int, size: int) -> bytes:
    """What follows on overflow pages, the number of the first of them standing at `at`."""
    (number,) = struct.unpack_from(">I", page, at)
    pieces = []
    while size > 0:
        if not 1 < number <= pages.count or not (page := pages[number]):
            raise ValueError("the chain of pages is broken")
        (number,) = struct.unpack_from(">I", page)
        pieces.append(page[4 : 4 + size])
        size -= PAGE_BYTES - 4
    return b"".join(pieces)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A variable-length integer of at most 9 bytes, and where it ends."""
    value = 0
    for _ in range(8):
        byte = data[at]
        at += 1
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at
    return value << 8 | data[at], at + 1


def _row(payload: bytes, row_id: int | None) -> Carved | None:
    try:
        values = _record(payload)
    except (IndexError, ValueError, struct.error):
        return None
    kind = _kind(values, has_row_id=row_id is not None)
    if kind is None:
        return None
    return Carved(kind, (row_id, *values[1:]) if row_id is not None else values)


def _record(payload: bytes) -> tuple[Any, ...]:
    """The columns of a row. Raises ValueError, IndexError, struct.error where the bytes are none."""
    header, at = _varint(payload, 0)
    if not 0 < header <= len(payload):
        raise ValueError("no header")
    kinds = []
    while at < header:
        kind, at = _varint(payload, at)
        kinds.append(kind)
    values: list[Any] = []
    for kind in kinds:
        value, at = _value(payload, at, kind)
        values.append(value)
    if at != len(payload):
        raise ValueError("bytes are left over")
    return tuple(values)


def _value(payload: bytes, at: int, kind: int) -> tuple[Any, int]:
    if kind == 0:
        return None, at
    if kind in {8, 9}:
        return kind - 8, at
    if (size := _INTEGER_BYTES.get(kind)) is not None:
        return int.from_bytes(payload[at : at + size], "big", signed=True), at + size
    if kind == 7:
        return struct.unpack_from(">d", payload, at)[0], at + 8
    if kind < 12:
        raise ValueError("reserved")
    size = (kind - 12) // 2
    piece = payload[at : at + size]
    return (piece.decode() if kind % 2 else piece), at + size


def _kind(values: tuple[Any, ...], *, has_row_id: bool) -> Kind | None:
    """Which table of ours a row is of. In `batch` and `run` the row id stands for the first column, which is NULL."""
    types = tuple(type(value) for value in values)
    if has_row_id:
        if types == (type(None), *(int,) * 8, bytes):
            return "batch"
        return "run" if types == (type(None), str, str, int, int) else None
    if types == (str, int, int, str, bytes):
        return "dead_letter"
    if len(types) == 2 and types[0] is str:
        return "meta"
    if types[:2] == (str, int) and types[2:3] in {(int,), (type(None),)} and types[3:] in {(), (type(None),), (bytes,)}:
        return "cursor"
    return None


def committed(path: Path) -> dict[int, bytes]:
    """The pages of a write-ahead log up to its last commit, by number; empty where there is none."""
    try:
        wal = path.read_bytes()
        magic, _, page_bytes, _ = struct.unpack_from(">4I", wal)
        order = _MAGIC[magic]
    except (OSError, struct.error, KeyError):
        return {}
    if page_bytes != PAGE_BYTES or _checksum(wal[:24], (0, 0), order) != struct.unpack_from(">2I", wal, 24):
        return {}
    salts, state = wal[16:24], struct.unpack_from(">2I", wal, 24)
    pages: dict[int, bytes] = {}
    open_: dict[int, bytes] = {}
    for at in range(32, len(wal) - _FRAME_HEADER - PAGE_BYTES + 1, _FRAME_HEADER + PAGE_BYTES):
        number, commit = struct.unpack_from(">2I", wal, at)
        page = wal[at + _FRAME_HEADER : at + _FRAME_HEADER + PAGE_BYTES]
        state = _checksum(page, _checksum(wal[at : at + 8], state, order), order)
        if wal[at + 8 : at + 16] != salts or state != struct.unpack_from(">2I", wal, at + 16):
            break
        open_[number] = page
        if commit:
            pages |= open_
            open_ = {}
    return pages


def _checksum(data: bytes, state: tuple[int, ...], order: str) -> tuple[int, int]:
    """SQLite's checksum of a write-ahead log: two Fibonacci-weighted sums of 32-bit words."""
    first, second = state
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for one, two in zip(words[::2], words[1::2], strict=True):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + two + first) & 0xFFFFFFFF
    return first, second
