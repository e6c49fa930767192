"""A monitoring chip that is not there: the kernel's files, in a directory of our own, follow the world."""

from __future__ import annotations

from pathlib import Path

from drivers.hwmon.driver import CHIP_PREFIX, CHIPS, Hwmon, HwmonOptions, type_of
from gateway.driver import World
from gateway.event import Value
from gateway.simulate.tree import FileTree, OverTree
from gateway.units import QUANTITIES


class SimulatedHwmon(OverTree, Hwmon):
    """The real driver over simulated files. A channel that is unplugged has none."""

    def __init__(self, options: HwmonOptions, world: World) -> None:
        super().__init__(options, root=Path("not open"))
        self._world, self._named = world, options.named
        number = options.chip if isinstance(options.chip, int) else 0
        self._path = f"{CHIPS}/{CHIP_PREFIX}{number}"
        self._name = options.chip if isinstance(options.chip, str) else "simulated"

    def follow(self, tree: FileTree) -> None:
        tree.write(f"{self._path}/name", self._name)
        now_s = self._world.now_s()
        for word, channel in self._named.items():
            file = f"{self._path}/{word}_input" if type_of(word) else f"{self._path}/{word}"
            try:
                shown = _shown(word, self._world.signals[channel](now_s))
            except OSError:
                shown = None
            tree.write(file, shown)


def _shown(word: str, value: Value) -> str:
    """What the kernel would show. What is no number is shown as it is: the driver must notice."""
    kind = type_of(word)
    if kind is None:
        return "1" if value else "0"
    factor, _ = QUANTITIES[kind.quantity].other.get(kind.unit, (1.0, 0.0))
    try:
        return str(round(float(value or 0.0) / factor * kind.steps))
    except (ValueError, OverflowError):  # a word, nan or infinity
        return str(value)
