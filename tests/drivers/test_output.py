"""The drivers of output pins: gpiozero and our drivers are real, the pins are not."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from gpiozero.pins.mock import MockFactory
from pydantic import ValidationError

from drivers._mockpins import BOARD, DrivenPin
from drivers._outpins import OnePin
from drivers.buzzer.driver import Buzzer, BuzzerOptions
from drivers.output.driver import Output, OutputOptions
from drivers.pwm.driver import Pwm, PwmOptions
from gateway.driver import Command
from gateway.errors import DeviceError
from gateway.event import Reading
from tests.drivers.worlds import Stage

PIN = 23


class Wired:
    """One output on a board whose pin the test can look at."""

    def __init__(self, driver: type[OnePin], model: type, pin_class: type = DrivenPin, **options: object) -> None:
        self.factory = MockFactory(BOARD, pin_class)
        self.pin = self.factory.pin(PIN)
        self.options = model.model_validate({"pin": PIN, **options})
        self.device: OnePin = driver(self.options, lambda: self.factory)
        self.channel = driver.channels(self.options)[0].name

    def apply(self, value: Any) -> Any:
        (reading,) = self.device.apply(Command(self.channel, value))
        assert reading.channel == self.channel
        return reading.value


class Witness(DrivenPin):
    """A pin that remembers its levels while it is an output."""

    def __init__(self, factory: Any, info: Any) -> None:
        self.levels: list[float] = []
        super().__init__(factory, info)

    def _set_state(self, value: float) -> None:
        super()._set_state(value)
        self.levels.append(float(value))


def output(**options: object) -> Wired:
    return Wired(Output, OutputOptions, **options)


def pwm(**options: object) -> Wired:
    return Wired(Pwm, PwmOptions, **options)


def buzzer(**options: object) -> Wired:
    return Wired(Buzzer, BuzzerOptions, **options)


@pytest.mark.parametrize(("active", "on"), [("high", 1), ("low", 0)])
def test_on_is_the_active_level_and_off_the_other(active: str, on: int) -> None:
    wired = output(active=active)
    assert wired.device.open() == (Reading("on", value=False),)
    assert (wired.pin.function, wired.pin.state) == ("output", 1 - on)
    assert wired.apply(True) is True
    assert wired.pin.state == on
    assert wired.apply(False) is False
    assert wired.pin.state == 1 - on
    wired.device.close()
    assert wired.pin.function == "input"


def test_it_begins_and_rests_where_the_options_say() -> None:
    wired = output(initial="on", safe="off")
    assert wired.device.open() == (Reading("on", value=True),)
    assert wired.device.safe() == (Reading("on", value=False),)
    assert wired.pin.state == 0
    wired.device.close()


@pytest.mark.parametrize("active", ["high", "low"])
def test_made_safe_without_being_open_it_does_not_pass_where_it_begins(active: str) -> None:
    wired = Wired(Output, OutputOptions, Witness, initial="on", safe="off", active=active)
    assert wired.device.safe() == (Reading("on", value=False),)
    off = 0.0 if active == "high" else 1.0
    assert wired.pin.levels == [off]
    wired.device.close()


def test_what_the_pin_is_wins_over_what_was_asked_for() -> None:
    class Shorted(DrivenPin):
        def _set_state(self, value: float) -> None:
            super()._set_state(0.0)

    wired = Wired(Output, OutputOptions, Shorted)
    wired.device.open()
    assert wired.apply(True) is False
    wired.device.close()


@pytest.mark.parametrize("make", [output, pwm, buzzer])
def test_a_pin_that_is_taken_is_a_failing_device_and_free_again_after_close(make: Any) -> None:
    wired = make()
    wired.device.open()
    second = type(wired.device)(wired.options, lambda: wired.factory)
    with pytest.raises(DeviceError, match=r"GPIO 23: .*already in use"):
        second.open()
    second.close()
    wired.device.close()
    third = type(wired.device)(wired.options, lambda: wired.factory)
    third.open()
    third.close()


@pytest.mark.parametrize("make", [output, pwm, buzzer])
def test_they_claim_their_pin(make: Any) -> None:
    wired = make()
    assert type(wired.device).claims(wired.options) == ("GPIO 23",)


@pytest.mark.parametrize("active", ["high", "low"])
@pytest.mark.parametrize("percent", range(101))
def test_every_whole_percent_reaches_lgpio_as_it_is(active: str, percent: int) -> None:
    """lgpio gets `int(state * 100)` from gpiozero (pins/lgpio.py): 0.29 must not become 28."""
    wired = pwm(active=active)
    wired.device.open()
    assert wired.apply(percent / 100) == percent / 100
    high = percent if active == "high" else 100 - percent
    assert int(wired.pin.state * 100) == high
    wired.device.close()


def test_a_duty_between_two_percents_is_told_as_what_it_became() -> None:
    wired = pwm()
    wired.device.open()
    assert wired.apply(0.123) == 0.12
    wired.device.close()


def test_pulses_have_the_frequency_and_end_with_the_device() -> None:
    wired = pwm(frequency=200, initial=0.3, safe=0.1)
    assert wired.device.open() == (Reading("duty", 0.3),)
    assert wired.pin.frequency == 200
    assert wired.device.safe() == (Reading("duty", 0.1),)
    wired.device.close()
    assert (wired.pin.frequency, wired.pin.function) == (None, "input")


@pytest.mark.parametrize(("tone", "loud"), [(None, 1.0), (880.0, 0.5)])
def test_a_buzzer_sounds_at_its_tone_and_is_silent_when_safe(tone: float | None, loud: float) -> None:
    wired = buzzer(**({} if tone is None else {"tone": tone}))
    assert wired.device.open() == (Reading("on", value=False),)
    assert wired.apply(True) is True
    assert (wired.pin.state, wired.pin.frequency) == (loud, tone)
    assert wired.device.safe() == (Reading("on", value=False),)
    assert wired.pin.state == 0
    wired.device.close()


class Beeps(DrivenPin):
    """A pin that lets a test wait for its changes."""

    def __init__(self, factory: Any, info: Any) -> None:
        self.changed = threading.Condition()
        self.levels: list[float] = []
        super().__init__(factory, info)

    def _change_state(self, value: float) -> bool:
        with self.changed:
            self.levels.append(float(value))
            self.changed.notify_all()
        return super()._change_state(value)

    def wait(self, count: int) -> bool:
        with self.changed:
            return self.changed.wait_for(lambda: len(self.levels) >= count, 5.0)


@pytest.mark.parametrize(("options", "loud"), [({}, 1.0), ({"tone": 440.0}, 0.5)])
def test_a_buzzer_beeps_until_it_is_told_otherwise(options: dict[str, object], loud: float) -> None:
    wired = Wired(Buzzer, BuzzerOptions, Beeps, beep="10ms", pause="20ms", **options)
    wired.device.open()
    wired.pin.levels.clear()
    assert wired.apply(True) is True
    assert wired.pin.wait(5)
    assert wired.pin.levels[:5] == [loud, 0.0, loud, 0.0, loud]
    assert wired.apply(False) is False
    assert wired.pin.state == 0.0
    assert not [thread for thread in threading.enumerate() if thread.name == "buzzer"]
    wired.device.close()


@pytest.mark.parametrize("end", ["safe", "close"])
def test_a_beeping_buzzer_is_silent_as_soon_as_it_ends(end: str) -> None:
    wired = buzzer(beep="60s")
    wired.device.open()
    wired.apply(True)
    getattr(wired.device, end)()
    assert not [thread for thread in threading.enumerate() if thread.name == "buzzer"]
    wired.device.close()


@pytest.mark.parametrize(
    ("model", "options", "said"),
    [
        (OutputOptions, {"pin": 28}, "27"),
        (OutputOptions, {"pin": 1, "initial": "high"}, "'on' or 'off'"),
        (PwmOptions, {"pin": 1, "safe": 1.1}, "less than or equal to 1"),
        (PwmOptions, {"pin": 1, "frequency": 25_000}, "10000"),
        (BuzzerOptions, {"pin": 1, "pause": "0s"}, "0.01"),
        (BuzzerOptions, {"pin": 1, "beep": "2m"}, "60"),
    ],
)
def test_options_that_cannot_work_are_refused(model: Any, options: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        model.model_validate(options)


@pytest.mark.parametrize(("driver", "model"), [(Output, OutputOptions), (Pwm, PwmOptions), (Buzzer, BuzzerOptions)])
def test_a_simulated_output_that_is_unplugged_takes_nothing(driver: Any, model: Any) -> None:
    options = model(pin=PIN)
    channel = driver.channels(options)[0].name
    stage = Stage(driver, options)
    device = driver.simulate(options, stage.world)
    device.open()
    stage.values[channel] = OSError("unplugged")
    with pytest.raises(OSError, match="unplugged"):
        device.apply(Command(channel, 1.0))
    device.close()
    with pytest.raises(OSError, match="unplugged"):
        driver.simulate(options, stage.world).open()
