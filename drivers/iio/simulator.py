"""An Industrial I/O device that is not there: the kernel's files, in a directory of our own, follow the world.

Voltages and what moves come as A/D converters and motion sensors have them, raw with a shared scale; the rest is ready.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from drivers.iio.driver import DEVICE_PREFIX, DEVICES, Iio, IioOptions, shared_names, type_of
from gateway.driver import World
from gateway.event import Value
from gateway.simulate.tree import FileTree, OverTree
from gateway.units import QUANTITIES

SCALES: Final[Mapping[str, float]] = {"voltage": 0.125, "acceleration": 0.000598, "angular_velocity": 0.001065}
"""Kernel's units per count, of an ADS1115 at ±4 V and an MPU-6050."""


MILLI: Final = 0.001
"""What the kernel counts in thousandths, it counts in whole ones."""


class SimulatedIio(OverTree, Iio):
    """The real driver over simulated files. A channel that is unplugged has none."""

    def __init__(self, options: IioOptions, world: World) -> None:
        super().__init__(options, root=Path("not open"))
        self._world, self._named = world, options.named
        number = options.device if isinstance(options.device, int) else 0
        self._path = f"{DEVICES}/{DEVICE_PREFIX}{number}"
        self._name = options.device if isinstance(options.device, str) else "simulated"

    def follow(self, tree: FileTree) -> None:
        tree.write(f"{self._path}/name", self._name)
        now_s = self._world.now_s()
        for word, channel in self._named.items():
            scale = SCALES.get(type_of(word).quantity)
            if scale is not None:
                *_, of_all_inputs_of_its_type, _, _ = shared_names(word, "scale")
                tree.write(f"{self._path}/{of_all_inputs_of_its_type}", f"{scale:.9f}")
            try:
                shown = _shown(word, self._world.signals[channel](now_s), scale)
            except OSError:
                shown = None
            tree.write(f"{self._path}/in_{word}_{'raw' if scale else 'input'}", shown)


def _shown(word: str, value: Value, scale: float | None) -> str:
    """What the kernel would show. What is no number is shown as it is: the driver must notice."""
    kind = type_of(word)
    factor, addend = QUANTITIES[kind.quantity].other.get(kind.unit, (1.0, 0.0))
    try:
        number = (float(value or 0.0) - addend) / factor
    except ValueError:
        return str(value)
    if not math.isfinite(number):
        return str(number)
    if scale is not None:
        return str(round(number / scale))
    return f"{number:.0f}" if factor == MILLI else f"{number:.9f}"
