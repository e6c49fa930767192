"""A machine that is not there: its answers and the kernel's files follow the world."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from drivers.system.driver import BOOT_ID, HWMON, UPTIME, VOLTAGE_ALARM, VOLTAGE_CHIP, System, SystemOptions
from gateway.driver import World
from gateway.event import Value
from gateway.simulate.tree import FileTree, OverTree


class SimulatedSystem(OverTree, System):
    """The real driver over a simulated machine and simulated files."""

    def __init__(self, options: SystemOptions, world: World) -> None:
        super().__init__(options, SimulatedMachine(options, world), root=Path("not open"))
        self._world = world

    def follow(self, tree: FileTree) -> None:
        hwmon = f"{HWMON}/hwmon0"
        tree.write(f"{hwmon}/name", VOLTAGE_CHIP)
        tree.write(UPTIME, self._text("uptime"))
        tree.write(BOOT_ID, self._text("boot"))
        tree.write(f"{hwmon}/{VOLTAGE_ALARM}", self._text("under_voltage"))

    def _text(self, channel: str) -> str | None:
        """What the kernel would show; None while the signal is unplugged."""
        now_s = self._world.now_s()
        try:
            value = self._world.signals[channel](now_s)
        except OSError:
            return None
        if value is None:  # no signal for the uptime: it counts from the beginning of the world
            return f"{now_s:.2f}"
        return str(int(value)) if isinstance(value, bool) else str(value)


class SimulatedMachine:
    """What no file tells. Raises OSError while the signal that it asks is unplugged."""

    def __init__(self, options: SystemOptions, world: World) -> None:
        self._interface = options.interface or "eth0"
        self._world = world

    def load(self) -> float:
        return self._number("load")

    def memory_used(self) -> float:
        return self._number("memory")

    def disk(self, path: str) -> tuple[float, float]:
        del path
        return self._number("disk"), self._number("disk_free")

    def interfaces(self) -> Mapping[str, bool]:
        return {self._interface: bool(self._value("link"))}

    def _number(self, channel: str) -> float:
        return float(self._value(channel) or 0.0)

    def _value(self, channel: str) -> Value:
        return self._world.signals[channel](self._world.now_s())
