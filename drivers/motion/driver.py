"""A passive infrared motion sensor (PIR), or anything else that holds a GPIO pin while something moves.

The sensor's own electronics decide what movement is and hold their output for a while; the driver passes that level on,
and may hold it longer. Sources: gpiozero 2.0 (`DigitalInputDevice`), lgpio's `gpio_set_debounce_micros`; BISS0001 data
sheet, the circuit on most of these boards, for output, blocking time and retriggering.

`DigitalInputDevice` rather than `MotionSensor`: that one asks the pin ten times a second from a thread of its own, and
its first sample only sets the state, so that motion at open is told to nobody. The kernel reports each edge by itself,
filters the same spikes, and costs nothing while nothing moves.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from drivers._gpio import PinFactory, Pull, check_pull, open_input, pi_pin_factory, pin_errors
from gateway.driver import Channel, Emit, PushDriver, World
from gateway.errors import DeviceError
from gateway.event import Reading
from gateway.options import Duration, Options, Pin


class MotionOptions(Options):
    pin: Pin
    active: Literal["high", "low"] = Field("high", description="the pin's level while something moves")
    pull: Pull = Field(
        "down",
        description="the Pi's own resistor: down keeps a pin quiet whose wire is loose, up is for relay contacts",
    )
    bounce_s: Annotated[Duration, Field(le=1)] = Field(
        0.05, alias="bounce", description="a level counts once it was stable for this long; hides spikes"
    )
    hold_s: Annotated[Duration, Field(le=3600)] = Field(
        0.0, alias="hold", description="motion ends once the pin was quiet for this long; each movement begins it anew"
    )
    warm_up_s: Annotated[Duration, Field(le=600)] = Field(
        30.0,
        alias="warm_up",
        description="after the machine was switched on, what the sensor says is uncertain so long",
    )

    @model_validator(mode="after")
    def _pull_fits_the_pin(self) -> MotionOptions:
        check_pull(self.pin, self.pull)
        return self


class Motion(PushDriver):
    name = "motion"
    summary = "a motion sensor (PIR) on a GPIO pin"
    Options = MotionOptions

    def __init__(self, options: MotionOptions, pin_factory: PinFactory, up_s: Callable[[], float]) -> None:
        """`up_s` tells how long the sensor has had power."""
        self._options, self._pin_factory, self._up_s = options, pin_factory, up_s
        self._lock = threading.Lock()  # the pin, both timers and `close` speak from four threads
        self._emit: Emit | None = None
        self._pin: Any = None
        self._moves = self._warms_up = False
        self._hold: threading.Timer | None = None
        self._warm_up: threading.Timer | None = None

    @classmethod
    def channels(cls, options: Any) -> tuple[Channel, ...]:
        del options
        return (Channel("motion", "contact", "whether something moves", kind="state", rest=False),)

    @classmethod
    def claims(cls, options: MotionOptions) -> tuple[str, ...]:
        return (f"GPIO {options.pin}",)

    @classmethod
    def create(cls, options: MotionOptions) -> Motion:
        return cls(options, pi_pin_factory, machine_up_s)

    @classmethod
    def simulate(cls, options: MotionOptions, world: World) -> Motion:
        from drivers.motion.simulator import SimulatedMotion  # noqa: PLC0415 - only where something is simulated

        return SimulatedMotion(options, world)

    def open(self, emit: Emit) -> None:
        options, factory = self._options, self._pin_factory()
        active_is_moving = (options.active == "high") == (options.pull != "up")  # gpiozero: pulled up is active low
        try:
            with pin_errors(f"GPIO {options.pin}"):
                self._pin = open_input(factory, options.pin, options.pull, active_high=True, bounce_s=options.bounce_s)
                calls = (self._moved, self._quiet) if active_is_moving else (self._quiet, self._moved)
                self._pin.when_activated, self._pin.when_deactivated = calls
                with self._lock:  # an edge that comes now waits: the level at open is never told after a newer one
                    self._emit = emit
                    self._begin_warm_up()
                    self._tell(moves=bool(self._pin.is_active) == active_is_moving)
        except DeviceError:
            self.close()
            raise

    def close(self) -> None:
        with self._lock:
            self._emit = None
            timers = [timer for timer in (self._hold, self._warm_up) if timer is not None]
            self._hold = self._warm_up = None
        for timer in timers:
            timer.cancel()
            timer.join()  # it has been cancelled, or is past the lock
        if self._pin is not None:
            self._pin.close()
            self._pin = None

    def _moved(self) -> None:
        with self._lock:
            self._stop_hold()
            if self._emit is not None and not self._moves:
                self._tell(moves=True)

    def _quiet(self) -> None:
        with self._lock:
            if self._emit is None or not self._moves:
                return
            self._stop_hold()
            if self._options.hold_s:
                self._hold = self._after(self._options.hold_s, self._held, "hold")
            else:
                self._tell(moves=False)

    def _held(self) -> None:
        with self._lock:
            if self._emit is not None and self._hold is threading.current_thread():
                self._hold = None
                self._tell(moves=False)

    def _begin_warm_up(self) -> None:
        left_s = self._options.warm_up_s - self._up_s()
        if left_s > 0:
            self._warms_up = True
            self._warm_up = self._after(left_s, self._is_warm, "warm-up")

    def _is_warm(self) -> None:
        with self._lock:
            self._warms_up = False
            if self._emit is not None:
                self._tell(moves=self._moves)  # the same level, and from now on it can be believed

    def _tell(self, *, moves: bool) -> None:
        assert self._emit is not None
        self._moves = moves
        if self._warms_up:
            self._emit((Reading("motion", moves, quality="uncertain", reason="initial"),))
        else:
            self._emit((Reading("motion", moves),))

    def _stop_hold(self) -> None:
        if self._hold is not None:
            self._hold.cancel()
            self._hold = None

    def _after(self, delay_s: float, call: Callable[[], None], what: str) -> threading.Timer:
        timer = threading.Timer(delay_s, call)
        timer.name = f"motion on GPIO {self._options.pin}: {what}"
        timer.daemon = True
        timer.start()
        return timer


def machine_up_s() -> float:
    """Seconds since this machine was switched on, and with it the sensor that it feeds; 0 where nothing tells.

    Source: proc(5), /proc/uptime.
    """
    try:
        return float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return 0.0
