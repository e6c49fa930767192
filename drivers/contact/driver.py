"""A contact between a GPIO pin and ground or 3.3 V that tells whether something is open: door, window, lid, float.

Pulled up or down, gpiozero's pin is active while the circuit is closed, whichever way it is wired. Sources: gpiozero
2.0 (`DigitalInputDevice`), lgpio's `gpio_set_debounce_micros`.
"""

from __future__ import annotations

import threading
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from drivers._gpio import PinFactory, check_pull, open_input, pi_pin_factory, pin_errors
from gateway.driver import Channel, Emit, PushDriver, World
from gateway.errors import DeviceError
from gateway.event import Reading
from gateway.options import Duration, Options, Pin


class ContactOptions(Options):
    pin: Pin
    pull: Literal["up", "down"] = Field(
        "up", description="the Pi's own resistor: up with the contact to ground, down with it to 3.3 V"
    )
    closed_when: Literal["shut", "open"] = Field(
        "shut", description="how the door is while the contact closes its circuit"
    )
    bounce_s: Annotated[Duration, Field(le=1)] = Field(
        0.05, alias="bounce", description="a level counts once it was stable for this long; hides rattling"
    )

    @model_validator(mode="after")
    def _pull_fits_the_pin(self) -> ContactOptions:
        check_pull(self.pin, self.pull)
        return self


class Contact(PushDriver):
    name = "contact"
    summary = "a door, window or float contact on a GPIO pin"
    Options = ContactOptions

    def __init__(self, options: ContactOptions, pin_factory: PinFactory) -> None:
        self._options, self._pin_factory = options, pin_factory
        self._lock = threading.Lock()  # the pin and `close` speak from two threads
        self._emit: Emit | None = None
        self._pin: Any = None

    @classmethod
    def channels(cls, options: Any) -> tuple[Channel, ...]:
        del options
        return (Channel("contact", "contact", "whether it is open", kind="state", rest=False),)

    @classmethod
    def claims(cls, options: ContactOptions) -> tuple[str, ...]:
        return (f"GPIO {options.pin}",)

    @classmethod
    def create(cls, options: ContactOptions) -> Contact:
        return cls(options, pi_pin_factory)

    @classmethod
    def simulate(cls, options: ContactOptions, world: World) -> Contact:
        from drivers.contact.simulator import SimulatedContact  # noqa: PLC0415 - only where something is simulated

        return SimulatedContact(options, world)

    def open(self, emit: Emit) -> None:
        options, factory = self._options, self._pin_factory()
        try:
            with pin_errors(f"GPIO {options.pin}"):
                self._pin = open_input(factory, options.pin, options.pull, active_high=True, bounce_s=options.bounce_s)
                self._pin.when_activated, self._pin.when_deactivated = self._closed, self._broken
                with self._lock:  # an edge that comes now waits: the level at open is never told after a newer one
                    self._emit = emit
                    self._tell(circuit_closed=bool(self._pin.is_active))
        except DeviceError:
            self.close()
            raise

    def close(self) -> None:
        with self._lock:
            self._emit = None
        if self._pin is not None:
            self._pin.close()
            self._pin = None

    def _closed(self) -> None:
        with self._lock:
            self._tell(circuit_closed=True)

    def _broken(self) -> None:
        with self._lock:
            self._tell(circuit_closed=False)

    def _tell(self, *, circuit_closed: bool) -> None:
        if self._emit is not None:
            self._emit((Reading("contact", circuit_closed == (self._options.closed_when == "open")),))
