"""The mqtt sink against a broker that says what mosquitto cannot be made to say."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.errors import LinkError
from gateway.present import Latest
from gateway.sink import Outgoing, Session
from gateway.sinks import mqtt_session
from tests.brokers import (
    Published,
    Script,
    ScriptedBroker,
    free_port,
    maximum_packet_size,
    maximum_qos,
    reason_string,
    receive_maximum,
)
from tests.sinks.parts import Heard, connected, event, mqtt, outgoing, present, send


@asynccontextmanager
async def talking(
    script: Script, picture: Latest | None = None, **options: object
) -> AsyncIterator[tuple[ScriptedBroker, Session, Heard]]:
    """A broker with this script, and a session with it."""
    async with (
        ScriptedBroker(script) as broker,
        connected(mqtt(broker.port, "g", picture, **options)) as (session, heard),
    ):
        yield broker, session, heard


def about(subject: str, code: int | None):
    """Answers `code` about events of one subject, 0 about all else."""

    def answer(published: Published) -> int | None:
        return code if published.topic.endswith(f"event/{subject}") else 0

    return answer


@pytest.mark.parametrize(
    ("code", "verdict", "reason"),
    [
        (0x00, "accepted", ""),
        (0x10, "accepted", ""),  # nobody subscribed: the broker took it all the same
        (0x80, "held", "Unspecified error (0x80)"),
        (0x83, "held", "Implementation specific error (0x83)"),
        (0x87, "held", "Not authorized (0x87)"),
        (0x90, "refused", "Topic name invalid (0x90)"),
        (0x95, "refused", "refused (0x95)"),  # no PUBACK code in the standard, but brokers send it
        (0x97, "held", "Quota exceeded (0x97)"),
        (0x99, "refused", "Payload format invalid (0x99)"),
        (0xFE, "held", "refused (0xFE)"),
    ],
)
async def test_the_code_of_a_puback_is_the_verdict(code: int, verdict: str, reason: str) -> None:
    async with talking(Script(answer=about("air/humidity", code))) as (_, session, heard):
        send(session, outgoing(1), outgoing(2, subject="air/humidity"), outgoing(3))
        await heard.until_count(3)
        assert heard.settlements == [(1, "accepted", ""), (2, verdict, reason), (3, "accepted", "")]


async def test_the_brokers_own_words_are_passed_on() -> None:
    async with talking(Script(answer=about("air/temperature", None))) as (broker, session, heard):
        send(session, outgoing(1))
        await broker.until(lambda: len(broker.published) == 2)
        broker.puback(broker.published[-1].number, 0x97, reason_string("10 MB a day"))
        await heard.until_count(1)
        assert heard.settlements == [(1, "held", "Quota exceeded (0x97): 10 MB a day")]


async def test_no_answer_settles_nothing() -> None:
    async with talking(Script(answer=about("air/temperature", None))) as (_, session, heard):
        send(session, outgoing(1), outgoing(2, subject="air/humidity"))
        await heard.until_count(1)
        assert heard.verdicts == {2: "accepted"}


async def test_answers_in_any_order_settle_their_own_event() -> None:
    async with talking(Script(answer=about("air/temperature", None))) as (broker, session, heard):
        send(session, *map(outgoing, (1, 2, 3)))
        await broker.until(lambda: len(broker.published) == 4)
        for published, code in zip(reversed(broker.published[1:]), (0, 0x97, 0x99), strict=True):
            broker.puback(published.number, code)
        await heard.until_count(3)
        assert heard.verdicts == {3: "accepted", 2: "held", 1: "refused"}


@pytest.mark.parametrize(("maximum", "window", "expected"), [(5, 100, 4), (20, 100, 16), (1, 100, 1), (100, 7, 7)])
async def test_receive_maximum_is_never_exceeded(maximum: int, window: int, expected: int) -> None:
    """Events and retained topics together, while values change all the time."""
    picture = present()
    picture.apply(event(f"d{n}/x", n, offset=n) for n in range(1, 30))
    async with ScriptedBroker(Script(properties=receive_maximum(maximum))) as broker:
        async with connected(mqtt(broker.port, "g", picture, window=window)) as (session, heard):
            assert session.window_max == expected
            for offset in range(1, 101, expected):
                picture.apply(event(f"d{n}/x", offset + n / 100, offset=offset) for n in range(1, 30))
                send(session, *(outgoing(offset + n) for n in range(expected)))
                await heard.until_count(offset + expected - 1)
            await session.close(2)
        assert broker.unanswered_max <= maximum
        assert set(heard.verdicts.values()) == {"accepted"}
        assert len(broker.topics("/event/")) >= 100
        assert json.loads(broker.published[-1].payload)["state"] == "offline"


async def test_with_one_place_events_and_state_take_turns() -> None:
    picture = present()
    async with talking(Script(properties=receive_maximum(1)), picture) as (broker, session, heard):
        for offset in range(1, 21):
            picture.apply([event("air/temperature", offset, offset=offset)])
            send(session, outgoing(offset, offset))
            await heard.until_count(offset)
        assert len(broker.topics("/state/")) >= 10
        assert broker.unanswered_max == 1


async def test_values_that_change_all_the_time_do_not_keep_an_event_from_the_one_place() -> None:
    picture = present()
    picture.apply([event("air/temperature", 0)])

    def answer(published: Published) -> int:
        if "/state/" in published.topic:  # before the broker has answered, there is a newer value
            picture.apply([event("air/temperature", len(broker.published), offset=len(broker.published))])
        return 0

    async with talking(Script(properties=receive_maximum(1), answer=answer), picture) as (broker, session, heard):
        await broker.until(lambda: len(broker.topics("/state/")) >= 5)
        for offset in range(1, 6):
            send(session, outgoing(offset))
            await heard.until_count(offset)
        assert broker.unanswered_max == 1


async def test_a_session_that_ended_watches_no_more() -> None:
    picture = present()
    async with talking(Script(), picture) as (broker, _, heard):
        assert len(picture._watchers) == 1
        broker.drop()
        await heard.until(lambda: bool(heard.losses))
        assert not picture._watchers


async def test_what_is_larger_than_the_broker_takes_is_refused_and_never_sent() -> None:
    async with ScriptedBroker(Script(properties=maximum_packet_size(1000))) as broker:
        async with connected(mqtt(broker.port, "g")) as (session, heard):
            send(session, outgoing(1), outgoing(2, "x" * 1000), outgoing(3))
            assert not heard.settlements, "never from within send"
            await heard.until_count(3)
            assert heard.verdicts == {1: "accepted", 2: "refused", 3: "accepted"}
            [reason] = [reason for offset, _, reason in heard.settlements if offset == 2]
            assert reason.endswith("bytes; the broker takes packets of 1000")
        assert [json.loads(one.payload)["id"][-1] for one in broker.published[1:]] == ["1", "3"]


async def test_the_largest_packet_that_fits_is_sent() -> None:
    """The size that we compute is the size on the wire, to the byte."""
    one = outgoing(1, "x" * 300)
    async with ScriptedBroker() as broker, connected(mqtt(broker.port, "g")) as (session, heard):
        send(session, one)
        await heard.until_count(1)
        size = max(broker.sizes)
    for limit, verdict in ((size, "accepted"), (size - 1, "refused")):
        async with talking(Script(properties=maximum_packet_size(limit))) as (broker, session, heard):
            send(session, one)
            await heard.until_count(1)
            assert heard.verdicts == {1: verdict}


async def test_a_disconnect_is_passed_on_in_words() -> None:
    async with talking(Script(answer=about("air/temperature", None))) as (broker, session, heard):
        send(session, outgoing(1))
        await broker.until(lambda: len(broker.published) == 2)
        broker.disconnect(0x8B, reason_string("back at noon"))
        await heard.until(lambda: bool(heard.losses))
        assert heard.losses == [("the broker ended the connection: Server shutting down (0x8B): back at noon", None)]
        assert not heard.settlements
        session.send(outgoing(2))
        session.flush()
        await session.close(1)


async def test_a_session_taken_over_says_who_may_have_done_it_and_waits_long() -> None:
    async with ScriptedBroker() as broker, connected(mqtt(broker.port, "g")) as (_, heard):
        broker.disconnect(0x8E)
        await heard.until(lambda: bool(heard.losses))
        reason, retry_after_s = heard.losses[0]
        assert "Session taken over (0x8E)" in reason
        assert "two gateways with one id" in reason
        assert retry_after_s == 60


async def test_a_reset_is_a_loss_with_a_reason() -> None:
    async with ScriptedBroker() as broker, connected(mqtt(broker.port, "g")) as (_, heard):
        broker.drop()
        await heard.until(lambda: bool(heard.losses))
        assert heard.losses in ([("Connection reset by peer", None)], [("the broker closed the connection", None)])


CONNACKS = [
    (b"\x20\x03\x00\x87\x00", "Not authorized (0x87); the broker's access list"),
    (b"\x20\x03\x00\x86\x00", "Bad user name or password (0x86); check `username` and `password`"),
    (b"\x20\x03\x00\x85\x00", "Client identifier not valid (0x85); the broker does not take this `client_id`"),
    (b"\x20\x03\x00\x84\x00", "Unsupported protocol version (0x84); .*try `version: 3.1.1`"),
    (
        b"\x20\x02\x00\x01",
        "Unsupported protocol version (0x84); .*try `version: 3.1.1`",
    ),  # a 3.1.1 broker to a 5 client
    (b"\x20\x0c\x00\x89\x09\x1f\x00\x06at ten", "Server busy (0x89): at ten"),
]


@pytest.mark.parametrize(("connack", "words"), CONNACKS)
async def test_a_refused_connection_is_a_link_error_in_words(connack: bytes, words: str) -> None:
    pattern = words.replace("(", r"\(").replace(")", r"\)")
    async with ScriptedBroker(Script(connack=connack)) as broker:
        heard = Heard()
        with pytest.raises(LinkError, match=f"the broker refused the connection: {pattern}"):
            await mqtt(broker.port, "g").connect(heard)
        assert not heard.losses


async def test_a_broker_without_qos_1_is_refused_by_us() -> None:
    async with ScriptedBroker(Script(properties=maximum_qos(0))) as broker:
        with pytest.raises(LinkError, match="the broker takes QoS 0 only"):
            await mqtt(broker.port, "g").connect(Heard())


async def test_a_broker_that_accepts_tcp_and_says_nothing_can_be_given_up() -> None:
    async with ScriptedBroker(Script(silent=True)) as broker:
        sink = mqtt(broker.port, "g")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await sink.connect(Heard())
        await broker.until(lambda: broker.connections == 1)
        broker.script.silent = False
        async with connected(sink) as (session, heard):
            send(session, outgoing(1))
            await heard.until_count(1)


async def test_an_address_where_nobody_listens_is_a_link_error() -> None:
    port = free_port()
    with pytest.raises(LinkError, match=rf"127.0.0.1:{port}: nothing listens there"):
        await mqtt(port, "g").connect(Heard())


@pytest.mark.parametrize("rubbish", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x20\xff\xff\xff\xff\x01", b"\x00" * 10])
async def test_rubbish_instead_of_connack_is_a_link_error(rubbish: bytes) -> None:
    async with ScriptedBroker(Script(connack=rubbish)) as broker:
        with pytest.raises(LinkError, match=r"no CONNACK|not MQTT"):
            async with asyncio.timeout(3):
                await mqtt(broker.port, "g").connect(Heard())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rubbish=st.binary(min_size=1, max_size=60))
def test_rubbish_on_a_connection_ends_it_or_does_nothing(rubbish: bytes) -> None:
    """Whatever a broker sends, nothing but our own acknowledgements settles an event, and no exception escapes."""

    async def run() -> None:
        trouble: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: trouble.append(context))
        async with ScriptedBroker() as broker, connected(mqtt(broker.port, "g")) as (session, heard):
            broker.say(rubbish)
            broker.say(b"\xd0\x00")
            broker.disconnect(0x8B)
            await heard.until(lambda: bool(heard.losses))
            assert not heard.settlements
            session.send(outgoing(1))
        assert not trouble

    logging.disable()
    try:
        asyncio.run(run())
    finally:
        logging.disable(logging.NOTSET)


async def test_state_is_conflated_and_never_a_backlog() -> None:
    """While the broker is slow, a topic has one message in flight, and the newest value follows it."""
    picture = present()

    def answer(published: Published) -> int | None:
        return None if "/state/" in published.topic else 0

    async with talking(Script(answer=answer), picture) as (broker, _, _heard):
        for value in range(100):
            picture.apply([event("air/temperature", value, offset=value + 1)])
        await broker.until(lambda: len(broker.topics("/state/")) == 1)
        broker.puback(broker.published[-1].number, 0)
        await broker.until(lambda: len(broker.topics("/state/")) == 2)
        assert json.loads(broker.published[-1].payload)["value"] == 99
        broker.puback(broker.published[-1].number, 0)
        picture.apply([event("air/temperature", 99, offset=100)])  # the same event again: nothing new
        picture.apply([event("air/humidity", 1, offset=101)])
        await broker.until(lambda: len(broker.topics("/state/")) == 3)
        assert broker.topics("/state/")[-1].endswith("humidity")


async def test_state_leaves_the_event_window_alone() -> None:
    """Retained topics that get no answer take a few places only."""
    picture = present()

    def answer(published: Published) -> int | None:
        return 0 if "/event/" in published.topic else None

    async with talking(Script(properties=receive_maximum(20), answer=answer), picture) as (broker, session, heard):
        picture.apply(event(f"d{n}/x", n, offset=n) for n in range(1, 30))
        send(session, *map(outgoing, range(1, 17)))
        await heard.until_count(16)
        assert broker.unanswered <= 4


async def test_a_snapshot_beyond_the_receive_maximum_does_not_stop_events_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mqtt_session, "SNAPSHOT_WAIT_S", 0.1)
    picture = present()
    picture.apply(event(f"d{n}/x", n, offset=n) for n in range(1, 100))

    def answer(published: Published) -> int | None:
        return 0 if "/event/" in published.topic or published.topic.endswith("status") else None

    async with talking(Script(properties=receive_maximum(30), answer=answer), picture) as (broker, session, _):
        assert len(broker.topics("/state/")) == 30
        send(session, outgoing(1))
        assert not session._events, "there is no place for it yet"
        for published in [one for one in broker.published if "/state/" in one.topic]:
            broker.puback(published.number, 0)
        await broker.until(lambda: bool(broker.topics("/event/")))


async def test_close_waits_for_what_is_in_flight_and_then_says_offline() -> None:
    async with ScriptedBroker(Script(answer=about("air/temperature", None))) as broker:
        async with connected(mqtt(broker.port, "g")) as (session, heard):
            send(session, outgoing(1))
            closing = asyncio.ensure_future(session.close(3))
            await broker.until(lambda: len(broker.published) == 3)
            assert not closing.done()
            broker.puback(broker.published[1].number, 0)
            await closing
            assert heard.settlements == [(1, "accepted", "")]
        await broker.until(lambda: 14 in broker.packets)
    assert json.loads(broker.published[-1].payload)["state"] == "offline"


async def test_a_close_that_nobody_answers_says_no_goodbye_so_that_the_will_speaks() -> None:
    async with ScriptedBroker(Script(answer=about("air/temperature", None))) as broker:
        async with connected(mqtt(broker.port, "g")) as (session, heard):
            send(session, outgoing(1))
            await session.close(0.2)
        await broker.until(lambda: broker.ended == 1)
        assert 14 not in broker.packets
        assert not heard.settlements


async def test_a_silent_broker_is_asked_for_a_sign_of_life_and_then_left() -> None:
    async with ScriptedBroker() as broker, connected(mqtt(broker.port, "g", keepalive="1s")) as (_, heard):
        await broker.until(lambda: 12 in broker.packets)
        broker.script.silent = True
        await heard.until(lambda: bool(heard.losses))
        assert heard.losses == [("the broker did not answer for 1 s", None)]


async def test_an_event_may_be_offered_again_in_the_same_session() -> None:
    codes = iter([0x97, 0])
    script = Script(answer=lambda one: next(codes) if "/event/" in one.topic else 0)
    async with ScriptedBroker(script) as broker, connected(mqtt(broker.port, "g")) as (session, heard):
        for count in (1, 2):
            send(session, outgoing(1))
            await heard.until_count(count)
        assert [verdict for _, verdict, _ in heard.settlements] == ["held", "accepted"]


async def test_message_numbers_come_round_without_meeting() -> None:
    """More messages than there are numbers, while one stays unanswered all the time."""
    stuck = Outgoing(event("air/stuck", 1, offset=1), None)
    async with talking(Script(answer=about("air/stuck", None)), window=60_000) as (broker, session, heard):
        send(session, stuck)
        session._wire._number = 65_500
        send(session, *(outgoing(offset) for offset in range(2, 402)))
        await heard.until_count(400)
        session._wire._number = 257
        send(session, *(outgoing(offset) for offset in range(402, 502)))
        await heard.until_count(500)
        assert 1 not in heard.verdicts
        numbers = [one.number for one in broker.published]
        assert numbers.count(numbers[1]) == 1, "the number of the unanswered event was given to another"
        assert min(numbers) >= 256
        assert max(numbers) == 65_535
