"""The two ways in: to a gateway that runs, and to a log while none does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from gateway.client.connection import Connection
from gateway.client.sources import Here, Service
from gateway.clock import JudgedClock, SystemClock
from gateway.consumers import Consumers
from gateway.control.find import choose, running
from gateway.errors import StoreUnavailable
from gateway.eventlog import EventLog
from gateway.log_answers import LogAnswers, Parts
from gateway.record import Recorder

NEVER_S: Final = 100 * 365 * 86400.0
SIZE_BYTES_MAX: Final = 2**40
"""Bounds of a log that is only looked at: nothing is forgotten, whatever the gateway's own bounds are."""


@asynccontextmanager
async def connect(gateway_id: str | None = None, *, socket: Path | None = None) -> AsyncIterator[Connection]:
    """The gateway that runs on this machine: the only one, the one of that id, or the one on that control socket.

    Raises:
        NotRunning: there is none. ControlError: there are several, or this user may not ask it.
    """
    path = socket or choose(await running(), gateway_id).path
    async with Connection(Service(path)) as connection:
        await connection.ask("span")
        yield connection


@asynccontextmanager
async def open_log(path: str | Path, *, gateway_id: str | None = None) -> AsyncIterator[Connection]:
    """The log at `path`, while no gateway runs on it. `gateway_id` is for the `source` of its events.

    Raises:
        LogLocked: a gateway writes it: `connect` instead. StoreUnavailable, LogCorrupt, LogTooNew: it cannot be read.
    """
    async with open_answers(Path(path), gateway_id) as answers, Connection(Here(answers)) as connection:
        yield connection


@asynccontextmanager
async def open_answers(path: Path, gateway_id: str | None = None) -> AsyncIterator[LogAnswers]:
    """The operations on a log that this process opens. See `open_log`."""
    if not path.is_file():  # noqa: ASYNC240 - a look, before anything else runs
        raise StoreUnavailable(f"there is no log at {path}: look at `buffer.path` in the configuration")
    clock = JudgedClock(SystemClock())
    log = await EventLog.open(path, clock, size_bytes_max=SIZE_BYTES_MAX, keep_for_s=NEVER_S)
    clock.has_seen(log.newest_ns)
    recorder = Recorder(log, clock, commit_within_s=1.0, protected=lambda: log.first_offset)
    recording = asyncio.create_task(recorder.run())
    try:
        consumers = Consumers(log, recorder, clock)
        await consumers.load()
        parts = Parts(gateway_id or path.stem, log, consumers, clock, alone=True)
        yield LogAnswers(lambda: parts)
    finally:
        await recorder.stop()
        await recording
        await log.close()
