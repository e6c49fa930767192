"""A thermal zone that is not there: the kernel's files, in a directory of our own, follow the world."""

from __future__ import annotations

from pathlib import Path

from drivers.thermal.driver import ZONE_PREFIX, ZONES, Thermal, ThermalOptions
from gateway.driver import World
from gateway.event import Value
from gateway.simulate.tree import FileTree, OverTree


class SimulatedThermal(OverTree, Thermal):
    """The real driver over simulated files."""

    def __init__(self, options: ThermalOptions, world: World) -> None:
        super().__init__(options, root=Path("not open"))
        self._world = world
        number = options.zone if isinstance(options.zone, int) else 0
        self._zone_path = f"{ZONES}/{ZONE_PREFIX}{number}"
        self._kind = options.zone if isinstance(options.zone, str) else "cpu-thermal"

    def follow(self, tree: FileTree) -> None:
        """An unplugged sensor has a zone without files."""
        try:
            celsius = self._world.signals["temperature"](self._world.now_s())
        except OSError:
            tree.write(f"{self._zone_path}/type", None)
            tree.write(f"{self._zone_path}/temp", None)
            return
        tree.write(f"{self._zone_path}/type", self._kind)
        tree.write(f"{self._zone_path}/temp", _millidegrees(celsius))


def _millidegrees(celsius: Value) -> str:
    """What the kernel would show. What is no temperature is shown as it is: the driver must notice."""
    try:
        return str(round(float(celsius or 0.0) * 1000))
    except ValueError:  # nan, or a word
        return str(celsius)
