"""The whole way from the log to a broker that refuses: what the forwarder makes of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from gateway import deliver
from gateway.app import Gateway
from gateway.clock import SystemClock
from gateway.config import parse_config
from gateway.event import Event
from gateway.eventlog import EventLog
from gateway.plugins import Plugins
from tests.brokers import Mosquitto, Script, ScriptedBroker, Subscriber, free_port
from tests.faultproxy import FaultProxy
from tests.sinks.parts import mqtt
from tests.spine.conftest import Spine, until


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliver, "BACKOFF_FIRST_S", 0.01)
    monkeypatch.setattr(deliver, "BACKOFF_MAX_S", 0.05)


@asynccontextmanager
async def delivering(folder: Path, sink: Any) -> AsyncIterator[Spine]:
    clock = SystemClock()
    spine = Spine(await EventLog.open(folder / "x.db", clock), clock, sink)
    try:
        yield spine
    finally:
        await spine.stop(0.5)


def offer(spine: Spine, *those: tuple[str, Any]) -> None:
    spine.recorder.offer([Event("reading", subject, 1, 1, value, "Cel", "good") for subject, value in those])


def sequences(subscriber: Subscriber, prefix: str) -> list[int]:
    found = [one for one in list(subscriber.messages) if one.topic.startswith(f"{prefix}/event/")]
    return [int(json.loads(one.payload)["sequence"]) for one in found]


async def dead(spine: Spine) -> list[tuple[int, str]]:
    """(offset, reason) of the `event.refused` in the log."""
    await spine.recorder.flush()
    page = await spine.log.read(1, 10_000)
    return [(int(e.data["refused"]["sequence"]), e.reason) for e in page.events if e.type == "event.refused"]


def access_list(folder: Path, *lines: str) -> Path:
    """A file that mosquitto, as whatever user, can read."""
    folder.chmod(0o755)
    access = folder / "access"
    access.write_text("".join(f"{line}\n" for line in lines))
    access.chmod(0o644)
    return access


LARGE = "x" * 3000

LIMITS = [
    # a broker that says so in CONNACK: never sent; one that says so in PUBACK; one that can only close the connection
    (["max_packet_size 2000"], "5", "the broker takes packets of 2000"),
    (["message_size_limit 2000"], "5", r"0x95"),
    (["max_packet_size 2000"], "3.1.1", "the connection ended whenever it was sent, and others pass"),
]


@pytest.mark.mosquitto
@pytest.mark.parametrize(("lines", "version", "reason"), LIMITS)
async def test_an_event_that_is_too_large_is_a_dead_letter_and_the_others_arrive_in_order(
    tmp_path: Path, lines: list[str], version: str, reason: str
) -> None:
    with Mosquitto(*lines) as broker, Subscriber(broker.port, ["gateway/large/#"]) as subscriber:
        async with delivering(tmp_path, mqtt(broker.port, "large", version=version)) as spine:
            offer(spine, *(("a/b", n) for n in range(20)), ("a/b", LARGE), *(("a/b", n) for n in range(20)))
            await until(lambda: spine.forwarder.delivery.refused == 1, 20)
            await subscriber.until(lambda: 42 in sequences(subscriber, "gateway/large"), 20)
            first = list(dict.fromkeys(sequences(subscriber, "gateway/large")))
            assert first == [n for n in range(1, 43) if n != 21]
            [(offset, why)] = await dead(spine)
            assert offset == 21
            assert reason in why
            assert spine.forwarder.delivery.connected


@pytest.mark.mosquitto
async def test_a_subject_that_the_access_list_forbids_costs_its_own_events_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    access = access_list(tmp_path, "topic write gateway/acl/event/free/#", "topic write gateway/acl/event/sink/#")
    with Mosquitto(f"acl_file {access}") as broker:
        async with delivering(tmp_path, mqtt(broker.port, "acl")) as spine:
            offer(spine, ("free/x", 1), ("forbidden/x", 2), ("free/x", 3))

            def others_pass() -> bool:
                offer(spine, ("free/x", 0))
                return spine.forwarder.delivery.refused == 1

            await until(others_pass, 20)
            [(offset, why)] = await dead(spine)
            assert offset == 2
            assert why == "Not authorized (0x87) (5 times, while other events were accepted)"
            await until(lambda: not len(spine.forwarder._feed.window))
            assert caplog.text.count("events are held back") == 1, "said once, not at every refusal"


@pytest.mark.mosquitto
async def test_a_broker_that_forbids_everything_costs_nothing(tmp_path: Path) -> None:
    access = access_list(tmp_path, "topic read #")
    with Mosquitto(f"acl_file {access}") as broker:
        async with delivering(tmp_path, mqtt(broker.port, "mute")) as spine:
            offer(spine, *(("a/b", n) for n in range(10)))
            rounds = _count(spine, "_offer_again")
            await until(lambda: rounds() > 12)
            assert spine.forwarder.delivery.refused == 0
            assert spine.forwarder.cursor.next_offset == 1
            assert "Not authorized (0x87)" in (spine.forwarder.delivery.last_error or "")


def _count(spine: Spine, name: str) -> Callable[[], int]:
    real, calls = getattr(spine.forwarder, name), []

    def note(*arguments: Any) -> Any:
        calls.append(1)
        return real(*arguments)

    setattr(spine.forwarder, name, note)
    return lambda: len(calls)


@pytest.mark.parametrize("code", [0x90, 0x99, 0x95])
async def test_codes_that_mosquitto_never_sends_are_dead_letters_too(tmp_path: Path, code: int) -> None:
    script = Script(answer=lambda one: code if one.topic.endswith("a/wrong") else 0)
    async with ScriptedBroker(script) as broker, delivering(tmp_path, mqtt(broker.port, "g")) as spine:
        offer(spine, ("a/b", 1), ("a/wrong", 2), ("a/b", 3))
        await until(lambda: spine.forwarder.cursor.next_offset == 5)
        [(offset, why)] = await dead(spine)
        assert offset == 2
        assert f"(0x{code:02X})" in why


async def test_a_quota_that_ends_costs_nothing(tmp_path: Path) -> None:
    full = True
    script = Script(answer=lambda one: 0x97 if full and "/event/" in one.topic else 0)
    async with ScriptedBroker(script) as broker, delivering(tmp_path, mqtt(broker.port, "g")) as spine:
        offer(spine, ("a/b", 1), ("a/b", 2))
        await broker.until(lambda: len(broker.topics("/event/")) >= 20)
        full = False
        await until(lambda: spine.forwarder.delivery.delivered == 2)
        assert await spine.log.dead_letters("home") == 0


async def test_two_gateways_with_one_id_do_not_throw_each_other_out_again_and_again(tmp_path: Path) -> None:
    async with ScriptedBroker() as broker, delivering(tmp_path, mqtt(broker.port, "g")) as spine:
        await until(lambda: spine.forwarder.delivery.connected)
        broker.disconnect(0x8E)
        await until(lambda: not spine.forwarder.delivery.connected)
        assert "two gateways with one id" in (spine.forwarder.delivery.last_error or "")
        connections, turns = broker.connections, iter(range(60))
        await until(lambda: next(turns, None) is None)  # far longer than the back-off of this test
        assert broker.connections == connections


# Whole gateways


def gateway(folder: Path, sinks: str, devices: str = "") -> Gateway:
    text = f"gateway: {{id: pi}}\nbuffer: {{path: {folder / 'x.db'}, commit_within: 20ms}}\nsinks:\n{sinks}\n{devices}"
    config = parse_config(text, str(folder / "gateway.yaml"), Plugins())
    return Gateway(config, random=Random(1))


SIGNALS = """devices:
  - {id: fast, driver: signal, every: 10ms, signals: {load: {quantity: load, constant: 1}}}
  - {id: slow, driver: signal, every: 20ms, signals: {load: {quantity: load, sine: {min: 0, max: 9, period: 1s}}}}
"""


@pytest.mark.mosquitto
async def test_three_sinks_of_which_one_is_dead_and_one_slow_are_independent(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    async with FaultProxy("127.0.0.1", mosquitto.port, delay_s=0.2, chunk_bytes=512) as proxy:
        await proxy.become("slow")
        sinks = f"""
  - {{id: dead, sink: mqtt, url: 'mqtt://127.0.0.1:{free_port()}'}}
  - {{id: lame, sink: mqtt, url: 'mqtt://127.0.0.1:{proxy.port}', base: three/lame, client_id: lame}}
  - {{id: fine, sink: mqtt, url: 'mqtt://127.0.0.1:{mosquitto.port}', base: three/fine, client_id: fine,
      events: {{subjects: [fast/*]}}}}
"""
        with Subscriber(mosquitto.port, ["three/#"]) as subscriber:
            async with gateway(tmp_path, sinks, SIGNALS) as running:
                fine, lame, dead_ = (running.forwarders[name] for name in ("fine", "lame", "dead"))
                await until(lambda: fine.delivery.delivered >= 150, 20)
                await until(lambda: lame.delivery.delivered >= 1, 20)
                behind = running.log.next_offset - fine.cursor.next_offset
                assert behind < 50, "the fine one waits for nobody"
                assert running.log.next_offset - lame.cursor.next_offset > behind
                assert (dead_.delivery.connected, dead_.cursor.next_offset) == (False, 1)
                await proxy.become("pass")
            topics = {one.topic for one in subscriber.messages if one.topic.startswith("three/fine/pi/")}
            assert {"three/fine/pi/event/fast/load", "three/fine/pi/state/fast/load"} <= topics
            assert not [topic for topic in topics if "slow" in topic], "not selected"
            order = sequences(subscriber, "three/fine/pi")
            assert order == sorted(set(order))


@pytest.mark.mosquitto
async def test_after_a_restart_the_broker_holds_what_was_recorded_last_and_nothing_of_what_the_yaml_lost(
    tmp_path: Path,
) -> None:
    hourly = "  - {{id: {0}, driver: signal, every: 7d, signals: {{load: {{quantity: load, constant: {1}}}}}}}\n"
    with Mosquitto() as broker:
        sinks = f"  - {{id: home, sink: mqtt, url: 'mqtt://127.0.0.1:{broker.port}'}}\n"
        async with gateway(tmp_path, sinks, "devices:\n" + hourly.format("kept", 1) + hourly.format("gone", 2)) as one:
            await until(lambda: len(list(one.latest.values())) == 2)
            before = {e.subject: e.value for e in one.latest.values()}
        assert set(before) == {"kept/load", "gone/load"}
        broker.restart()  # it keeps nothing on disk: what it holds afterwards, it was told again
        publish_old(broker.port, b"left behind")
        held = "devices:\n" + hourly.format("kept", 5)
        async with gateway(tmp_path, sinks, held) as two:
            assert {e.subject: e.value for e in two.latest.values()} == {"kept/load": before["kept/load"]}
            await broker.logged("Received UNSUBSCRIBE from pi")
        with Subscriber(broker.port, ["gateway/pi/#", "marker/#"]) as subscriber:
            await subscriber.caught_up()
        topics = {one.topic.removeprefix("gateway/pi/") for one in subscriber.messages if one.retain}
        assert topics == {"status", "state/kept/load", "availability/kept"}


def publish_old(port: int, payload: bytes) -> None:
    from paho.mqtt import publish

    for topic in ("state/gone/load", "availability/gone"):
        publish.single(f"gateway/pi/{topic}", payload, qos=1, retain=True, port=port)
