"""A service with canned answers, for commands to talk to."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gateway.control import ControlServer
from gateway.control.protocol import Call, Stream

Serve = Callable[..., Path]

STATUS: dict[str, Any] = {
    "gateway": {
        "id": "greenhouse-pi",
        "version": "0.1.0",
        "pid": 4242,
        "run": "5f0c9a31d2e47b88",
        "started": "2026-11-23T02:40:00.000000Z",
        "uptime_s": 12000.5,
        "simulated": False,
        "config": "/etc/gateway/gateway.yaml",
        "config_hash": "a1b2c3d4e5f60718",
        "labels": {"site": "north", "room": "温室"},
    },
    "log": {
        "path": "/var/lib/gateway/events.db",
        "first_offset": 1,
        "next_offset": 1234568,
        "events": 1234567,
        "bytes": 44_100_000,
        "bytes_max": 512_000_000,
        "oldest": "2026-11-20T06:00:00.000000Z",
        "newest": "2026-11-23T06:00:00.000000Z",
        "store": "ok",
        "pending": 3,
    },
    "sinks": [
        {
            "id": "home",
            "sink": "mqtt",
            "connected": True,
            "since": "2026-11-23T02:40:01.000000Z",
            "cursor": 1234568,
            "lag_events": 0,
            "lag_s": 0,
            "last_error": "",
            "delivered": 1234567,
            "dead_letters": 0,
            "ledger": {
                "first": 1,
                "delivered": 1234567,
                "not_selected": 0,
                "dead_lettered": {},
                "evicted": {},
                "pending": 0,
            },
        },
        {
            "id": "cloud",
            "sink": "mqtt",
            "connected": False,
            "since": "2026-11-23T05:55:00.000000Z",
            "cursor": 1230000,
            "lag_events": 4568,
            "lag_s": 301.2,
            "last_error": "broker.example:8883: nothing listens there (connection refused); the next attempt is in 4 s",
            "delivered": 1229999,
            "dead_letters": 2,
            "ledger": {
                "first": 1,
                "delivered": 1209697,
                "not_selected": 20000,
                "dead_lettered": {"too large": 2},
                "evicted": {"trimmed": 300},
                "pending": 4568,
            },
        },
    ],
    "devices": [
        {
            "id": "air",
            "driver": "bme280",
            "available": True,
            "since": "2026-11-23T02:40:01.000000Z",
            "reason": "",
            "readings": 7200,
            "last": "2026-11-23T05:59:58.000000Z",
            "simulated": False,
        },
        {
            "id": "door",
            "driver": "button",
            "available": False,
            "since": "2026-11-23T05:48:00.000000Z",
            "reason": "GPIO 17 is in use",
            "readings": 3,
            "last": "2026-11-23T05:00:00.000000Z",
            "simulated": False,
        },
        {
            "id": "tank",
            "driver": "signal",
            "available": None,
            "since": None,
            "reason": "",
            "readings": 0,
            "last": None,
            "simulated": True,
        },
    ],
}


def call(answer: dict[str, Any]) -> Call:
    async def canned(args: dict[str, Any]) -> dict[str, Any]:
        return answer

    return canned


def stream(*parts: dict[str, Any], asked: list[dict[str, Any]] | None = None, endless: bool = False) -> Stream:
    async def canned(args: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        if asked is not None:
            asked.append(args)
        for part in parts:
            yield part
        while endless:
            await asyncio.Event().wait()

    return canned


@contextmanager
def serving(path: Path, calls: dict[str, Call], streams: dict[str, Stream]) -> Iterator[ControlServer]:
    """A control server on a loop of its own, because commands bring theirs."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="canned service")
    thread.start()
    server = ControlServer(path, calls, streams)
    try:
        asyncio.run_coroutine_threadsafe(server.start(), loop).result(5)
        yield server
        asyncio.run_coroutine_threadsafe(server.close(), loop).result(5)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()
