"""Brokers for tests: Debian's mosquitto, and one that says what mosquitto cannot be made to say."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import random
import shutil
import socket
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

READY_S = 10.0
MANY = 1_000_000
"""Not 0, which means no limit: mosquitto 2.0.11 then ends the connection of whoever has a message refused."""

MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")


def free_port() -> int:
    """A port on loopback that nothing listens on, for UDP and TCP, outside the range of ephemeral ports.

    Inside it, a client that knocks before its server listens is sooner or later given that very port as its own end,
    connects to itself, and keeps the server from binding (Linux ip(7), ip_local_port_range).
    """
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    below, above = range(10_000, first), range(last + 1, 65_536)
    ports = below if len(below) >= len(above) else above
    for port in random.sample(ports, 100):
        with socket.socket() as stream, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            try:
                stream.bind(("127.0.0.1", port))
                datagrams.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("100 ports of loopback are all taken")


class Mosquitto:
    """A mosquitto of our own on loopback, with nothing kept on disk and no queue limits.

    `lines` go into its configuration as they are. Use as a context manager; `port` is where it listens.
    """

    def __init__(self, *lines: str, port: int = 0) -> None:
        self._lines = lines
        self.port = port
        self.log: deque[str] = deque(maxlen=20_000)
        self.running = False
        self._process: subprocess.Popen[str] | None = None
        self._ready = threading.Event()
        self._logged = threading.Condition()

    def __enter__(self) -> Self:
        for _ in range(3):  # a free port may be taken by somebody else before mosquitto binds it
            if self._start(self.port or free_port()):
                return self
        raise RuntimeError("mosquitto does not start:\n" + "\n".join(self.log))

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _start(self, port: int) -> bool:
        assert MOSQUITTO is not None, "mosquitto is not installed"
        self._ready.clear()
        self._process = subprocess.Popen(
            [MOSQUITTO, "-c", "/dev/stdin"],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._process.stdin is not None
        self._process.stdin.write(self._configuration(port))
        self._process.stdin.close()
        self._reader = threading.Thread(target=self._follow, args=(self._process,), daemon=True)
        self._reader.start()
        if self._ready.wait(READY_S) and self.running:
            self.port = port
            return True
        self.stop()
        return False

    def _configuration(self, port: int) -> str:
        lines = [
            f"user {getpass.getuser()}", "per_listener_settings false", "persistence false",
            "log_dest stderr", "log_type all",
            f"max_queued_messages {MANY}", "set_tcp_nodelay true",
            *([] if any(line.startswith("allow_anonymous") for line in self._lines) else ["allow_anonymous true"]),
            f"listener {port} 127.0.0.1", *self._lines,
        ]  # fmt: skip
        return "\n".join(lines) + "\n"

    def _follow(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            with self._logged:
                self.log.append(line.rstrip())
                self._logged.notify_all()
            if line.rstrip().endswith("running"):
                self.running = True
                self._ready.set()
        process.stderr.close()
        self.running = False
        self._ready.set()

    async def logged(self, text: str, within_s: float = 5.0) -> None:
        """Until mosquitto has logged a line with this text."""

        def found() -> bool:
            return any(text in line for line in self.log)

        assert await _wait(self._logged, found, within_s), f"{text!r} is not in the log"

    def stop(self, *, kill: bool = False) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill() if kill else process.terminate()
            process.wait(READY_S)
            self._reader.join(READY_S)

    def restart(self) -> None:
        """On the same port."""
        self.stop()
        assert self._start(self.port), "\n".join(self.log)


def make_certificates(folder: Path, *, name: str = "localhost") -> tuple[Path, Path, Path]:
    """(CA, certificate for `name`, its key), made by openssl for this test."""
    ca, ca_key, certificate, key, request = (folder / file for file in ("ca.pem", "ca.key", "b.pem", "b.key", "b.csr"))
    extensions = folder / "extensions"
    extensions.write_text(f"subjectAltName=DNS:{name}\n")
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    for command in (
        ["req", "-x509", *curve, "-days", "2", "-subj", "/CN=Test CA", "-keyout", ca_key, "-out", ca],
        ["req", *curve, "-subj", f"/CN={name}", "-keyout", key, "-out", request],
        ["x509", "-req", "-in", request, "-CA", ca, "-CAkey", ca_key, "-CAcreateserial", "-days", "2",
         "-extfile", extensions, "-out", certificate],
    ):  # fmt: skip
        subprocess.run(["openssl", *map(str, command)], check=True, capture_output=True)
    return ca, certificate, key


@dataclass
class Published:
    """A PUBLISH as the scripted broker saw it."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    number: int


Answer = Callable[[Published], int | None]
"""Reason code of the PUBACK, or None: say nothing."""


@dataclass
class Script:
    """What the scripted broker does. `properties` are the raw bytes of CONNACK's properties, without their length."""

    connack: bytes | None = None
    """The whole CONNACK packet; None makes one from `properties`."""
    silent: bool = False
    """Accept TCP and say nothing, ever."""
    properties: bytes = b""
    answer: Answer = field(default=lambda _: 0)


def receive_maximum(count: int) -> bytes:
    return b"\x21" + count.to_bytes(2, "big")


def maximum_packet_size(size_bytes: int) -> bytes:
    return b"\x27" + size_bytes.to_bytes(4, "big")


def reason_string(text: str) -> bytes:
    return b"\x1f" + _text(text)


def maximum_qos(qos: int) -> bytes:
    return b"\x24" + bytes([qos])


class ScriptedBroker:
    """An MQTT 5 broker that does as it is told. Notes what it got and how much was unanswered at most."""

    def __init__(self, script: Script | None = None) -> None:
        self.script = script or Script()
        self.published: list[Published] = []
        self.packets: list[int] = []
        self.sizes: list[int] = []
        self.ended = 0
        self.unanswered = 0
        self.unanswered_max = 0
        self.connections = 0
        self.changed = asyncio.Condition()
        self.port = 0
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.drop_all()
        await self.until(lambda: self.ended == self.connections)

    def say(self, packet: bytes) -> None:
        """Raw bytes to the newest connection."""
        self._writers[-1].write(packet)

    def puback(self, number: int, code: int, properties: bytes = b"") -> None:
        self.unanswered -= 1
        self.say(_packet(0x40, number.to_bytes(2, "big") + bytes([code]) + _sized(properties)))

    def disconnect(self, code: int, properties: bytes = b"") -> None:
        """DISCONNECT with a reason, and close."""
        self.say(_packet(0xE0, bytes([code]) + _sized(properties)))
        self._writers[-1].close()

    def drop(self) -> None:
        """Reset the newest connection."""
        self._writers[-1].transport.abort()

    def drop_all(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def until(self, condition: Callable[[], bool], within_s: float = 5.0) -> None:
        async with asyncio.timeout(within_s), self.changed:
            await self.changed.wait_for(condition)

    def topics(self, containing: str = "") -> list[str]:
        return [one.topic for one in self.published if containing in one.topic]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head, body = await _read_packet(reader)
                self.sizes.append(1 + (1 if len(body) < 128 else 2 if len(body) < 16384 else 3) + len(body))
                if not self.script.silent:
                    self._take(head, body)
                async with self.changed:
                    self.packets.append(head >> 4)
                    self.changed.notify_all()
        writer.close()
        async with self.changed:
            self.ended += 1
            self.changed.notify_all()

    def _take(self, head: int, body: bytes) -> None:
        match head >> 4:
            case 1:
                self.say(self.script.connack or _packet(0x20, b"\x00\x00" + _sized(self.script.properties)))
            case 3:
                self._take_publish(head, body)
            case 12:
                self.say(b"\xd0\x00")

    def _take_publish(self, head: int, body: bytes) -> None:
        topic, rest = _cut_text(body)
        number, rest = int.from_bytes(rest[:2], "big"), rest[2:]
        published = Published(topic, rest[1 + rest[0] :], head >> 1 & 3, bool(head & 1), number)
        self.published.append(published)
        self.unanswered += 1
        self.unanswered_max = max(self.unanswered_max, self.unanswered)
        code = self.script.answer(published)
        if code is not None:
            self.puback(number, code)


async def _read_packet(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await reader.readexactly(1))[0]
    length, shift = 0, 0
    while True:
        byte = (await reader.readexactly(1))[0]
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return head, await reader.readexactly(length)


def _packet(head: int, body: bytes) -> bytes:
    assert len(body) < 128
    return bytes([head, len(body)]) + body


def _sized(properties: bytes) -> bytes:
    assert len(properties) < 128
    return bytes([len(properties)]) + properties


def _text(text: str) -> bytes:
    return len(text.encode()).to_bytes(2, "big") + text.encode()


def _cut_text(data: bytes) -> tuple[str, bytes]:
    length = int.from_bytes(data[:2], "big")
    return data[2 : 2 + length].decode(), data[2 + length :]


class Subscriber:
    """A real MQTT subscriber beside the gateway: mosquitto's own view of what was published."""

    def __init__(self, port: int, topics: Sequence[str] = ("#",)) -> None:
        self.messages: list[paho.MQTTMessage] = []
        self._markers = 0
        self._change = threading.Condition()
        self._subscribed = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_message = self._on_message
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_connect = lambda *_: self._subscribe(topics)
        self._port = port

    def __enter__(self) -> Self:
        self._client.connect("127.0.0.1", self._port)
        self._client.loop_start()
        assert self._subscribed.wait(READY_S), "no SUBACK"
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _subscribe(self, topics: Sequence[str]) -> None:
        self._client.subscribe([(topic, 1) for topic in topics])

    def _on_message(self, client: object, userdata: object, message: paho.MQTTMessage) -> None:
        with self._change:
            self.messages.append(message)
            self._change.notify_all()

    async def caught_up(self) -> None:
        """Until what the broker had when this was called is here: a message of our own comes behind it."""
        self._markers += 1
        marker = f"marker/{id(self)}/{self._markers}"
        self._client.publish(marker, b"", 1)
        await self.until(lambda: any(message.topic == marker for message in self.messages))

    def latest(self) -> dict[str, bytes]:
        return {message.topic: bytes(message.payload) for message in list(self.messages)}

    def wait(self, condition: Callable[[], bool], within_s: float = 5.0) -> None:
        with self._change:
            assert self._change.wait_for(condition, within_s), sorted({m.topic for m in self.messages})

    async def until(self, condition: Callable[[], bool], within_s: float = 5.0) -> None:
        """As `wait`, while the event loop goes on."""
        assert await _wait(self._change, condition, within_s), sorted({message.topic for message in self.messages})


async def _wait(change: threading.Condition, condition: Callable[[], bool], within_s: float) -> bool:
    """`change.wait_for` on a thread, while the event loop goes on."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[bool] = loop.create_future()

    def look() -> None:
        with change:
            found = change.wait_for(condition, within_s)
        loop.call_soon_threadsafe(done.set_result, found)

    threading.Thread(target=look, daemon=True).start()
    return await done
