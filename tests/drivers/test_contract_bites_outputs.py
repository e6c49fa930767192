"""The driver contract suite notices outputs that break their promises: one defect each, and the test that must fail."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.driver import Channel, Command, Driver, OutputDriver, World
from gateway.errors import DeviceError
from gateway.event import Reading, Value
from tests.drivers import contract
from tests.drivers.test_contract_bites import GoodOptions, suite_of

CHANNELS = (
    Channel("on", "contact", "whether it turns", kind="output", rest=False),
    Channel("speed", "ratio", "how fast", kind="output", rest=0.5),
)
README = "options: `port`; channels: `on` `speed`"
SAMPLE = "devices: [{id: x, driver: good, port: 1}]"


class Good(OutputDriver):
    """A fan that keeps the contract."""

    name = "good"
    summary = "a good fan"
    Options = GoodOptions

    def __init__(self, world: World | None = None) -> None:
        self.world, self.levels = world, {}

    @classmethod
    def channels(cls, options: Any) -> tuple[Channel, ...]:
        return CHANNELS

    @classmethod
    def create(cls, options: Any) -> Driver:
        return cls()

    @classmethod
    def simulate(cls, options: Any, world: World) -> Driver:
        return cls(world)

    def go(self, **levels: Value) -> Sequence[Reading]:
        for name in levels:
            self.world.signals[name](self.world.now_s())  # raises while it is unplugged
        self.levels |= levels
        return [Reading(name, self.levels[name]) for name in levels]

    def open(self) -> Sequence[Reading]:
        return self.go(on=False, speed=0.5)

    def apply(self, command: Command) -> Sequence[Reading]:
        return self.go(**{command.channel: command.value})

    def safe(self) -> Sequence[Reading]:
        return self.go(on=False, speed=0.0)


class Measures(Good):
    @classmethod
    def channels(cls, options: Any) -> tuple[Channel, ...]:
        return (*CHANNELS, Channel("current", "current", "what it takes", rest=0.1))


class SilentAtOpen(Good):
    def open(self) -> Sequence[Reading]:
        return super().open()[:1]


class BeginsElsewhere(Good):
    def open(self) -> Sequence[Reading]:
        return self.go(on=True, speed=0.5)


class DoesNothing(Good):
    def apply(self, command: Command) -> Sequence[Reading]:
        return self.go(**{command.channel: self.levels[command.channel]})


class SaysNothing(Good):
    def apply(self, command: Command) -> Sequence[Reading]:
        super().apply(command)
        return ()


class SaysPercent(Good):
    def apply(self, command: Command) -> Sequence[Reading]:
        told = super().apply(command)
        return [Reading(one.channel, one.value, "lx" if one.channel == "speed" else None) for one in told]


class SwallowsFailure(Good):
    def apply(self, command: Command) -> Sequence[Reading]:
        try:
            return super().apply(command)
        except OSError:
            return [Reading(command.channel, command.value)]


class SafeStays(Good):
    """Safe is where it was."""

    def safe(self) -> Sequence[Reading]:
        return self.go(on=False, speed=self.levels.get("speed", 0.0))


class SafeForgetsOne(Good):
    def safe(self) -> Sequence[Reading]:
        return self.go(on=False)


class SafeOnlyWhenOpen(Good):
    def safe(self) -> Sequence[Reading]:
        if not self.levels:
            raise DeviceError("not open")
        return super().safe()


class SafeOnce(Good):
    def safe(self) -> Sequence[Reading]:
        if self.levels.get("speed") == 0.0:
            return self.go(on=True, speed=0.0)
        return super().safe()


class SafeSwallowsFailure(Good):
    def safe(self) -> Sequence[Reading]:
        try:
            return super().safe()
        except OSError:
            return [Reading("on", value=False), Reading("speed", 0.0)]


class LeavesAThread(Good):
    ends: threading.Event = threading.Event()

    def apply(self, command: Command) -> Sequence[Reading]:
        if command.value == 1.0:
            threading.Thread(target=self.ends.wait, args=(30,), name="good fan", daemon=True).start()
        return super().apply(command)


def suite(broken: type[Driver], folder: Path) -> Any:
    return suite_of(broken, folder, readme=README, sample=SAMPLE)


def test_a_good_output_passes(tmp_path: Path) -> None:
    ran = contract.run(suite(Good, tmp_path / "folder"), tmp_path / "runs")
    assert {name: error for name, error in ran.items() if error} == {}


SAFE = "test_an_output_is_safe_in_one_place_whatever_it_was_told_before"
TELLS = "test_an_output_tells_what_it_became_by_each_command"
TWICE = "test_an_output_may_be_made_safe_twice_and_unopened_and_leaves_nothing_behind"

DEFECTS = [
    (Measures, "test_it_has_one_of_the_shapes", "current: only an OutputDriver has outputs, and all"),
    (SilentAtOpen, "test_it_reports_what_the_simulated_world_is_like", "nothing said of ['speed']"),
    (BeginsElsewhere, "test_it_reports_what_the_simulated_world_is_like", "True"),
    (DoesNothing, TELLS, "the channel is False"),
    (SaysNothing, TELLS, "nothing said of its channel"),
    (SaysPercent, TELLS, "lx"),
    (SwallowsFailure, "test_a_device_that_is_pulled_while_it_works_is_noticed_and_comes_back", "DID NOT RAISE"),
    (SafeStays, SAFE, "is not where it is without `open`"),
    (SafeForgetsOne, SAFE, "safe() said nothing of ['speed']"),
    (SafeOnlyWhenOpen, SAFE, "not open"),
    (SafeOnce, SAFE, "safe() twice is first"),
    (SafeSwallowsFailure, "test_an_output_that_is_unplugged_says_so_when_it_is_made_safe", "DID NOT RAISE"),
    (LeavesAThread, TWICE, "good fan"),
]


@pytest.mark.parametrize(
    ("broken", "test", "said"), DEFECTS, ids=[f"{row[0].__name__}-{row[1][5:]}" for row in DEFECTS]
)
def test_a_defect_is_found(
    broken: type[Driver], test: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.testing.rig.THREAD_ENDS_WITHIN_S", 0.2)
    error = contract.run_one(suite(broken, tmp_path / "folder"), test, tmp_path / "run")
    LeavesAThread.ends.set()
    LeavesAThread.ends = threading.Event()
    assert error is not None
    assert said in f"{type(error).__name__}: {error}"
