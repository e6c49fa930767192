"""The gateway under load: the real one, with a driver that reports as fast as a closed loop or a schedule lets it.

A process of its own. Devices, normalizer, log, forwarder and MQTT sink are those of `gateway run`; only the driver is
the bench's. Every channel is urgent, so that commits follow each other as fast as the disk takes them.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic_ns

from gateway.app import Gateway
from gateway.config import Config, parse_config
from gateway.driver import Channel, Emit, PushDriver
from gateway.event import Reading
from gateway.plugins import Plugins
from tests.bench.bare import beats
from tests.bench.child import Orders
from tests.bench.profile import Profile
from tests.service import wait_until

GATEWAY = "bench"
DEVICES, CHANNELS = 20, 10
OUTSTANDING_MAX = 8000
"""Readings that are on their way from driver to subscriber in the closed loop: no queue of the gateway overflows."""

CHUNK = 50


class Source:
    """Where the readings of all devices come from: one thread, over the `emit` of each device."""

    def __init__(self, count: int, per_s: int) -> None:
        self._count, self._per_s = count, per_s
        self._emits: list[Emit] = []
        self.delivered: Callable[[], int] = lambda: 0
        self.thread = threading.Thread(target=self._paced if per_s else self._flood, name="load", daemon=True)

    @property
    def channels(self) -> tuple[Channel, ...]:
        if self._per_s:  # an input's value says when it left the driver
            return tuple(Channel(f"c{n}", "occurrence", "an input", kind="input") for n in range(CHANNELS))
        return tuple(Channel(f"c{n}", "temperature", "a reading") for n in range(CHANNELS))

    def driver(self) -> type[PushDriver]:
        source = self

        class LoadDriver(PushDriver):
            name, summary = "load", "the bench's own"

            @classmethod
            def channels(cls, options):
                return source.channels

            @classmethod
            def create(cls, options):
                return cls()

            @classmethod
            def simulate(cls, options, world):
                return cls()

            def open(self, emit):
                source._emits.append(emit)

        return LoadDriver

    @property
    def open(self) -> bool:
        return len(self._emits) == DEVICES

    def _flood(self) -> None:
        pause, before = threading.Event(), self.delivered()
        for sent in range(0, self._count, CHUNK):
            while sent + CHUNK - (self.delivered() - before) > OUTSTANDING_MAX:
                pause.wait(0.001)
            readings = [Reading(f"c{n % CHANNELS}", 20.0 + n % 977 / 100) for n in range(sent, sent + CHUNK)]
            self._emits[sent // CHUNK % DEVICES](readings)

    def _paced(self) -> None:
        for n, wait in enumerate(beats(self._per_s, self._count)):
            wait()
            self._emits[n % DEVICES]([Reading(f"c{n // DEVICES % CHANNELS}", monotonic_ns() // 1000)])


def configuration(folder: Path, port: int, window: int, driver: type[PushDriver]) -> Config:
    channels = ", ".join(f"c{n}: {{urgent: true}}" for n in range(CHANNELS))
    devices = "".join(f"  - {{id: l{n}, driver: load, channels: {{{channels}}}}}\n" for n in range(DEVICES))
    yaml = (
        f"gateway: {{id: {GATEWAY}}}\ndevices:\n{devices}"
        f"sinks:\n  - {{id: home, sink: mqtt, url: 'mqtt://127.0.0.1:{port}', window: {window}}}\n"
        f"buffer: {{path: {folder}/load.db, commit_within: 20ms}}\n"
    )
    return parse_config(yaml, str(folder / "bench.yaml"), Plugins(drivers={"load": driver}))


async def serve(folder: Path, port: int, window: int, count: int, per_s: int, *, profiled: bool) -> None:
    source, orders = Source(count, per_s), Orders()
    async with Gateway(configuration(folder, port, window, source.driver())) as gateway:
        forwarder = gateway.forwarders["home"]
        await asyncio.to_thread(
            wait_until,
            lambda: source.open and forwarder.delivery.connected and not gateway.recorder.pending,
            10,
            "every device is open and the sink is connected",
        )
        source.delivered = lambda: forwarder.delivery.delivered
        profile = Profile() if profiled else None
        await asyncio.to_thread(orders.ready)
        if profile:
            profile.start()
        source.thread.start()
        await asyncio.to_thread(orders.wait, "stop")
        if profile:
            print(json.dumps(profile.stop()))


if __name__ == "__main__":
    folder, port, window, count, per_s, profiled = sys.argv[1:]
    asyncio.run(serve(Path(folder), int(port), int(window), int(count), int(per_s), profiled=profiled == "1"))
