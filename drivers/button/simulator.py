"""A button that is not there: a finger follows the world, the contact bounces, and the pin debounces as lgpio does."""

from __future__ import annotations

import threading
from typing import Any, Final

from gpiozero.pins.mock import MockFactory, MockPin

from drivers.button.driver import Button, ButtonOptions
from gateway.driver import Emit, World

TICK_S: Final = 0.02
"""How often the finger looks at the world: shorter presses may be missed."""

BOUNCES: Final = 3
"""How often a contact opens again while it closes, and the other way round."""

BOARD: Final = "c03111"
"""Revision code of the simulated board, a Raspberry Pi 4B; it decides which pins have resistors."""


class SwitchPin(MockPin):  # type: ignore[misc]  # gpiozero ships no types
    """A pin with a switch on it, which bounces.

    gpiozero's own mock pin keeps the bounce time without using it, and remembers every change for ever; this one
    reports a level once it was stable for the bounce time, and remembers nothing.
    """

    _state: bool

    def __init__(self, factory: Any, info: Any) -> None:
        self._active_high = False
        self._pressed = False
        super().__init__(factory, info)
        self._line = self._state
        self._moved_s = 0.0

    def wire(self, *, active_high: bool, pressed: bool) -> None:
        """Say what the switch connects the pin to, and how it is now."""
        self._active_high, self._pressed = active_high, pressed

    def touch(self, *, pressed: bool, now_s: float) -> None:
        """The contact closes or opens, and bounces."""
        self._pressed = pressed
        level = self._level()
        for moved in (*(level, not level) * BOUNCES, level):
            self._line, self._moved_s = moved, now_s
            if not self._bounce:
                self._report(moved)

    def settle(self, now_s: float) -> None:
        """Report the level, if it is a new one and was stable for long enough."""
        if self._line != self._state and now_s - self._moved_s >= (self._bounce or 0.0):
            self._report(self._line)

    def _level(self) -> bool:
        """The switch is stronger than the pull resistor; an own resistor pulls away from what the switch does."""
        if self._pressed:
            return self._active_high
        return {"up": True, "down": False}.get(self._pull, not self._active_high)

    def _set_pull(self, value: str) -> None:
        super()._set_pull(value)
        self._line = self._level()
        self._report(self._line)

    def _report(self, level: bool) -> None:
        if level:
            self.drive_high()
        else:
            self.drive_low()

    def _change_state(self, value: bool) -> bool:
        changed = bool(self._state != value)
        self._state = value
        return changed


class SimulatedButton(Button):
    """The real driver and the real gpiozero, over a simulated switch."""

    def __init__(self, options: ButtonOptions, world: World) -> None:
        super().__init__(options, lambda: MockFactory(BOARD, SwitchPin))
        self._world = world
        self._stop = threading.Event()
        self._finger: threading.Thread | None = None

    def open(self, emit: Emit) -> None:
        """As the real one. Where the signal is unplugged it raises OSError, as a GPIO chip does that is not there."""
        pressed = bool(self._world.signals["pressed"](self._world.now_s()))
        factory = self._pin_factory()
        self._pin_factory = lambda: factory
        switch = factory.pin(self._options.pin)
        switch.wire(active_high=self._options.active_high, pressed=pressed)
        super().open(emit)
        name = f"simulated finger on GPIO {self._options.pin}"
        self._finger = threading.Thread(target=self._press, args=(switch, pressed), name=name, daemon=True)
        self._finger.start()

    def close(self) -> None:
        self._stop.set()
        if self._finger is not None:
            self._finger.join()
        super().close()

    def _press(self, switch: SwitchPin, pressed: bool) -> None:
        while not self._stop.wait(TICK_S):
            now_s = self._world.now_s()
            if self._is_pressed(now_s) != pressed:
                pressed = not pressed
                switch.touch(pressed=pressed, now_s=now_s)
            switch.settle(now_s)

    def _is_pressed(self, now_s: float) -> bool:
        try:
            return bool(self._world.signals["pressed"](now_s))
        except OSError:  # a pin cannot tell an unplugged button from one that nobody presses
            return False
