"""The mqtt sink against Debian's mosquitto: what a subscriber really gets."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.errors import LinkError
from gateway.present import Latest
from tests.brokers import Mosquitto, Subscriber, make_certificates
from tests.sinks.parts import RUN, connected, event, mqtt, outgoing, present, send

pytestmark = pytest.mark.mosquitto


def latest(subscriber: Subscriber, prefix: str) -> dict[str, object]:
    """Topic below the gateway's prefix -> payload, JSON where it is."""
    found = {topic.removeprefix(prefix): payload for topic, payload in subscriber.latest().items()}
    return {topic: json.loads(text) if text[:1] == b"{" else text.decode() for topic, text in found.items()}


@pytest.fixture
def picture() -> Latest:
    """Two devices, of which one does not answer."""
    picture = present(version="1.2.3", labels={"site": "north"})
    picture.apply(
        [
            event("air", type="device.available", offset=1),
            event("air/temperature", 21.5, offset=2),
            event("door/contact", True, type="state", offset=3),
            event("door", type="device.unavailable", offset=4),
            event("door/click", "single", type="input", offset=5),
        ]
    )
    return picture


async def test_events_arrive_as_cloudevents_in_order_and_unretained(mosquitto: Mosquitto) -> None:
    with Subscriber(mosquitto.port, ["site/events/#"]) as subscriber:
        async with connected(mqtt(mosquitto.port, "events", base="site")) as (session, heard):
            send(session, *(outgoing(offset) for offset in range(1, 11)))
            await heard.until_count(10)
            await session.close(2)
        await subscriber.until(lambda: len(subscriber.messages) >= 12)
    events = [one for one in subscriber.messages if one.topic == "site/events/event/air/temperature"]
    assert [json.loads(one.payload)["id"] for one in events] == [f"{RUN}-{offset}" for offset in range(1, 11)]
    for one in events:
        assert one.qos == 1
        assert not one.retain
        assert one.properties.ContentType == "application/cloudevents+json; charset=utf-8"
        assert one.properties.PayloadFormatIndicator == 1


async def test_a_late_subscriber_finds_status_availability_and_state(mosquitto: Mosquitto, picture: Latest) -> None:
    async with connected(mqtt(mosquitto.port, "late", picture)) as (session, heard):
        send(session, outgoing(6))
        await heard.until_count(1)  # and everything before it is there too
        with Subscriber(mosquitto.port, ["gateway/late/#"]) as subscriber:
            await subscriber.until(lambda: len(subscriber.messages) >= 5)
        assert latest(subscriber, "gateway/late/") == {
            "status": {"version": "1.2.3", "labels": {"site": "north"}, "state": "online", "session": RUN},
            "availability/air": "online",
            "availability/door": "offline",
            "state/air/temperature": {
                "value": 21.5, "unit": "Cel", "quality": "good", "time": "2026-11-23T07:32:16.125000Z",
            },
            "state/door/contact": {
                "value": None, "unit": None, "quality": "bad", "time": "2026-11-23T07:32:16.125000Z",
            },
        }  # fmt: skip
        assert all(one.retain for one in subscriber.messages)


async def test_birth_comes_first_then_availability_then_state(mosquitto: Mosquitto, picture: Latest) -> None:
    with Subscriber(mosquitto.port, ["gateway/order/#"]) as subscriber:
        async with connected(mqtt(mosquitto.port, "order", picture)) as (session, heard):
            send(session, outgoing(6))
            await heard.until_count(1)
            await subscriber.until(lambda: len(subscriber.messages) >= 6)
    kinds = [one.topic.removeprefix("gateway/order/").partition("/")[0] for one in subscriber.messages]
    assert kinds[:6] == ["status", "availability", "availability", "state", "state", "event"]


async def test_state_and_availability_follow_what_happens(mosquitto: Mosquitto, picture: Latest) -> None:
    with Subscriber(mosquitto.port, ["gateway/follow/#"]) as subscriber:
        async with connected(mqtt(mosquitto.port, "follow", picture)):
            picture.apply([event("air/temperature", 22.5, offset=7)])
            await subscriber.until(
                lambda: b"22.5" in subscriber.latest().get("gateway/follow/state/air/temperature", b"")
            )
            picture.apply([event("air", type="device.unavailable", offset=8)])
            await subscriber.until(lambda: subscriber.latest()["gateway/follow/availability/air"] == b"offline")
            await subscriber.until(
                lambda: b'"value":null' in subscriber.latest()["gateway/follow/state/air/temperature"]
            )
            picture.apply([event("door/click", "double", type="input", offset=9)])
            picture.apply([event("door", type="device.available", offset=10)])
            await subscriber.until(lambda: subscriber.latest()["gateway/follow/availability/door"] == b"online")
    assert not [topic for topic in subscriber.latest() if "click" in topic], "an input has no state"


async def test_a_clean_stop_says_offline_itself(mosquitto: Mosquitto) -> None:
    with Subscriber(mosquitto.port, ["gateway/clean/status"]) as subscriber:
        async with connected(mqtt(mosquitto.port, "clean")) as (session, _):
            await session.close(2)
        await subscriber.until(lambda: len(subscriber.messages) >= 2)
    assert [json.loads(one.payload)["state"] for one in subscriber.messages] == ["online", "offline"]
    await mosquitto.logged("Received DISCONNECT from clean")


async def test_an_abort_leaves_the_last_word_to_the_will(mosquitto: Mosquitto) -> None:
    with Subscriber(mosquitto.port, ["gateway/abort/status"]) as subscriber:
        async with connected(mqtt(mosquitto.port, "abort")) as (session, _):
            await subscriber.until(lambda: len(subscriber.messages) >= 1)
            session.abort()
            await subscriber.until(lambda: len(subscriber.messages) >= 2)
    assert json.loads(subscriber.messages[-1].payload) == {"state": "offline", "session": RUN}
    with Subscriber(mosquitto.port, ["gateway/abort/status"]) as late:
        await late.until(lambda: len(late.messages) >= 1)
    assert late.messages[0].retain


async def test_an_older_broker_version_is_spoken_on_request(mosquitto: Mosquitto) -> None:
    with Subscriber(mosquitto.port, ["gateway/old/#"]) as subscriber:
        async with connected(mqtt(mosquitto.port, "old", version="3.1.1")) as (session, heard):
            send(session, *(outgoing(offset) for offset in range(1, 31)))
            await heard.until_count(30)
            await session.close(2)
        await subscriber.until(lambda: len(subscriber.messages) >= 32)
    assert set(heard.verdicts.values()) == {"accepted"}
    await mosquitto.logged("as old (p2, c1, k30)")


# A broker that asks who we are


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    """Knows pi/secret, who may write events but no state."""
    folder = tmp_path_factory.mktemp("guarded")
    folder.chmod(0o755)
    passwords, access = folder / "passwords", folder / "access"
    subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "pi", "secret"], check=True, capture_output=True)
    access.write_text("user pi\ntopic write gateway/g/event/air/#\ntopic write gateway/g/status\n")
    for file in (passwords, access):
        file.chmod(0o644)
    with Mosquitto("allow_anonymous false", f"password_file {passwords}", f"acl_file {access}") as broker:
        yield broker


async def test_a_refused_permission_holds_the_event_and_not_the_others(guarded: Mosquitto) -> None:
    async with connected(mqtt(guarded.port, "g", username="pi", password="secret")) as (session, heard):
        send(session, outgoing(1), outgoing(2, subject="door/contact"), outgoing(3))
        await heard.until_count(3)
        assert heard.settlements == [(1, "accepted", ""), (2, "held", "Not authorized (0x87)"), (3, "accepted", "")]


async def test_a_refused_state_topic_is_said_once_and_harms_nothing(
    guarded: Mosquitto, picture: Latest, caplog: pytest.LogCaptureFixture
) -> None:
    sink = mqtt(guarded.port, "g", picture, username="pi", password="secret")
    for _ in range(2):
        async with connected(sink) as (session, heard):
            send(session, outgoing(1))
            await heard.until_count(1)
            await session.close(2)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "gateway/g/availability/air: Not authorized (0x87)" in caplog.text


@pytest.mark.parametrize(
    "login", [{"username": "pi", "password": "wrong"}, {"username": "nobody", "password": "secret"}, {}]
)
@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_bad_credentials_are_a_link_error_that_says_so(
    guarded: Mosquitto, login: dict[str, str], version: str
) -> None:
    with pytest.raises(LinkError, match=r"(?i)the broker refused the connection: not authorized .*username") as caught:
        async with connected(mqtt(guarded.port, "g", version=version, **login)):
            pass
    assert "wrong" not in str(caught.value)


# TLS


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    folder.chmod(0o755)
    made = make_certificates(folder)
    for file in made:
        file.chmod(0o644)
    return made


@pytest.fixture(scope="module")
def secure(certificates: tuple[Path, Path, Path]) -> Iterator[Mosquitto]:
    _, certificate, key = certificates
    with Mosquitto(f"certfile {certificate}", f"keyfile {key}") as broker:
        yield broker


async def test_events_travel_over_tls(secure: Mosquitto, certificates: tuple[Path, Path, Path]) -> None:
    sink = mqtt(secure.port, "tls", url=f"mqtts://localhost:{secure.port}", ca=str(certificates[0]), window=1000)
    async with connected(sink) as (session, heard):
        send(session, *(outgoing(offset, "x" * 500) for offset in range(1, 1001)))
        await heard.until_count(1000)
        await session.close(2)
    assert set(heard.verdicts.values()) == {"accepted"}
    await secure.logged("Received DISCONNECT from tls")


async def test_a_broker_that_our_authorities_do_not_know_is_refused(secure: Mosquitto) -> None:
    with pytest.raises(LinkError, match=r"certificate is not trusted: .*; name the authority that signed it in `ca:`"):
        async with connected(mqtt(secure.port, "tls", url=f"mqtts://localhost:{secure.port}")):
            pass


async def test_a_certificate_for_another_name_is_refused(
    secure: Mosquitto, certificates: tuple[Path, Path, Path]
) -> None:
    sink = mqtt(secure.port, "tls", url=f"mqtts://127.0.0.1:{secure.port}", ca=str(certificates[0]))
    with pytest.raises(LinkError, match=r"not trusted: .*IP address mismatch.*; use in `url:` a name that the"):
        async with connected(sink):
            pass


@pytest.mark.parametrize(
    ("content", "sentence"), [(None, "cannot read .*: No such file"), ("no pem", "holds no certificate in PEM form")]
)
async def test_an_unusable_ca_file_is_named(
    secure: Mosquitto, tmp_path: Path, content: str | None, sentence: str
) -> None:
    ca = tmp_path / "ca.pem"
    if content is not None:
        ca.write_text(content)
    with pytest.raises(LinkError, match=f"`ca`: .*{sentence}"):
        async with connected(mqtt(secure.port, "tls", url=f"mqtts://localhost:{secure.port}", ca=str(ca))):
            pass


async def test_tls_to_a_plain_port_and_plain_to_a_tls_port_are_told_apart(
    secure: Mosquitto, mosquitto: Mosquitto
) -> None:
    with pytest.raises(LinkError, match="is this the broker's TLS port"):
        async with connected(mqtt(0, "x", url=f"mqtts://localhost:{mosquitto.port}")):
            pass
    with pytest.raises(LinkError, match=r"no CONNACK: .*is this an MQTT port, and TLS as"):
        async with connected(mqtt(secure.port, "x")):
            pass


async def test_delivery_goes_on_after_the_broker_was_away() -> None:
    with Mosquitto() as broker:
        sink = mqtt(broker.port, "again")
        async with connected(sink) as (session, heard):
            send(session, outgoing(1))
            await heard.until_count(1)
            broker.restart()
            await heard.until(lambda: bool(heard.losses))
        async with connected(sink) as (session, heard):
            send(session, outgoing(2))
            await heard.until_count(1)
            assert heard.settlements == [(2, "accepted", "")]
