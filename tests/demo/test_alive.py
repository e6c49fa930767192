"""Seven minutes of the demo in virtual time: exactly config/gateway.yaml and its rules, and every one of them fires.

Drivers, simulators, normalizers and the rule engine are real; the clock is played. Pins are looked at and devices read
as often as the gateway would, and what they say is judged at the next commit. (What no rule hears is left out: the
machine's own figures, outputs, and clicks, whose timers are of real time.)
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest

from drivers._mockpins import TICK_S, FollowedSwitch
from gateway.cli.demo_words import FIRED
from gateway.clock import NS_PER_S
from gateway.config import Config, DeviceConfig, load_config
from gateway.detection import Detection
from gateway.driver import PolledDriver, PushDriver, World
from gateway.event import Event, Reading
from gateway.eventlog import LogEnd
from gateway.normalize import Instant, Normalizer
from gateway.plugins import Plugins
from gateway.supervise import spread_ns

SHIPPED = Path(__file__).parents[2] / "config" / "gateway.yaml"
MINUTES = 7
BEGAN_WALL_NS = 1_800_000_018 * NS_PER_S
"""A wall clock at 18 s past the minute."""

BOOTED_S = 100.0
TICK_NS = round(TICK_S * NS_PER_S)


class Said(NamedTuple):
    """What a rule said, `at_s` seconds after the start."""

    at_s: float
    rule: str
    verb: str
    data: dict[str, Any]


class Virtual:
    """The devices of a configuration, a rule engine behind them, and a clock that only `pass_tick` moves."""

    def __init__(self, config: Config, switches: list[FollowedSwitch]) -> None:
        self.now_ns = 0
        self.said: list[Said] = []
        self._switches, self._end, self._waiting = switches, LogEnd("0" * 16, 1), list[Event]()
        self._late = Random(7)
        self._detection = Detection(config.rules, config.devices)
        self._detection.recovered(self._end)
        told = [("gateway.started", "gateway", {"clean": True, "gap_ns": None})]
        told += [(one.type, f"rule/{one.rule}", one.data) for one in self._detection.announcements()]
        self._commit([Event(type_, about, *self._times(), data=data) for type_, about, data in told])
        self._devices: list[PolledDriver | PushDriver] = []
        self._polled = list(self._open(config.devices))

    def _times(self) -> tuple[int, int]:
        return BEGAN_WALL_NS + self.now_ns, round(BOOTED_S * NS_PER_S) + self.now_ns

    def _open(self, devices: Sequence[DeviceConfig]) -> Iterator[list[Any]]:
        """[next due, every, device, normalizer] of what is polled; what pushes is heard from now on."""
        for index, config in enumerate(devices):
            if config.simulate is None or not issubclass(config.driver, PolledDriver | PushDriver):
                continue
            rest = {channel.name: lambda _, value=channel.rest: value for channel in config.declared}
            device = config.driver.simulate(
                config.options, World({**rest, **config.simulate}, lambda: self.now_ns / NS_PER_S)
            )
            normalize = Normalizer(config, simulated=True)
            self._devices.append(device)
            if isinstance(device, PolledDriver):
                device.open()
                every_ns = round((config.every_s or 0) * NS_PER_S)
                yield [spread_ns(index, every_ns), every_ns, device, normalize]
            else:
                device.open(lambda readings, normalize=normalize: self._hear(normalize, readings))

    def _hear(self, normalize: Normalizer, readings: Sequence[Reading]) -> None:
        wanted = [reading for reading in readings if reading.channel != "click"]
        self._waiting += normalize(wanted, Instant(*self._times()))

    def close(self) -> None:
        for device in self._devices:
            device.close()

    def pass_tick(self) -> None:
        self.now_ns += TICK_NS
        for switch in self._switches:
            switch.look()
        for one in self._polled:
            due_ns, every_ns, device, normalize = one
            if self.now_ns < due_ns + self._late.random() * 0.1 * NS_PER_S:  # a busy machine
                continue
            one[0] = due_ns + every_ns
            with contextlib.suppress(OSError):  # unplugged
                self._hear(normalize, device.read())
        deadline = self._detection.deadline_mono()
        urgent = any(event.type in {"state", "input"} for event in self._waiting)
        due = deadline is not None and deadline <= self._times()[1]
        if urgent or due or self.now_ns % NS_PER_S < TICK_NS:
            self._commit(sorted(self._waiting, key=lambda event: event.mono))
            self._waiting.clear()

    def _commit(self, events: Sequence[Event]) -> None:
        batch = self._detection.detect(events, self._end, self._times()[1])
        self._end = self._end._replace(offset=self._end.offset + len(batch))
        for event in batch:
            kind, _, verb = event.type.partition(".")
            if kind == "rule" and verb not in {"started", "failed"}:
                at_s = event.mono / NS_PER_S - BOOTED_S
                self.said.append(Said(at_s, event.subject.removeprefix("rule/"), verb, event.data))
            assert verb != "failed", event.reason


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config(SHIPPED, Plugins(), simulate=True)


@pytest.fixture(scope="module")
def said(config: Config) -> list[Said]:
    switches: list[FollowedSwitch] = []

    def without_thread(switch: FollowedSwitch) -> None:
        switches.append(switch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FollowedSwitch, "start", without_thread)
        virtual = Virtual(config, switches)
        assert len(switches) == 3
        while virtual.now_ns < MINUTES * 60 * NS_PER_S:
            virtual.pass_tick()
        said = list(virtual.said)
        virtual.close()
    return said


def fired(said: Sequence[Said], until_s: float) -> set[str]:
    return {one.rule for one in said if one.verb in FIRED and one.at_s < until_s}


def times(said: Sequence[Said], rule: str, verb: str) -> list[int]:
    return [round(one.at_s) for one in said if (one.rule, one.verb) == (rule, verb)]


def test_every_rule_of_the_shipped_configuration_fires_within_seven_minutes(config: Config, said: list[Said]) -> None:
    ids = {rule.id for rule in config.rules}
    assert len(ids) == 9
    assert fired(said, MINUTES * 60) == ids


def test_those_that_need_no_half_minute_fire_within_twenty_seconds(said: list[Said]) -> None:
    soon = fired(said, 19)
    assert soon == {"front-button-long", "pump-knock", "entry", "forced-door"}
    assert {one.verb for one in said if one.rule == "entry" and one.at_s < 19} == {"matched", "timeout"}


def test_those_that_need_minutes_come_and_go(said: list[Said]) -> None:
    (raised,), (cleared,) = times(said, "cellar-hot", "raised"), times(said, "cellar-hot", "cleared")
    assert 300 <= raised <= 306
    assert raised < cleared < 415
    assert times(said, "freezer-warming", "raised")[0] <= 40
    assert times(said, "freezer-warming", "cleared")
    assert 120 <= times(said, "sensor-dead", "raised")[0] <= 132
    assert 148 <= times(said, "sensor-dead", "cleared")[0] <= 154
    assert {one.data["key"] for one in said if one.rule == "sensor-dead"} == {"greenhouse"}
    assert times(said, "cellar-1m", "window")[:2] == [42, 102]  # a minute of the wall clock ends
    assert times(said, "door-left", "matched")[0] == 32


def test_the_story_repeats_each_minute(said: list[Said]) -> None:
    assert len(times(said, "forced-door", "matched")) == MINUTES
    assert len(times(said, "entry", "matched")) == len(times(said, "entry", "timeout")) == MINUTES
    assert not [one for one in said if one.verb == "unknown"]


@pytest.mark.usefixtures("said")
def test_nothing_of_it_is_left_behind() -> None:
    assert not [thread.name for thread in threading.enumerate() if "GPIO" in thread.name]
