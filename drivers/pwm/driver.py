"""A pin that is on for a part of the time, many times a second: brightness, fan speed, motor power.

Source: gpiozero 2.0, `PWMOutputDevice`; lgpio 0.2.2, `tx_pwm`, whose duty gpiozero gives in whole percent.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import Field

from drivers._gpio import PinFactory, pi_pin_factory
from drivers._outpins import Level, OnePin
from gateway.driver import Channel, World
from gateway.event import Value
from gateway.options import Options, Pin

STEPS: Final = 100
"""Duties are whole percents: gpiozero cuts the rest off."""

HAIR: Final = 1e-6
"""What is cut off must not take a whole percent along: 0.29 * 100 is a little less than 29."""

Duty = Annotated[float, Field(ge=0, le=1)]


class PwmOptions(Options):
    pin: Pin
    frequency: Annotated[float, Field(ge=1, le=10_000)] = Field(
        100.0, description="pulses a second in Hz, 1 to 10 000; above 1 000 the pulses become uneven"
    )
    active: Level = Field("high", description="the pin's level during a pulse")
    initial: Duty = Field(0.0, description="the duty, 0 to 1, when the gateway has opened it")
    safe: Duty = Field(0.0, description="the duty before the pin is given back: stop, failure, crash")


class Pwm(OnePin):
    name = "pwm"
    summary = "a dimmed lamp, fan or motor on a GPIO pin: 0 to 100 %, by pulses"
    Options = PwmOptions

    def __init__(self, options: PwmOptions, pin_factory: PinFactory) -> None:
        super().__init__(options.pin, "duty", pin_factory, begins=options.initial, rests=options.safe)
        self._frequency, self._active_high = options.frequency, options.active == "high"

    @classmethod
    def channels(cls, options: PwmOptions) -> tuple[Channel, ...]:
        return (Channel("duty", "ratio", "the part of the time that it is on", kind="output", rest=options.initial),)

    @classmethod
    def claims(cls, options: PwmOptions) -> tuple[str, ...]:
        return (f"GPIO {options.pin}",)

    @classmethod
    def create(cls, options: PwmOptions) -> Pwm:
        return cls(options, pi_pin_factory)

    @classmethod
    def simulate(cls, options: PwmOptions, world: World) -> Pwm:
        from drivers.pwm.simulator import SimulatedPwm  # noqa: PLC0415 - only where something is simulated

        return SimulatedPwm(options, world)

    def claim(self, value: Value, pin_factory: Any) -> Any:
        from gpiozero import PWMOutputDevice  # noqa: PLC0415 - only where a pin is used

        return PWMOutputDevice(
            self._number, initial_value=self._pulse(value), frequency=self._frequency, pin_factory=pin_factory
        )

    def put(self, pin: Any, value: Value) -> None:
        pin.value = self._pulse(value)

    def found(self, pin: Any, value: Value) -> Value:
        del pin
        return _whole(value) / STEPS

    def _pulse(self, value: Value) -> float:
        """The part of the time that the pin is high."""
        percent = _whole(value) if self._active_high else STEPS - _whole(value)
        return min(1.0, percent / STEPS + HAIR) if percent else 0.0


def _whole(value: Value) -> int:
    return round(float(value or 0.0) * STEPS)
