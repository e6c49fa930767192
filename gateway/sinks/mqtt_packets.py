"""The two packets of the hot path: PUBLISH out, PUBACK in. Pure: values in, bytes out, and back.

Everything else of the protocol is paho's. These two are ours because paho makes a dozen objects for each
acknowledgement, and a lock and a condition variable for each message: measured, 93 us of CPU for an event through paho
(with its in-flight scan off) against 26 us this way, encoding included.

MQTT 5.0 sections 2.1, 3.3 and 3.4; MQTT 3.1.1 has the same packets without properties and reason codes.
"""

from __future__ import annotations

from typing import Final, NamedTuple

PUBLISH_QOS1: Final = (b"\x32", b"\x33")
"""First byte of a QoS 1 PUBLISH: plain, and retained."""

PUBACK: Final = 0x40
FROM_BROKER: Final = frozenset({0x20, PUBACK, 0x50, 0x62, 0x70, 0x90, 0xB0, 0xD0, 0xE0, 0xF0, *range(0x30, 0x40)})
"""First bytes that a broker may send: types with their fixed flags, and PUBLISH with any. HTTP has none of them."""

OTHER_BYTES_MAX: Final = 1 << 20
"""A broker has no reason to send us anything larger. Without a bound it could fill the memory."""

NUMBER_MIN: Final = 256
NUMBER_MAX: Final = 65_535
"""Our packet identifiers. The lower ones are left to paho, for what it may have to say."""


class NotMqtt(ValueError):
    """What arrived is not an MQTT packet, or one that nobody should send us."""


class Ack(NamedTuple):
    """A PUBACK. `properties` are undecoded: only refusals carry any, and few of those."""

    number: int
    code: int = 0
    properties: bytes = b""


def variable_length(value: int) -> bytes:
    """A variable byte integer (MQTT 5.0 section 1.5.5)."""
    if value < 0x80:
        return value.to_bytes(1, "big")
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def publish_packet(topic: bytes, number: int, properties: bytes, payload: bytes, *, retain: bool) -> bytes:
    """A QoS 1 PUBLISH. `properties` come with their length in MQTT 5 and are empty in 3.1.1."""
    return b"".join((
        PUBLISH_QOS1[retain],
        variable_length(4 + len(topic) + len(properties) + len(payload)),
        len(topic).to_bytes(2, "big"),
        topic,
        number.to_bytes(2, "big"),
        properties,
        payload,
    ))  # fmt: skip


def publish_bytes(topic: str, properties: bytes, payload: bytes) -> int:
    """Size of that packet, before there is one."""
    remaining = 4 + (len(topic) if topic.isascii() else len(topic.encode())) + len(properties) + len(payload)
    return 1 + (1 if remaining < 1 << 7 else 2 if remaining < 1 << 14 else 3 if remaining < 1 << 21 else 4) + remaining


class Incoming:
    """Cuts what arrives into packets: acknowledgements for us, the rest for paho. Bytes may come in any pieces."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, arrived: bytes) -> tuple[list[Ack], bytes]:
        """(acknowledgements, all other complete packets as they came).

        Raises:
            NotMqtt: this is no broker.
        """
        data = self._rest + arrived if self._rest else arrived
        acks: list[Ack] = []
        others: list[bytes] = []
        at, end = 0, len(data)
        while end - at >= 4 and data[at] == PUBACK and data[at + 1] == 2:  # success says no more: nearly all there is
            acks.append(Ack(data[at + 2] << 8 | data[at + 3]))
            at += 4
        while (packet := _packet_at(data, at)) is not None:
            start, at_next = packet
            if data[at] == PUBACK:
                acks.append(_ack(data[start:at_next]))
            else:
                others.append(data[at:at_next])
            at = at_next
        self._rest = data[at:]
        return acks, b"".join(others)


def _packet_at(data: bytes, at: int) -> tuple[int, int] | None:
    """(where the body begins, where the packet ends), None while it is incomplete."""
    if at < len(data) and data[at] not in FROM_BROKER:
        raise NotMqtt(f"a packet that begins with 0x{data[at]:02X}")
    length = 0
    for shift, place in enumerate(range(at + 1, min(at + 5, len(data)))):
        length |= (data[place] & 0x7F) << 7 * shift
        if data[place] < 0x80:
            if length > OTHER_BYTES_MAX:
                raise NotMqtt(f"a packet of {length} bytes")
            return (place + 1, place + 1 + length) if place + 1 + length <= len(data) else None
    if len(data) - at >= 5:
        raise NotMqtt("a packet without a length")
    return None


def _ack(body: bytes) -> Ack:
    if len(body) < 2:
        raise NotMqtt("an acknowledgement of nothing")
    return Ack(body[0] << 8 | body[1], body[2] if len(body) > 2 else 0, body[3:])
