"""What the drivers of GPIO pins share: the one pin factory, its errors, and what a pin can be asked for.

It is no driver and knows none. Sources: gpiozero 2.0, `pins/lgpio.py` and `pins/local.py`; lgpio 0.2.2, `lgpio.py`;
Raspberry Pi documentation, "GPIO and the 40-pin header".
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

from gateway.errors import DeviceError

PinFactory = Callable[[], Any]
"""Gives gpiozero's Factory when a pin is opened: this machine's, or one that is simulated."""

Pull = Literal["up", "down", "none"]
"""The Pi's own resistor at a pin."""

PULL_UP: Final = {"up": True, "down": False, "none": None}
"""The same in gpiozero's words."""

_PULLED_UP: Final = frozenset({2, 3})


def check_pull(pin: int, pull: Pull) -> None:
    """Whether this pin can be pulled that way.

    Raises:
        ValueError: the board has a resistor there already.
    """
    if pin in _PULLED_UP and pull != "up":
        raise ValueError(f"GPIO {pin} has a pull-up resistor on the board: use pull: up, or another pin")


_OPENING = threading.Lock()
"""What the next function touches belongs to the whole process: the working directory, and gpiozero's factory."""


def pi_pin_factory() -> Any:
    """The pin factory of gpiozero for this machine: lgpio, or what the environment's GPIOZERO_PIN_FACTORY names.

    There is one for all pins, where gpiozero keeps it, and it stays: all of gpiozero's local factories share their
    pins, so that one which is closed takes the others' pins along. Nothing else is tried where it fails: a factory that
    cannot debounce, or sees other pins, would be worse than none.

    Raises:
        DeviceError: no GPIO here; says what to do.
    """
    from gpiozero import Device  # noqa: PLC0415 - only where a pin is used

    with _OPENING:
        if Device.pin_factory is None:
            try:
                Device.pin_factory = _make_factory()
            except ImportError as error:
                raise DeviceError(
                    f"no GPIO: {error}. On a Raspberry Pi: pip install lgpio; elsewhere: gateway run --simulate"
                ) from error
            except gpio_errors() as error:
                raise DeviceError(
                    f"no GPIO: {error}. On a Raspberry Pi: is there a /dev/gpiochip0, and this user in its group gpio? "
                    "Elsewhere: gateway run --simulate"
                ) from error
        return Device.pin_factory


def _make_factory() -> Any:
    if "GPIOZERO_PIN_FACTORY" in os.environ:
        from gpiozero import Device  # noqa: PLC0415 - only where a pin is used

        Device.ensure_pin_factory()
        return Device.pin_factory
    # lgpio makes a FIFO in $LG_WD when it is imported, or in the working directory, which a service may not write to.
    # With LG_WD it changes the working directory of the whole process as well, and leaves it there (lgpio 0.2.2).
    os.environ.setdefault("LG_WD", os.environ.get("RUNTIME_DIRECTORY", tempfile.gettempdir()).split(":")[0])
    before = Path.cwd()
    try:
        from gpiozero.pins.lgpio import LGPIOFactory  # noqa: PLC0415 - only where a pin is used
    finally:
        os.chdir(before)
    return LGPIOFactory()


def gpio_errors() -> tuple[type[Exception], ...]:
    """What gpiozero and lgpio raise when a pin or the chip cannot be had."""
    from gpiozero import GPIOZeroError  # noqa: PLC0415 - only where a pin is used

    lgpio = sys.modules.get("lgpio")
    return (GPIOZeroError, OSError, lgpio.error) if lgpio else (GPIOZeroError, OSError)


@contextmanager
def pin_errors(what: str) -> Iterator[None]:
    """What gpiozero and lgpio raise inside becomes a DeviceError about `what`, such as `GPIO 17`."""
    try:
        yield
    except gpio_errors() as error:
        raise DeviceError(f"{what}: {error}. Does another program use it?") from error


def open_input(factory: Any, pin: int, pull: Pull, *, active_high: bool, bounce_s: float) -> Any:
    """A DigitalInputDevice of gpiozero: its level counts once it was stable for `bounce_s`.

    `active_high` has a say only where the pin is not pulled: gpiozero takes the pull's other level for the active one.
    """
    from gpiozero import DigitalInputDevice  # noqa: PLC0415 - only where a pin is used

    return DigitalInputDevice(
        pin,
        pull_up=PULL_UP[pull],
        active_state=active_high if pull == "none" else None,
        bounce_time=bounce_s or None,
        pin_factory=factory,
    )
