"""MQTT 5 properties and reason codes, in and out of paho's objects. All of paho that has no types is met here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from gateway.errors import LinkError
from gateway.sinks.mqtt_codes import FAILURE, sentence, with_advice
from gateway.sinks.mqtt_packets import NUMBER_MAX, NUMBER_MIN

PACKET_BYTES_MAX: Final = 268_435_460
"""MQTT's own bound (5.0 section 2.1.4): a remaining length of 268 435 455, and the header before it."""

IN_FLIGHT_MAX: Final = NUMBER_MAX - NUMBER_MIN + 1


@dataclass(frozen=True, slots=True)
class Limits:
    """What the broker asks of us in CONNACK (MQTT 5.0 section 3.2.2.3)."""

    in_flight_max: int = IN_FLIGHT_MAX
    packet_bytes_max: int = PACKET_BYTES_MAX
    retains: bool = True
    wildcards: bool = True


def limits_of(reason: ReasonCode, properties: Any) -> Limits:
    """What CONNACK asks for.

    Raises:
        LinkError: CONNACK is a refusal, or asks for what would lose events.
    """
    code = reason.value
    if code >= FAILURE:
        raise LinkError(with_advice(code, f"the broker refused the connection: {in_words(reason, properties)}"))
    if getattr(properties, "MaximumQoS", 1) < 1:
        raise LinkError(with_advice(0x9B, "the broker takes QoS 0 only"))
    return Limits(
        in_flight_max=min(getattr(properties, "ReceiveMaximum", IN_FLIGHT_MAX), IN_FLIGHT_MAX),
        packet_bytes_max=getattr(properties, "MaximumPacketSize", PACKET_BYTES_MAX),
        retains=bool(getattr(properties, "RetainAvailable", 1)),
        wildcards=bool(getattr(properties, "WildcardSubscriptionAvailable", 1)),
    )


def text_of(packet_type: int, content_type: str) -> Properties:
    """Properties of a PUBLISH or a will: the payload is text, and of what kind."""
    properties = Properties(packet_type)  # type: ignore[no-untyped-call] # paho leaves it unannotated
    properties.PayloadFormatIndicator = 1
    properties.ContentType = content_type
    return properties


def pack(properties: Properties) -> bytes:
    packed: bytes = properties.pack()  # type: ignore[no-untyped-call] # paho leaves it unannotated
    return packed


def why(code: int, packed: bytes) -> str:
    """A refused PUBACK in words. What cannot be read is left out: the code says enough."""
    properties = Properties(PacketTypes.PUBACK)  # type: ignore[no-untyped-call] # paho leaves it unannotated
    try:
        if packed:
            properties.unpack(packed)  # type: ignore[no-untyped-call] # paho leaves it unannotated
        return in_words(ReasonCode(PacketTypes.PUBACK, identifier=code), properties)
    except Exception:  # noqa: BLE001 - paho raises whatever it meets in a code or property that it does not know
        return sentence(code, "refused")


def in_words(reason: ReasonCode, properties: Any) -> str:
    return sentence(reason.value, str(reason), getattr(properties, "ReasonString", ""))
