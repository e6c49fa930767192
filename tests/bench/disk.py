"""What the disk does by itself, and what the log makes it do. A process of its own: the kernel counts per process."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from time import perf_counter_ns

from gateway.clock import SystemClock
from gateway.event import CloudEventEncoder, Event
from gateway.eventlog import EventLog

COMMITS, PER_COMMIT = 100, 100


def fsync_ms(folder: Path, times: int) -> list[float]:
    """Milliseconds that appending 4 KiB and flushing them took, sorted."""
    file = folder / "fsync.probe"
    handle = os.open(file, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    took = []
    try:
        for _ in range(times):
            begun = perf_counter_ns()
            os.write(handle, bytes(4096))
            os.fdatasync(handle)
            took.append((perf_counter_ns() - begun) / 1e6)
    finally:
        os.close(handle)
        file.unlink()
    return sorted(took)


def batches() -> list[list[Event]]:
    """Readings as a hundred channels would make them."""
    clock = SystemClock()
    wall, mono = clock.wall_ns(), clock.mono_ns()
    return [
        [
            Event("reading", f"device-{n % 10}/channel-{n // 10}", wall + c * 10**9 + n * 977_000, mono + c * 10**9,
                  20.0 + (c * 37 + n * 11) % 977 / 100, "Cel", "good", urgent=True)
            for n in range(PER_COMMIT)
        ]
        for c in range(COMMITS)
    ]  # fmt: skip


async def log_bytes(folder: Path) -> float:
    """Bytes written per event through the event log, opening and closing it not counted."""
    log = await EventLog.open(folder / "bytes.db", SystemClock())
    made, before = batches(), _written()
    for batch in made:
        await log.append(batch)
    written = _written() - before
    await log.close()
    return written / (COMMITS * PER_COMMIT)


def file_bytes(folder: Path) -> float:
    """The bare baseline: the same events as JSON lines, flushed as often."""
    encode = CloudEventEncoder("bench").encode
    handle = os.open(folder / "bytes.jsonl", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    before = _written()
    for batch in batches():
        os.write(handle, b"".join(encode(event, 1) + b"\n" for event in batch))
        os.fdatasync(handle)
    written = _written() - before
    os.close(handle)
    return written / (COMMITS * PER_COMMIT)


def _written() -> int:
    """The larger of what went towards the disk in pages, and what write calls carried."""
    io = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return max(int(io["write_bytes"]), int(io["wchar"]))


if __name__ == "__main__":
    where = Path(sys.argv[1])
    print(json.dumps({"log": asyncio.run(log_bytes(where)), "file": file_bytes(where)}))
