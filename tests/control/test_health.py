"""The documents behind `gateway status` and `gateway read`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import msgspec

from gateway.event import Event, Reading
from gateway.health import GatewayState, LogState, SinkState, readings_document, status_document

GATEWAY = GatewayState("pi", "0.1.0", 7, "5f0c", 0, 1.23456, False, "g.yaml", "abc", {"site": "north"})
LOG = LogState("events.db", 101, 201, 1000, 2000, 1_000_000_000, None, "disk full", 4)
SINK = SinkState("home", "mqtt", True, None, 151, 2.34567, "", 50, 0)


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
    document = status_document(GATEWAY, LOG, [SINK], [Device()])
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
                "dead_letters": 0,
            }
        ],
        "devices": [
            {
                "id": "air",
                "driver": "bme280",
                "available": None,
                "since": "1970-01-01T00:00:00.000000Z",
                "reason": "",
                "readings": 1,
                "last": None,
                "simulated": True,
            }
        ],
    }


def test_what_was_trimmed_unread_is_no_lag_and_a_lag_is_never_negative() -> None:
    for cursor, lag in ((1, 100), (101, 100), (201, 0), (202, 0)):
        sink = dataclasses.replace(SINK, cursor=cursor, lag_s=-0.5)
        (shown,) = status_document(GATEWAY, LOG, [sink], [])["sinks"]
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
