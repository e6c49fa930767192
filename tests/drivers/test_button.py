"""The button: gpiozero and our driver are real, the switch is not."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import gpiozero
import pytest
from gpiozero.pins.mock import MockFactory
from pydantic import ValidationError

from drivers._mockpins import BOARD, BOUNCES, SwitchPin
from drivers.button.driver import Button, ButtonOptions
from gateway.errors import DeviceError
from tests.drivers.worlds import Ear, Stage, elsewhere

DOWN, UP = ("pressed", True), ("pressed", False)
SHORT, LONG = ("click", "short"), ("click", "long")


class Switch:
    """A button whose pin the test moves, level by level, from a thread of its own."""

    def __init__(self, **options: object) -> None:
        self.options = ButtonOptions.model_validate({"pin": 17, **options})
        self.factory = MockFactory(BOARD, SwitchPin)
        self.pin = self.factory.pin(self.options.pin)
        self.pin.wire(active_high=self.options.active_high, pressed=False)
        self.button = Button(self.options, lambda: self.factory)
        self.ear = Ear()

    def touch(self, pressed: bool, now_s: float) -> None:
        elsewhere(lambda: self.pin.touch(pressed=pressed, now_s=now_s))

    def settle(self, now_s: float) -> None:
        elsewhere(lambda: self.pin.settle(now_s))


@pytest.fixture
def switch() -> Iterator[Switch]:
    made = Switch()
    made.button.open(made.ear)
    yield made
    made.button.close()


def test_the_level_is_told_at_open() -> None:
    switch = Switch()
    switch.pin.wire(active_high=False, pressed=True)
    switch.button.open(switch.ear)
    switch.button.close()
    assert switch.ear.said == [DOWN]


def test_a_bouncing_press_is_one_press_one_release_and_one_click(switch: Switch) -> None:
    switch.touch(pressed=True, now_s=1.0)
    switch.settle(now_s=1.019)
    assert switch.ear.said == [UP]
    switch.settle(now_s=1.021)
    switch.touch(pressed=False, now_s=1.2)
    switch.settle(now_s=1.221)
    switch.settle(now_s=9.0)
    assert switch.ear.said == [UP, DOWN, UP, SHORT]


def test_without_a_bounce_time_every_bounce_is_told() -> None:
    switch = Switch(bounce="0s")
    switch.button.open(switch.ear)
    switch.touch(pressed=True, now_s=1.0)
    switch.button.close()
    assert switch.ear.said.count(DOWN) == BOUNCES + 1


def test_what_is_shorter_than_the_bounce_time_is_not_told(switch: Switch) -> None:
    switch.touch(pressed=True, now_s=1.0)
    switch.touch(pressed=False, now_s=1.01)
    switch.settle(now_s=2.0)
    assert switch.ear.said == [UP]


def test_edges_come_from_a_foreign_thread(switch: Switch) -> None:
    switch.touch(pressed=True, now_s=1.0)
    switch.settle(now_s=2.0)
    assert switch.ear.threads == [threading.current_thread().name, "lgpio"]


def test_a_press_that_is_held_is_a_long_click_while_it_is_down_and_no_short_one_after() -> None:
    switch = Switch(hold="10ms")
    switch.button.open(switch.ear)
    switch.touch(pressed=True, now_s=1.0)
    switch.settle(now_s=2.0)
    assert switch.ear.hears(UP, DOWN, LONG)
    switch.touch(pressed=False, now_s=3.0)
    switch.settle(now_s=4.0)
    switch.button.close()
    assert switch.ear.said == [UP, DOWN, LONG, UP]


def test_closing_while_pressed_waits_for_no_hold_time() -> None:
    switch = Switch(hold="1h")
    switch.button.open(switch.ear)
    switch.touch(pressed=True, now_s=1.0)
    switch.settle(now_s=2.0)
    elsewhere(switch.button.close)
    assert switch.ear.said == [UP, DOWN]
    assert not [thread for thread in threading.enumerate() if "hold" in thread.name]


def test_nothing_is_told_after_close(switch: Switch) -> None:
    switch.button.close()
    switch.touch(pressed=True, now_s=1.0)
    switch.settle(now_s=2.0)
    assert switch.ear.said == [UP]


@pytest.mark.parametrize(
    ("options", "pull", "pressed_level"),
    [
        ({}, "up", False),
        ({"pull": "down"}, "down", True),
        ({"pull": "none", "active": "low"}, "floating", False),
        ({"pull": "none", "active": "high"}, "floating", True),
    ],
)
def test_each_wiring_reads_pressed_as_pressed(options: dict[str, str], pull: str, pressed_level: bool) -> None:
    switch = Switch(**options)
    switch.button.open(switch.ear)
    switch.touch(pressed=True, now_s=1.0)
    switch.settle(now_s=2.0)
    assert (switch.pin.pull, switch.pin.state) == (pull, pressed_level)
    switch.button.close()
    assert switch.ear.said == [UP, DOWN]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"pin": 28}, "27"),
        ({"pin": 17, "pull": "none"}, "needs active"),
        ({"pin": 17, "active": "high"}, "with pull: up a press is low"),
        ({"pin": 2, "pull": "down"}, "pull-up resistor on the board"),
        ({"pin": 17, "bounce": 20}, "needs a unit"),
        ({"pin": 17, "hold": "0s"}, "greater than 0"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ButtonOptions.model_validate(options)


def test_a_pin_that_is_taken_is_a_failing_device_and_free_again_after_close() -> None:
    switch = Switch()
    switch.button.open(switch.ear)
    second = Button(switch.options, lambda: switch.factory)
    with pytest.raises(DeviceError, match=r"GPIO 17: .*already in use"):
        second.open(switch.ear)
    second.close()
    switch.button.close()
    third = Button(switch.options, lambda: switch.factory)
    third.open(switch.ear)
    third.close()


def test_it_claims_its_pin() -> None:
    assert Button.claims(ButtonOptions(pin=17)) == ("GPIO 17",)


def test_an_edge_that_was_on_its_way_when_the_button_was_closed_is_not_told(switch: Switch) -> None:
    switch.button.close()
    elsewhere(switch.button._down)
    elsewhere(switch.button._up)
    elsewhere(switch.button._held)
    assert switch.ear.said == [UP]


# The simulated finger


def test_the_simulated_finger_follows_the_world() -> None:
    options = ButtonOptions(pin=17)
    stage = Stage(Button, options, tick_s=0.01)
    ear = Ear()
    button = Button.simulate(options, stage.world)
    button.open(ear)
    try:
        stage.values["pressed"] = True
        assert ear.hears(UP, DOWN)
        stage.values["pressed"] = False
        assert ear.hears(UP, DOWN, UP, SHORT)
    finally:
        button.close()
    assert set(ear.threads[1:]) == {"simulated finger on GPIO 17"}


def test_an_unplugged_button_cannot_be_opened_and_reads_as_released_once_it_is() -> None:
    options = ButtonOptions(pin=17)
    stage = Stage(Button, options, tick_s=0.01, pressed=OSError("unplugged"))
    ear = Ear()
    with pytest.raises(OSError, match="unplugged"):
        Button.simulate(options, stage.world).open(ear)
    stage.values["pressed"] = True
    button = Button.simulate(options, stage.world)
    button.open(ear)
    stage.values["pressed"] = OSError("unplugged")
    assert ear.hears(DOWN, UP)
    button.close()


def test_two_simulated_buttons_may_share_a_pin_number() -> None:
    options = ButtonOptions(pin=17)
    stage = Stage(Button, options)
    buttons = [Button.simulate(options, stage.world) for _ in range(2)]
    for button in buttons:
        button.open(Ear())
    for button in buttons:
        button.close()
    assert gpiozero.Device.pin_factory is None
