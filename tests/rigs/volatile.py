"""A disk with a cache that forgets: what was written since the last flush is in memory only, and a cut tears it.

The disk is one file, served by FUSE and meant to be mounted as a loop device. A write is there for every reader at
once, but reaches the medium only with the next fsync, as in a drive with a volatile write cache. At the cut some of the
writes that wait reach the medium, chosen at random, and half of these only in part, sector by sector; from then on
every request fails. They keep their order: a cache holds one version of a sector, so none gets an older one back.

This speaks the kernel's protocol itself (linux/fuse.h: a header, a struct for each request, little more for one file),
so it needs neither libfuse nor a package.

    python volatile.py MEDIUM MOUNT_POINT SEED

says `ready` once mounted, and ends when its input does. Each line of its input is a number n: at the n-th write from
then on comes the cut, told by one line of JSON; or earlier, where nobody asks for anything for a while.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import select
import struct
import sys
from enum import IntEnum
from pathlib import Path
from random import Random
from typing import NoReturn

SECTOR_BYTES = 512
SURVIVES, TORN = 0.7, 0.5
"""How likely a write that waits reaches the medium at the cut, and how likely only some of its sectors do."""


class Op(IntEnum):
    """The requests that one file gets."""

    FORGET, GETATTR, SETATTR, OPEN, READ, WRITE = 2, 3, 4, 14, 15, 16
    RELEASE, FSYNC, FLUSH, INIT, INTERRUPT, BATCH_FORGET = 18, 20, 25, 26, 36, 42


UNANSWERED = {Op.FORGET, Op.INTERRUPT, Op.BATCH_FORGET}

IN_HEADER = struct.Struct("<IIQQIII4x")  # length, opcode, unique, node, uid, gid, pid
OUT_HEADER = struct.Struct("<IiQ")  # length, -errno, unique
INIT_OUT = struct.Struct("<IIIIHHIIHHI28x")
ATTR_OUT = struct.Struct("<QI4x6Q10I")
OPEN_OUT = struct.Struct("<QI4x")
IO_IN = struct.Struct("<QQI20x")  # handle, offset, size; what follows is of no concern here
WRITE_OUT = struct.Struct("<I4x")

PROTOCOL = 7, 31
BIG_WRITES, MAX_PAGES = 1 << 5, 1 << 22
PAGES_MAX, PAGE_BYTES = 256, 4096
WRITE_BYTES_MAX = PAGES_MAX * PAGE_BYTES
REQUEST_BYTES_MAX = WRITE_BYTES_MAX + PAGE_BYTES
S_IFREG = 0o100000

QUIET_S = 0.3
POWER_OFF = "the power is off"


class Disk:
    """What the machine sees, what the medium has, and the writes in between."""

    def __init__(self, medium: Path, random: Random) -> None:
        self._fd = os.open(medium, os.O_RDWR)
        self._seen = bytearray(medium.read_bytes())
        self._waiting: list[tuple[int, bytes]] = []
        self._random = random

    @property
    def size(self) -> int:
        return len(self._seen)

    def read(self, offset: int, size: int) -> bytes:
        return bytes(self._seen[offset : offset + size])

    def write(self, offset: int, what: bytes) -> None:
        self._seen[offset : offset + len(what)] = what
        self._waiting.append((offset, what))

    def flush(self) -> None:
        for offset, what in self._waiting:
            os.pwrite(self._fd, what, offset)
        self._waiting.clear()

    def cut(self) -> dict[str, int]:
        """Tear what waits; says how much that was."""
        figures = {"waiting": len(self._waiting), "kept": 0, "torn": 0}
        for offset, what in self._waiting:
            if self._random.random() < SURVIVES:
                torn = len(what) > SECTOR_BYTES and self._random.random() < TORN
                figures["torn" if torn else "kept"] += 1
                for begin in range(0, len(what), SECTOR_BYTES):
                    if not torn or self._random.random() < SURVIVES:
                        os.pwrite(self._fd, what[begin : begin + SECTOR_BYTES], offset + begin)
        return figures


class Server:
    """Answers the kernel."""

    def __init__(self, fuse: int, disk: Disk) -> None:
        self._fuse, self._disk = fuse, disk
        self._dead = False
        self.writes_left = 0
        """How many writes come before the cut; 0 where none is to come."""

    def serve_one(self) -> None:
        """Take one request from the kernel, and answer it."""
        request = os.read(self._fuse, REQUEST_BYTES_MAX)
        _, opcode, unique, *_ = IN_HEADER.unpack_from(request)
        if opcode in UNANSWERED:
            return
        try:
            answer = self._answer(opcode, request[IN_HEADER.size :])
        except OSError as error:
            answer, number = b"", -(error.errno or errno.EIO)
        else:
            number = 0
        with contextlib.suppress(FileNotFoundError):  # the one who asked has gone
            os.write(self._fuse, OUT_HEADER.pack(OUT_HEADER.size + len(answer), number, unique) + answer)

    def _answer(self, opcode: int, body: bytes) -> bytes:
        if self._dead and opcode in {Op.READ, Op.WRITE, Op.FSYNC}:
            raise OSError(errno.EIO, POWER_OFF)
        match opcode:
            case Op.INIT:
                answer = INIT_OUT.pack(
                    *PROTOCOL, 0, BIG_WRITES | MAX_PAGES, 16, 12, WRITE_BYTES_MAX, 1, PAGES_MAX, 0, 0
                )
            case Op.GETATTR | Op.SETATTR:
                size = self._disk.size
                times, owner = (0,) * 3, (0,) * 2
                blocks, mode = size // SECTOR_BYTES, S_IFREG | 0o600
                answer = ATTR_OUT.pack(0, 0, 1, size, blocks, *times, *times, mode, 1, *owner, 0, PAGE_BYTES, 0)
            case Op.OPEN:
                answer = OPEN_OUT.pack(0, 0)
            case Op.READ:
                _, offset, size = IO_IN.unpack_from(body)
                answer = self._disk.read(offset, size)
            case Op.WRITE:
                _, offset, size = IO_IN.unpack_from(body)
                self._disk.write(offset, body[IO_IN.size : IO_IN.size + size])
                self._count_down()
                answer = WRITE_OUT.pack(size)
            case Op.FSYNC:
                self._disk.flush()
                answer = b""
            case Op.RELEASE | Op.FLUSH:
                answer = b""
            case _:
                raise OSError(errno.ENOSYS, "not needed for one file")
        return answer

    def _count_down(self) -> None:
        if self.writes_left:
            self.writes_left -= 1
            if not self.writes_left:
                self.cut()
                raise OSError(errno.EIO, POWER_OFF)

    def cut(self) -> None:
        """From now on every request fails."""
        self._dead, self.writes_left = True, 0
        print(json.dumps(self._disk.cut()), flush=True)


def mounted(point: Path) -> int:
    """Mount a file system of one file at `point`, itself a file; returns the kernel's end."""
    fuse = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={fuse},rootmode={S_IFREG:o},user_id=0,group_id=0".encode()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"volatile", os.fsencode(point), b"fuse", ctypes.c_ulong(0), options) == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"cannot mount {point}: {os.strerror(number)}")
    return fuse


def main(medium: str, point: str, seed: str) -> NoReturn:
    fuse = mounted(Path(point))
    server = Server(fuse, Disk(Path(medium), Random(int(seed))))
    print("ready", flush=True)
    while True:
        ready, _, _ = select.select([fuse, sys.stdin], [], [], QUIET_S if server.writes_left else None)
        if not ready:
            server.cut()
        if sys.stdin in ready:
            line = sys.stdin.readline()
            if not line:
                sys.exit()
            server.writes_left = int(line)
        if fuse in ready:
            try:
                server.serve_one()
            except OSError as error:
                if error.errno == errno.ENODEV:  # unmounted
                    sys.exit()
                if error.errno != errno.ENOENT:  # who asked was interrupted before this could be read
                    raise


if __name__ == "__main__":
    main(*sys.argv[1:])
