"""MQTT inside a WebSocket: the frames by themselves, and against mosquitto's own WebSocket listener."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import LinkError
from gateway.sinks import mqtt_sweep
from gateway.sinks.mqtt_dial import NoWebSocket
from gateway.sinks.mqtt_packets import NotMqtt
from gateway.sinks.mqtt_websocket import BINARY, CLOSE, PING, PONG, Frames, check_answer
from tests.brokers import Mosquitto, Subscriber, free_port, make_certificates
from tests.sinks.parts import connected, mqtt, outgoing, send


def unmask(frame: bytes) -> tuple[int, bytes, bytes]:
    """(kind, payload, what follows) of a client's frame, by the letter of RFC 6455 section 5.2."""
    assert frame[0] & 0x80, "not final"
    assert frame[1] & 0x80, "a client masks"
    length, at = frame[1] & 0x7F, 2
    if length > 125:
        more = 2 if length == 126 else 8
        length, at = int.from_bytes(frame[2 : 2 + more], "big"), 2 + more
    mask, body = frame[at : at + 4], frame[at + 4 : at + 4 + length]
    payload = bytes(byte ^ mask[place % 4] for place, byte in enumerate(body))
    return frame[0] & 0x0F, payload, frame[at + 4 + length :]


def from_broker(kind: int, payload: bytes, *, final: bool = True) -> bytes:
    size = len(payload)
    long = b"\x7e" + size.to_bytes(2, "big") if size < 65536 else b"\x7f" + size.to_bytes(8, "big")
    length = bytes([size]) if size < 126 else long
    return bytes([kind | (0x80 if final else 0)]) + length + payload


@given(st.one_of(st.binary(max_size=300), st.integers(65_530, 65_540).map(bytes)), st.binary(min_size=4, max_size=4))
def test_what_is_packed_is_what_a_broker_unmasks(payload: bytes, mask: bytes) -> None:
    frame = Frames(lambda _: mask).pack(payload)
    assert unmask(frame) == (BINARY, payload, b"")


def test_each_frame_has_a_mask_of_its_own() -> None:
    frames = Frames()
    assert frames.pack(b"x" * 50) != frames.pack(b"x" * 50)


@given(st.lists(st.binary(max_size=200), max_size=6), st.lists(st.integers(1, 40), min_size=1, max_size=50))
def test_frames_may_arrive_in_any_pieces(payloads: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(from_broker(BINARY if n % 2 else 0, one, final=bool(n % 3)) for n, one in enumerate(payloads))
    frames, heard, at = Frames(), b"", 0
    while at < len(stream):
        step = cuts[at % len(cuts)]
        payload, reply = frames.unpack(stream[at : at + step])
        heard, at = heard + payload, at + step
        assert reply == b""
    assert heard == b"".join(payloads)


def test_a_ping_between_pieces_is_answered_with_its_own_words_masked() -> None:
    pieces = from_broker(BINARY, b"ab", final=False), from_broker(PING, b"still there?"), from_broker(0, b"c")
    payload, reply = Frames().unpack(b"".join(pieces))
    assert payload == b"abc"
    assert unmask(reply) == (PONG, b"still there?", b"")


def test_a_close_is_answered_and_ends_what_follows() -> None:
    frames = Frames()
    payload, reply = frames.unpack(from_broker(CLOSE, (1001).to_bytes(2, "big") + b"bye") + from_broker(BINARY, b"x"))
    assert payload == b""
    assert unmask(reply) == (CLOSE, (1001).to_bytes(2, "big"), b"")
    assert frames.ended == "WebSocket code 1001"


@pytest.mark.parametrize(
    "rubbish",
    [
        b"HTTP/1.1 400",
        from_broker(1, b"text"),
        b"\x82\x84abcdabcd",  # masked: only clients do
        b"\xc2\x01x",  # a reserved bit
        b"\x09\x01x",  # a ping in pieces
        b"\x89\x7e\x00\x80" + bytes(128),  # a ping that is too long
        b"\x82\x7f" + (1 << 40).to_bytes(8, "big"),  # would fill the memory
    ],
)
def test_what_no_broker_sends_is_refused(rubbish: bytes) -> None:
    with pytest.raises(NotMqtt):
        Frames().unpack(rubbish)


@given(st.binary(max_size=80))
def test_any_bytes_are_frames_or_refused(rubbish: bytes) -> None:
    with contextlib.suppress(NotMqtt):
        Frames().unpack(rubbish)


KEY = b"dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455 section 1.3
ACCEPTED = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def answer(first: str = "HTTP/1.1 101 Switching Protocols", **fields: str) -> bytes:
    known = {"Upgrade": "WebSocket", "Connection": "upgrade", "Sec-WebSocket-Accept": ACCEPTED}
    given = {**known, **{name.replace("_", "-"): value for name, value in fields.items()}}
    return "\r\n".join([first, *(f"{name}: {value}" for name, value in given.items()), "", ""]).encode()


def test_the_example_of_the_standard_is_accepted() -> None:
    check_answer(answer(), KEY)
    check_answer(answer(Sec_WebSocket_Protocol="mqtt"), KEY)


@pytest.mark.parametrize(
    "wrong",
    [
        answer("HTTP/1.1 404 Not Found"),
        answer("HTTP/1.0 101 Switching Protocols"),
        answer(Sec_WebSocket_Accept="AAAA"),
        answer(Upgrade="h2c"),
        answer(Sec_WebSocket_Protocol="chat"),
        b"\r\n\r\n",
        b"\xff\xfe\r\n\r\n",
    ],
)
def test_any_other_answer_is_no_websocket(wrong: bytes) -> None:
    with pytest.raises(NoWebSocket):
        check_answer(wrong, KEY)


# Against a real broker


@pytest.fixture(scope="module")
def broker() -> Iterator[tuple[Mosquitto, int]]:
    """A mosquitto and the port where it listens for WebSockets. It takes an interface there, and no address."""
    port = free_port()
    with Mosquitto(f"listener {port} lo", "protocol websockets") as mosquitto:
        yield mosquitto, port


@pytest.mark.mosquitto
async def test_events_travel_through_a_websocket(broker: tuple[Mosquitto, int]) -> None:
    mosquitto, port = broker
    with Subscriber(mosquitto.port, ["gateway/ws/#"]) as subscriber:
        sink = mqtt(0, "ws", url=f"ws://127.0.0.1:{port}/mqtt", window=1000)
        async with connected(sink) as (session, heard):
            send(session, *(outgoing(offset, "x" * 700) for offset in range(1, 1001)))
            await heard.until_count(1000)
            await session.close(2)
        await subscriber.until(lambda: len(subscriber.messages) >= 1002)
    events = [one for one in subscriber.messages if "/event/" in one.topic]
    assert [int(json.loads(one.payload)["sequence"]) for one in events] == list(range(1, 1001))
    await mosquitto.logged("Received DISCONNECT from ws")


@pytest.fixture
def readable(tmp_path: Path) -> Path:
    tmp_path.chmod(0o755)
    return tmp_path


@pytest.mark.mosquitto
async def test_a_plain_port_is_no_websocket(mosquitto: Mosquitto) -> None:
    with pytest.raises(LinkError, match=r"no WebSocket there: .*is this the broker's WebSocket port"):
        async with connected(mqtt(0, "ws", url=f"ws://127.0.0.1:{mosquitto.port}")):
            pass


@pytest.mark.mosquitto
async def test_a_websocket_may_lie_inside_tls(readable: Path) -> None:
    ca, certificate, key = make_certificates(readable)
    port = free_port()
    lines = (f"listener {port} lo", "protocol websockets", f"certfile {certificate}", f"keyfile {key}")
    with Mosquitto(*lines):
        async with connected(mqtt(0, "wss", url=f"wss://localhost:{port}/mqtt", ca=str(ca))) as (session, heard):
            send(session, *map(outgoing, range(1, 101)))
            await heard.until_count(100)
            await session.close(2)
    assert set(heard.verdicts.values()) == {"accepted"}


async def test_a_broker_that_pings_and_closes_in_websocket_terms_is_understood(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """mosquitto does neither, proxies before brokers do both. Nothing else leaves that a pong could go along with."""
    monkeypatch.setattr(mqtt_sweep, "QUIET_S", 60)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        got: list[bytes] = []
        playing = threading.Thread(target=play, args=(listening, got), daemon=True)
        playing.start()
        async with connected(mqtt(0, "g", url=f"ws://127.0.0.1:{listening.getsockname()[1]}/x")) as (_, heard):
            await heard.until(lambda: bool(heard.losses))
        playing.join(5)
    assert heard.losses == [("the broker closed the connection (WebSocket code 1001)", None)]
    assert b"GET /x HTTP/1.1\r\n" in got[0]
    assert unmask(got[1])[:2] == (PONG, b"hm?")


def play(listening: socket.socket, got: list[bytes]) -> None:
    """Shakes hands, answers CONNECT and the birth, pings, and closes when the pong has come."""
    connection, _ = listening.accept()
    with connection:
        connection.settimeout(5)
        request = connection.recv(4096)
        got.append(request)
        key = request.split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0]
        accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()).decode()
        connection.sendall(answer(Sec_WebSocket_Accept=accept))
        connection.recv(4096)  # CONNECT
        connection.sendall(from_broker(BINARY, b"\x20\x03\x00") + from_broker(0, b"\x00\x00"))
        while not connection.recv(4096):  # birth
            pass
        connection.settimeout(3)  # sooner than the next look for silence
        connection.sendall(from_broker(PING, b"hm?"))
        while unmask(frame := connection.recv(4096))[0] != PONG:
            pass
        got.append(frame)
        connection.sendall(from_broker(CLOSE, (1001).to_bytes(2, "big")))
        connection.recv(4096)
