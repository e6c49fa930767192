"""What the gateway tells about itself: the documents behind `gateway status` and `gateway read`.

Pure: the parts are read elsewhere, at one moment, and put together here. Times go in as nanoseconds UTC and come out as
RFC 3339; what is not known is null.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.event import Event, Reading, rfc3339

STORE_OK = "ok"


@dataclass(frozen=True, slots=True)
class GatewayState:
    """Who runs, and since when. `config` is the file it was started with, `run` the id of this opening of the log."""

    id: str
    version: str
    pid: int
    run: str
    started_ns: int
    uptime_s: float
    simulated: bool
    config: str
    config_hash: str
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class LogState:
    """The event log. `store` is `ok` or why the disk refuses; `pending` counts events that wait for their commit."""

    path: str
    first_offset: int
    next_offset: int
    bytes: int
    bytes_max: int
    oldest_ns: int | None
    newest_ns: int | None
    store: str = STORE_OK
    pending: int = 0


@dataclass(frozen=True, slots=True)
class SinkState:
    """One sink and its forwarder.

    `since_ns` is when `connected` changed last. `cursor` is the next offset to deliver, `lag_s` the age of the event
    there (0 when nothing waits). `delivered` and `dead_letters` count events, `last_error` is empty without one.
    """

    id: str
    sink: str
    connected: bool
    since_ns: int | None
    cursor: int
    lag_s: float
    last_error: str
    delivered: int
    dead_letters: int


class DeviceState(Protocol):
    """One device, as `acquire` tells of it. `available` is None until the device answered or failed."""

    @property
    def id(self) -> str: ...
    @property
    def driver(self) -> str: ...
    @property
    def available(self) -> bool | None: ...
    @property
    def since_ns(self) -> int: ...
    @property
    def reason(self) -> str: ...
    @property
    def readings(self) -> int: ...
    @property
    def failures(self) -> int: ...
    @property
    def last_ns(self) -> int | None: ...
    @property
    def simulated(self) -> bool: ...


def status_document(
    gateway: GatewayState, log: LogState, sinks: Iterable[SinkState], devices: Iterable[DeviceState]
) -> dict[str, Any]:
    """The status document: plain values only, ready for JSON."""
    return {
        "gateway": _gateway(gateway),
        "log": _log(log),
        "sinks": [_sink(sink, log) for sink in sinks],
        "devices": [_device(device) for device in devices],
    }


def _gateway(state: GatewayState) -> dict[str, Any]:
    return {
        "id": state.id,
        "version": state.version,
        "pid": state.pid,
        "run": state.run,
        "started": rfc3339(state.started_ns),
        "uptime_s": round(state.uptime_s, 3),
        "simulated": state.simulated,
        "config": state.config,
        "config_hash": state.config_hash,
        "labels": dict(state.labels),
    }


def _log(state: LogState) -> dict[str, Any]:
    return {
        "path": state.path,
        "first_offset": state.first_offset,
        "next_offset": state.next_offset,
        "events": state.next_offset - state.first_offset,
        "bytes": state.bytes,
        "bytes_max": state.bytes_max,
        "oldest": _time(state.oldest_ns),
        "newest": _time(state.newest_ns),
        "store": state.store,
        "pending": state.pending,
    }


def _sink(state: SinkState, log: LogState) -> dict[str, Any]:
    return {
        "id": state.id,
        "sink": state.sink,
        "connected": state.connected,
        "since": _time(state.since_ns),
        "cursor": state.cursor,
        # What was trimmed before the sink read it is lost, not waiting: a log.gap tells of it.
        "lag_events": max(0, log.next_offset - max(state.cursor, log.first_offset)),
        "lag_s": round(max(0.0, state.lag_s), 3),
        "last_error": state.last_error,
        "delivered": state.delivered,
        "dead_letters": state.dead_letters,
    }


def _device(state: DeviceState) -> dict[str, Any]:
    return {
        "id": state.id,
        "driver": state.driver,
        "available": state.available,
        "since": _time(state.since_ns),
        "reason": state.reason,
        "readings": state.readings,
        "last": _time(state.last_ns),
        "simulated": state.simulated,
    }


def _time(time_ns: int | None) -> str | None:
    return None if time_ns is None else rfc3339(time_ns)


def readings_document(answers: Iterable[tuple[Reading, Event | None]]) -> dict[str, Any]:
    """What op `read` answers: each raw reading beside the event that it would become.

    A reading without a unit is in its quantity's canonical one, which the event carries.
    """
    return {"readings": [_answer(reading, event) for reading, event in answers]}


def _answer(reading: Reading, event: Event | None) -> dict[str, Any]:
    unit = event.unit if event else None
    return {
        "channel": reading.channel,
        "raw": reading.value,
        "raw_unit": reading.unit or unit,
        "value": event.value if event else None,
        "unit": unit,
        "quality": event.quality if event else reading.quality,
        "reason": event.reason if event else reading.reason,
    }
