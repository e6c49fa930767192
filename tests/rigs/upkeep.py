"""A process that keeps its log busy with upkeep, and dies in the middle of it: the child of `test_kill_upkeep`.

    python -m tests.rigs.upkeep MODE PATH SEED

Event number k is known from k alone, so the judge needs no list of them. What is accepted is printed. A *fuse* in
SQLite's virtual machine kills the process with SIGKILL after a random number of steps inside the upkeep, and says so
before it does.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
import traceback
from pathlib import Path
from random import Random

from gateway.clock import NS_PER_S, SystemClock
from gateway.event import Event
from gateway.eventlog import Cursor, EventLog, Riders, opening

START_NS = 1_800_000_000 * NS_PER_S
SIZE_BYTES = 1_000_000
FUSE_OPS_MAX, OPEN_OPS_MAX = 3000, 400
OPS = 3
"""The fuse looks after so many steps of the virtual machine."""

IN_UPKEEP = "killed in the middle\n"


def event(k: int, *, bulky: bool) -> Event:
    """Event number k. Each tenth is a key press; where `bulky`, a kilobyte that deflate does not make small."""
    at = START_NS + k * NS_PER_S
    if k % 10 == 0:
        return Event("input", "pad/key", at, at, f"key {k}", urgent=True)
    if bulky:
        return Event("reading", "a/b", at, at, Random(k).randbytes(500).hex())
    return Event("reading", "a/b", at, at, value_of(k), "Cel", "good")


def value_of(k: int) -> float:
    return k * 7919 % 1000 / 10


class Fuse:
    """Kills the process after a number of steps, once it is lit."""

    def __init__(self) -> None:
        self._left: int | None = None

    def light(self, ops: int) -> None:
        self._left = ops

    def put_out(self) -> None:
        self._left = None

    def step(self) -> int:
        if self._left is not None:
            self._left -= OPS
            if self._left <= 0:
                os.write(1, IN_UPKEEP.encode())
                os.kill(os.getpid(), signal.SIGKILL)
        return 0

    def connect(self, *args: object, **more: object) -> sqlite3.Connection:
        connection = sqlite3.Connection(*args, **more)  # type: ignore[arg-type]
        connection.set_progress_handler(self.step, OPS)
        return connection


async def main(mode: str, path: Path, random: Random) -> None:
    fuse = Fuse()
    opening.sqlite3 = Wired(fuse)  # type: ignore[assignment]
    if mode == "migrate":
        fuse.light(random.randrange(1, OPEN_OPS_MAX))
    log = await EventLog.open(
        path, SystemClock(), size_bytes_max=SIZE_BYTES, when_full="thin" if mode == "thin" else "evict"
    )
    fuse.put_out()
    if mode == "migrate":
        os.write(1, b"opened\n")
        return
    make_room = log._retention.make_room

    async def upkeep(needed_bytes: int = 0) -> bool:
        if path.with_name("ready").exists():
            fuse.light(random.randrange(1, FUSE_OPS_MAX))
        try:
            return await make_room(needed_bytes)
        finally:
            fuse.put_out()

    log._retention.make_room = upkeep  # type: ignore[method-assign]
    k = await next_k(log)
    riders = Riders({"far": Cursor(1)}) if k == 1 else None
    count = {"thin": 1000, "evict": 20, "checkpoint": 150}[mode]
    while True:
        await log.append([event(n, bulky=mode != "thin") for n in range(k, k + count)], riders)
        k, riders = k + count, None
        os.write(1, f"{k - 1}\n".encode())


async def next_k(log: EventLog) -> int:
    """The number behind that of the newest event which is one of ours."""
    offset = log.next_offset
    while offset > log.first_offset:
        offset -= 1
        for one in (await log.read(offset, 1)).events[:1]:
            if one.type in {"input", "reading"}:
                return (one.time - START_NS) // NS_PER_S + 1
    return 1


class Wired:
    """The module `sqlite3` with a fuse in each connection that writes."""

    def __init__(self, fuse: Fuse) -> None:
        self._fuse = fuse

    def __getattr__(self, name: str) -> object:
        return getattr(sqlite3, name)

    def connect(self, *args: object, **more: object) -> sqlite3.Connection:
        return self._fuse.connect(*args, **more)


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1], Path(sys.argv[2]), Random(sys.argv[3])))
    except Exception:  # noqa: BLE001 - the judge sees it
        traceback.print_exc()
        sys.stderr.flush()
    os._exit(0)  # SQLite's threads would keep the process
