"""Several addresses, mutual TLS, and what the broker holds that the configuration lost."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from paho.mqtt import publish

from gateway.errors import LinkError
from gateway.present import Latest
from gateway.sinks import mqtt_sweep
from tests.brokers import Mosquitto, Script, ScriptedBroker, Subscriber, free_port, make_certificates
from tests.sinks.parts import Heard, connected, event, mqtt, outgoing, present, send
from tests.sinks.test_mqtt_dial import deaf_listener

# Several URLs


def urls(*ports: int) -> list[str]:
    return [f"mqtt://127.0.0.1:{port}" for port in ports]


async def test_the_first_broker_that_works_is_used_and_the_first_of_all_is_tried_again_first() -> None:
    dead = free_port()
    async with ScriptedBroker() as second, ScriptedBroker() as third:
        sink = mqtt(0, "g", url=urls(dead, second.port, third.port))
        for count in (1, 2):
            async with connected(sink):
                assert (second.connections, third.connections) == (count, 0)
        with socket.create_server(("127.0.0.1", dead)):  # it is back, and says nothing
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await sink.connect(Heard())
            async with connected(sink):
                assert (second.connections, third.connections) == (3, 0), "what hangs has its turn, and no more"


async def test_when_none_works_each_says_why() -> None:
    one = free_port()
    async with ScriptedBroker(Script(connack=b"\x20\x03\x00\x87\x00")) as two:
        with pytest.raises(LinkError, match=rf"127.0.0.1:{one}: nothing listens there.*; .*Not authorized \(0x87\)"):
            await mqtt(0, "g", url=urls(one, two.port)).connect(Heard())


async def test_an_address_in_a_black_hole_does_not_keep_us_from_the_next() -> None:
    with deaf_listener() as deaf:
        async with ScriptedBroker() as broker:
            sink = mqtt(0, "g", url=urls(deaf.getsockname()[1], broker.port))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await sink.connect(Heard())
            async with connected(sink) as (session, heard):
                send(session, outgoing(1))
                await heard.until_count(1)


# Mutual TLS


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`ca.pem b.pem b.key` of the broker; `own.pem own.key` of ours, `other.key`, `locked.key` with a passphrase."""
    folder = tmp_path_factory.mktemp("papers")
    folder.chmod(0o755)
    ca, _, _ = make_certificates(folder)
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    for command in (
        ["req", *curve, "-subj", "/CN=pi", "-keyout", "own.key", "-out", "own.csr"],
        ["x509", "-req", "-in", "own.csr", "-CA", ca, "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
         "-out", "own.pem"],
        ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "other.key"],
        ["pkey", "-in", "own.key", "-aes128", "-passout", "pass:xyz", "-out", "locked.key"],
    ):  # fmt: skip
        subprocess.run(["openssl", *map(str, command)], check=True, capture_output=True, cwd=folder)
    (folder / "both.pem").write_bytes((folder / "own.pem").read_bytes() + (folder / "own.key").read_bytes())
    for file in folder.iterdir():
        file.chmod(0o644)
    return folder


@pytest.fixture(scope="module")
def choosy(papers: Path) -> Iterator[Mosquitto]:
    """Asks everybody for a certificate, and takes the name in it for the user's."""
    lines = (f"cafile {papers / 'ca.pem'}", f"certfile {papers / 'b.pem'}", f"keyfile {papers / 'b.key'}")
    with Mosquitto(*lines, "require_certificate true", "use_identity_as_username true") as broker:
        yield broker


def mutual(broker: Mosquitto, papers: Path, **files: str):
    named = {name: str(papers / file) for name, file in files.items()}
    return mqtt(0, "mtls", url=f"mqtts://localhost:{broker.port}", ca=str(papers / "ca.pem"), **named)


@pytest.mark.mosquitto
@pytest.mark.parametrize("files", [{"cert": "own.pem", "key": "own.key"}, {"cert": "both.pem"}])
async def test_our_certificate_opens_the_door(choosy: Mosquitto, papers: Path, files: dict[str, str]) -> None:
    async with connected(mutual(choosy, papers, **files)) as (session, heard):
        send(session, outgoing(1))
        await heard.until_count(1)
        await session.close(2)
    assert heard.verdicts == {1: "accepted"}
    await choosy.logged("u'pi'")


@pytest.mark.mosquitto
async def test_without_our_certificate_the_broker_ends_it_and_that_is_a_link_error(
    choosy: Mosquitto, papers: Path
) -> None:
    with pytest.raises(LinkError):
        async with connected(mutual(choosy, papers)):
            pass


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"cert": "none.pem"}, "`cert`: cannot read .*none.pem: No such file"),
        ({"cert": "own.pem", "key": "none.key"}, "`key`: cannot read .*none.key: No such file"),
        ({"cert": "own.pem", "key": "other.key"}, "`key`: .*other.key is not the key of the certificate"),
        ({"cert": "own.pem", "key": "locked.key"}, "or the key has a passphrase"),
        ({"cert": "own.csr", "key": "own.key"}, "hold no certificate and key in PEM form"),
    ],
)
async def test_papers_that_cannot_be_used_are_named(papers: Path, files: dict[str, str], sentence: str) -> None:
    named = {name: str(papers / file) for name, file in files.items()}
    with pytest.raises(LinkError, match=sentence):
        await mqtt(0, "x", url="mqtts://localhost:1", ca=str(papers / "ca.pem"), **named).connect(Heard())


def test_the_default_context_checks_the_broker() -> None:
    from gateway.sinks.mqtt_dial import Papers, _trust

    context = _trust(Papers())
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED


# The sweep


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt_sweep, "QUIET_S", 0.2)


def retain(port: int, *topics: str) -> None:
    """As a gateway before this one left them."""
    publish.multiple(
        [{"topic": topic, "payload": '{"value":1}', "qos": 1, "retain": True} for topic in topics], port=port
    )


async def held(port: int, prefix: str) -> set[str]:
    with Subscriber(port, [f"{prefix}/#", "marker/#"]) as subscriber:
        await subscriber.caught_up()
    return {one.topic for one in subscriber.messages if one.retain}


@asynccontextmanager
async def swept(sink, broker: Mosquitto, client: str) -> AsyncIterator[None]:
    """Connected until the sweep is over."""
    async with connected(sink) as (session, _):
        await broker.logged(f"Received UNSUBSCRIBE from {client}")
        await session.close(2)
        yield


@pytest.mark.mosquitto
@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_retained_topics_that_the_yaml_lost_are_cleared_and_no_others(version: str) -> None:
    ours = "gateway/pi"
    kept = {
        f"{ours}/state/air/temperature", f"{ours}/availability/air", f"{ours}/state/air/deep/er", f"{ours}/note",
        f"{ours}/state/Air/Not-an-id", "gateway/other/state/gone/x", "elsewhere",
    }  # fmt: skip
    gone = {f"{ours}/state/air/humidity", f"{ours}/state/gone/x", f"{ours}/availability/gone"}
    picture = present()
    picture.configure({"air": ["temperature"]})
    with Mosquitto() as broker:
        retain(broker.port, *kept, *gone)
        async with swept(mqtt(broker.port, "pi", picture, version=version), broker, "pi"):
            assert await held(broker.port, "gateway") == kept - {"elsewhere"} | {f"{ours}/status"}
            assert await held(broker.port, "elsewhere") == {"elsewhere"}


@pytest.mark.mosquitto
async def test_many_lost_topics_are_cleared_while_events_flow() -> None:
    with Mosquitto() as broker:
        retain(broker.port, *(f"gateway/pi/state/d{n}/x" for n in range(500)))
        async with connected(mqtt(broker.port, "pi")) as (session, heard):
            for offset in range(1, 201):
                send(session, outgoing(offset))
                await heard.until_count(offset)
            await broker.logged("Received UNSUBSCRIBE from pi")
            await session.close(2)
        assert await held(broker.port, "gateway") == {"gateway/pi/status"}


@pytest.mark.mosquitto
async def test_templates_of_ones_own_are_swept_only_where_they_name_the_gateway() -> None:
    topics = {"state": "home/{device}/{channel}", "availability": "home/{gateway}-{device}/alive"}
    theirs = {"home/lamp/brightness", "home/pj-gone/alive", "home/pi-gone/dead"}
    with Mosquitto() as broker:
        retain(broker.port, *theirs, "home/pi-gone/alive")
        async with swept(mqtt(broker.port, "pi", topics=topics), broker, "pi"):
            assert await held(broker.port, "home") == theirs


@pytest.mark.mosquitto
async def test_what_a_reload_removes_is_cleared_at_once(mosquitto: Mosquitto) -> None:
    picture = present()
    picture.configure({"air": ["t", "h"], "door": ["open"]})
    picture.apply([event("air/t", 1), event("air/h", 2), event("door/open", 3), event("door", type="device.available")])
    with Subscriber(mosquitto.port, ["gateway/reload/#"]) as subscriber:
        async with connected(mqtt(mosquitto.port, "reload", picture)) as (session, heard):
            send(session, outgoing(1))
            await heard.until_count(1)
            picture.configure({"air": ["t"]})
            await subscriber.until(
                lambda: (
                    {t for t, payload in subscriber.latest().items() if not payload}
                    == {f"gateway/reload/{t}" for t in ("state/air/h", "state/door/open", "availability/door")}
                )
            )
            assert [e.subject for e in picture.values()] == ["air/t"]


@pytest.mark.mosquitto
async def test_a_connection_beside_the_gateways_own_says_nothing_of_what_is_true(
    mosquitto: Mosquitto,
) -> None:
    picture: Latest = present()
    picture.apply([event("air/t", 1)])
    with Subscriber(mosquitto.port, ["gateway/probed/#", "marker/#"]) as subscriber:
        async with (
            connected(mqtt(mosquitto.port, "probed")) as (_, own),
            connected(mqtt(mosquitto.port, "probed", picture, probe=True)) as (session, heard),
        ):
            send(session, outgoing(1))
            await heard.until_count(1)
            session.abort()  # no last will
            async with connected(mqtt(mosquitto.port, "probed", picture, probe=True)) as (again, news):
                send(again, outgoing(2))
                await news.until_count(1)
                await again.close(1)
            await subscriber.caught_up()
            assert not own.losses
            said = [one.topic.removeprefix("gateway/probed/") for one in subscriber.messages]
    assert said[:3] == ["status", "event/air/temperature", "event/air/temperature"]
    assert len(said) == 4, "the marker, and nothing else"
    assert json.loads(subscriber.messages[0].payload)["state"] == "online"


async def test_a_broker_that_ends_the_connection_for_it_is_asked_twice_and_no_more() -> None:
    async with ScriptedBroker() as broker:
        sink = mqtt(broker.port, "g")
        for _ in range(2):
            async with connected(sink) as (_, heard):
                await broker.until(lambda: 8 in broker.packets)
                broker.packets.clear()
                broker.disconnect(0x87)
                await heard.until(lambda: bool(heard.losses))
        async with connected(sink) as (session, heard):
            send(session, outgoing(1))
            await heard.until_count(1)
            assert 8 not in broker.packets


@pytest.mark.parametrize("properties", [b"\x28\x00", b"\x25\x00"], ids=["no wildcards", "no retained messages"])
async def test_a_broker_that_says_it_cannot_is_not_asked(properties: bytes) -> None:
    async with ScriptedBroker(Script(properties=properties)) as broker, connected(mqtt(broker.port, "g")) as (s, heard):
        send(s, outgoing(1))
        await heard.until_count(1)
        assert 8 not in broker.packets


async def test_the_end_is_told_from_an_events_fault() -> None:
    """What the broker says about itself is no evidence against an event."""
    for code, unrelated in ((0x8B, True), (0x89, True), (0x95, False), (0x82, False)):
        async with ScriptedBroker() as broker, connected(mqtt(broker.port, "g")) as (_, heard):
            broker.disconnect(code)
            await heard.until(lambda heard=heard: bool(heard.losses))
            assert heard.unrelated is unrelated
    async with ScriptedBroker() as broker, connected(mqtt(broker.port, "g")) as (_, heard):
        broker.drop()
        await heard.until(lambda: bool(heard.losses))
        assert not heard.unrelated
