"""The watchdog over a whole gateway, in virtual time: what is only a state never stops the pings."""

import asyncio
import itertools
import threading
from dataclasses import replace

import pytest

from gateway.app import Gateway
from gateway.config import SinkConfig, parse_config
from gateway.errors import LinkError, StoreUnavailable
from gateway.options import Options
from gateway.plugins import Plugins
from gateway.pulse import Pulse
from gateway.sink import Sink
from tests import virtual
from tests.acquire.conftest import driver_of

HOUR_S = 3600.0
WATCHDOG_S = 60.0
EVERY_S = WATCHDOG_S / 3


class DownSink(Sink):
    """A broker that refuses, or whose network swallows everything."""

    name, summary = "down", "for tests"
    silent = False

    @classmethod
    def create(cls, options, identity):
        return cls()

    async def connect(self, report):
        if self.silent:
            await asyncio.get_running_loop().create_future()
        raise LinkError("connection refused")


class SilentSink(DownSink):
    silent = True


def configuration(tmp_path, *sinks, devices=()):
    text = f"gateway: {{id: still}}\nbuffer: {{path: {tmp_path}/events.db}}\n"
    if devices:
        text += "devices:\n" + "".join(f"  - {{id: d{n}, driver: thermal}}\n" for n in range(len(devices)))
    config = parse_config(text, str(tmp_path / "gateway.yaml"), Plugins())
    return replace(
        config,
        sinks=tuple(SinkConfig(f"s{n}", sink, Options()) for n, sink in enumerate(sinks)),
        devices=tuple(replace(c, driver=d) for c, d in zip(config.devices, devices, strict=True)),
    )


def pings_of_an_hour(config, monkeypatch, spoil=lambda gateway: None):
    """When systemd was told, in seconds, in an hour of virtual time; begins with 0 and ends with the hour."""

    async def main():
        times = [0.0]
        loop = asyncio.get_running_loop()
        async with Gateway(config, clock=virtual.LoopClock()) as gateway:
            spoil(gateway)
            begun = loop.time()
            pulse = asyncio.create_task(Pulse(gateway.route, lambda: times.append(loop.time() - begun), EVERY_S).run())
            await asyncio.sleep(HOUR_S)
            pulse.cancel()
        return [*times, HOUR_S]

    return virtual.run(main, monkeypatch)


def virtual_now():
    return asyncio.get_running_loop().time()


def longest_silence(times):
    return max(later - earlier for earlier, later in itertools.pairwise(times))


def test_an_hour_without_events_is_no_hang(tmp_path, monkeypatch):
    assert longest_silence(pings_of_an_hour(configuration(tmp_path), monkeypatch)) <= EVERY_S


@pytest.mark.parametrize("sink", [DownSink, SilentSink])
def test_an_hour_without_a_broker_is_no_hang(tmp_path, monkeypatch, sink):
    times = pings_of_an_hour(configuration(tmp_path, sink, sink), monkeypatch)
    assert longest_silence(times) <= EVERY_S + 1
    assert len(times) > HOUR_S / EVERY_S


def test_a_hung_driver_is_no_hang_of_the_gateway(tmp_path, monkeypatch):
    release = threading.Event()
    hung = driver_of(read=lambda: release.wait(60) and [])
    try:
        times = pings_of_an_hour(configuration(tmp_path, devices=[hung]), monkeypatch)
    finally:
        release.set()
    assert longest_silence(times) <= EVERY_S


def test_an_hour_with_a_disk_that_refuses_is_no_hang(tmp_path, monkeypatch):
    def spoil(gateway):
        async def refuse(*args, **at):
            raise StoreUnavailable("disk is full")

        monkeypatch.setattr(gateway.log, "append", refuse)
        monkeypatch.setattr(gateway.log, "prepare", refuse)
        gateway.recorder.note("clock.step", {})

    assert longest_silence(pings_of_an_hour(configuration(tmp_path, DownSink), monkeypatch, spoil)) <= EVERY_S + 5


def test_an_hour_of_commits_that_take_20_s_each_is_no_hang(tmp_path, monkeypatch):
    def spoil(gateway):
        append, touch, disk = gateway.log.append, gateway.log.touch, asyncio.Lock()

        async def slow(work, *args, **at):
            async with disk:  # the writer's thread does one thing after the other
                await asyncio.sleep(20)
                return await work(*args, **at)

        monkeypatch.setattr(gateway.log, "append", lambda *args, **at: slow(append, *args, **at))
        monkeypatch.setattr(gateway.log, "touch", lambda: slow(touch))
        gateway.recorder.watch(lambda _: virtual_now() < HOUR_S and gateway.recorder.note("clock.step", {}))
        gateway.recorder.note("clock.step", {})

    times = pings_of_an_hour(configuration(tmp_path), monkeypatch, spoil)
    assert longest_silence(times) < WATCHDOG_S - 10
