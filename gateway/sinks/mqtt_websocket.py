"""MQTT inside a WebSocket: the client's half of RFC 6455, as far as MQTT 5.0 section 6 needs it.

`shake_hands` runs on the dial thread, over a socket that blocks. `Frames` is pure: bytes in, bytes out. paho has such a
thing too, but it reads byte by byte, answers pings without a mask, which brokers close for, and masks in a Python loop.
"""

from __future__ import annotations

import base64
import hashlib
import os
import socket
from collections.abc import Callable
from typing import Final, NamedTuple

from gateway.sinks.mqtt_dial import NoWebSocket
from gateway.sinks.mqtt_packets import OTHER_BYTES_MAX, NotMqtt

ANSWER_BYTES_MAX: Final = 8192

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
_SWITCHING: Final = "101"

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
CONTROL_BYTES_MAX: Final = 125
_FINAL, _MASKED = 0x80, 0x80


def shake_hands(connected: socket.socket, host: str, path: str) -> None:
    """Turns an open connection into a WebSocket (RFC 6455 section 4.1). Blocks; reads not a byte too many.

    Raises:
        NoWebSocket: the answer is no.
        OSError: the connection ended, or gave no answer in time.
    """
    key = base64.b64encode(os.urandom(16))
    connected.sendall(
        b"\r\n".join((
            f"GET {path} HTTP/1.1".encode(),
            f"Host: {host}".encode(),
            b"Upgrade: websocket",
            b"Connection: Upgrade",
            b"Sec-WebSocket-Key: " + key,
            b"Sec-WebSocket-Version: 13",
            b"Sec-WebSocket-Protocol: mqtt",
            b"\r\n",
        ))
    )  # fmt: skip
    answer = bytearray()
    while not answer.endswith(b"\r\n\r\n"):
        try:
            byte = connected.recv(1)  # what follows the answer belongs to the frames
        except ConnectionError:
            byte = b""
        if not byte:
            raise NoWebSocket("the broker closed the connection instead of an answer")
        answer += byte
        if len(answer) > ANSWER_BYTES_MAX:
            raise NoWebSocket(f"an answer of more than {ANSWER_BYTES_MAX} bytes")
    check_answer(bytes(answer), key)


def check_answer(answer: bytes, key: bytes) -> None:
    """Raises NoWebSocket where the answer to our `key` does not open a WebSocket for MQTT."""
    first, *lines = answer.decode("latin-1").split("\r\n")
    version, _, status = first.partition(" ")
    if not version.startswith("HTTP/1.1") or not status.startswith(_SWITCHING):
        raise NoWebSocket(f"the answer was {first[:80]!a}")
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    expected = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest()).decode()
    if fields.get("upgrade", "").lower() != "websocket" or fields.get("sec-websocket-accept") != expected:
        raise NoWebSocket("the answer accepts something else")
    if fields.get("sec-websocket-protocol", "mqtt") != "mqtt":
        raise NoWebSocket(f"it carries {fields['sec-websocket-protocol'][:80]!a}, not mqtt")


class _Frame(NamedTuple):
    kind: int
    payload: bytes
    at_next: int


class Frames:
    """Both directions of one WebSocket. `ended` says in words that the broker closed it."""

    def __init__(self, random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        """`random_bytes` makes masks, which nobody may foretell (RFC 6455 section 10.3)."""
        self._random_bytes = random_bytes
        self._rest = b""
        self.ended = ""

    def pack(self, payload: bytes | bytearray, kind: int = BINARY) -> bytes:
        """One masked frame. MQTT packets and frames need not coincide (MQTT 5.0 section 6)."""
        size = len(payload)
        if size <= CONTROL_BYTES_MAX:
            length = bytes((_MASKED | size,))
        elif size < 1 << 16:
            length = bytes((_MASKED | 126,)) + size.to_bytes(2, "big")
        else:
            length = bytes((_MASKED | 127,)) + size.to_bytes(8, "big")
        mask = self._random_bytes(4)
        return bytes((_FINAL | kind,)) + length + mask + masked(payload, mask)

    def unpack(self, arrived: bytes) -> tuple[bytes, bytes]:
        """(what the frames held, what we must answer). Bytes may come in any pieces.

        Raises:
            NotMqtt: these are no frames that a broker may send.
        """
        data = self._rest + arrived if self._rest else arrived
        payloads: list[bytes] = []
        replies: list[bytes] = []
        at = 0
        while not self.ended and (frame := _frame_at(data, at)) is not None:
            at = frame.at_next
            if frame.kind in {BINARY, CONTINUATION}:
                payloads.append(frame.payload)
            elif frame.kind == PING:
                replies.append(self.pack(frame.payload, PONG))
            elif frame.kind == CLOSE:
                replies.append(self.pack(frame.payload[:2], CLOSE))
                self.ended = f"WebSocket code {int.from_bytes(frame.payload[:2], 'big') or 1005}"
        self._rest = data[at:]
        return b"".join(payloads), b"".join(replies)


def masked(payload: bytes | bytearray, mask: bytes) -> bytes:
    """Each byte XORed with the mask's byte of the same place modulo 4, all at once."""
    size = len(payload)
    stream = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(stream, "big")).to_bytes(size, "big")


def _frame_at(data: bytes, at: int) -> _Frame | None:
    """The frame that begins at `at`, None while it is incomplete."""
    if len(data) - at < 2:
        return None
    first, second = data[at], data[at + 1]
    kind, length, start = first & 0x0F, second & 0x7F, at + 2
    _check_head(first, second)
    if length > CONTROL_BYTES_MAX:
        more = 2 if length == 126 else 8
        if len(data) < start + more:
            return None
        length, start = int.from_bytes(data[start : start + more], "big"), start + more
        if length > OTHER_BYTES_MAX:
            raise NotMqtt(f"a WebSocket frame of {length} bytes")
    if len(data) < start + length:
        return None
    return _Frame(kind, data[start : start + length], start + length)


def _check_head(first: int, second: int) -> None:
    kind, final = first & 0x0F, bool(first & _FINAL)
    if first & 0x70 or kind not in {CONTINUATION, BINARY, CLOSE, PING, PONG} or second & _MASKED:
        raise NotMqtt(f"a WebSocket frame that begins with 0x{first:02X}{second:02X}")
    if kind >= CLOSE and (not final or second & 0x7F > CONTROL_BYTES_MAX):
        raise NotMqtt("a broken WebSocket control frame")
