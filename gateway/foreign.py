"""Events that come back from outside: structured CloudEvents JSON of ours, read into events again. Pure.

What does not leave cannot come back: `mono` is set to the event's time, as if its boot had begun in 1970, and times are
whole microseconds.
"""

from __future__ import annotations

import re
from typing import Any, Final, get_args

import msgspec

from gateway.event import THINNED, TYPE_PREFIX, TYPE_SUFFIX, Event, Quality
from gateway.position import time_ns

_ID: Final = re.compile(r"([0-9a-f]{16})-([1-9][0-9]{0,18})(~[1-9][0-9]*)?")
_FIELDS: Final = ("unit", "quality", "reason")


class Outside(msgspec.Struct):
    """What of a CloudEvent an event is made of."""

    id: str
    type: str
    subject: str
    time: str
    recordedtime: str
    data: dict[str, Any]
    clocksync: bool = True
    simulated: bool = False
    causationid: str = ""


_decode = msgspec.json.Decoder(Outside).decode


class NotOurs(ValueError):
    """No CloudEvent that a gateway has written; says what was found and what was expected."""


def parse_event(line: bytes | str) -> Event:
    """The event in one line of JSON.

    Raises:
        NotOurs: it is none of ours.
    """
    try:
        return event_of(_decode(line))
    except msgspec.DecodeError as error:
        raise NotOurs(f"{error}; expected a CloudEvent in JSON, as `gateway export` writes it") from None


def event_of(outside: Outside) -> Event:
    """The event that `CloudEventEncoder.envelope` made this of.

    Raises:
        NotOurs: it is none of ours.
    """
    found = _ID.fullmatch(outside.id)
    if found is None:
        raise NotOurs(f"id: found {outside.id!r}, expected <16 hexadecimal digits>-<offset>")
    if not outside.type.startswith(TYPE_PREFIX) or not outside.type.endswith(TYPE_SUFFIX):
        raise NotOurs(f"type: found {outside.type!r}, expected {TYPE_PREFIX}<name>{TYPE_SUFFIX}")
    kind, data = outside.type[len(TYPE_PREFIX) : -len(TYPE_SUFFIX)], dict(outside.data)
    unit, quality, reason = (data.pop(name, None) for name in _FIELDS)
    if quality is not None and quality not in get_args(Quality):
        raise NotOurs(f"quality: found {quality!r}, expected {', '.join(get_args(Quality))}")
    value = data.pop("value", None)
    if not isinstance(value, (float, int, str, type(None))) or not isinstance(unit, (str, type(None))):
        raise NotOurs(f"data: found {outside.data!r}, expected a plain value and the name of its unit")
    time = _time("time", outside.time)
    event = Event(
        kind,
        outside.subject,
        time,
        time,
        value,
        unit,
        quality,
        str(reason or ""),
        outside.causationid,
        data,
        outside.clocksync,
        outside.simulated,
        offset=int(found[2]),
        recorded=_time("recordedtime", outside.recordedtime),
        run=found[1],
    )
    if kind == THINNED and not isinstance(data.get("count"), int):
        raise NotOurs(f"data: found {outside.data!r}, expected how many readings this one stands for (`count`)")
    if event.id != outside.id:
        raise NotOurs(f"id: found {outside.id!r}, expected {event.id}")
    return event


def from_builtins(cloudevent: dict[str, Any]) -> Event:
    """The event of a decoded CloudEvent.

    Raises:
        NotOurs: it is none of ours.
    """
    try:
        return event_of(msgspec.convert(cloudevent, Outside))
    except msgspec.ValidationError as error:
        raise NotOurs(str(error)) from None


def _time(name: str, text: str) -> int:
    try:
        return time_ns(text)
    except ValueError as error:
        raise NotOurs(f"{name}: {error}") from None
