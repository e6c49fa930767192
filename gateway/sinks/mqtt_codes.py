"""What a broker's reason codes mean for us.

MQTT 5.0 sections 2.4, 3.2.2.2 (CONNACK), 3.4.2.1 (PUBACK) and 3.14.2.1 (DISCONNECT).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.sink import Verdict

FAILURE: Final = 0x80
"""Codes from here on say no. 0x10, no matching subscribers, is a yes."""

SESSION_TAKEN_OVER: Final = 0x8E
TAKEN_OVER_RETRY_S: Final = 60.0

EVENTS_FAULT: Final = frozenset(
    {
        0x90,  # topic name invalid
        0x95,  # packet too large
        0x99,  # payload format invalid
    }
)
"""PUBACK codes that this event will meet for ever. All others may pass: quota, permission, a broker in trouble."""

UNRELATED: Final = frozenset(
    {
        0x89,  # server busy
        0x8B,  # server shutting down
        0x8D,  # keep alive timeout
        0x8E,  # session taken over
        0x98,  # administrative action
        0x9C,  # use another server
        0x9D,  # server moved
        0x9F,  # connection rate exceeded
        0xA0,  # maximum connect time
    }
)
"""DISCONNECT codes that have nothing to do with what was published."""

ADVICE: Final[Mapping[int, str]] = {
    0x84: "the broker speaks another version of MQTT; try `version: 3.1.1`",
    0x85: "the broker does not take this `client_id`",
    0x86: "check `username` and `password`",
    0x87: "the broker's access list does not allow it; check `username` and the broker's rules",
    0x8E: (
        "another client connected with our client id: two gateways with one id, or two sinks of one gateway on one "
        "broker? Give each a `client_id:` of its own"
    ),
    0x9A: "the broker keeps no retained messages, which status and state topics need",
    0x9B: "the broker does not offer QoS 1, without which nothing is ever certain",
}
"""What to do about a CONNACK or DISCONNECT."""


def verdict_of(code: int) -> Verdict:
    """Whose fault a PUBACK's code is."""
    if code < FAILURE:
        return "accepted"
    return "refused" if code in EVENTS_FAULT else "held"


def sentence(code: int, name: str, broker_says: str = "") -> str:
    """`Not authorized (0x87): no such user`."""
    text = f"{name} (0x{code:02X})"
    return f"{text}: {broker_says}" if broker_says else text


def with_advice(code: int, text: str) -> str:
    advice = ADVICE.get(code)
    return f"{text}; {advice}" if advice else text
