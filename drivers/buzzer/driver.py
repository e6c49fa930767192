"""A buzzer: one that sounds by itself while it has power (active), or a bare piezo disc that needs a tone (passive).

gpiozero's own `Buzzer` knows the first kind only, and its `TonalBuzzer` notes of two octaves; beneath both lie the
`DigitalOutputDevice` and `PWMOutputDevice` that are used here. The rhythm is our own: `PWMOutputDevice.blink` goes to
full duty, which is silence for a piezo disc. Source: gpiozero 2.0.
"""

from __future__ import annotations

import threading
from typing import Annotated, Any

from pydantic import Field

from drivers._gpio import PinFactory, pi_pin_factory
from drivers._outpins import Level, OnePin
from gateway.driver import Channel, World
from gateway.event import Value
from gateway.options import Duration, Options, Pin


class BuzzerOptions(Options):
    pin: Pin
    active: Level = Field("high", description="the pin's level while it sounds")
    tone: Annotated[float, Field(ge=20, le=10_000)] | None = Field(
        None, description="frequency in Hz for a passive buzzer, 20 to 10 000; without it the buzzer makes its own"
    )
    beep_s: Annotated[Duration, Field(ge=0, le=60)] = Field(
        0.0, alias="beep", description="while on it sounds for this long, then pauses, again and again; 0s: steadily"
    )
    pause_s: Annotated[Duration, Field(ge=0.01, le=60)] = Field(
        0.5, alias="pause", description="the pause between two beeps"
    )


class Buzzer(OnePin):
    name = "buzzer"
    summary = "a buzzer on a GPIO pin: steady or in beeps, with a tone of its own or one that you choose"
    Options = BuzzerOptions

    def __init__(self, options: BuzzerOptions, pin_factory: PinFactory) -> None:
        super().__init__(options.pin, "on", pin_factory, begins=False, rests=False)
        self._options = options
        self._loud = 1.0 if options.tone is None else 0.5  # half the time is loudest
        self._rhythm: _Rhythm | None = None

    @classmethod
    def channels(cls, options: Any) -> tuple[Channel, ...]:
        del options
        return (Channel("on", "contact", "whether it sounds, or beeps", kind="output", rest=False),)

    @classmethod
    def claims(cls, options: BuzzerOptions) -> tuple[str, ...]:
        return (f"GPIO {options.pin}",)

    @classmethod
    def create(cls, options: BuzzerOptions) -> Buzzer:
        return cls(options, pi_pin_factory)

    @classmethod
    def simulate(cls, options: BuzzerOptions, world: World) -> Buzzer:
        from drivers.buzzer.simulator import SimulatedBuzzer  # noqa: PLC0415 - only where something is simulated

        return SimulatedBuzzer(options, world)

    def claim(self, value: Value, pin_factory: Any) -> Any:
        from gpiozero import DigitalOutputDevice, PWMOutputDevice  # noqa: PLC0415 - only where a pin is used

        options, high = self._options, self._options.active == "high"
        if options.tone is None:
            pin = DigitalOutputDevice(options.pin, active_high=high, pin_factory=pin_factory)
        else:
            pin = PWMOutputDevice(options.pin, active_high=high, frequency=options.tone, pin_factory=pin_factory)
        self.put(pin, value)
        return pin

    def put(self, pin: Any, value: Value) -> None:
        self._stop_rhythm()
        options = self._options
        if value and options.beep_s:
            self._rhythm = _Rhythm(pin, self._loud, options.beep_s, options.pause_s)
        else:
            pin.value = self._loud if value else 0.0

    def close(self) -> None:
        self._stop_rhythm()
        super().close()

    def _stop_rhythm(self) -> None:
        rhythm, self._rhythm = self._rhythm, None
        if rhythm is not None:
            rhythm.stop()


class _Rhythm:
    """Beeps on a thread of its own, from now until `stop`."""

    def __init__(self, pin: Any, loud: float, beep_s: float, pause_s: float) -> None:
        self._pin, self._loud, self._beep_s, self._pause_s = pin, loud, beep_s, pause_s
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._beep, name="buzzer", daemon=True)
        pin.value = loud  # here, so that a pin which takes nothing is noticed
        self._thread.start()

    def stop(self) -> None:
        """Return when the pin is touched no more."""
        self._stopped.set()
        self._thread.join()

    def _beep(self) -> None:
        while not self._stopped.wait(self._beep_s):
            self._pin.value = 0.0
            if self._stopped.wait(self._pause_s):
                return
            self._pin.value = self._loud
