"""`webhook` and `notify` against a real HTTP server that fails in every way."""

from __future__ import annotations

import json
import sys
from email.header import decode_header, make_header

import pytest

from gateway.actions.deed import Held, Refused
from gateway.actions.web import header_text, judge, place
from gateway.errors import LinkError
from tests.actions.receiver import receiving
from tests.brokers import free_port


@pytest.fixture
def receiver():
    with receiving() as made:
        yield made


async def hooked(world, receiver, **options) -> None:
    await world.have({"do": [{"webhook": {"url": f"{receiver.url}/hook?key=s3cret", **options}}]})


async def test_the_event_arrives_as_a_cloudevent_with_its_id_as_idempotency_key(world, receiver, eventually) -> None:
    await hooked(world, receiver, token="t0ken", headers={"X-Site": "north"})
    (event,) = await world.speak("raised")
    await eventually(lambda: receiver.requests)
    (request,) = receiver.requests
    assert (request.method, request.path) == ("POST", "/hook?key=s3cret")
    assert request.key == event.id
    assert request.headers["content-type"].startswith("application/cloudevents+json")
    assert (request.headers["authorization"], request.headers["x-site"]) == ("Bearer t0ken", "north")
    document = json.loads(request.body)
    assert (document["id"], document["source"], document["data"]["value"]) == (event.id, "//gateway/pi", 31.5)


async def test_json_of_ones_own_keeps_types(world, receiver, eventually) -> None:
    await hooked(world, receiver, method="PUT", json={"v": "{value}", "text": "{value:.0f} {unit}", "all": "{event}"})
    (event,) = await world.speak("raised")
    await eventually(lambda: receiver.requests)
    body = json.loads(receiver.requests[0].body)
    assert (receiver.requests[0].method, body["v"], body["text"]) == ("PUT", 31.5, "32 Cel")
    assert body["all"]["id"] == event.id


async def test_only_what_its_rule_says_in_its_phase_is_sent(world, receiver, eventually) -> None:
    await hooked(world, receiver)
    await world.speak("cleared", "unknown")
    await world.speak("raised", rule="other")
    (event,) = await world.speak("raised")
    await eventually(lambda: receiver.requests)
    assert receiver.keys == [event.id]


async def test_order_is_that_of_the_log(world, receiver, eventually) -> None:
    await hooked(world, receiver)
    events = await world.speak(*["raised"] * 50)
    await eventually(lambda: world.actions["rule/hot/do/webhook"].delivery.delivered == 50)
    assert receiver.keys == [event.id for event in events]


async def test_a_receiver_that_fails_is_asked_again_until_it_does_not(world, receiver, eventually) -> None:
    answers = iter([(500, {}), (401, {}), (404, {}), (302, {"Location": "http://x.example"}), (503, {})])
    receiver.answer = lambda _: next(answers, (200, {}))
    await hooked(world, receiver)
    (event,) = await world.speak("raised")
    consumer = world.actions["rule/hot/do/webhook"]
    await eventually(lambda: consumer.delivery.delivered == 1)
    assert receiver.keys == [event.id] * 6
    assert consumer.cursor.next_offset == event.offset + 1
    assert world.of("event.refused") == []
    assert "s3cret" not in (consumer.delivery.last_error or "")


async def test_what_a_receiver_will_never_take_is_a_dead_letter_and_the_next_one_follows(
    world, receiver, eventually
) -> None:
    receiver.answer = lambda request: (422, {}) if len(receiver.requests) == 1 else (200, {})
    await hooked(world, receiver)
    first, second = await world.speak("raised", "raised")
    await eventually(lambda: world.of("event.refused"))
    await eventually(lambda: len(receiver.requests) == 2)
    assert receiver.keys == [first.id, second.id]
    refused = world.of("event.refused")[0]
    assert (refused.subject, refused.cause) == ("rule/hot/do/webhook", first.id)
    assert refused.reason == f"{receiver.url} answered 422"
    assert await world.log.dead_letters("rule/hot/do/webhook") == 1


async def test_an_event_that_always_fails_while_others_pass_is_given_up(world, receiver, eventually) -> None:
    poison: list[str] = []
    receiver.answer = lambda request: (500, {}) if request.key in poison else (200, {})
    await hooked(world, receiver)
    (bad,) = await world.speak("raised", name="poison")
    poison.append(bad.id)
    good: list[str] = []
    while not world.of("event.refused"):
        good += [event.id for event in await world.speak("raised")]
        await eventually(lambda: good[-1] in receiver.keys)  # noqa: B023 - called before the next turn
        assert len(good) < 50
    assert world.of("event.refused")[0].cause == bad.id
    assert [key for key in receiver.keys if key != bad.id] == good


async def test_one_that_hangs_is_cut_asked_again_and_delays_no_other_action(world, receiver, eventually) -> None:
    receiver.answer = lambda request: None if len(receiver.requests) == 1 else (200, {})
    with receiving() as other:
        slow = {"webhook": {"url": receiver.url, "timeout": "300ms"}}
        await world.have({"do": [slow, {"webhook": other.url}, {"log": "{name}"}]})
        (event,) = await world.speak("raised")
        await eventually(lambda: other.requests)
        assert world.actions["rule/hot/do/log"].delivery.delivered == 1
        assert world.actions["rule/hot/do/webhook"].delivery.delivered == 0
        await eventually(lambda: world.actions["rule/hot/do/webhook"].delivery.delivered == 1)
    assert receiver.keys == [event.id] * 2


async def test_one_that_is_not_there_gets_everything_once_it_is(world, eventually) -> None:
    port = free_port()
    await world.have({"do": [{"webhook": f"http://127.0.0.1:{port}/x"}]})
    events = await world.speak("raised", "raised")
    consumer = world.actions["rule/hot/do/webhook"]
    await eventually(lambda: consumer.delivery.last_error)
    assert f"127.0.0.1:{port}" in consumer.delivery.last_error
    with receiving(port) as receiver:
        await eventually(lambda: len(receiver.requests) == 2)
        assert receiver.keys == [event.id for event in events]


async def test_a_wait_that_is_asked_for_is_kept() -> None:
    with pytest.raises(LinkError) as caught:
        judge("http://x", 429, "17")
    assert caught.value.retry_after_s == 17
    with pytest.raises(LinkError) as caught:
        judge("http://x", 503, "86400")
    assert caught.value.retry_after_s == 300
    for status in (429, 503, 500, 301, 401, 403, 404, 409):
        with pytest.raises(Held):
            judge("http://x", status, "Wed, 21 Oct 2015 07:28:00 GMT")
    for status in (400, 413, 422):
        with pytest.raises(Refused):
            judge("http://x", status, "")
    for status in (200, 201, 202, 204):
        judge("http://x", status, "")


async def test_after_a_kill_what_was_not_answered_is_sent_again_with_the_same_key(world, receiver, eventually) -> None:
    receiver.answer = lambda _: None
    await hooked(world, receiver)
    (event,) = await world.speak("raised")
    await eventually(lambda: receiver.requests)
    await world.kill()
    receiver.answer = lambda _: (200, {})
    await world.open()
    await eventually(lambda: world.actions["rule/hot/do/webhook"].delivery.delivered == 1)
    assert receiver.keys == [event.id] * 2


async def test_what_is_too_old_is_a_dead_letter_that_says_so(world, receiver, eventually) -> None:
    await hooked(world, receiver, max_age="1m")
    await world.speak("raised", age_s=61)
    (event,) = await world.speak("raised", age_s=59)
    await eventually(lambda: world.of("event.refused") and receiver.requests)
    assert receiver.keys == [event.id]
    assert world.of("event.refused")[0].reason == "older than max_age, 60 s"


async def test_without_httpx_it_says_how_to_get_it(world, receiver, eventually, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    await hooked(world, receiver)
    consumer = world.actions["rule/hot/do/webhook"]
    await eventually(lambda: consumer.delivery.last_error)
    assert "pip install 'sensor-event-gateway[webhook]'" in consumer.delivery.last_error


# notify


async def test_a_push_message_is_the_text_with_title_and_priority(world, receiver, eventually) -> None:
    actions = [
        {"notify": "Cellar {value} °C for {held}"},
        {"notify": {"text": "x", "title": "Größe", "priority": 1, "url": f"{receiver.url}/mine", "token": "t"}},
    ]
    await world.have({"do": actions}, notify=f"{receiver.url}/topic")
    await world.speak("raised")
    await eventually(lambda: len(receiver.requests) == 2)
    common, own = sorted(receiver.requests, key=lambda request: request.path, reverse=True)
    assert (common.path, common.body.decode()) == ("/topic", "Cellar 31.5 °C for 5m")
    assert (common.headers["title"], common.headers["priority"]) == ("cellar.hot", "4")
    assert "authorization" not in common.headers
    assert (own.path, own.headers["priority"], own.headers["authorization"]) == ("/mine", "1", "Bearer t")
    assert str(make_header(decode_header(own.headers["title"]))) == "Größe"


def test_a_title_is_one_line_of_ascii() -> None:
    assert header_text("a\r\nX-Evil: b") == "a X-Evil: b"
    long = header_text("ä" * 300)
    assert "\n" not in long
    assert long.isascii()


def test_a_place_holds_no_secret() -> None:
    assert place("https://hooks.example.org:8443/services/T0/s3cret?key=1") == "https://hooks.example.org:8443"
