"""A contact that is not there: its circuit follows the world and bounces, and the pin debounces as lgpio does."""

from __future__ import annotations

from drivers._mockpins import FollowedSwitch
from drivers.contact.driver import Contact, ContactOptions
from gateway.driver import Emit, World


class SimulatedContact(Contact):
    """The real driver and the real gpiozero, over a simulated circuit."""

    def __init__(self, options: ContactOptions, world: World) -> None:
        self._door = FollowedSwitch(
            world,
            "contact",
            options.pin,
            active_high=(options.pull == "up") == (options.closed_when == "shut"),
            drives_both=True,
            name=f"simulated contact on GPIO {options.pin}",
        )
        super().__init__(options, self._door.factory)

    def open(self, emit: Emit) -> None:
        """As the real one. Where the signal is unplugged it raises OSError, as a GPIO chip does that is not there."""
        self._door.connect()
        super().open(emit)
        self._door.start()

    def close(self) -> None:
        self._door.stop()
        super().close()
