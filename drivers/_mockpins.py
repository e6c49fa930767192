"""Pins that are not there, for the simulators of GPIO drivers. It is no driver and knows none.

gpiozero's mock pins stand for lgpio's; what a wire connects them to follows the simulated world.
"""

from __future__ import annotations

import threading
from typing import Any, Final

from gpiozero.pins.mock import MockFactory, MockPin, MockPWMPin

from gateway.driver import World

TICK_S: Final = 0.02
"""How often a simulated contact looks at the world: what is shorter may be missed."""

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
        self._pressed = self._drives_both = False
        super().__init__(factory, info)
        self._line = self._state
        self._moved_s = 0.0

    def wire(self, *, active_high: bool, pressed: bool, drives_both: bool = False) -> None:
        """Say what the closed switch connects the pin to, and how it is now.

        With `drives_both` it is no switch but an output, which is stronger than any resistor at both levels.
        """
        self._active_high, self._pressed, self._drives_both = active_high, pressed, drives_both

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
        if self._pressed or self._drives_both:
            return self._active_high == self._pressed
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


class FollowedSwitch:
    """A switch on a pin of its own board, and a thread that closes and opens it as a channel's signal says."""

    def __init__(
        self, world: World, channel: str, pin: int, *, active_high: bool, name: str, drives_both: bool = False
    ) -> None:
        self._world, self._signal = world, world.signals[channel]
        self._pin, self._active_high, self._drives_both = pin, active_high, drives_both
        self._pins = MockFactory(BOARD, SwitchPin)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name=name, daemon=True)
        self._pressed = False

    def factory(self) -> Any:
        """The pin factory of that board."""
        return self._pins

    def connect(self) -> None:
        """Wire the switch as it is now.

        Raises:
            OSError: the signal is unplugged; a GPIO chip that is not there says the same.
        """
        self._pressed = bool(self._signal(self._world.now_s()))
        switch = self._pins.pin(self._pin)
        switch.wire(active_high=self._active_high, pressed=self._pressed, drives_both=self._drives_both)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Return when the switch does not move any more. Without `start`, or twice, is fine."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def look(self) -> None:
        """Do what the world has the switch do by now."""
        switch, now_s = self._pins.pin(self._pin), self._world.now_s()
        if self._is_pressed(now_s) != self._pressed:
            self._pressed = not self._pressed
            switch.touch(pressed=self._pressed, now_s=now_s)
        switch.settle(now_s)

    def _follow(self) -> None:
        while not self._stop.wait(TICK_S):
            self.look()

    def _is_pressed(self, now_s: float) -> bool:
        try:
            return bool(self._signal(now_s))
        except OSError:  # a pin cannot tell a device that is unplugged from one that is quiet
            return False


class DrivenPin(MockPWMPin):  # type: ignore[misc]  # gpiozero ships no types
    """A pin that a driver drives, steadily or by pulses. Unlike gpiozero's own it does not remember every change."""

    _state: float

    def _change_state(self, value: float) -> bool:
        changed = bool(self._state != value)
        self._state = value
        return changed


class DrivenBoard:
    """A board of its own for one simulated output. The channel's signal can only unplug it: what it is, it is told."""

    def __init__(self, world: World, channel: str) -> None:
        self._world, self._signal = world, world.signals[channel]
        self._pins = MockFactory(BOARD, DrivenPin)

    def factory(self) -> Any:
        """The pin factory of that board."""
        return self._pins

    def check(self) -> None:
        """Raises OSError while the signal is unplugged, as a GPIO chip does that is not there."""
        self._signal(self._world.now_s())
