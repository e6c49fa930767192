"""A thermometer that is not there: the kernel's files, in a directory of our own, follow the world."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from drivers.w1.driver import DEVICES, W1, W1Options
from gateway.driver import World
from gateway.event import Value
from gateway.simulate.tree import FileTree, OverTree

BITS: Final = 12


class SimulatedW1(OverTree, W1):
    """The real driver over simulated files. It answers in the steps of its resolution, and at once."""

    def __init__(self, options: W1Options, world: World) -> None:
        super().__init__(options, root=Path("not open"))
        self._world, self._bits = world, options.resolution or BITS
        self._path = f"{DEVICES}/{options.sensor or '28-000000000001'}"

    def open(self) -> None:
        self._is_new = True
        super().open()

    def follow(self, tree: FileTree) -> None:
        if self._is_new:  # as it comes from the shop; what the driver sets after that stays
            tree.write(f"{self._path}/resolution", str(BITS))
            self._is_new = False
        try:
            celsius = self._world.signals["temperature"](self._world.now_s())
        except OSError:
            tree.write(f"{self._path}/temperature", None)
        else:
            tree.write(f"{self._path}/temperature", _millidegrees(celsius, self._bits))


def _millidegrees(celsius: Value, bits: int) -> str:
    """What the kernel would show. What is no temperature is shown as it is: the driver must notice."""
    try:
        steps = round(float(celsius or 0.0) * 2 ** (bits - 8))
    except (ValueError, OverflowError):  # a word, nan or infinity
        return str(celsius)
    return str(steps * 1000 >> (bits - 8))
