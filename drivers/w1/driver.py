"""Thermometers on the 1-wire bus: DS18B20, DS18S20, DS1822, DS28EA00.

The kernel talks to them and shows a directory `<family>-<serial number>` for each. Reading `temperature` starts a
conversion and blocks until it is done: 750 ms at 12 bits, 94 ms at 9 bits. Nothing but the line's end means that it
failed. Kernels before 5.8 have only `w1_slave`: two lines, the first of which ends in YES where the checksum matched.

Sources, all of the Linux kernel: Documentation/w1/slaves/w1_therm.rst (families, power-on value 85.00),
Documentation/ABI/testing/sysfs-driver-w1_therm (`temperature`, `resolution`, `w1_slave`), drivers/w1/slaves/w1_therm.c
(`temperature_show`: empty on failure). DS18B20 data sheet (Maxim 19-7487), "Operation": range -55 to +125 °C, power-on
reset value +85 °C.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import Field, StringConstraints

from gateway import sysfs
from gateway.driver import Channel, PolledDriver, World
from gateway.errors import DeviceError
from gateway.event import Reading
from gateway.options import Options

DEVICES: Final = "sys/bus/w1/devices"
MASTER_PREFIX: Final = "w1_bus_master"

_SENSOR = re.compile(r"(10|22|28|42)-[0-9a-f]{12}")
"""Family code and serial number. Families: w1_therm.rst, "Supported family codes"."""

POWER_ON_MCEL: Final = 85_000
RANGE_MCEL: Final = (-55_000, 125_000)
NEAR_MCEL: Final = 5_000
"""A value that is really 85 °C has others near it before."""

_SLAVE_TEMPERATURE = re.compile(r"t=(-?\d+)\s*$")


class W1Options(Options):
    sensor: Annotated[str, StringConstraints(pattern=rf"^{_SENSOR.pattern}$")] | None = Field(
        None,
        description="its family and serial number, as on the kernel's directory; default: the only sensor there is",
        examples=["28-0123456789ab"],
    )
    master: Annotated[int, Field(ge=1, le=64)] = Field(
        1, description="the number of its bus, as in w1_bus_master1; sensors of one bus are read one after the other"
    )
    resolution: Annotated[int, Field(ge=9, le=12)] | None = Field(
        None, description="bits, 9 to 12: fewer are faster and coarser; default: as the sensor is set, usually 12"
    )


class W1(PolledDriver):
    name = "w1"
    summary = "a DS18B20 or similar thermometer on the 1-wire bus"
    Options = W1Options

    def __init__(self, options: W1Options, root: Path) -> None:
        self._options = options
        self.root = root
        self._sensor: Path | None = None
        self._last_mcel: int | None = None  # the last value that was believed

    @classmethod
    def channels(cls, options: Any) -> tuple[Channel, ...]:
        del options
        return (Channel("temperature", "temperature", "temperature of the sensor", rest=21.0),)

    @classmethod
    def bus(cls, options: W1Options) -> str:
        return f"1-wire {options.master}"

    @classmethod
    def create(cls, options: W1Options) -> W1:
        return cls(options, Path("/"))

    @classmethod
    def simulate(cls, options: W1Options, world: World) -> W1:
        from drivers.w1.simulator import SimulatedW1  # noqa: PLC0415 - only where something is simulated

        return SimulatedW1(options, world)

    def open(self) -> None:
        sensor = find_sensor(self.root / DEVICES, self._options.sensor, self._options.master)
        if self._options.resolution is not None:
            _set_resolution(sensor / "resolution", self._options.resolution)
        self._sensor = sensor

    def read(self) -> Sequence[Reading]:
        """Blocks while the sensor converts."""
        if self._sensor is None:
            raise DeviceError("w1: read before open")
        mcel = read_mcel(self._sensor)
        reading = judge(mcel, self._last_mcel)
        if reading.quality == "good":
            self._last_mcel = mcel
        return (reading,)


def judge(mcel: int | None, last_mcel: int | None) -> Reading:
    """Whether thousandths of a degree can be believed, given the last ones that were. None: the checksum was wrong.

    85 °C is what a sensor says that has not converted anything since its power came. It is believed only after a value
    near it; else it is uncertain as long as nothing is known, and later the sign of a sensor that lost its power.
    """
    if mcel is None or not RANGE_MCEL[0] <= mcel <= RANGE_MCEL[1]:  # -127 °C among them
        return Reading("temperature", None, quality="bad", reason="sensor")
    if mcel != POWER_ON_MCEL or (last_mcel is not None and abs(last_mcel - mcel) <= NEAR_MCEL):
        return Reading("temperature", mcel, "mCel")
    if last_mcel is None:
        return Reading("temperature", mcel, "mCel", "uncertain", "initial")
    return Reading("temperature", None, quality="bad", reason="sensor")


def read_mcel(sensor: Path) -> int | None:
    """Thousandths of a degree; None where the checksum does not match.

    Raises:
        DeviceError: the sensor did not answer, or the kernel says what nobody expects.
        OSError: it is not there any more.
    """
    try:
        shown = sysfs.text(sensor / "temperature")
    except FileNotFoundError:
        return parse_slave(sysfs.text(sensor / "w1_slave"))
    if not shown:
        raise DeviceError(f"{sensor.name} did not convert: check its wires, and the 4.7 kΩ from data to 3.3 V")
    return _integer(shown, "temperature")


def parse_slave(shown: str) -> int | None:
    """The same, from both lines of `w1_slave`.

    Raises:
        DeviceError: these are not those lines.
    """
    lines = shown.splitlines()
    found = _SLAVE_TEMPERATURE.search(lines[1]) if len(lines) > 1 else None
    if found is None or "crc=" not in lines[0]:
        raise DeviceError(f"w1_slave holds {shown[:64]!r}: expected a line with crc= and one with t=")
    return int(found[1]) if lines[0].rstrip().endswith("YES") else None


def find_sensor(directory: Path, wanted: str | None, master: int) -> Path:
    """The directory of that sensor, or of the only one on this bus.

    Raises:
        DeviceError: it is not there, or hangs on another bus, or there are several; names those that are there.
    """
    there = sorted(path for path in directory.glob("*-*") if _SENSOR.fullmatch(path.name))
    near = [path for path in there if _master_of(path) in {None, f"{MASTER_PREFIX}{master}"}]
    found = [path for path in near if wanted in {None, path.name}]
    if len(found) == 1:
        return found[0]
    names = sysfs.listed([_named(path) for path in there])
    if found:
        raise DeviceError(f"{len(found)} thermometers in {directory}: {names}; say which one with `sensor:`")
    if not directory.exists():
        why = "there is no 1-wire bus: `dtoverlay=w1-gpio` in /boot/firmware/config.txt makes one"
    elif wanted in {path.name for path in there}:
        why = f"found {names}; give it the `master:` that it hangs on"
    else:
        why = f"found {names}"
    raise sysfs.absent(f"thermometer {wanted or ''}".rstrip() + f" at bus {master}", directory, why)


def _named(path: Path) -> str:
    master = _master_of(path)
    return f"{path.name} ({master})" if master else path.name


def _master_of(path: Path) -> str | None:
    """The bus that a sensor hangs on. In `/sys` its directory is a link to `<bus>/<sensor>`."""
    return path.resolve().parent.name if path.is_symlink() else None


def _set_resolution(file: Path, bits: int) -> None:
    """Set the bits where they are not set already. The sensor forgets them when its power goes.

    Raises:
        DeviceError: the kernel or the sensor does not offer it, or we are not allowed to.
    """
    shown = sysfs.text_or_none(file)
    if shown is None:
        raise DeviceError(f"{file} is not there: this kernel or sensor has one resolution only; remove `resolution:`")
    if _integer(shown, "resolution") == bits:
        return
    try:
        file.write_text(f"{bits}\n", encoding="ascii")
    except PermissionError:
        raise DeviceError(
            f"only root may set the resolution, and it is {shown}: `echo {bits} | sudo tee {file}`, or a udev rule"
        ) from None


def _integer(shown: str, what: str) -> int:
    try:
        return int(shown)
    except ValueError:
        raise DeviceError(f"{what} holds {shown[:32]!r}: expected a whole number") from None
