"""200 random reloads under load: nothing lost, nothing leaked, and what did not change did not notice."""

import asyncio
import gc
import threading
from functools import partial
from pathlib import Path
from random import Random

import pytest

from gateway.acquire.device import Device
from gateway.deliver import Forwarder
from gateway.errors import ConfigError
from tests.brokers import Mosquitto
from tests.reload.world import World, kept, lost, until
from tests.service import Subscriber, wait_until

RELOADS = 200
LOOK_S = 3.0
COMMIT = {"EventLog._append", "Store._transaction"}
"""Tasks of the commit under way, if there is one."""

STEADY, POOL = 6, 6
EACH_PER_S = 70
"""6 steady devices and on average 4 of the others make more than 500 events a second."""


def device(name, pin, note=""):
    note = note or name
    channels = "channels: {count: {urgent: false}}"
    return f"id: {name}, driver: counter, pin: {pin}, per_s: {EACH_PER_S}, note: {note}, {channels}"


def sink(name, port, window=100):
    url = f"mqtt://127.0.0.1:{port}"
    return f"id: {name}, sink: mqtt, url: '{url}', base: {name}, client_id: {name}, window: {window}"


class Choice:
    """A random configuration around what never changes."""

    def __init__(self, port, random):
        self._port, self._random = port, random
        self._pins = list(range(10, 10 + POOL))
        self._windows = {"s1": 100, "s2": 100}

    def canonical(self):
        return self._entries(range(POOL), ("s1", "s2"))

    def next(self):
        random = self._random
        if random.random() < 0.3:  # some swap their pins
            random.shuffle(self._pins)
        for name in self._windows:
            if random.random() < 0.2:
                self._windows[name] = random.randint(50, 150)
        here = [n for n in range(POOL) if random.random() < 2 / 3]
        return self._entries(here, [name for name in self._windows if random.random() < 0.7])

    def _entries(self, here, sinks):
        entries = [device(f"steady{n}", n) for n in range(STEADY)]
        entries += [device(f"pool{n}", self._pins[n]) for n in here]
        entries += [sink(name, self._port, self._windows[name]) for name in sinks]
        self._random.shuffle(entries)
        return [sink("home", self._port), *entries]


def resources():
    """What could leak, at one moment."""
    gc.collect()
    kinds = [type(thing) for thing in gc.get_objects()]
    return {
        "threads": threading.active_count(),
        "tasks": len([task for task in asyncio.all_tasks() if task.get_coro().__qualname__ not in COMMIT]),
        "fds": len(list(Path("/proc/self/fd").iterdir())),
        "devices": kinds.count(Device),
        "forwarders": kinds.count(Forwarder),
    }


async def settled(gateway):
    """Everybody is up: devices answer, sinks are connected."""
    await until(lambda: all(state.available for state in gateway.acquirer.states()), "devices", 30)
    await until(lambda: all(one.delivery.connected for one in gateway.forwarders.values()), "sinks", 30)


class Rig:
    """The reloads, and what they took."""

    def __init__(self, folder, port):
        self.random = Random(2026)
        self.world, self.choice = World(folder), Choice(port, self.random)
        self.took_ms, self.refused, self.rows, self.lasted_s = [], 0, [], 0.0

    def write(self, entries):
        self.world.write(*entries, buffer="commit_within: 100ms")

    async def run(self, gateway):
        loop = asyncio.get_running_loop()
        begun = loop.time()
        for turn in range(1, RELOADS + 1):
            if self.random.random() < 0.1:
                await self.refuse(gateway)
            else:
                self.write(self.choice.next())
                before = loop.time()
                await gateway.reloads.ask()
                self.took_ms.append((loop.time() - before) * 1000)
            if self.random.random() < 0.8:  # else the next one comes while everybody is still on the way
                await until(lambda: all(state.available for state in gateway.acquirer.states()), "devices", 30)
            if turn % 50 == 0:
                await self.measure(gateway)
        self.lasted_s = loop.time() - begun

    async def refuse(self, gateway):
        self.world.file.write_text("devices: [{id: broken}]\n", encoding="utf-8")
        with pytest.raises(ConfigError):
            await gateway.reloads.ask()
        self.refused += 1

    async def measure(self, gateway):
        """What is in use with the canonical configuration, once what ended has let go."""
        self.write(self.choice.canonical())
        await gateway.reloads.ask()
        await settled(gateway)
        least = resources()
        until_s = asyncio.get_running_loop().time() + LOOK_S

        def looked():
            now = resources()
            least.update({name: min(least[name], count) for name, count in now.items()})
            return least in self.rows or asyncio.get_running_loop().time() > until_s

        await until(looked, "a look")
        self.rows.append(least)

    def tell(self, events, missing, unheard, verdicts):
        took, numbers = sorted(self.took_ms), sum(self.world.bench.emitted.values())
        p50, p99 = (took[int(len(took) * part)] for part in (0.5, 0.99))
        print(f"\n  {len(took)} reloads, and {self.refused} that were refused, in {self.lasted_s:.1f} s")
        print(f"  one took {p50:.0f} ms (p50), {p99:.0f} ms (p99), {took[-1]:.0f} ms (most)")
        print(
            f"  {numbers} readings ({numbers / self.lasted_s:.0f}/s) of {len(self.world.bench.emitted)} drivers: "
            f"{sum(missing.values())} lost, {sum(unheard.values())} of {len(unheard)} that ended unheard"
        )
        for name, verdict in verdicts.items():
            print(
                f"  sink {name:5} {verdict.accepted} events: lost {len(verdict.lost)}, "
                f"out of order {verdict.inversions}, duplicates {verdict.duplicates}"
            )
        for turn, row in enumerate(self.rows):
            print(f"  after {turn * 50:3} reloads: " + ", ".join(f"{count} {name}" for name, count in row.items()))


@pytest.mark.rig
@pytest.mark.mosquitto
async def test_two_hundred_random_reloads_lose_nothing_and_leak_nothing(tmp_path, mosquitto: Mosquitto, capsys):
    rig = Rig(tmp_path, mosquitto.port)
    made = rig.world.bench.made
    subscribers = {
        name: await asyncio.to_thread(Subscriber, mosquitto.port, "pi", name) for name in ("home", "s1", "s2")
    }
    rig.write(rig.choice.canonical())
    async with rig.world.gateway(random=rig.random) as gateway:
        await settled(gateway)
        steady = {serial: made[serial] for serial in made if made[serial][0].startswith("steady")}
        home, connected_ns = gateway.forwarders["home"], gateway.forwarders["home"].delivery.since_ns
        await rig.measure(gateway)
        await rig.run(gateway)
        assert {serial: made[serial] for serial in made if made[serial][0].startswith("steady")} == steady
        assert gateway.forwarders["home"] is home
        assert home.delivery.since_ns == connected_ns, "one connection all the time"
    events = await kept(rig.world)
    verdicts, ids = {}, [event.id for event in events]
    for name, subscriber in subscribers.items():  # they share this process with the gateway, and may be behind it
        await asyncio.to_thread(wait_until, partial(subscriber.has, ids), 60, f"everything arrives at {name}")
        await asyncio.to_thread(subscriber.close)
        verdicts[name] = subscriber.judge(ids)
    missing, unheard = lost(rig.world.bench, events)
    with capsys.disabled():
        rig.tell(events, missing, unheard, verdicts)
    assert missing == {}
    assert all(count <= EACH_PER_S // 10 for count in unheard.values()), "unheard for a moment only"
    assert all(verdict.clean() for verdict in verdicts.values()), verdicts
    assert verdicts["home"].duplicates == 0
    for name in {name for name, _ in steady.values()}:
        assert [event.type for event in events if event.subject == name] == ["device.available"]
    assert {e.reason for e in events if e.type == "device.unavailable"} == {"removed from the configuration"}
    first = rig.rows[0]
    assert all(row | {"tasks": 0} == first | {"tasks": 0} for row in rig.rows), "flat"
    assert all(abs(row["tasks"] - first["tasks"]) <= 1 for row in rig.rows), "but for the one that looks at the clock"
    assert [e.type for e in events].count("config.loaded") == 1 + len(rig.took_ms) + len(rig.rows)
