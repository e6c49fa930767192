"""Motion: gpiozero and our driver are real, the sensor is not."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import pytest
from gpiozero.pins.mock import MockFactory
from pydantic import ValidationError

from drivers._mockpins import BOARD, SwitchPin
from drivers.motion.driver import Motion, MotionOptions, machine_up_s
from gateway.errors import DeviceError
from gateway.event import Reading
from tests.drivers.worlds import Ear, Stage, elsewhere

MOVES, STILL = ("motion", True), ("motion", False)
LONG_UP_S = 1e6


class Sensor:
    """A motion sensor whose output the test moves, from a thread of its own."""

    def __init__(self, *, moves: bool = False, up_s: float = LONG_UP_S, **options: object) -> None:
        self.options = MotionOptions.model_validate({"pin": 22, **options})
        self.factory = MockFactory(BOARD, SwitchPin)
        self.pin = self.factory.pin(22)
        self.pin.wire(active_high=self.options.active == "high", pressed=moves, drives_both=True)
        self.motion = Motion(self.options, lambda: self.factory, lambda: up_s)
        self.ear = Ear()
        self.readings: list[Reading] = []

    def open(self) -> None:
        self.motion.open(self._heard)

    def _heard(self, readings: Sequence[Reading]) -> None:
        self.readings.extend(readings)
        self.ear(readings)

    def moves(self, moves: bool, now_s: float) -> None:
        elsewhere(lambda: self.pin.touch(pressed=moves, now_s=now_s))
        elsewhere(lambda: self.pin.settle(now_s + 0.06))


@pytest.fixture
def sensor() -> Iterator[Sensor]:
    made = Sensor()
    made.open()
    yield made
    made.motion.close()


def opened(**options: object) -> Sensor:
    made = Sensor(**options)  # type: ignore[arg-type]  # options are options, the rest goes by name
    made.open()
    return made


@pytest.mark.parametrize("moves", [False, True])
def test_the_level_is_told_at_open(moves: bool) -> None:
    sensor = opened(moves=moves)
    sensor.motion.close()
    assert sensor.ear.said == [("motion", moves)]


@pytest.mark.parametrize("pull", ["down", "up", "none"])
@pytest.mark.parametrize("active", ["high", "low"])
def test_each_wiring_tells_motion_as_motion(pull: str, active: str) -> None:
    sensor = opened(pull=pull, active=active)
    sensor.moves(True, now_s=1.0)
    assert sensor.pin.state is (active == "high")
    sensor.moves(False, now_s=2.0)
    sensor.motion.close()
    assert sensor.ear.said == [STILL, MOVES, STILL]


def test_changes_come_from_a_foreign_thread(sensor: Sensor) -> None:
    sensor.moves(True, now_s=1.0)
    assert sensor.ear.threads == [threading.current_thread().name, "lgpio"]


def test_a_spike_that_is_shorter_than_the_bounce_time_is_not_told(sensor: Sensor) -> None:
    elsewhere(lambda: sensor.pin.touch(pressed=True, now_s=1.0))
    elsewhere(lambda: sensor.pin.settle(1.049))
    elsewhere(lambda: sensor.pin.touch(pressed=False, now_s=1.049))
    elsewhere(lambda: sensor.pin.settle(2.0))
    assert sensor.ear.said == [STILL]


def test_with_hold_the_end_is_told_late_and_the_beginning_at_once() -> None:
    sensor = opened(hold="20ms")
    sensor.moves(True, now_s=1.0)
    assert sensor.ear.said == [STILL, MOVES]
    sensor.moves(False, now_s=2.0)
    assert sensor.ear.hears(STILL, MOVES, STILL)
    assert sensor.ear.threads[-1] == "motion on GPIO 22: hold"
    sensor.motion.close()


def test_a_movement_during_the_hold_time_makes_one_motion_of_two() -> None:
    sensor = opened(hold="1h")
    sensor.moves(True, now_s=1.0)
    sensor.moves(False, now_s=2.0)
    first = sensor.motion._hold
    sensor.moves(True, now_s=3.0)
    assert sensor.motion._hold is None
    sensor.moves(False, now_s=4.0)
    assert sensor.motion._hold not in {None, first}  # begun anew
    elsewhere(sensor.motion._held)  # an end that was on its way when the hold time began anew
    assert sensor.ear.said == [STILL, MOVES]
    sensor.motion.close()
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("motion on GPIO")]


def test_during_the_warm_up_levels_are_uncertain_and_then_the_level_is_told_as_good() -> None:
    sensor = opened(moves=True, warm_up="30s", up_s=29.9)
    assert sensor.readings == [Reading("motion", value=True, quality="uncertain", reason="initial")]
    assert sensor.ear.hears(MOVES, MOVES)
    assert sensor.readings[1:] == [Reading("motion", value=True)]
    sensor.moves(False, now_s=1.0)
    sensor.motion.close()
    assert sensor.readings[2:] == [Reading("motion", value=False)]


def test_changes_during_the_warm_up_are_told_and_closing_waits_for_nothing() -> None:
    sensor = opened(warm_up="10m", up_s=0.0)
    sensor.moves(True, now_s=1.0)
    elsewhere(sensor.motion.close)
    assert [(reading.value, reading.reason) for reading in sensor.readings] == [(False, "initial"), (True, "initial")]


@pytest.mark.parametrize("options", [{"up_s": 30.1}, {"up_s": 0.0, "warm_up": "0s"}])
def test_a_sensor_that_has_had_power_for_long_is_believed_at_once(options: dict[str, object]) -> None:
    sensor = opened(**options)
    assert sensor.motion._warm_up is None
    sensor.motion.close()
    assert sensor.readings == [Reading("motion", value=False)]


def test_the_machine_knows_how_long_it_is_up() -> None:
    assert machine_up_s() >= 0.0


def test_nothing_is_told_after_close(sensor: Sensor) -> None:
    sensor.motion.close()
    sensor.moves(True, now_s=1.0)
    for late in (sensor.motion._moved, sensor.motion._quiet, sensor.motion._held, sensor.motion._is_warm):
        elsewhere(late)
    assert sensor.ear.said == [STILL]


def test_a_pin_that_is_taken_is_a_failing_device_and_free_again_after_close(sensor: Sensor) -> None:
    second = Motion(sensor.options, lambda: sensor.factory, lambda: 0.0)
    with pytest.raises(DeviceError, match=r"GPIO 22: .*already in use"):
        second.open(Ear())
    second.close()
    sensor.motion.close()
    third = Motion(sensor.options, lambda: sensor.factory, lambda: 0.0)
    third.open(Ear())
    third.close()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"pin": 28}, "27"),
        ({"pin": 2}, "pull-up resistor on the board"),
        ({"pin": 22, "active": True}, "'high' or 'low'"),
        ({"pin": 22, "hold": 3}, "needs a unit"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        MotionOptions.model_validate(options)


def test_it_claims_its_pin() -> None:
    assert Motion.claims(MotionOptions(pin=22)) == ("GPIO 22",)


# The simulated sensor


@pytest.mark.parametrize("active", ["high", "low"])
def test_the_simulated_sensor_follows_the_world(active: str) -> None:
    options = MotionOptions.model_validate({"pin": 22, "active": active, "warm_up": "0s"})
    stage = Stage(Motion, options, tick_s=0.01)
    ear = Ear()
    motion = Motion.simulate(options, stage.world)
    motion.open(ear)
    try:
        stage.values["motion"] = True
        assert ear.hears(STILL, MOVES)
        stage.values["motion"] = False
        assert ear.hears(STILL, MOVES, STILL)
    finally:
        motion.close()
    assert set(ear.threads[1:]) == {"simulated motion sensor on GPIO 22"}


def test_an_unplugged_sensor_cannot_be_opened_and_reads_as_still_once_it_is() -> None:
    options = MotionOptions.model_validate({"pin": 22, "warm_up": "0s"})
    stage = Stage(Motion, options, tick_s=0.01, motion=OSError("unplugged"))
    ear = Ear()
    with pytest.raises(OSError, match="unplugged"):
        Motion.simulate(options, stage.world).open(ear)
    stage.values["motion"] = True
    motion = Motion.simulate(options, stage.world)
    motion.open(ear)
    stage.values["motion"] = OSError("unplugged")
    assert ear.hears(MOVES, STILL)
    motion.close()
