"""`publish` through the mqtt sink's own connection, over a real broker."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import pytest

from gateway.action import PublishConfig
from gateway.actions.deed import Refused
from gateway.actions.said import publication, publishing
from gateway.errors import LinkError
from gateway.event import Event
from gateway.sink import Message
from gateway.sinks.mqtt import MqttSink
from gateway.testing.sinks import Ear, identity
from tests.brokers import MOSQUITTO, Mosquitto, Subscriber

needs_mosquitto = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")


@asynccontextmanager
async def connected(port: int):
    sink = MqttSink.create(MqttSink.Options(url=f"mqtt://127.0.0.1:{port}", base="garden"), identity("pi"))
    session = await sink.connect(Ear())
    try:
        yield sink
    finally:
        session.abort()


@pytest.mark.mosquitto
@needs_mosquitto
async def test_messages_of_ones_own_arrive_in_order_and_are_done_when_the_broker_says_so(world, eventually) -> None:
    actions = [
        {"publish": {"topic": "{base}/alarm/{rule}", "data": {"v": "{value}", "text": "{value:.0f}"}, "retain": True}},
        {"publish": {"topic": "plain", "text": "{subject} is {value}"}},
        {"publish": {"topic": "whole/{severity}"}},
    ]
    with Mosquitto() as broker, Subscriber(broker.port) as ear:
        async with connected(broker.port) as sink:
            world.publisher = sink
            await world.have({"do": actions})
            events = await world.speak(*["raised"] * 20)
            await eventually(lambda: all(one.delivery.delivered == 20 for one in world.actions.values()))
            await ear.caught_up()
        whole = [json.loads(one.payload)["id"] for one in ear.messages if one.topic == "whole/warning"]
        assert whole == [event.id for event in events]
        latest = ear.latest()
        assert json.loads(latest["garden/alarm/hot"]) == {"v": 31.5, "text": "32"}
        assert latest["plain"] == b"cellar/temp is 31.5"
        with Subscriber(broker.port, ["garden/#"]) as late:
            await late.until(lambda: "garden/alarm/hot" in late.latest())  # retained


@pytest.mark.mosquitto
@needs_mosquitto
async def test_while_there_is_no_connection_it_waits_and_nothing_is_lost(world, eventually) -> None:
    with Mosquitto() as broker, Subscriber(broker.port) as ear:
        async with connected(broker.port) as sink:
            world.publisher = sink
        await world.have({"do": [{"publish": {"topic": "a"}}]})
        (event,) = await world.speak("raised")
        consumer = world.actions["rule/hot/do/publish"]
        await eventually(lambda: consumer.delivery.last_error == "there is no connection to the broker")
        async with connected(broker.port) as sink:
            world.publisher = sink
            await eventually(lambda: consumer.delivery.delivered == 1)
        await ear.caught_up()
        assert [json.loads(one.payload)["id"] for one in ear.messages if one.topic == "a"] == [event.id]


@pytest.mark.mosquitto
@needs_mosquitto
async def test_a_connection_that_ends_tells_whoever_waited(eventually) -> None:
    with Mosquitto() as broker:
        told: list[tuple[str | None, str]] = []
        async with connected(broker.port) as sink:
            sink.publish(Message("a", b"x", "text/plain"), lambda *answer: told.append(answer))
        await eventually(lambda: told)
        assert told in ([("accepted", "")], [(None, "the connection ended")])
        with pytest.raises(LinkError, match="no connection"):
            sink.publish(Message("a", b"x", "text/plain"), lambda *answer: told.append(answer))


@pytest.mark.mosquitto
@needs_mosquitto
async def test_what_is_too_large_for_the_broker_is_refused(eventually) -> None:
    with Mosquitto("max_packet_size 1000") as broker:
        async with connected(broker.port) as sink:
            told: list[tuple[str | None, str]] = []
            sink.publish(Message("a", bytes(2000), "text/plain"), lambda *answer: told.append(answer))
            assert told == [], "not from within the call"
            await eventually(lambda: told)
            assert told[0][0] == "refused"
            assert "the broker takes packets of 1000" in told[0][1]


class Played:
    """A publisher in memory that answers as told."""

    base = "gateway"

    def __init__(self, *answers: tuple[str | None, str]) -> None:
        self.answers, self.messages = list(answers), []

    def publish(self, message, told) -> None:
        self.messages.append(message)
        verdict, reason = self.answers.pop(0) if self.answers else ("accepted", "")
        asyncio.get_running_loop().call_soon(told, verdict, reason)


async def test_a_message_that_always_ends_the_connection_is_given_up_after_three_times(world, eventually) -> None:
    world.publisher = Played(*[(None, "the connection ended")] * 3)
    await world.have({"do": [{"publish": {"topic": "a/{key}"}}]})
    first, second = await world.speak("raised", "raised")
    consumer = world.actions["rule/hot/do/publish"]
    await eventually(lambda: consumer.delivery.delivered == 1)
    await eventually(lambda: world.of("event.refused"))
    assert world.of("event.refused")[0].cause == first.id
    assert world.of("event.refused")[0].reason == "the connection ended, each of 3 times that it was sent"
    assert json.loads(world.publisher.messages[-1].payload)["id"] == second.id


@pytest.mark.parametrize("key", ["a/#", "+", "x" * 600])
def test_a_topic_that_an_event_makes_impossible_is_refused(key: str) -> None:
    event = Event("rule.raised", "rule/hot", 1, 1, data={"key": key})
    with pytest.raises(Refused, match="is no topic"):
        publication(PublishConfig(topic="home/{key}"), event, "gateway", "pi")


async def test_a_broker_that_refuses_and_one_that_holds_are_told_apart() -> None:
    event = Event("rule.raised", "rule/hot", 1, 1)
    for verdict, error in (("refused", "Refused"), ("held", "Held")):
        played = Played((verdict, "no"))
        deed = publishing(PublishConfig(topic="a"), "pi", lambda played=played: played)
        with pytest.raises(Exception, match="no") as caught:
            await deed._do(event)
        assert type(caught.value).__name__ == error
