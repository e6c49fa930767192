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
        text = self._temp.read_text(encoding="ascii", errors="replace").strip()
        try:
            return (Reading("temperature", int(text), "mCel"),)
        except ValueError:
            raise DeviceError(f"{self._temp} holds {text[:32]!r}: expected thousandths of a degree") from None


def find_zone(directory: Path, wanted: str | int | None) -> Path:
    """The directory of the zone with that type or number, or of the first zone.

    Raises:
        DeviceError: there is none; names those that are there.
    """
    zones = {path: _type_of(path) for path in sorted(directory.glob(f"{ZONE_PREFIX}*"), key=_number)}
    for path, kind in zones.items():
        if wanted is None or wanted in {kind, _number(path)}:
            return path
    found = ", ".join(f"{kind} ({_number(path)})" for path, kind in zones.items()) or "none"
    what = "thermal zone" if wanted is None else f"thermal zone {wanted!r}"
    raise DeviceError(f"no {what} in {directory}: found {found}; `gateway run --simulate` needs no sensor")


def _number(zone: Path) -> int:
    digits = zone.name.removeprefix(ZONE_PREFIX)
    return int(digits) if digits.isdecimal() else -1


def _type_of(zone: Path) -> str:
    try:
        return (zone / "type").read_text(encoding="ascii", errors="replace").strip()
    except OSError:  # a zone that vanishes while we look is not there
        return ""
