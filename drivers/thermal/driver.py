"""Temperatures that the kernel measures itself: the CPU's, on every Raspberry Pi.

The kernel shows each sensor as a directory `thermal_zone<n>` with a `type` (the sensor's name) and a `temp` in
thousandths of a degree Celsius. Source: Documentation/ABI/testing/sysfs-class-thermal and
Documentation/driver-api/thermal/sysfs-api.rst of the Linux kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from gateway import sysfs
from gateway.driver import Channel, PolledDriver, World
from gateway.errors import DeviceError
from gateway.event import Reading
from gateway.options import Options

ZONES = "sys/class/thermal"
ZONE_PREFIX = "thermal_zone"


class ThermalOptions(Options):
    zone: Annotated[str, Field(min_length=1, max_length=64)] | Annotated[int, Field(ge=0, le=999)] | None = Field(
        None, description="the zone's type, such as cpu-thermal, or its number; default: the first zone"
    )


class Thermal(PolledDriver):
    name = "thermal"
    summary = "a temperature that the kernel measures itself, such as the CPU's"
    Options = ThermalOptions

    def __init__(self, options: ThermalOptions, root: Path) -> None:
        self._zone = options.zone
        self.root = root
        self._temp: Path | None = None

    @classmethod
    def channels(cls, options: Any) -> tuple[Channel, ...]:
        del options
        return (Channel("temperature", "temperature", "temperature of the zone", rest=48.0),)

    @classmethod
    def create(cls, options: ThermalOptions) -> Thermal:
        return cls(options, Path("/"))

    @classmethod
    def simulate(cls, options: ThermalOptions, world: World) -> Thermal:
        from drivers.thermal.simulator import SimulatedThermal  # noqa: PLC0415 - only where something is simulated

        return SimulatedThermal(options, world)

    def open(self) -> None:
        self._temp = find_zone(self.root / ZONES, self._zone) / "temp"

    def read(self) -> Sequence[Reading]:
        if self._temp is None:
            raise DeviceError("thermal: read before open")
        return (Reading("temperature", sysfs.number(self._temp, "thousandths of a degree"), "mCel"),)


def find_zone(directory: Path, wanted: str | int | None) -> Path:
    """The directory of the zone with that type or number, or of the first zone.

    Raises:
        DeviceError: there is none; names those that are there.
    """
    zones = sysfs.entries(directory, ZONE_PREFIX, "type")
    for zone in zones:
        if wanted is None or zone.is_called(wanted):
            return zone.path
    what = "thermal zone" if wanted is None else f"thermal zone {wanted!r}"
    raise sysfs.absent(what, directory, f"found {sysfs.listed(zones)}")
