"""`from gateway import connect`: what a program of the user sees, over the socket and in its own process."""

import asyncio
import logging
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import gateway
from gateway.client import Connection, connect, open_log
from gateway.client.sources import Service
from gateway.control import ControlServer
from gateway.errors import ControlError, GatewayError, LogLocked, NotRunning, StoreUnavailable
from gateway.event import Event
from tests.consumers.conftest import reading
from tests.spine.conftest import until


async def take(events, count):
    found = []
    async for event in events:
        found.append(event)
        if len(found) == count:
            break
    return found


async def test_a_consumer_goes_on_behind_what_it_acknowledged(world, connection):
    await world.fill(5)
    for event in await take(connection.consume("mine", start="earliest"), 3):
        await event.ack()
    assert [event.offset for event in await take(connection.consume("mine"), 2)] == [4, 5]


async def test_an_event_has_its_parts_by_name_and_is_a_cloudevent(world, connection):
    await world.append(reading(21.5), reading(None, quality="bad", reason="range"))
    first, second = await take(connection.consume("mine", start="earliest"), 2)
    assert (first.type, first.subject, first.value, first.unit, first.quality) == (
        "reading", "air/temperature", 21.5, "Cel", "good",
    )  # fmt: skip
    assert first.cloudevent["source"] == "//gateway/greenhouse"
    assert first.id == f"{world.log.run}-1"
    assert first.time.timestamp() == pytest.approx(1e-6)
    assert (second.value, second.reason, second.previous) == (None, "range", 1)
    assert first.deliveries == 1


async def test_events_arrive_as_they_are_committed(world, connection):
    consuming = asyncio.create_task(take(connection.consume("mine", start="latest"), 3))
    await until(world.consumers.standings)
    await world.fill(2)
    await world.fill(1)
    assert [event.offset for event in await asyncio.wait_for(consuming, 5)] == [1, 2, 3]


async def test_who_stops_waiting_and_comes_back_misses_nothing(world, connection):
    """Given up at another moment each time: while the question is on its way, parked, or being answered."""
    consumption = connection.consume("mine", start="earliest")
    seen = []
    for turns in range(60):
        waiting = asyncio.ensure_future(anext(consumption))
        await in_turns(turns % 12)
        filling = asyncio.create_task(world.fill(1))
        await in_turns(turns // 12)
        waiting.cancel()
        await asyncio.wait({waiting})
        seen += [] if waiting.cancelled() else [waiting.result().offset]
        await filling
    while len(set(seen)) < 60:
        (event,) = await asyncio.wait_for(take(consumption, 1), 5)
        seen.append(event.offset)
        await event.ack()
    assert list(dict.fromkeys(seen)) == list(range(1, 61))


async def in_turns(count):
    """Let everybody else run, so many times."""
    for _ in range(count):
        turned = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(turned.set_result, None)
        await turned


async def test_events_can_be_settled_while_the_next_is_waited_for(world, connection):
    await world.fill(1)
    consumption = connection.consume("mine", start="earliest", ack="each")
    (first,) = await take(consumption, 1)
    waiting = asyncio.create_task(take(consumption, 1))
    await in_turns(20)
    assert not waiting.done()
    await asyncio.wait_for(first.ack(), 5)
    await world.fill(1)
    assert [event.offset for event in await asyncio.wait_for(waiting, 5)] == [2]


async def test_a_nak_brings_it_again_and_a_reject_buries_it(world, connection):
    await world.fill(2)
    consumption = connection.consume("mine", start="earliest", ack="each", backoff_s=[0.0])
    (first,) = await take(consumption, 1)
    await first.nak()
    (again,) = await take(consumption, 1)
    assert (again.offset, again.deliveries) == (1, 2)
    await again.reject("not for me")
    assert [event.offset for event in await take(consumption, 1)] == [2]
    await world.recorder.flush()
    assert [c["dead_letters"] for c in (await connection.log())["consumers"]] == [1]


async def test_a_gap_comes_as_an_event_that_says_so(world, connection):
    for _ in range(4):
        await world.fill(1)
    async with world.log._turn:
        await world.log._retention.cut(3)
    gap, event = await take(connection.consume("mine", start="offset:1"), 2)
    assert (gap.type, gap.id, gap.data["first"], gap.data["last"]) == ("log.gap", "", "0" * 19 + "1", "0" * 19 + "2")
    assert event.offset == 3
    await gap.ack()
    looked = [event async for event in connection.read("offset:1")]
    assert [event.type for event in looked] == ["log.gap", "reading", "reading"]


async def test_looking_leaves_no_trace_and_cannot_acknowledge(world, connection):
    await world.append(*(reading(float(n), "ab"[n % 2] + "/x") for n in range(6)))
    looked = [event async for event in connection.read("offset:2", "offset:6", subjects=["b/*"])]
    assert [event.offset for event in looked] == [2, 4]
    assert (await connection.log())["consumers"] == []
    with pytest.raises(RuntimeError, match="only looked at"):
        await looked[0].ack()


async def test_reading_a_long_log_is_paged_and_whole(world, connection):
    for _ in range(12):
        await world.fill(1000)
    offsets = [event.offset async for event in connection.read()]
    assert offsets == list(range(1, 12001))


async def test_the_tail_follows_what_is_committed(world, connection):
    await world.fill(3)
    tailing = asyncio.create_task(take(connection.tail(), 2))
    while not tailing.done():
        await world.fill(1)
    first, second = await asyncio.wait_for(tailing, 5)
    assert second.offset == first.offset + 1 > 4


async def test_what_is_wrong_is_told_in_a_sentence(world, connection):
    with pytest.raises(GatewayError, match="no event has the type"):
        await take(connection.consume("mine", types=["readings"]), 1)
    with pytest.raises(GatewayError, match="expected the name of a consumer"):
        await take(connection.consume("Mine"), 1)
    with pytest.raises(GatewayError, match="from: found 'soon', expected earliest"):
        await take(connection.consume("mine", start="soon"), 1)
    with pytest.raises(GatewayError, match="deliveries_max"):
        await take(connection.consume("mine", deliveries_max=0), 1)


async def test_who_never_acknowledges_is_told_why_nothing_comes(world, connection, caplog, monkeypatch):
    monkeypatch.setattr("gateway.client.consumption.FETCH_WAIT_S", 0.01)
    await world.fill(3)
    consumption = connection.consume("mine", start="earliest", in_flight_max=2)
    with caplog.at_level(logging.WARNING), pytest.raises(TimeoutError):
        await asyncio.wait_for(take(consumption, 3), 0.3)
    told = [record.getMessage() for record in caplog.records]
    assert told == ["mine: nothing more comes until some of its open events are acknowledged (`await event.ack()`)"], (
        "once"
    )


async def test_a_program_survives_a_restart_of_the_gateway_without_losing_an_event(world, monkeypatch, caplog):
    monkeypatch.setattr("gateway.client.consumption.AGAIN_MAX_S", 0.05)
    with tempfile.TemporaryDirectory(prefix="gw") as folder:
        path = Path(folder) / "control.sock"
        server = ControlServer(path, world.answers.calls, world.answers.streams)
        await server.start()
        seen = []

        async def program():
            async with connect(socket=path) as here:
                async for event in here.consume("mine", start="earliest"):
                    seen.append(event.offset)
                    await event.ack()

        running = asyncio.create_task(program())
        for restart in range(3):
            await world.fill(50)
            await until(lambda upto=(restart + 1) * 50: seen and seen[-1] >= upto)
            await server.close()
            await world.crash()
            await world.open()
            server = ControlServer(path, world.answers.calls, world.answers.streams)
            await server.start()
        await world.fill(1)
        await until(lambda: seen[-1] == 151)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await server.close()
    assert set(seen) == set(range(1, 152))
    assert any("waiting for it" in record.getMessage() for record in caplog.records)


async def test_without_reconnect_a_gateway_that_goes_ends_the_program(world):
    with tempfile.TemporaryDirectory(prefix="gw") as folder:
        path = Path(folder) / "control.sock"
        server = ControlServer(path, world.answers.calls, world.answers.streams)
        async with server, Connection(Service(path)) as here:
            consuming = asyncio.create_task(take(here.consume("mine", reconnect=False), 1))
            await until(world.consumers.standings)
            await server.close()
            with pytest.raises(ControlError):
                await asyncio.wait_for(consuming, 5)
            with pytest.raises(NotRunning):
                await here.log()


async def test_many_consumers_at_a_time_each_get_everything(world):
    with tempfile.TemporaryDirectory(prefix="gw") as folder:
        path = Path(folder) / "control.sock"
        async with ControlServer(path, world.answers.calls, world.answers.streams):

            async def program(name, ack):
                offsets = []
                async with connect(socket=path) as here:
                    async for event in here.consume(name, start="earliest", ack=ack):
                        offsets.append(event.offset)
                        await event.ack()
                        if len(offsets) == 200:
                            break
                return offsets

            programs = [asyncio.create_task(program(f"c{n}", ("cursor", "each")[n % 2])) for n in range(10)]
            for _ in range(20):
                await world.fill(10)
            assert await asyncio.wait_for(asyncio.gather(*programs), 30) == [list(range(1, 201))] * 10


# -- without a gateway -------------------------------------------------------------------------------------------------


async def test_a_log_can_be_read_without_a_gateway_and_keeps_its_consumers(world):
    await world.fill(4)
    await world.stop()
    async with open_log(world.path, gateway_id="greenhouse") as here:
        for event in await take(here.consume("mine", start="earliest"), 2):
            await event.ack()
        assert [event.offset async for event in here.read("offset:4")] == [4]
    async with open_log(world.path) as here:
        assert [event.offset for event in await take(here.consume("mine"), 2)] == [3, 4]
    await world.open()
    assert [s.next_offset for s in world.consumers.standings()] == [3]
    assert world.log.next_offset == 5, "looking records nothing"


async def test_an_open_log_forgets_nothing_whatever_its_age_and_size(world, clock):
    await world.append(*(Event("reading", "a/b", 1, 1, str(n) * 30) for n in range(1000)))
    await world.stop()
    async with open_log(world.path) as here:
        assert len([event async for event in here.read()]) == 1000
    async with open_log(world.path) as here:
        assert (await here.log())["first_offset"] == 1


async def test_a_log_in_use_is_refused_and_a_missing_one_is_not_made(world, tmp_path):
    with pytest.raises(LogLocked):
        async with open_log(world.path):
            pass
    with pytest.raises(StoreUnavailable, match="there is no log at"):
        async with open_log(tmp_path / "no.db"):
            pass
    assert not (tmp_path / "no.db").exists()


def test_importing_the_package_imports_nothing_else():
    script = (
        "import sys, gateway; print(sorted(m for m in sys.modules if m.startswith(('gateway.', 'asyncio', 'msgspec'))))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_package_names_what_programs_use():
    assert gateway.connect is connect
    assert gateway.open_log is open_log
    assert {"connect", "open_log", "Received"} <= set(gateway.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = gateway.nothing
