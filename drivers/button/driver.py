"""A push button or any other switch between a GPIO pin and ground or 3.3 V.

gpiozero reads the pin and lgpio, through the kernel's GPIO character device, debounces it: a level counts once it was
stable for the bounce time. Sources: gpiozero 2.0 (`DigitalInputDevice`), lgpio's `gpio_set_debounce_micros`.

`DigitalInputDevice` rather than `Button`, which is the same plus a thread for its hold time: closing a `Button` while
it is pressed waits for that whole time, and fails where it is longer than 10 s.
"""

from __future__ import annotations

import threading
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from drivers._gpio import PinFactory, Pull, check_pull, open_input, pi_pin_factory, pin_errors
from gateway.driver import Channel, Emit, PushDriver, World
from gateway.errors import DeviceError
from gateway.event import Reading
from gateway.options import Duration, Options, Pin


class ButtonOptions(Options):
    pin: Pin
    pull: Pull = Field(
        "up",
        description="the Pi's own resistor: up with the button to ground, down with it to 3.3 V, none with your own",
    )
    active: Literal["low", "high"] | None = Field(
        None, description="the pin's level while pressed; only with `pull: none`, the others imply it"
    )
    bounce_s: Annotated[Duration, Field(le=1)] = Field(
        0.02, alias="bounce", description="a level counts once it was stable for this long; 0s shows every bounce"
    )
    hold_s: Annotated[Duration, Field(gt=0, le=3600)] = Field(
        1.0, alias="hold", description="a press of at least this is a long click"
    )

    @model_validator(mode="after")
    def _pull_fits_the_pin(self) -> ButtonOptions:
        check_pull(self.pin, self.pull)
        return self

    @model_validator(mode="after")
    def _active_is_known_once(self) -> ButtonOptions:
        if self.pull == "none" and self.active is None:
            raise ValueError("pull: none needs active: low or high, the pin's level while pressed")
        if self.pull != "none" and self.active is not None:
            implied = "low" if self.pull == "up" else "high"
            raise ValueError(f"active needs pull: none; with pull: {self.pull} a press is {implied}")
        return self

    @property
    def active_high(self) -> bool:
        """The pin's level while pressed."""
        return self.pull == "down" or self.active == "high"


class Button(PushDriver):
    name = "button"
    summary = "a push button or switch on a GPIO pin"
    Options = ButtonOptions

    def __init__(self, options: ButtonOptions, pin_factory: PinFactory) -> None:
        self._options = options
        self._pin_factory = pin_factory
        self._lock = threading.Lock()  # the pin, the hold timer and `close` speak from three threads
        self._emit: Emit | None = None
        self._pin: Any = None
        self._hold: threading.Timer | None = None

    @classmethod
    def channels(cls, options: Any) -> tuple[Channel, ...]:
        del options
        return (
            Channel("pressed", "contact", "whether the button is down", kind="state", rest=False),
            Channel("click", "occurrence", "`short` on release, `long` once held for the hold time", kind="input"),
        )

    @classmethod
    def claims(cls, options: ButtonOptions) -> tuple[str, ...]:
        return (f"GPIO {options.pin}",)

    @classmethod
    def create(cls, options: ButtonOptions) -> Button:
        return cls(options, pi_pin_factory)

    @classmethod
    def simulate(cls, options: ButtonOptions, world: World) -> Button:
        from drivers.button.simulator import SimulatedButton  # noqa: PLC0415 - only where something is simulated

        return SimulatedButton(options, world)

    def open(self, emit: Emit) -> None:
        options, factory = self._options, self._pin_factory()
        high, bounce_s = options.active_high, options.bounce_s
        try:
            with pin_errors(f"GPIO {options.pin}"):
                self._pin = open_input(factory, options.pin, options.pull, active_high=high, bounce_s=bounce_s)
                self._pin.when_activated, self._pin.when_deactivated = self._down, self._up
                with self._lock:  # an edge that comes now waits: the level at open is never told after a newer one
                    self._emit = emit
                    emit((Reading("pressed", bool(self._pin.is_active)),))
        except DeviceError:
            self.close()
            raise

    def close(self) -> None:
        with self._lock:
            self._emit, hold = None, self._hold
            self._stop_hold()
        if hold is not None:
            hold.join()  # it has been cancelled, or is past the lock
        if self._pin is not None:
            self._pin.close()
            self._pin = None

    def _down(self) -> None:
        with self._lock:
            if self._emit is None:
                return
            self._emit((Reading("pressed", value=True),))
            self._stop_hold()
            self._hold = threading.Timer(self._options.hold_s, self._held)
            self._hold.name = f"button on GPIO {self._options.pin}: hold"
            self._hold.daemon = True
            self._hold.start()

    def _up(self) -> None:
        with self._lock:
            if self._emit is None:
                return
            released = Reading("pressed", value=False)
            short = self._stop_hold()
            self._emit((released, Reading("click", "short")) if short else (released,))

    def _held(self) -> None:
        with self._lock:
            if self._emit is not None and self._hold is threading.current_thread():
                self._hold = None
                self._emit((Reading("click", "long"),))

    def _stop_hold(self) -> bool:
        """Whether the hold time of the press had still been running."""
        hold, self._hold = self._hold, None
        if hold is not None:
            hold.cancel()
        return hold is not None
