"""The watchdog over log, recorder and forwarder: what is stuck stops the pings, and is named."""

import asyncio
import contextlib
import threading

import pytest

from gateway import deliver
from gateway.errors import LinkError
from gateway.eventlog import EventLog
from gateway.pulse import Pulse, through
from tests.spine.conftest import Spine, until

QUICK_S = 0.05


@pytest.fixture
async def pulse_of(spine, caplog):
    """Start a pulse over the spine; what it returns counts pings."""
    pings, tasks = [], []

    def start():
        route = (
            ("record", spine.recorder.stage.enter),
            ("the log's writer", through(spine.log.touch)),
            ("deliver home", spine.forwarder.stage.enter),
        )
        tasks.append(asyncio.create_task(Pulse(lambda: route, lambda: pings.append(1), QUICK_S).run()))
        return pings

    yield start
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def silent(pings):
    """No ping comes for several times what a healthy gateway needs."""
    before = len(pings)
    until_s = asyncio.get_running_loop().time() + 6 * QUICK_S
    await until(lambda: asyncio.get_running_loop().time() > until_s)
    return len(pings) == before


async def stuck_in(stage, caplog):
    await until(lambda: f"{stage} has not stepped" in caplog.text)


async def test_a_healthy_gateway_pings(spine, pulse_of, sink):
    pings = pulse_of()
    await until(lambda: len(pings) > 12)
    spine.offer(1, 2, 3)
    await until(lambda: sink.offsets == [1, 2, 3])
    await until(lambda: len(pings) > 24)


def hanging(monkeypatch, owner, name):
    """That method of `owner` does not begin before the event that is returned is set."""
    method, release = getattr(owner, name), asyncio.Event()

    async def hang(*args, **named):
        await release.wait()
        return await method(*args, **named)

    monkeypatch.setattr(owner, name, hang)
    return release


async def test_a_writer_that_is_stuck_stops_the_pings_and_one_that_returns_resumes_them(spine, pulse_of, caplog):
    pings, release = pulse_of(), threading.Event()
    await until(lambda: len(pings) > 3)
    blocked = asyncio.ensure_future(spine.log._head.store._writer._execute(release.wait, 30))
    await stuck_in("the log's writer", caplog)
    assert await silent(pings)
    release.set()
    await blocked
    before = len(pings)
    await until(lambda: len(pings) > before + 6)
    assert caplog.text.count("has not stepped") == 1
    assert caplog.text.count("the log's writer steps again") == 1


async def test_a_commit_that_never_ends_stops_the_pings(spine, pulse_of, monkeypatch, caplog):
    release = hanging(monkeypatch, spine.log, "append")
    pings = pulse_of()
    await until(lambda: len(pings) > 3)
    spine.offer(1, urgent=True)
    await stuck_in("record", caplog)
    assert await silent(pings)
    release.set()
    before = len(pings)
    await until(lambda: len(pings) > before + 6)


async def test_events_that_the_recorder_was_never_woken_for_stop_the_pings(spine, pulse_of, monkeypatch, caplog):
    pings = pulse_of()
    await until(lambda: len(pings) > 3)
    with monkeypatch.context() as lost:
        lost.setattr(spine.recorder, "_plan", lambda: None)
        spine.offer(1)
    await stuck_in("record", caplog)
    assert await silent(pings)
    spine.offer(2, urgent=True)
    before = len(pings)
    await until(lambda: len(pings) > before + 6)


async def test_a_sink_that_cannot_be_cancelled_stops_the_pings(tmp_path, clock, sink, monkeypatch, caplog):
    monkeypatch.setattr(deliver, "CONNECT_WITHIN_S", 0.05)
    release = asyncio.Event()

    async def stubborn(report):
        while not release.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await release.wait()
        raise LinkError("released")

    sink.connect = stubborn
    spine, pings = Spine(await EventLog.open(tmp_path / "events.db", clock), clock, sink), []
    route = (("deliver home", spine.forwarder.stage.enter),)
    pulse = asyncio.create_task(Pulse(lambda: route, lambda: pings.append(1), QUICK_S).run())
    await stuck_in("deliver home", caplog)
    assert await silent(pings)
    release.set()
    before = len(pings)
    await until(lambda: len(pings) > before)
    pulse.cancel()
    await spine.stop(0.1)


async def test_a_forwarder_that_cannot_read_on_stops_the_pings(spine, pulse_of, monkeypatch, caplog):
    release = hanging(monkeypatch, spine.log, "read")
    pings = pulse_of()
    await until(lambda: len(pings) > 3)
    spine.offer(1, urgent=True)
    await stuck_in("deliver home", caplog)
    assert await silent(pings)
    release.set()
