"""A log with its recorder and named consumers, and programs that read it: over the socket, and in the same process."""

import asyncio
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from gateway.client import Connection
from gateway.client.sources import Here, Service
from gateway.consumers import Consumers
from gateway.control import ControlServer
from gateway.event import Event
from gateway.eventlog import EventLog
from gateway.log_answers import LogAnswers, Parts
from gateway.record import Recorder
from tests.clocks import ManualClock


def reading(value=21.5, subject="air/temperature", kind="reading", quality="good", **more):
    return Event(kind, subject, 1_000, 10, value, "Cel", quality, **more)


class World:
    """Everything behind the control socket that has to do with the log. `crash` loses what was not committed."""

    def __init__(self, path, clock, size_bytes_max=10_000_000):
        self.path, self.clock, self._size = path, clock, size_bytes_max
        self.subjects = []

    async def open(self):
        self.log = await EventLog.open(self.path, self.clock, size_bytes_max=self._size)
        self.recorder = Recorder(self.log, self.clock, commit_within_s=0.01, protected=self._protected)
        self.recording = asyncio.create_task(self.recorder.run())
        self.consumers = Consumers(self.log, self.recorder, self.clock, subjects=lambda: self.subjects)
        await self.consumers.load()
        self.answers = LogAnswers(lambda: Parts("greenhouse", self.log, self.consumers, self.clock))
        return self

    def _protected(self):
        return min((at.next_offset for at in self.log.cursors.values()), default=self.log.next_offset)

    async def append(self, *events):
        return await self.log.append(list(events))

    async def fill(self, count, **more):
        return await self.append(*(reading(float(n), **more) for n in range(count)))

    async def stop(self):
        await self.recorder.stop()
        await self.recording
        await self.log.close()

    async def crash(self):
        self.recording.cancel()
        await asyncio.gather(self.recording, return_exceptions=True)
        await self.log.close()


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
async def world(tmp_path, clock):
    world = await World(tmp_path / "events.db", clock).open()
    yield world
    if not world.recording.done():
        await world.stop()


@pytest.fixture(params=["over the socket", "in this process"])
async def connection(world, request):
    """What `connect` and `open_log` give."""
    async with AsyncExitStack() as stack:
        if request.param == "over the socket":
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="gw"))  # socket paths must be short
            path = Path(folder) / "control.sock"
            server = ControlServer(path, world.answers.calls, world.answers.streams)
            await stack.enter_async_context(server)
            source = Service(path)
        else:
            source = Here(world.answers)
        yield await stack.enter_async_context(Connection(source))
