"""A button that is not there: a finger follows the world, the contact bounces, and the pin debounces as lgpio does."""

from __future__ import annotations

from drivers._mockpins import FollowedSwitch
from drivers.button.driver import Button, ButtonOptions
from gateway.driver import Emit, World


class SimulatedButton(Button):
    """The real driver and the real gpiozero, over a simulated switch."""

    def __init__(self, options: ButtonOptions, world: World) -> None:
        name = f"simulated finger on GPIO {options.pin}"
        self._finger = FollowedSwitch(world, "pressed", options.pin, active_high=options.active_high, name=name)
        super().__init__(options, self._finger.factory)

    def open(self, emit: Emit) -> None:
        """As the real one. Where the signal is unplugged it raises OSError, as a GPIO chip does that is not there."""
        self._finger.connect()
        super().open(emit)
        self._finger.start()

    def close(self) -> None:
        self._finger.stop()
        super().close()
