"""A relay, LED, valve or anything else that a GPIO pin switches on and off.

Source: gpiozero 2.0, `DigitalOutputDevice`.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from drivers._gpio import PinFactory, pi_pin_factory
from drivers._outpins import Level, OnePin
from gateway.driver import Channel, World
from gateway.event import Value
from gateway.options import OnOff, Options, Pin


class OutputOptions(Options):
    pin: Pin
    active: Level = Field("high", description="the pin's level while on: high, or low for most relay boards")
    initial: OnOff = Field("off", description="what it is when the gateway has opened it")
    safe: OnOff = Field("off", description="what it is made before it is given back: stop, failure, crash")


class Output(OnePin):
    name = "output"
    summary = "a relay, LED or valve on a GPIO pin: on or off"
    Options = OutputOptions

    def __init__(self, options: OutputOptions, pin_factory: PinFactory) -> None:
        super().__init__(options.pin, "on", pin_factory, begins=options.initial == "on", rests=options.safe == "on")
        self._active_high = options.active == "high"

    @classmethod
    def channels(cls, options: OutputOptions) -> tuple[Channel, ...]:
        return (Channel("on", "contact", "whether it is on", kind="output", rest=options.initial == "on"),)

    @classmethod
    def claims(cls, options: OutputOptions) -> tuple[str, ...]:
        return (f"GPIO {options.pin}",)

    @classmethod
    def create(cls, options: OutputOptions) -> Output:
        return cls(options, pi_pin_factory)

    @classmethod
    def simulate(cls, options: OutputOptions, world: World) -> Output:
        from drivers.output.simulator import SimulatedOutput  # noqa: PLC0415 - only where something is simulated

        return SimulatedOutput(options, world)

    def claim(self, value: Value, pin_factory: Any) -> Any:
        from gpiozero import DigitalOutputDevice  # noqa: PLC0415 - only where a pin is used

        return DigitalOutputDevice(
            self._number, active_high=self._active_high, initial_value=bool(value), pin_factory=pin_factory
        )

    def put(self, pin: Any, value: Value) -> None:
        pin.value = bool(value)

    def found(self, pin: Any, value: Value) -> Value:
        """Read back from the pin: a short circuit wins over what was asked for."""
        del value
        return bool(pin.value)
