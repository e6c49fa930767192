"""The hot path's packets: whatever pieces they arrive in, they are the same packets."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties, VariableByteIntegers

from gateway.sinks.mqtt_packets import Ack, Incoming, NotMqtt, publish_bytes, publish_packet, variable_length

numbers = st.integers(1, 65_535)


def puback(number: int, rest: bytes = b"") -> bytes:
    return bytes([0x40, 2 + len(rest)]) + number.to_bytes(2, "big") + rest


def in_pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[start:end] for start, end in itertools.pairwise(places)]


packets = st.one_of(
    numbers.map(lambda number: (puback(number), Ack(number))),
    st.tuples(numbers, st.sampled_from([0, 0x10, 0x87, 0x97])).map(
        lambda one: (puback(one[0], bytes([one[1]])), Ack(*one))
    ),
    numbers.map(lambda number: (puback(number, b"\x97\x05\x1f\x00\x02no"), Ack(number, 0x97, b"\x05\x1f\x00\x02no"))),
    st.just((b"\xd0\x00", None)),
    st.binary(max_size=300).map(lambda body: (b"\x30" + VariableByteIntegers.encode(len(body)) + body, None)),
)


@given(st.lists(packets, max_size=20), st.lists(st.integers(0, 10_000), max_size=30))
def test_acknowledgements_are_found_in_any_pieces_and_the_rest_is_untouched(stream, cuts):
    incoming, acks, others = Incoming(), [], b""
    for piece in in_pieces(b"".join(packet for packet, _ in stream), cuts):
        some, rest = incoming.feed(piece)
        acks += some
        others += rest
    assert acks == [ack for _, ack in stream if ack is not None]
    assert others == b"".join(packet for packet, ack in stream if ack is None)


@given(st.integers(0, 268_435_455))
def test_lengths_are_encoded_as_paho_does(value):
    assert variable_length(value) == VariableByteIntegers.encode(value)


@given(st.text(min_size=1, max_size=50), numbers, st.binary(max_size=200), st.booleans())
def test_a_publish_says_what_it_was_given_and_is_as_large_as_foretold(topic, number, payload, retain):
    properties = Properties(PacketTypes.PUBLISH)
    properties.ContentType = "text/plain"
    packed = properties.pack()
    packet = publish_packet(topic.encode(), number, packed, payload, retain=retain)
    assert len(packet) == publish_bytes(topic, packed, payload)
    assert packet[0] == (0x33 if retain else 0x32)
    length, used = VariableByteIntegers.decode(packet[1:])
    body = packet[1 + used :]
    assert length == len(body)
    size = int.from_bytes(body[:2], "big")
    assert body[2 : 2 + size].decode() == topic
    assert body[2 + size :] == number.to_bytes(2, "big") + packed + payload


@pytest.mark.parametrize("size", [120, 130, 16_000, 16_500, 2_097_000, 2_097_300])
def test_size_is_foretold_across_every_length_of_the_length(size):
    assert publish_bytes("t", b"", b"x" * size) == len(publish_packet(b"t", 1, b"", b"x" * size, retain=False))


@pytest.mark.parametrize(
    "rubbish",
    [b"HTTP/1.1", b"\x20\xff\xff\xff\xff", b"\x20\xff\xff\xff\x7f", b"\x40\x01\x00", b"\x40\x00", b"\x15\x03\x03"],
)
def test_what_is_not_mqtt_is_said_to_be_not(rubbish):
    with pytest.raises(NotMqtt):
        Incoming().feed(rubbish)
