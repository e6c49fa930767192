"""A motion sensor that is not there: its output follows the world, with spikes at each change, which the pin filters.

The simulated world begins when the power comes on, so that the warm-up counts from there.
"""

from __future__ import annotations

from drivers._mockpins import FollowedSwitch
from drivers.motion.driver import Motion, MotionOptions
from gateway.driver import Emit, World


class SimulatedMotion(Motion):
    """The real driver and the real gpiozero, over a simulated sensor."""

    def __init__(self, options: MotionOptions, world: World) -> None:
        name = f"simulated motion sensor on GPIO {options.pin}"
        self._output = FollowedSwitch(
            world, "motion", options.pin, active_high=options.active == "high", drives_both=True, name=name
        )
        super().__init__(options, self._output.factory, world.now_s)

    def open(self, emit: Emit) -> None:
        """As the real one. Where the signal is unplugged it raises OSError, as a GPIO chip does that is not there."""
        self._output.connect()
        super().open(emit)
        self._output.start()

    def close(self) -> None:
        self._output.stop()
        super().close()
