"""The spine of the gateway over real parts: a real log on a real disk, and a sink that tests can play."""

import asyncio
from random import Random

import pytest

from gateway.clock import SystemClock
from gateway.deliver import Forwarder
from gateway.errors import LinkError
from gateway.event import Event
from gateway.eventlog import EventLog
from gateway.record import Recorder
from gateway.sink import Session, Sink


async def until(condition, seconds=10):
    """Wait for a condition with a deadline, letting everybody else run."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "waited in vain"
        await asyncio.wait([asyncio.get_running_loop().create_task(_turn())])


async def _turn():
    done = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.002, done.set_result, None)
    await done


class PlayedSink(Sink):
    """A destination in memory. `refuse` maps an offset to what is answered; `mute` answers nothing; `down` refuses."""

    name, summary = "played", "for tests"

    def __init__(self):
        self.window_max = 10
        self.arrived = []
        self.previous = {}
        self.verdicts = {}
        self.down = None
        self.mute = False
        self.sessions = []

    @classmethod
    def create(cls, options, identity):
        return cls()

    async def connect(self, report):
        if self.down == "silent":
            await asyncio.get_running_loop().create_future()
        if self.down is not None:
            raise LinkError(self.down)
        session = PlayedSession(self, report)
        self.sessions.append(session)
        return session

    @property
    def offsets(self):
        return [event.offset for event in self.arrived]

    def cut(self, reason="cut"):
        session = self.sessions[-1]
        session.alive = False
        session.report.lost(reason)


class PlayedSession(Session):
    def __init__(self, sink, report):
        self.sink, self.report, self.alive, self.closed, self.aborted = sink, report, True, False, False
        self.window_max = sink.window_max
        self.unsettled_max = 0
        self._unsettled = 0

    def send(self, outgoing):
        self._unsettled += 1
        self.unsettled_max = max(self.unsettled_max, self._unsettled)
        asyncio.get_running_loop().call_soon(self._arrive, outgoing)

    def _arrive(self, outgoing):
        if not self.alive or self.sink.mute:
            return
        offset = outgoing.event.offset
        verdict, reason = "accepted", ""
        if answers := self.sink.verdicts.get(offset):
            verdict, reason = answers.pop(0)
        if verdict == "accepted":
            self.sink.arrived.append(outgoing.event)
            self.sink.previous[offset] = outgoing.previous
        self._unsettled -= 1
        self.report.settled(offset, verdict, reason)

    async def close(self, timeout_s):
        self.alive, self.closed = False, True

    def abort(self):
        self.alive, self.aborted = False, True


class Spine:
    """Log, recorder and one forwarder, wired as the app does it."""

    def __init__(self, log, clock, sink, commit_within_s=0.02, selection=None):
        self.log, self.sink = log, sink
        self.recorder = Recorder(log, clock, commit_within_s=commit_within_s, protected=lambda: log.next_offset)
        self.forwarder = Forwarder("home", sink, log, self.recorder, clock=clock, random=Random(1), selection=selection)
        self.recorder.watch(self.forwarder.wake)
        self.committed = []
        self.recorder.watch(self.committed.append)
        self._tasks = [asyncio.create_task(self.recorder.run()), asyncio.create_task(self.forwarder.run())]

    def offer(self, *values, urgent=False):
        self.recorder.offer([Event("reading", "a/b", 1, 1, v, "Cel", "good", urgent=urgent) for v in values])

    async def stop(self, drain_s=2.0):
        await self.recorder.flush()
        await self.forwarder.drain(drain_s)
        await self.recorder.stop()
        await asyncio.gather(*self._tasks)
        await self.log.close()

    async def kill(self):
        """End without a word, as far as one can inside a process."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.log.close()


@pytest.fixture
def clock():
    return SystemClock()


@pytest.fixture
def sink():
    return PlayedSink()


@pytest.fixture
async def spine(tmp_path, clock, sink):
    spine = Spine(await EventLog.open(tmp_path / "events.db", clock), clock, sink)
    yield spine
    if not all(task.done() for task in spine._tasks):
        await spine.stop(0.5)
