"""Outputs under supervision: commands, toggles, pulses, bounds, failures, and what is safe when."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from gateway.acquire import TOGGLE
from gateway.acquire.commands import WAITING_MAX
from gateway.clock import SystemClock
from gateway.config.model import ChannelConfig, DeviceConfig
from gateway.driver import Channel, Command, Driver, OutputDriver, World
from gateway.errors import DeviceError
from gateway.event import Reading, Value
from gateway.options import Options

CHANNELS = (
    Channel("on", "contact", "whether it is on", kind="output", rest=False),
    Channel("speed", "ratio", "how fast", kind="output", rest=0.0),
)


class Relay:
    """What a driver under test did to its hardware, and how its hardware behaves."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.threads: set[int] = set()
        self.levels: dict[str, Value] = {"on": False, "speed": 0.0}
        self.before_apply: Callable[[], None] = lambda: None

    def set(self, what: str, **levels: Value) -> Sequence[Reading]:
        self.calls.append(what)
        self.threads.add(threading.get_ident())
        self.levels |= levels
        return [Reading(name, self.levels[name]) for name in levels]

    def driver(self) -> type[Driver]:
        relay = self

        class Rig(OutputDriver):
            name = "rig"
            summary = "made of functions"

            @classmethod
            def channels(cls, options: Any) -> tuple[Channel, ...]:
                return CHANNELS

            @classmethod
            def create(cls, options: Any) -> Driver:
                return cls()

            @classmethod
            def simulate(cls, options: Any, world: World) -> Driver:
                return cls()

            def open(self) -> Sequence[Reading]:
                return relay.set("open", on=False, speed=0.0)

            def apply(self, command: Command) -> Sequence[Reading]:
                relay.before_apply()
                return relay.set(f"{command.channel}={command.value}", **{command.channel: command.value})

            def safe(self) -> Sequence[Reading]:
                return relay.set("safe", on=False, speed=0.0)

            def close(self) -> None:
                relay.calls.append("close")

        return Rig

    def device(self, device_id: str = "fan", timeout_s: float = 5.0, bus: str | None = None) -> DeviceConfig:
        rules = {channel.name: ChannelConfig() for channel in CHANNELS}
        return DeviceConfig(device_id, self.driver(), Options(), None, timeout_s, CHANNELS, rules, None, bus)


@pytest.fixture
def relay() -> Relay:
    return Relay()


def changes(rig, device_id: str = "fan") -> list[tuple[str, Value]]:
    return [(event.subject.split("/")[1], event.value) for event in rig.of(device_id, "output.changed")]


async def opened(kit, rig, device_id: str = "fan") -> None:
    await kit.until(lambda: rig.availability(device_id) == [True], "the output is open")


async def test_at_open_it_is_available_and_every_channel_is_told(kit, relay) -> None:
    async with kit.running(relay.device()) as rig:
        await opened(kit, rig)
        assert rig.types("fan") == ["device.available", "output.changed", "output.changed"]
        assert changes(rig) == [("on", False), ("speed", 0.0)]
        assert rig.of("fan")[-1].unit == "/"
        assert all(event.urgent for event in rig.of("fan", "output.changed"))


async def test_a_command_is_applied_on_the_devices_thread_and_told_with_its_cause(kit, relay) -> None:
    async with kit.running(relay.device()) as rig:
        assert await rig.acquirer.command("fan", "on", value=True, cause="run-7") is True
        told = rig.of("fan", "output.changed")[-1]
        assert (told.subject, told.value, told.cause, told.quality) == ("fan/on", True, "run-7", "good")
        assert relay.calls == ["open", "on=True"]
        assert relay.threads.isdisjoint({threading.get_ident()})
        assert len(relay.threads) == 1


async def test_setting_what_is_set_already_is_done_and_is_no_change(kit, relay) -> None:
    async with kit.running(relay.device()) as rig:
        await rig.acquirer.command("fan", "on", value=True)
        await rig.acquirer.command("fan", "on", value=True)
        assert relay.calls == ["open", "on=True", "on=True"]
        assert changes(rig)[2:] == [("on", True)]


async def test_toggle_is_the_other_of_what_it_is_when_its_turn_comes(kit, relay) -> None:
    async with kit.running(relay.device()) as rig:
        both = [rig.acquirer.command("fan", "on", TOGGLE) for _ in range(3)]
        assert await asyncio.gather(*both) == [True, False, True]


async def test_a_command_for_some_time_goes_back_to_what_was_before(kit, relay) -> None:
    async with kit.running(relay.device()) as rig:
        await rig.acquirer.command("fan", "speed", 0.3)
        await rig.acquirer.command("fan", "speed", 1.0, for_s=0.03, cause="run-9")
        await kit.until(lambda: changes(rig)[-1] == ("speed", 0.3) and len(changes(rig)) == 5)
        assert rig.of("fan", "output.changed")[-1].cause == "run-9"


async def test_told_again_meanwhile_it_goes_back_to_what_was_before_the_first(kit, relay) -> None:
    async with kit.running(relay.device()) as rig:
        await rig.acquirer.command("fan", "on", value=True, for_s=60)
        await rig.acquirer.command("fan", "on", value=True, for_s=0.02)
        await kit.until(lambda: changes(rig)[2:] == [("on", True), ("on", False)])


async def test_told_without_a_time_it_stays(kit, relay) -> None:
    async with kit.running(relay.device()) as rig:
        await rig.acquirer.command("fan", "on", value=True, for_s=0.02)
        await rig.acquirer.command("fan", "on", value=True)
        await rig.acquirer.command("fan", "speed", 0.5, for_s=0.05)
        await kit.until(lambda: changes(rig)[-1] == ("speed", 0.0))
        assert relay.levels["on"] is True
        assert relay.calls.count("on=False") == 0


@pytest.mark.parametrize(
    ("channel", "value", "said"),
    [
        ("off", True, "no channel 'off'"),
        ("on", 1, "expected on, off or toggle"),
        ("on", "yes", "expected on, off or toggle"),
        ("speed", True, "expected a number from 0 to 1"),
        ("speed", 1.5, "expected a number from 0 to 1"),
        ("speed", float("nan"), "expected a number from 0 to 1"),
        ("speed", TOGGLE, "found toggle, expected a number"),
    ],
)
async def test_what_no_channel_can_be_never_reaches_the_driver(kit, relay, channel, value, said) -> None:
    async with kit.running(relay.device()) as rig:
        with pytest.raises(DeviceError, match=said):
            await rig.acquirer.command("fan", channel, value)
        await opened(kit, rig)
        assert relay.calls == ["open"]


async def test_who_is_no_output_takes_no_command(kit) -> None:
    sensor = kit.device("air", kit.driver_of(read=lambda: [Reading("temperature", 20.0)]))
    async with kit.running(sensor) as rig:
        with pytest.raises(DeviceError, match="device air is no output: made of functions"):
            await rig.acquirer.command("air", "temperature", 20.0)
        with pytest.raises(DeviceError, match=r"no device 'fan': expected one of air"):
            await rig.acquirer.command("fan", "on", value=True)


async def test_a_command_that_was_not_begun_in_time_is_never_done(kit, relay) -> None:
    go = threading.Event()
    relay.before_apply = lambda: go.wait(5)
    async with kit.running(relay.device()) as rig:
        first = asyncio.ensure_future(rig.acquirer.command("fan", "speed", 0.5))
        await asyncio.sleep(0)
        with pytest.raises(DeviceError, match="it will not be done"):
            await rig.acquirer.command("fan", "on", value=True, within_s=0.02)
        go.set()
        assert await first == 0.5
        await rig.acquirer.command("fan", "speed", 0.6)
        assert "on=True" not in relay.calls


async def test_a_command_that_had_begun_says_that_it_may_still_be_done(kit, relay) -> None:
    go = threading.Event()
    relay.before_apply = lambda: go.wait(5)
    async with kit.running(relay.device()) as rig:
        await opened(kit, rig)
        with pytest.raises(DeviceError, match="it began, and may be done later"):
            await rig.acquirer.command("fan", "on", value=True, within_s=0.02)
        go.set()
        await kit.until(lambda: changes(rig)[-1] == ("on", True))


async def test_commands_that_wait_are_bounded(kit, relay) -> None:
    go = threading.Event()
    relay.before_apply = lambda: go.wait(5)
    async with kit.running(relay.device()) as rig:
        await opened(kit, rig)
        asked = [asyncio.ensure_future(rig.acquirer.command("fan", "on", TOGGLE)) for _ in range(WAITING_MAX + 1)]
        await asyncio.sleep(0)
        with pytest.raises(DeviceError, match=f"fan is busy: {WAITING_MAX} commands wait already"):
            await rig.acquirer.command("fan", "on", TOGGLE)
        go.set()
        assert len(await asyncio.gather(*asked)) == WAITING_MAX + 1


async def test_commands_that_nobody_waits_for_any_more_keep_no_other_out(kit, relay) -> None:
    go = threading.Event()
    relay.before_apply = lambda: go.wait(5)
    async with kit.running(relay.device()) as rig:
        await opened(kit, rig)
        asked = [rig.acquirer.command("fan", "on", value=True, within_s=0.02) for _ in range(WAITING_MAX + 1)]
        assert all(isinstance(one, DeviceError) for one in await asyncio.gather(*asked, return_exceptions=True))
        later = asyncio.ensure_future(rig.acquirer.command("fan", "speed", 0.5))
        await asyncio.sleep(0)
        go.set()
        assert await later == 0.5
        assert relay.calls == ["open", "on=True", "speed=0.5"]


async def test_a_failed_output_is_made_safe_closed_and_opened_anew_and_tries_nothing_twice(kit, relay) -> None:
    def fail() -> None:
        relay.before_apply = lambda: None
        raise OSError("no acknowledge")

    async with kit.running(relay.device()) as rig:
        await rig.acquirer.command("fan", "on", value=True, for_s=60)
        relay.before_apply = fail
        lost = [asyncio.ensure_future(rig.acquirer.command("fan", "speed", value)) for value in (0.1, 0.2)]
        for one in lost:
            with pytest.raises(DeviceError, match="device fan failed: no acknowledge"):
                await one
        with pytest.raises(DeviceError, match="unavailable: no acknowledge"):
            await rig.acquirer.command("fan", "on", value=True)
        await kit.until(lambda: rig.availability("fan") == [True, False, True])
        assert relay.calls == ["open", "on=True", "safe", "close", "open"]
        assert changes(rig)[-2:] == [("on", False), ("speed", 0.0)]


async def test_what_was_to_go_back_by_itself_begins_anew_with_the_device(kit, relay) -> None:
    def fail() -> None:
        relay.before_apply = lambda: None
        raise OSError("no acknowledge")

    async with kit.running(relay.device()) as rig:
        await rig.acquirer.command("fan", "on", value=True, for_s=0.02)
        relay.before_apply = fail
        with pytest.raises(DeviceError, match="no acknowledge"):
            await rig.acquirer.command("fan", "speed", 0.1)
        await kit.until(lambda: rig.availability("fan") == [True, False, True])
        await rig.acquirer.command("fan", "on", value=True)
        await rig.acquirer.command("fan", "speed", 0.5, for_s=0.05)
        await kit.until(lambda: relay.calls[-1] == "speed=0.0")
        assert relay.calls.count("on=False") == 0


async def test_a_hung_output_fails_its_commands_and_returns_safe(kit, relay) -> None:
    go = threading.Event()
    relay.before_apply = lambda: go.wait(5)
    async with kit.running(relay.device(timeout_s=0.05)) as rig:
        with pytest.raises(DeviceError, match=r"no answer for 0\.05 s"):
            await rig.acquirer.command("fan", "on", value=True)
        assert rig.availability("fan") == [True, False]
        go.set()
        await kit.until(lambda: rig.availability("fan") == [True, False, True])
        assert relay.calls == ["open", "on=True", "safe", "close", "open"]
        assert relay.levels["on"] is False


async def test_a_bug_in_an_output_harms_no_other(kit, relay) -> None:
    def bug() -> None:
        raise ZeroDivisionError

    other = Relay()
    relay.before_apply = bug
    async with kit.running(relay.device(), other.device("lamp")) as rig:
        with pytest.raises(DeviceError, match="the driver has a bug: ZeroDivisionError"):
            await rig.acquirer.command("fan", "on", value=True)
        assert await rig.acquirer.command("lamp", "on", value=True) is True


async def test_at_the_stop_it_is_made_safe_and_that_is_told(kit, relay) -> None:
    async with kit.running(relay.device()) as rig:
        await rig.acquirer.command("fan", "on", value=True)
    assert relay.calls == ["open", "on=True", "safe", "close"]
    last = rig.of("fan", "output.changed")[-1]
    assert (last.subject, last.value, last.reason) == ("fan/on", False, "stop")


async def test_a_command_at_the_stop_is_refused(kit, relay) -> None:
    go = threading.Event()
    relay.before_apply = lambda: go.wait(5)
    async with kit.running(relay.device()) as rig:
        await opened(kit, rig)
        asked = [asyncio.ensure_future(rig.acquirer.command("fan", "on", value=True)) for _ in range(2)]
        await asyncio.sleep(0)
        ending = asyncio.ensure_future(rig.acquirer.end(["fan"], 2.0))
        await asyncio.sleep(0)
        go.set()
        await ending
        for one in asked:
            with pytest.raises(DeviceError, match="device fan is stopped"):
                await one
        assert relay.calls[-2:] == ["safe", "close"]
        assert relay.levels["on"] is False


async def test_a_reload_does_not_touch_an_output_that_did_not_change(kit, relay) -> None:
    config = relay.device()
    async with kit.running(config) as rig:
        await rig.acquirer.command("fan", "on", value=True)
        await rig.acquirer.end([], 1.0)
        rig.acquirer.begin([config])
        assert await rig.acquirer.command("fan", "on", TOGGLE) is False
        assert relay.calls == ["open", "on=True", "on=False"]


async def test_outputs_on_one_bus_take_turns_and_a_command_that_waited_too_long_for_it_is_not_done(kit, relay) -> None:
    go, other = threading.Event(), Relay()
    relay.before_apply = lambda: go.wait(5)
    async with kit.running(relay.device(bus="i2c-1", timeout_s=0.1), other.device("lamp", bus="i2c-1")) as rig:
        await opened(kit, rig)
        await opened(kit, rig, "lamp")
        hung = asyncio.ensure_future(rig.acquirer.command("fan", "on", value=True))
        await asyncio.sleep(0)
        with pytest.raises(DeviceError, match="it will not be done"):
            await rig.acquirer.command("lamp", "on", value=True, within_s=0.3)
        with pytest.raises(DeviceError, match="no answer"):
            await hung
        assert rig.availability("lamp") == [True]
        go.set()
        await kit.until(lambda: rig.availability("fan") == [True, False, True], "the turn that nobody wanted is over")
        assert await rig.acquirer.command("lamp", "speed", 0.5) == 0.5
        assert other.calls == ["open", "speed=0.5"]


async def test_what_it_is_can_be_asked(kit, relay) -> None:
    async with kit.running(relay.device()) as rig:
        await rig.acquirer.command("fan", "speed", 0.5)
        answer = await rig.acquirer.read_once("fan", 1.0)
        assert {reading.channel: reading.value for reading, _ in answer} == {"on": False, "speed": 0.5}
        assert {event.subject: event.type for _, event in answer} == dict.fromkeys(
            ["fan/on", "fan/speed"], "output.changed"
        )


async def test_a_pulse_is_no_longer_than_it_was_asked_for_by_more_than_a_turn(kit, relay) -> None:
    clock = SystemClock()
    async with kit.running(relay.device(), clock=clock) as rig:
        await rig.acquirer.command("fan", "on", value=True, for_s=0.05)
        await kit.until(lambda: changes(rig)[-1] == ("on", False) and len(changes(rig)) == 4)
        began, ended = rig.of("fan", "output.changed")[-2:]
        assert ended.mono - began.mono >= 50_000_000
