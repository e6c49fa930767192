"""Devices that share a bus: turns, blocks and their end, first the bus alone, then with real threads."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.acquire.bus import Bus
from gateway.errors import DeviceError
from gateway.event import Reading
from gateway.supervise import Phase

WARM = [Reading("temperature", 21.5)]


# The bus alone


@dataclass
class Visitor:
    """A device as its bus sees it, and all it was told."""

    id: str
    told: list[str] = field(default_factory=list)

    def entered(self) -> None:
        self.told.append("entered")

    def blocked(self, by: str) -> None:
        self.told.append(f"blocked by {by}")

    def freed(self) -> None:
        self.told.append("freed")


def bus_of(*ids: str) -> tuple[Bus, list[Visitor]]:
    bus, visitors = Bus(), [Visitor(name) for name in ids]
    for visitor in visitors:
        bus.join(visitor)
    return bus, visitors


def test_the_bus_is_given_to_one_after_the_other_in_the_order_they_came() -> None:
    bus, (a, b, c) = bus_of("a", "b", "c")
    for visitor in (a, c, b, c):
        bus.enter(visitor)
    assert (a.told, b.told, c.told) == (["entered"], [], [])
    bus.leave(a)
    assert (b.told, c.told) == ([], ["entered"])
    bus.leave(c)
    assert (b.told, c.told) == (["entered"], ["entered"])


def test_whoever_does_not_hold_the_bus_cannot_give_it_away() -> None:
    bus, (a, b) = bus_of("a", "b")
    bus.enter(a)
    bus.enter(b)
    bus.leave(b)
    assert b.told == []
    bus.leave(a)
    assert b.told == ["entered"]


def test_a_block_is_told_to_all_others_once_and_so_is_its_end() -> None:
    bus, (a, b, c) = bus_of("a", "b", "c")
    bus.enter(a)
    bus.enter(b)
    bus.block(b)
    assert (a.told, c.told) == (["entered"], []), "who is in line blocks nobody"
    bus.block(a)
    bus.block(a)
    assert (a.told, b.told, c.told) == (["entered"], ["blocked by a"], ["blocked by a"])
    bus.enter(c)
    bus.leave(a)
    assert (b.told, c.told) == (["blocked by a", "freed", "entered"], ["blocked by a", "freed"])


def test_a_newcomer_learns_of_a_block_that_is_there_already() -> None:
    bus, (a,) = bus_of("a")
    bus.enter(a)
    bus.block(a)
    late = Visitor("late")
    bus.join(late)
    assert late.told == ["blocked by a"]


def test_who_parts_loses_the_place_in_line_but_not_the_bus_its_task_runs_in() -> None:
    bus, (a, b, c) = bus_of("a", "b", "c")
    for visitor in (a, b, c):
        bus.enter(visitor)
    bus.part(b)
    bus.part(a)
    assert c.told == []
    bus.leave(a)
    assert (a.told, b.told, c.told) == (["entered"], [], ["entered"])


@given(deeds=st.lists(st.tuples(st.sampled_from(["enter", "leave", "block", "part"]), st.integers(0, 3)), max_size=60))
def test_whatever_happens_nobody_enters_while_another_one_is_inside(deeds: list[tuple[str, int]]) -> None:
    bus, visitors = bus_of("a", "b", "c", "d")
    inside: list[Visitor] = []
    for deed, index in deeds:
        visitor = visitors[index]
        if deed == "leave" and visitor in inside:
            inside.remove(visitor)
        getattr(bus, deed)(visitor)
        for other in visitors:
            inside += [other] * other.told.count("entered")
            other.told.clear()
        assert len(inside) <= 1


# With real threads


class Wire:
    """A bus that counts how many are in it, and a device on it that hangs when told."""

    def __init__(self) -> None:
        self.inside = self.most = self.reads = 0
        self.hang, self.free = threading.Event(), threading.Event()
        self._lock = threading.Lock()

    def read(self) -> list[Reading]:
        with self._lock:
            self.inside += 1
            self.reads += 1
            self.most = max(self.most, self.inside)
        threading.Event().wait(0.001)  # a transaction takes a while
        with self._lock:
            self.inside -= 1
        return WARM

    def hanging(self) -> list[Reading]:
        if self.hang.is_set():
            assert self.free.wait(20)
            raise OSError("timed out at last")
        return self.read()


async def test_devices_of_one_bus_never_read_at_the_same_time_and_all_get_their_turn(kit):
    wire = Wire()
    devices = [kit.device(f"t{n}", kit.driver_of(wire.read), every_s=0.005, bus="i2c-1") for n in range(8)]
    async with kit.running(*devices) as rig:
        await kit.until(lambda: all(len(rig.of(device.id, "reading")) >= 10 for device in devices))
    assert wire.most == 1


async def test_devices_of_two_buses_do_not_wait_for_each_other(kit):
    meet = threading.Barrier(2, timeout=10)

    def read():
        meet.wait()
        return WARM

    devices = [kit.device(f"t{n}", kit.driver_of(read), every_s=3600.0, bus=f"i2c-{n}") for n in range(2)]
    async with kit.running(*devices) as rig:
        await kit.until(lambda: all(rig.of(device.id, "reading") for device in devices))


async def test_a_hung_read_blocks_its_bus_and_nothing_else_until_it_returns(kit, caplog):
    wire = Wire()
    sick = kit.device("sick", kit.driver_of(wire.hanging), timeout_s=0.15, bus="i2c-1")
    near = [kit.device(name, kit.driver_of(wire.read), timeout_s=0.15, bus="i2c-1") for name in ("b", "c")]
    far = kit.device("far", kit.driver_of(lambda: WARM))
    async with kit.running(sick, *near, far) as rig:
        await kit.until(lambda: all(state.available for state in rig.acquirer.states()))
        wire.hang.set()
        await kit.until(lambda: rig.availability("b") == rig.availability("c") == [True, False])
        assert {rig.of(name)[-1].reason for name in ("b", "c")} == {"bus blocked by sick"}
        assert rig.of("sick")[-1].reason == "no answer for 0.15 s"
        asked, threads, healthy = wire.reads, threading.active_count(), len(rig.of("far"))
        await kit.until(lambda: len(rig.of("far")) > healthy + 20, "the device on no bus goes on")
        assert (wire.reads, threading.active_count()) == (asked, threads), "the bus is not entered, no thread piles up"
        with pytest.raises(DeviceError, match="device b is unavailable: bus blocked by sick"):
            await rig.acquirer.read_once("b", 1.0)
        wire.hang.clear()
        wire.free.set()
        await kit.until(lambda: all(state.available for state in rig.acquirer.states()))
    for name in ("sick", "b", "c"):
        assert rig.availability(name) == [True, False, True]
    assert rig.availability("far") == [True]
    said = [record.getMessage() for record in caplog.records if "bus blocked" in record.getMessage()]
    assert sorted(said) == [f"device {name} is unavailable: bus blocked by sick" for name in ("b", "c")]
    assert {state.failures for state in rig.acquirer.states() if state.id in {"b", "c"}} == {0}


async def test_a_question_in_line_is_answered_when_its_turn_comes(kit):
    wire, slow = Wire(), threading.Event()

    def read():
        assert slow.wait(20)
        return WARM

    first = kit.device("first", kit.driver_of(read), every_s=3600.0, bus="i2c-1")
    second = kit.device("second", kit.driver_of(wire.read), every_s=3600.0, bus="i2c-1")
    async with kit.running(first, second) as rig:
        await kit.until(lambda: [state.id for state in rig.acquirer.states()] == ["first", "second"])
        with pytest.raises(DeviceError, match="said nothing"):
            await rig.acquirer.read_once("second", 0.05)
        slow.set()
        assert await rig.acquirer.read_once("second", 5.0)


async def test_a_question_in_line_ends_when_the_bus_turns_out_to_be_blocked(kit):
    wire = Wire()
    wire.hang.set()
    sick = kit.device("sick", kit.driver_of(wire.hanging), timeout_s=0.3, bus="i2c-1")
    near = kit.device("near", kit.driver_of(wire.read), bus="i2c-1")
    async with kit.running(sick, near) as rig:
        with pytest.raises(DeviceError, match="device near: bus blocked by sick"):
            await rig.acquirer.read_once("near", 10.0)
        wire.free.set()


async def test_a_device_that_stops_alone_while_in_line_does_not_take_the_turn_of_others(kit):
    wire, slow = Wire(), threading.Event()

    def read():
        assert slow.wait(20)
        return wire.read()

    devices = [kit.device(name, kit.driver_of(read), every_s=3600.0, bus="i2c-1") for name in ("a", "b", "c")]
    async with kit.running(*devices) as rig:
        inside = rig.acquirer._devices
        await kit.until(lambda: inside["c"]._state.phase is Phase.OPENING and inside["b"]._state.phase is Phase.OPENING)
        inside["b"].stop()
        slow.set()
        await kit.until(lambda: rig.of("c", "reading"))
    assert rig.of("b") == []


async def test_a_read_that_hangs_while_its_device_is_stopped_blocks_the_bus_and_says_so(kit):
    wire = Wire()
    wire.hang.set()
    sick = kit.device("sick", kit.driver_of(wire.hanging), timeout_s=20.0, bus="i2c-1")
    near = kit.device("near", kit.driver_of(wire.read), bus="i2c-1")
    async with kit.running(sick, near) as rig:
        inside = rig.acquirer._devices
        await kit.until(lambda: inside["sick"]._state.phase is Phase.READING)
        await rig.acquirer.end({"sick"}, 0.05)
        rig.acquirer.begin([near])
        await kit.until(lambda: rig.availability("near") == [False])
        assert rig.of("near")[-1].reason == "bus blocked by sick"
        wire.free.set()
        await kit.until(lambda: rig.availability("near") == [False, True])


async def test_a_device_that_stops_in_line_or_in_a_block_does_not_keep_the_others(kit):
    wire = Wire()
    wire.hang.set()
    sick = kit.device("sick", kit.driver_of(wire.hanging), timeout_s=0.05, bus="i2c-1")
    near = kit.device("near", kit.driver_of(wire.read), bus="i2c-1")
    async with kit.running(sick, near, stop_within_s=5.0) as rig:
        await kit.until(lambda: rig.availability("near") == [False])
        assert rig.of("near")[0].reason == "bus blocked by sick"
        await rig.acquirer.stop(5.0)
        assert wire.reads == 0
        wire.free.set()


async def test_random_hangs_end_with_all_available_and_outages_in_turn(kit):
    wire, dice = Wire(), random.Random(7)

    def read():
        if not wire.free.is_set() and dice.random() < 0.05:
            threading.Event().wait(0.06)
        return wire.read()

    devices = [kit.device(f"t{n}", kit.driver_of(read), every_s=0.01, timeout_s=0.03, bus="i2c-1") for n in range(5)]
    async with kit.running(*devices) as rig:
        await kit.until(lambda: sum(len(rig.availability(device.id)) for device in devices) >= 20, within_s=20)
        wire.free.set()
        await kit.until(lambda: all(state.available for state in rig.acquirer.states()), within_s=20)
    assert wire.most == 1
    for device in devices:
        told = rig.availability(device.id)
        assert all(before != after for before, after in pairwise(told))
