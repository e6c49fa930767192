"""The documents behind `gateway status` and `gateway read`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import msgspec

from gateway.event import Event, Reading
from gateway.figures import Tally
from gateway.health import (
    SINK_AWAY_S,
    ActionState,
    ConsumerState,
    GatewayState,
    LogState,
    SinkState,
    Snapshot,
    ailments,
    readings_document,
    status_document,
)
from gateway.ledger import Ledger
from gateway.wear import WearState

LEDGER = Ledger(1, 140, 2, {"too large": 3}, {"trimmed": 5})
GATEWAY = GatewayState("pi", "0.1.0", 7, "5f0c", 0, 1.23456, False, "g.yaml", "abc", {"site": "north"})
LOG = LogState("events.db", 101, 201, 1000, 2000, 1_000_000_000, None, "disk full", 4)
SINK = SinkState("home", "mqtt", True, None, 151, 2.34567, "", 50, 0, refused=2, connections=3, ledger=LEDGER)
WAITING = Event("rule.raised", "rule/hot", 3_000_000_000, 0, offset=190, run="5f0c")
ACTION = ActionState("rule/hot/do/webhook", "webhook", False, 2_000_000_000, 181, WAITING, 7.5, "no answer", 11, 2, 1)
CONSUMER = ConsumerState("meter", True, 191, 10, 3.5, 4, 100, 5, 6, False)
HOT = {"id": "hot", "operator": "hold", "state": "in force", "reason": "", "derived": 8, "keys": 2}
RULES = {"rules": [HOT | {"dropped": {"keys": 5}, "by": "channel"}]}
WEAR = WearState(4.25, "spread", 200_000_000, 210_000_000.7)


@dataclass(frozen=True, slots=True)
class Device:
    id: str = "air"
    driver: str = "bme280"
    available: bool | None = None
    since_ns: int = 0
    reason: str = ""
    readings: int = 1
    failures: int = 0
    last_ns: int | None = None
    simulated: bool = True


def test_the_document_has_the_agreed_shape_in_the_agreed_order() -> None:
    tally = Tally()
    tally.batch([Event("reading", "a/b", 0, 0)] * 2 + [Event("log.gap", "gateway", 0, 0, data={"count": 2})], 80)
    parts = {"written_bytes": 4096, "wear": WEAR, "actions": [ACTION], "consumers": [CONSUMER], "rules": RULES}
    document = status_document(Snapshot(GATEWAY, LOG, [SINK], [Device()], tally, **parts))
    assert msgspec.json.decode(msgspec.json.encode(document)) == {
        "gateway": {
            "id": "pi",
            "version": "0.1.0",
            "pid": 7,
            "run": "5f0c",
            "started": "1970-01-01T00:00:00.000000Z",
            "uptime_s": 1.235,
            "simulated": False,
            "config": "g.yaml",
            "config_hash": "abc",
            "labels": {"site": "north"},
        },
        "log": {
            "path": "events.db",
            "first_offset": 101,
            "next_offset": 201,
            "events": 100,
            "bytes": 1000,
            "bytes_max": 2000,
            "oldest": "1970-01-01T00:00:01.000000Z",
            "newest": None,
            "store": "disk full",
            "pending": 4,
            "held": 0,
            "cloned": False,
            "recorded": 3,
            "batches": 1,
            "lost": 2,
            "written": {
                "bytes": 4096,
                "bytes_per_day": 210_000_001,
                "limit_bytes_per_day": 200_000_000,
                "commit_within_s": 4.25,
                "mode": "spread",
            },
        },
        "sinks": [
            {
                "id": "home",
                "sink": "mqtt",
                "connected": True,
                "since": None,
                "cursor": 151,
                "lag_events": 50,
                "lag_s": 2.346,
                "last_error": "",
                "delivered": 50,
                "refused": 2,
                "connections": 3,
                "dead_letters": 0,
                "ledger": {
                    "first": 1,
                    "delivered": 140,
                    "not_selected": 2,
                    "dead_lettered": {"too large": 3},
                    "evicted": {"trimmed": 5},
                    "pending": 50,
                },
            }
        ],
        "actions": [
            {
                "name": "rule/hot/do/webhook",
                "action": "webhook",
                "connected": False,
                "since": "1970-01-01T00:00:02.000000Z",
                "cursor": 181,
                "lag_events": 20,
                "lag_s": 7.5,
                "waits": {"id": "5f0c-190", "type": "rule.raised", "time": "1970-01-01T00:00:03.000000Z"},
                "last_error": "no answer",
                "done": 11,
                "refused": 2,
                "dead_letters": 1,
            }
        ],
        "consumers": [
            {
                "name": "meter",
                "attended": True,
                "cursor": 191,
                "lag_events": 10,
                "lag_s": 3.5,
                "in_flight": 4,
                "delivered": 100,
                "redelivered": 5,
                "dead_letters": 6,
                "protect": False,
            }
        ],
        "rules": [
            {"id": "hot", "operator": "hold", "state": "in force", "reason": "", "derived": 8, "keys": 2},
        ],
        "devices": [
            {
                "id": "air",
                "driver": "bme280",
                "available": None,
                "since": "1970-01-01T00:00:00.000000Z",
                "reason": "",
                "readings": 1,
                "failures": 0,
                "last": None,
                "simulated": True,
            }
        ],
    }


def test_what_was_trimmed_unread_is_no_lag_and_a_lag_is_never_negative() -> None:
    for cursor, lag in ((1, 100), (101, 100), (201, 0), (202, 0)):
        sink = dataclasses.replace(SINK, cursor=cursor, lag_s=-0.5)
        (shown,) = status_document(Snapshot(GATEWAY, LOG, [sink], []))["sinks"]
        assert (shown["lag_events"], shown["lag_s"]) == (lag, 0.0)


def test_a_reading_without_unit_is_in_the_unit_of_its_event() -> None:
    event = Event("reading", "air/temperature", 0, 0, 21.5, "Cel", "good")
    answers = [(Reading("temperature", 21.5), event), (Reading("temperature", 21_500, "mCel"), event)]
    rows = readings_document(answers)["readings"]
    assert [(row["raw"], row["raw_unit"], row["value"], row["unit"]) for row in rows] == [
        (21.5, "Cel", 21.5, "Cel"),
        (21_500, "mCel", 21.5, "Cel"),
    ]


def test_a_reading_that_makes_no_event_keeps_its_own_quality() -> None:
    (row,) = readings_document([(Reading("x", None, quality="bad", reason="crc"), None)])["readings"]
    assert row == {
        "channel": "x", "raw": None, "raw_unit": None, "value": None, "unit": None, "quality": "bad", "reason": "crc",
    }  # fmt: skip


OK = dataclasses.replace(LOG, store="ok")
MINUTE_NS = 60_000_000_000


def test_a_gateway_whose_parts_are_well_is_healthy_although_a_device_is_not() -> None:
    devices = [Device(available=False, reason="unplugged")]
    assert ailments(Snapshot(GATEWAY, OK, [SINK], devices, synced=False), 0) == []


def test_a_disk_that_refuses_is_an_ailment_with_its_reason() -> None:
    assert ailments(Snapshot(GATEWAY, LOG, [SINK], []), 0) == ["the store is in trouble: disk full"]


def test_a_sink_may_be_away_for_a_minute() -> None:
    away = dataclasses.replace(SINK, connected=False, since_ns=5 * MINUTE_NS, last_error="connection refused")
    snapshot = Snapshot(GATEWAY, OK, [SINK, away], [])
    assert SINK_AWAY_S == 60
    assert ailments(snapshot, 6 * MINUTE_NS) == []
    assert ailments(snapshot, 7 * MINUTE_NS) == ["sink home is away for 120 s: connection refused"]
    assert ailments(snapshot, 0) == [], "the wall clock stepped back"


def test_every_ailment_is_named() -> None:
    away = dataclasses.replace(SINK, connected=False, since_ns=0, last_error="")
    assert len(ailments(Snapshot(GATEWAY, LOG, [away, away], []), 2 * MINUTE_NS)) == 3
