"""What the event log does by itself: appends, reads through a filter, bytes on a device. A process of its own.

    python -m tests.bench.log FOLDER [--quick]

Prints JSON. Beside each append run stands one of a bare `sqlite3`: a row per event, the same pragmas, the same commits.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from statistics import median
from time import perf_counter, process_time

from gateway.clock import SystemClock
from gateway.event import CloudEventEncoder, Event, stamped
from gateway.eventlog import EventLog
from gateway.selection import Selection

PER_COMMIT = 1000
EVENTS = {False: 100_000, True: 40_000}
PAIRS = {False: 5, True: 3}
READ_EVENTS = {False: 1_000_000, True: 200_000}
DEVICE_COMMITS, DEVICE_PER_COMMIT = 100, 100
DEVICE_MB = 64
FILTERS = {
    "one subject of a hundred": Selection(subjects=["device-3/channel-3"]),
    "one device of ten, good readings": Selection(["reading"], ["device-3/*"], ["good"]),
    "nothing": Selection(["input"]),
}


def batches(count: int, per_commit: int) -> list[list[Event]]:
    """Readings of a hundred channels whose values scatter as measured ones do."""
    clock, random = SystemClock(), Random(20261123)
    wall, mono = clock.wall_ns(), clock.mono_ns()
    return [
        [
            Event("reading", f"device-{n % 10}/channel-{n // 10 % 10}", wall + c * 10**9 + random.randrange(10**9),
                  mono + c * 10**9 + n, round(random.gauss(20, 3), 2), "Cel", "good")
            for n in range(per_commit)
        ]
        for c in range(count // per_commit)
    ]  # fmt: skip


async def append(folder: Path, name: str, made: list[list[Event]]) -> float:
    """Events a second through `EventLog.append`, one call after the other."""
    log = await EventLog.open(folder / name, SystemClock())
    began = perf_counter()
    for batch in made:
        await log.append(batch)
    took_s = perf_counter() - began
    await log.close()
    return sum(map(len, made)) / took_s


ROW = (
    "CREATE TABLE event(offset INTEGER PRIMARY KEY, type TEXT, subject TEXT, time INTEGER, mono INTEGER, value, "
    "unit TEXT, quality TEXT, reason TEXT, cause TEXT, synced INTEGER, simulated INTEGER, recorded INTEGER, run TEXT)"
)
INSERT = f"INSERT INTO event VALUES ({', '.join('?' * 14)})"


def append_rows(folder: Path, name: str, made: list[list[Event]]) -> float:
    """Events a second into a bare table: nothing is stamped, packed, checked or returned."""
    bare = sqlite3.connect(folder / name, isolation_level=None)
    for pragma in ("page_size = 1024", "journal_mode = WAL", "synchronous = FULL", "wal_autocheckpoint = 512"):
        bare.execute(f"PRAGMA {pragma}")
    bare.execute(ROW)
    began = perf_counter()
    for batch in made:
        bare.execute("BEGIN IMMEDIATE")
        bare.executemany(
            INSERT,
            (
                (None, e.type, e.subject, e.time, e.mono, e.value, e.unit, e.quality, e.reason, e.cause, 1, 0, 7, "r")
                for e in batch
            ),
        )
        bare.execute("COMMIT")
    took_s = perf_counter() - began
    bare.close()
    return sum(map(len, made)) / took_s


async def read(folder: Path, count: int) -> dict[str, tuple[float, float]]:
    """Seconds, and seconds of CPU, to read so many events of a log through each filter."""
    log = await EventLog.open(folder / "read.db", SystemClock())
    made = batches(20 * PER_COMMIT, PER_COMMIT)
    for n in range(count // PER_COMMIT):
        await log.append(made[n % len(made)])
    took = {}
    for name, selection in FILTERS.items():
        began, cpu, offset, found = perf_counter(), process_time(), log.first_offset, 0
        while offset < log.next_offset:
            page = await log.read(offset, 5000, selection=selection)
            offset, found = page.next_offset, found + len(page.events)
        took[name] = perf_counter() - began, process_time() - cpu
        assert found == {"nothing": 0}.get(name, count // (100 if "subject" in name else 10)), name
    await log.close()
    return took


# -- bytes on a device of its own -------------------------------------------------------------------------------------


@contextmanager
def device(folder: Path) -> Iterator[tuple[Path, Path]]:
    """(folder of an ext4 on a loop device, the kernel's figures of that device)."""
    image, mounted = folder / "device.img", folder / "device"
    mounted.mkdir()
    with image.open("wb") as file:
        file.truncate(DEVICE_MB * 2**20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, mounted], check=True)
    try:
        source = subprocess.run(["findmnt", "-no", "SOURCE", mounted], check=True, capture_output=True, text=True)
        yield mounted, Path("/sys/block") / Path(source.stdout.strip()).name / "stat"
    finally:
        subprocess.run(["umount", mounted], check=True)


def sectors_written(figures: Path) -> int:
    """Of 512 bytes each (the kernel's Documentation/block/stat.rst)."""
    return int(figures.read_text(encoding="ascii").split()[6])


def large_enough() -> list[list[Event]]:
    """Batches of events that have at least 308 bytes each as CloudEvents JSON, which is what is compared elsewhere."""
    made = batches(DEVICE_COMMITS * DEVICE_PER_COMMIT, DEVICE_PER_COMMIT)
    (example,) = stamped(made[0][:1], first=123_456, recorded=made[0][0].time, run="0" * 16, boot="b")
    size = len(CloudEventEncoder("pi").encode(example, None))
    assert size >= 308, f"an event outside has {size} bytes"
    return made


async def device_bytes(folder: Path) -> float | None:
    """Bytes that reach the device for each event, its file system's own journal included; None without root."""
    if os.geteuid() != 0:
        return None
    try:
        with device(folder) as (mounted, figures):
            log = await EventLog.open(mounted / "events.db", SystemClock())
            made = large_enough()
            os.sync()
            before = sectors_written(figures)
            for batch in made:
                await log.append(batch)
            os.sync()
            written = 512 * (sectors_written(figures) - before)
            await log.close()
            return written / (DEVICE_COMMITS * DEVICE_PER_COMMIT)
    except (subprocess.CalledProcessError, OSError):  # no loop devices here
        return None


def measure(folder: Path, *, quick: bool) -> dict[str, object]:
    made = batches(EVENTS[quick], PER_COMMIT)
    pairs = [
        (asyncio.run(append(folder, f"log{n}.db", made)), append_rows(folder, f"rows{n}.db", made))
        for n in range(PAIRS[quick])
    ]
    count = READ_EVENTS[quick]
    return {
        "appended_per_s": median(ours for ours, _ in pairs),
        "rows_per_s": median(rows for _, rows in pairs),
        "ratio": median(ours / rows for ours, rows in pairs),
        "read_events": count,
        "read_s": asyncio.run(read(folder, count)),
        "device_bytes": asyncio.run(device_bytes(folder)),
    }


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), quick="--quick" in sys.argv)))
