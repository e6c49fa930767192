"""What the gateway tells about itself: the documents behind `gateway status` and `gateway read`.

Pure: the parts are read elsewhere, at one moment, and put together here. Times go in as nanoseconds UTC and come out as
RFC 3339; what is not known is null.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from gateway.clock import NS_PER_S
from gateway.event import Event, Reading, rfc3339
from gateway.figures import Histogram, Tally
from gateway.ledger import Ledger
from gateway.wear import WearState

STORE_OK = "ok"
SINK_AWAY_S = 60.0
"""A sink that is away for longer makes the gateway unhealthy. Brokers are restarted in less."""


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
    """The event log.

    `store` is `ok` or what is wrong with the disk. `pending` counts events that wait for their commit, `held` those
    that are in memory only, `missing` the offsets that hold nothing. `cloned`: another machine wrote this log before.
    """

    path: str
    first_offset: int
    next_offset: int
    bytes: int
    bytes_max: int
    oldest_ns: int | None
    newest_ns: int | None
    store: str = STORE_OK
    pending: int = 0
    held: int = 0
    missing: int = 0
    cloned: bool = False

    @property
    def events(self) -> int:
        """How many events there are."""
        return self.next_offset - self.first_offset - self.missing


@dataclass(frozen=True, slots=True)
class SinkState:
    """One sink and its forwarder.

    `since_ns` is when `connected` changed last. `cursor` is the next offset to deliver, `lag_s` the age of the event
    there (0 when nothing waits). `delivered`, `refused` and `dead_letters` count events, `connections` the sessions
    that were opened, since the start; `ledger` since the sink's first event. `last_error` is empty without one.
    `missing` counts offsets behind the cursor that hold nothing.
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
    refused: int = 0
    connections: int = 0
    ledger: Ledger = field(default_factory=lambda: Ledger(1))
    missing: int = 0

    def lag_events(self, log: LogState) -> int:
        """Events that wait. What was trimmed before the sink read it is lost, not waiting: a log.gap tells of it."""
        return _behind(self.cursor, self.missing, log)


@dataclass(frozen=True, slots=True)
class ActionState:
    """What one action of a rule is doing: a consumer of the log, as a sink is.

    `name` is that of its cursor: `rule/<id>/<phase>/<kind>`. `waits` is the next event that it is for, None where
    nothing waits, `lag_s` that event's age. `missing` counts offsets behind the cursor that hold nothing. The rest is
    as for a sink.
    """

    name: str
    kind: str
    connected: bool
    since_ns: int
    cursor: int
    waits: Event | None
    lag_s: float
    last_error: str
    done: int
    refused: int
    dead_letters: int
    missing: int = 0

    def lag_events(self, log: LogState) -> int:
        """Events that it has not looked at, whether they are for it or not."""
        return _behind(self.cursor, self.missing, log)


@dataclass(frozen=True, slots=True)
class ConsumerState:
    """One named consumer of the log. `lag_s` is the age of the event at its cursor, 0 where none waits."""

    name: str
    attended: bool
    cursor: int
    lag_events: int
    lag_s: float
    in_flight: int
    delivered: int
    redelivered: int
    dead_letters: int
    protect: bool


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


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that is shown of a running gateway, at one moment.

    `dropped` counts events that were dropped before their commit, `written_bytes` what the process wrote to disks.
    """

    gateway: GatewayState
    log: LogState
    sinks: Sequence[SinkState]
    devices: Sequence[DeviceState]
    tally: Tally = field(default_factory=Tally)
    lateness_s: Histogram = field(default_factory=lambda: Histogram(()))
    dropped: int = 0
    synced: bool = True
    written_bytes: int = 0
    wear: WearState = field(default_factory=WearState)
    actions: Sequence[ActionState] = ()
    consumers: Sequence[ConsumerState] = ()
    rules: Mapping[str, Any] = field(default_factory=dict)
    """The document of `gateway.rules.describe`, without keys; empty where there are no rules."""


def _behind(cursor: int, missing: int, log: LogState) -> int:
    return max(0, log.next_offset - max(cursor, log.first_offset) - missing)


def age_s(event: Event, *, boot: str, mono_ns: int, wall_ns: int) -> float:
    """Since when an event waits. In its own boot that needs no wall clock."""
    if event.boot == boot:
        return (mono_ns - event.mono) / NS_PER_S
    return max(0.0, (wall_ns - event.recorded) / NS_PER_S)


def ailments(snapshot: Snapshot, now_ns: int) -> list[str]:
    """Why the gateway is not healthy; empty when it is.

    An unavailable device is no ailment: the world may be so, and an event told of it. Neither are a clock that is not
    synchronised, a sink that is catching up, or a dead letter.
    """
    reasons = []
    if snapshot.log.store != STORE_OK:
        reasons.append(f"the store is in trouble: {snapshot.log.store}")
    for sink in snapshot.sinks:
        away_s = 0.0 if sink.connected or sink.since_ns is None else (now_ns - sink.since_ns) / NS_PER_S
        if away_s > SINK_AWAY_S:
            reasons.append(f"sink {sink.id} is away for {away_s:.0f} s: {sink.last_error or 'no reason known'}")
    return reasons


def status_document(snapshot: Snapshot) -> dict[str, Any]:
    """The status document: plain values only, ready for JSON."""
    return {
        "gateway": _gateway(snapshot.gateway),
        "log": _log(snapshot),
        "sinks": [_sink(sink, snapshot.log) for sink in snapshot.sinks],
        "actions": [_action(action, snapshot.log) for action in snapshot.actions],
        "consumers": [_consumer(consumer) for consumer in snapshot.consumers],
        "rules": [_rule(rule) for rule in snapshot.rules.get("rules", ())],
        "devices": [_device(device) for device in snapshot.devices],
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


def _log(snapshot: Snapshot) -> dict[str, Any]:
    state, tally = snapshot.log, snapshot.tally
    return {
        "path": state.path,
        "first_offset": state.first_offset,
        "next_offset": state.next_offset,
        "events": state.events,
        "bytes": state.bytes,
        "bytes_max": state.bytes_max,
        "oldest": _time(state.oldest_ns),
        "newest": _time(state.newest_ns),
        "store": state.store,
        "pending": state.pending,
        "held": state.held,
        "cloned": state.cloned,
        "recorded": tally.events.total(),
        "batches": tally.batches,
        "lost": tally.lost.total(),
        "written": _written(snapshot),
    }


def _written(snapshot: Snapshot) -> dict[str, Any]:
    """What reached the disk, and how long readings wait so that it is no more. `bytes_per_day` is of the last hour."""
    wear = snapshot.wear
    return {
        "bytes": snapshot.written_bytes,
        "bytes_per_day": None if wear.bytes_per_day is None else round(wear.bytes_per_day),
        "limit_bytes_per_day": wear.limit_bytes_per_day,
        "commit_within_s": round(wear.commit_within_s, 3),
        "mode": wear.mode,
    }


def _place(state: SinkState | ActionState, log: LogState) -> dict[str, Any]:
    """Where a consumer of the log is, and how it fares there."""
    return {
        "connected": state.connected,
        "since": _time(state.since_ns),
        "cursor": state.cursor,
        "lag_events": state.lag_events(log),
        "lag_s": round(max(0.0, state.lag_s), 3),
        "last_error": state.last_error,
        "refused": state.refused,
        "dead_letters": state.dead_letters,
    }


def _sink(state: SinkState, log: LogState) -> dict[str, Any]:
    return {
        "id": state.id,
        "sink": state.sink,
        **_place(state, log),
        "delivered": state.delivered,
        "connections": state.connections,
        "ledger": _ledger(state, log),
    }


def _action(state: ActionState, log: LogState) -> dict[str, Any]:
    waits = state.waits
    return {
        "name": state.name,
        "action": state.kind,
        **_place(state, log),
        "waits": None if waits is None else {"id": waits.id, "type": waits.type, "time": rfc3339(waits.time)},
        "done": state.done,
    }


def _consumer(state: ConsumerState) -> dict[str, Any]:
    return {
        "name": state.name,
        "attended": state.attended,
        "cursor": state.cursor,
        "lag_events": state.lag_events,
        "lag_s": round(max(0.0, state.lag_s), 3),
        "in_flight": state.in_flight,
        "delivered": state.delivered,
        "redelivered": state.redelivered,
        "dead_letters": state.dead_letters,
        "protect": state.protect,
    }


def _rule(told: Mapping[str, Any]) -> dict[str, Any]:
    """A rule in short; `gateway rules status` has the rest."""
    return {name: told[name] for name in ("id", "operator", "state", "reason", "derived", "keys")}


def _ledger(state: SinkState, log: LogState) -> dict[str, Any]:
    """What became of each offset since the sink's first; the last five add up to `next_offset` less `first`."""
    ledger = state.ledger
    return {
        "first": ledger.first,
        "delivered": ledger.delivered,
        "not_selected": ledger.not_selected,
        "dead_lettered": dict(ledger.dead_lettered),
        "evicted": dict(ledger.evicted),
        "pending": log.next_offset - ledger.next_offset,
    }


def _device(state: DeviceState) -> dict[str, Any]:
    return {
        "id": state.id,
        "driver": state.driver,
        "available": state.available,
        "since": _time(state.since_ns),
        "reason": state.reason,
        "readings": state.readings,
        "failures": state.failures,
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
