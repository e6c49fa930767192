"""The words everything else speaks: a Reading becomes an Event, and an Event becomes a CloudEvent outside.

An `Event` is CloudEvents 1.0 in meaning, and small in memory: integers for times, an offset for an id. It gets its
`offset`, `run` and `recorded` when the log appends it (`stamp`); before that they are empty. Outside
(`CloudEventEncoder`) `<run>-<offset>` is the id, so equal ids are always the same event, and `previous` lets a consumer
prove that it missed nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec

from gateway.clock import NS_PER_S

Value = float | int | bool | str | None
Quality = Literal["good", "uncertain", "bad"]

ID_PATTERN: Final = r"[a-z0-9][a-z0-9_-]*"
RESERVED_IDS: Final = frozenset({"gateway", "rule", "sink", "consumer"})
"""First words of subjects that are not devices."""

TYPE_PREFIX: Final = "io.sensor-event-gateway."
TYPE_SUFFIX: Final = ".v1"

VALUE_TYPES: Final = frozenset({"reading", "state", "input", "output.changed"})
"""Types whose `data` always has a `value`, null included: the absence of good data is information."""

THINNED: Final = "reading.thin"
"""Type of what stands for several readings that the log had no more room for. Its `data["count"]` says for how many."""

URGENT_TYPES: Final = frozenset({"state", "input", "output.changed"})
"""Types that are committed as soon as the writer is idle, unless their channel says otherwise."""

EVENT_TYPES: Final[Mapping[str, str]] = {
    "reading": "a measured value",
    THINNED: "readings of a minute as min, mean and max, where the log had no more room for each of them",
    "state": "a level that holds until it changes: contact, motion",
    "input": "an occurrence without a retained state: click, key, scan",
    "output.changed": "an output has another level; `cause` names the event that asked for it",
    "command.failed": "a command was not carried out, and will not be",
    "device.available": "a device answers (again)",
    "device.unavailable": "a device stopped answering; its channels have no value",
    "gateway.started": "the gateway opened its log",
    "gateway.stopped": "the gateway stopped in good order",
    "config.loaded": "a configuration came into force",
    "log.gap": "events that were lost or trimmed unread, named and counted",
    "event.refused": "a sink or consumer refused an event for good; it lies in its dead letters",
    "sink.test": "sent by `gateway sinks test` to one sink, and recorded nowhere",
    "store.degraded": "the disk refused a commit",
    "store.recovered": "the disk takes commits again",
    "rule.started": "a rule came into force, or goes on after a start",
    "rule.stopped": "a rule is no longer in force",
    "rule.failed": "a rule broke and was cut out",
    "rule.raised": "a condition of a rule holds",
    "rule.cleared": "what a rule raised is over",
    "rule.matched": "what a rule looks for happened",
    "rule.window": "a window of a rule ended: its aggregates",
    "rule.timeout": "a sequence of a rule ran out of time",
    "rule.unknown": "nothing is heard that a rule could judge",
    "clock.step": "the wall clock was stepped, or was synchronised for the first time since the gateway started",
}

_SUBJECT = re.compile(rf"{ID_PATTERN}(/{ID_PATTERN})*")


def is_subject(text: str) -> bool:
    """Whether `text` may be an event's subject: ids joined by slashes."""
    return _SUBJECT.fullmatch(text) is not None


class Reading(msgspec.Struct, frozen=True, gc=False):
    """What a driver reports: one channel's value, not yet checked.

    `unit` None means the canonical unit of the channel's quantity. `mono_ns` is the CLOCK_BOOTTIME instant of the
    measurement where the hardware knows it; 0 lets the gateway stamp it on arrival.
    """

    channel: str
    value: Value
    unit: str | None = None
    quality: Quality = "good"
    reason: str = ""
    mono_ns: int = 0


class Event(msgspec.Struct, frozen=True, gc=False):
    """One immutable, normalised record of something that happened.

    `time` and `recorded` are nanoseconds UTC, `mono` is nanoseconds of CLOCK_BOOTTIME within `boot`. `synced` is False
    where the wall clock was known to be wrong. `cause` is the id of the event that made this one happen. `data` holds
    what only this type has; its keys never repeat those of the fields. `urgent` asks for a commit at once, and keeps
    a reading from being thinned. `historical` marks an event that a replay sends once more, `durable` is False while
    the event is held in memory only, because the disk refuses; neither is stored.
    """

    type: str
    subject: str
    time: int
    mono: int
    value: Value = None
    unit: str | None = None
    quality: Quality | None = None
    reason: str = ""
    cause: str = ""
    data: dict[str, Any] = {}
    synced: bool = True
    simulated: bool = False
    urgent: bool = False
    offset: int = 0
    recorded: int = 0
    run: str = ""
    boot: str = ""
    historical: bool = False
    durable: bool = True

    @property
    def id(self) -> str:
        """`<run>-<offset>`: equal ids are always the same event. `~<count>` behind it where it stands for so many."""
        return f"{self.run}-{self.offset}" if self.type != THINNED else f"{self.run}-{self.offset}~{self.stands_for}"

    @property
    def stands_for(self) -> int:
        """How many events this one stands for, itself included (CloudEvents' `sampledrate`)."""
        return int(self.data["count"]) if self.type == THINNED else 1


def stamp(event: Event, *, offset: int, recorded: int, run: str, boot: str) -> Event:
    """The event as the log recorded it."""
    return stamped([event], first=offset, recorded=recorded, run=run, boot=boot)[0]


def stamped(events: Iterable[Event], *, first: int, recorded: int, run: str, boot: str) -> list[Event]:
    """The events of one commit as the log recorded them, the first at offset `first`.

    Positional and in one loop, because this runs for every event. Copies, because an event may be offered twice.
    """
    return [
        Event(
            e.type,
            e.subject,
            e.time,
            e.mono,
            e.value,
            e.unit,
            e.quality,
            e.reason,
            e.cause,
            e.data,
            e.synced,
            e.simulated,
            e.urgent,
            offset,
            recorded,
            run,
            boot,
        )
        for offset, e in enumerate(events, first)
    ]


def rfc3339(time_ns: int) -> str:
    """`2026-11-23T06:00:00.125000Z`. Fixed width, so that the order of strings is the order of times."""
    seconds, ns = divmod(time_ns, NS_PER_S)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{ns // 1000:06d}Z"


def sequence(offset: int) -> str:
    """An offset as CloudEvents' `sequence` extension wants it: a string whose order is that of the offsets."""
    return f"{offset:020d}"


class CloudEvent(msgspec.Struct, omit_defaults=True):
    """An event as it leaves: the structured JSON form of CloudEvents 1.0. Field order is the order on the wire."""

    specversion: str
    id: str
    source: str
    type: str
    subject: str
    time: str
    recordedtime: str
    sequence: str
    previous: str | msgspec.UnsetType
    datacontenttype: str
    data: dict[str, Any]
    clocksync: bool = True
    simulated: bool = False
    causationid: str = ""
    sampledrate: int = 1
    historical: bool = False
    durable: bool = True


class CloudEventEncoder:
    """Turns events into structured CloudEvents JSON for one gateway.

    Keeps one encoder and the text of the current second: formatting times costs more than encoding the rest.
    """

    content_type: Final = "application/cloudevents+json; charset=utf-8"

    def __init__(self, gateway_id: str) -> None:
        self._source = f"//gateway/{gateway_id}"
        self._encode = msgspec.json.Encoder().encode
        self._second = -1
        self._second_text = ""

    def encode(self, event: Event, previous: int | None) -> bytes:
        """`previous` is the offset of the preceding event in the consumer's selection, None where there is none."""
        return self._encode(self.envelope(event, previous))

    def envelope(self, event: Event, previous: int | None) -> CloudEvent:
        return CloudEvent(
            "1.0",
            event.id,
            self._source,
            f"{TYPE_PREFIX}{event.type}{TYPE_SUFFIX}",
            event.subject,
            self._time(event.time),
            self._time(event.recorded),
            sequence(event.offset),
            msgspec.UNSET if previous is None else sequence(previous),
            "application/json",
            data_of(event),
            event.synced,
            event.simulated,
            event.cause,
            event.stands_for,
            event.historical,
            event.durable,
        )

    def _time(self, time_ns: int) -> str:
        seconds, ns = divmod(time_ns, NS_PER_S)
        if seconds != self._second:
            self._second = seconds
            self._second_text = f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"
        return f"{self._second_text}.{ns // 1000:06d}Z"


def data_of(event: Event) -> dict[str, Any]:
    """CloudEvents' `data` of an event: value, unit and quality first, then what only this type has."""
    data: dict[str, Any] = {}
    if event.value is not None or event.type in VALUE_TYPES:
        data["value"] = event.value
    if event.unit is not None:
        data["unit"] = event.unit
    if event.quality is not None:
        data["quality"] = event.quality
    if event.reason:
        data["reason"] = event.reason
    if event.data:
        data.update(event.data)
    return data
