"""A log in a folder of its own, and a clock that goes when it is told to."""

from __future__ import annotations

import pytest

from gateway.eventlog import EventLog
from tests.clocks import ManualClock


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.db"


@pytest.fixture
async def log(path, clock):
    log = await EventLog.open(path, clock)
    yield log
    await log.close()


@pytest.fixture
async def opened(path, clock):
    """Opens the log, again and again, with the terms that are given."""
    logs = []

    async def open_log(**keep):
        for log in logs:
            await log.close()
        logs.append(await EventLog.open(path, clock, **keep))
        return logs[-1]

    yield open_log
    for log in logs:
        await log.close()
