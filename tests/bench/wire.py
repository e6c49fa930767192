"""MQTT 5 by hand, as little of it as a measurement needs: what a subscriber and a publisher cost when they do nothing.

Source: MQTT 5.0 sections 3.1 (CONNECT), 3.3 (PUBLISH), 3.4 (PUBACK), 3.8 (SUBSCRIBE).
"""

from __future__ import annotations

import select
import socket
from time import monotonic
from typing import NamedTuple

READ_BYTES = 1 << 18
NUMBERS = 65_535

PUBLISH, PUBACK, SUBACK, CONNACK = 0x30, 0x40, 0x90, 0x20


class Arrival(NamedTuple):
    """One PUBLISH: what stood before its packet identifier (with the length of the topic), what after, and when."""

    topic: bytes
    rest: bytes
    at_s: float

    @property
    def payload(self) -> bytes:
        length, start = number_at(self.rest, 0)
        return self.rest[start + length :]


def number_at(data: bytes, at: int) -> tuple[int, int]:
    """(a variable byte integer, where it ends)."""
    value, shift = 0, 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def packed_number(value: int) -> bytes:
    packed = bytearray()
    while value >= 0x80:
        packed.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*packed, value])


def packet(head: int, body: bytes) -> bytes:
    return bytes([head]) + packed_number(len(body)) + body


def text(value: str) -> bytes:
    return len(value.encode()).to_bytes(2, "big") + value.encode()


def publish(topic: bytes, number: int, rest: bytes) -> bytes:
    """A QoS 1 PUBLISH. `topic` brings its length, `rest` is properties and payload: an `Arrival`'s two halves."""
    return packet(PUBLISH | 2, topic + number.to_bytes(2, "big") + rest)


def connected(port: int, client_id: str) -> socket.socket:
    """A blocking socket behind CONNECT and CONNACK. Clean Start, keep-alive off."""
    wire = socket.create_connection(("127.0.0.1", port), timeout=10)
    wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    wire.sendall(packet(0x10, text("MQTT") + b"\x05\x02\x00\x00\x00" + text(client_id)))
    answer = wire.recv(4096)
    assert answer[0] == CONNACK, answer
    assert answer[3] == 0, f"CONNACK {answer[3]:#x}"
    return wire


class Subscriber:
    """Takes what arrives under one topic filter and acknowledges it, in the thread that calls `take`."""

    def __init__(self, port: int, topic_filter: str) -> None:
        self.arrivals: list[Arrival] = []
        self._wire = connected(port, "bench-subscriber")
        self._wire.sendall(packet(0x82, b"\x00\x01\x00" + text(topic_filter) + b"\x01"))
        answer = self._wire.recv(4096)
        assert answer[0] == SUBACK, answer
        self._rest = b""

    def close(self) -> None:
        self._wire.close()

    def take(self, count: int, within_s: float) -> bool:
        """Until `count` messages have arrived in all; False when the time is over before."""
        deadline = monotonic() + within_s
        while len(self.arrivals) < count:
            ready, _, _ = select.select([self._wire], [], [], max(0.0, deadline - monotonic()))
            if not ready:
                return False
            self._feed(self._wire.recv(READ_BYTES))
        return True

    def _feed(self, arrived: bytes) -> None:
        assert arrived, "the broker closed the connection"
        now, data = monotonic(), self._rest + arrived
        at, acks = 0, bytearray()
        while len(data) - at >= 5:
            length, body = number_at(data, at + 1)
            end = body + length
            if end > len(data):
                break
            if data[at] & 0xF0 == PUBLISH:
                split = body + 2 + (data[body] << 8 | data[body + 1])
                acks += b"\x40\x02" + data[split : split + 2]
                self.arrivals.append(Arrival(data[body:split], data[split + 2 : end], now))
            at = end
        self._rest = data[at:]
        if acks:
            self._wire.sendall(acks)
