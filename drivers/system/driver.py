"""The machine itself: how busy, how full, how long up, whether it is connected and well powered.

Sources: psutil for load, memory, disk and network; the kernel's files for the rest:

* `/proc/uptime`: seconds since boot, suspend included (Documentation/filesystems/proc.rst).
* `/proc/sys/kernel/random/boot_id`: new at each boot, the same until the next (random(4)).
* hwmon chip `rpi_volt`, `in0_lcrit_alarm`: 1 while the Pi's firmware reports under-voltage
  (Documentation/hwmon/raspberrypi-hwmon.rst; the kernel asks the firmware every 2 s).

What this machine cannot tell is not read: a laptop has no `rpi_volt`, and macOS has no `/proc`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Protocol

from pydantic import Field, StringConstraints

from gateway.driver import Channel, PolledDriver, World
from gateway.errors import DeviceError
from gateway.event import Reading, Value
from gateway.options import Options

UPTIME = "proc/uptime"
BOOT_ID = "proc/sys/kernel/random/boot_id"
HWMON = "sys/class/hwmon"
VOLTAGE_CHIP = "rpi_volt"
VOLTAGE_ALARM = "in0_lcrit_alarm"


class Machine(Protocol):
    """What the driver asks psutil."""

    def load(self) -> float:
        """Runnable tasks, averaged over a minute."""

    def memory_used(self) -> float:
        """Part of the memory that programs cannot have, 0 to 1."""

    def disk(self, path: str) -> tuple[float, float]:
        """Part of the file system that is used, 0 to 1, and the bytes that are left to use."""

    def interfaces(self) -> Mapping[str, bool]:
        """Network interfaces but loopback: whether each is up and has a carrier."""


class SystemOptions(Options):
    path: Annotated[str, StringConstraints(pattern="^/", max_length=4096)] = Field(
        "/", description="a directory of the file system whose space is watched"
    )
    interface: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = Field(
        None, description="the network interface that `link` is about, such as eth0; default: any but loopback"
    )


class System(PolledDriver):
    name = "system"
    summary = "the machine itself: load, memory, disk, network link, uptime, boot, under-voltage"
    Options = SystemOptions

    def __init__(self, options: SystemOptions, machine: Machine, root: Path) -> None:
        self._options = options
        self._machine = machine
        self.root = root
        self._told_by_files: tuple[tuple[str, Path, Callable[[str], Value]], ...] = ()

    @classmethod
    def channels(cls, options: Any) -> tuple[Channel, ...]:
        del options
        return (
            Channel("load", "load", "runnable tasks, averaged over a minute", rest=0.25),
            Channel("memory", "ratio", "part of the memory that is used", rest=0.4),
            Channel("disk", "ratio", "part of the file system that is used", rest=0.3),
            Channel("disk_free", "size", "space left on the file system", rest=20_000_000_000),
            Channel("uptime", "duration", "time since boot"),
            Channel("link", "contact", "whether the network interface is up", kind="state", rest=True),
            Channel("boot", "text", "names this boot; changes with each", kind="state", rest="simulated-boot"),
            Channel("under_voltage", "contact", "whether the power supply is too weak", kind="state", rest=False),
        )

    @classmethod
    def create(cls, options: SystemOptions) -> System:
        return cls(options, PsutilMachine(), Path("/"))

    @classmethod
    def simulate(cls, options: SystemOptions, world: World) -> System:
        from drivers.system.simulator import SimulatedSystem  # noqa: PLC0415 - only where something is simulated

        return SimulatedSystem(options, world)

    def open(self) -> None:
        told = (
            ("uptime", self.root / UPTIME, _first_number),
            ("boot", self.root / BOOT_ID, str),
            ("under_voltage", find_chip(self.root / HWMON, VOLTAGE_CHIP) / VOLTAGE_ALARM, _alarm),
        )
        self._told_by_files = tuple(row for row in told if row[1].exists())

    def read(self) -> Sequence[Reading]:
        disk_used, disk_free_bytes = self._machine.disk(self._options.path)
        return (
            Reading("load", self._machine.load()),
            Reading("memory", self._machine.memory_used()),
            Reading("disk", disk_used),
            Reading("disk_free", disk_free_bytes),
            Reading("link", is_linked(self._machine.interfaces(), self._options.interface)),
            *(Reading(channel, _read(path, meaning)) for channel, path, meaning in self._told_by_files),
        )


class PsutilMachine:
    """The machine that we run on."""

    def __init__(self) -> None:
        import psutil  # noqa: PLC0415 - only where a real machine is asked

        self._psutil = psutil

    def load(self) -> float:
        return self._psutil.getloadavg()[0]

    def memory_used(self) -> float:
        memory = self._psutil.virtual_memory()
        return (memory.total - memory.available) / memory.total

    def disk(self, path: str) -> tuple[float, float]:
        space = self._psutil.disk_usage(path)
        return space.used / (space.used + space.free), space.free

    def interfaces(self) -> Mapping[str, bool]:
        stats = self._psutil.net_if_stats()
        return {name: stat.isup for name, stat in stats.items() if "loopback" not in stat.flags.split(",")}


def is_linked(interfaces: Mapping[str, bool], wanted: str | None) -> bool:
    """Whether the wanted interface is up, or any. An interface that is not there is not up."""
    return any(interfaces.values()) if wanted is None else interfaces.get(wanted, False)


def find_chip(directory: Path, name: str) -> Path:
    """The hwmon chip of that name; where there is none, a path that does not exist."""
    for file in sorted(directory.glob("hwmon*/name")):
        if file.read_text(encoding="ascii", errors="replace").strip() == name:
            return file.parent
    return directory / name


def _first_number(text: str) -> float:
    return float(text.split(maxsplit=1)[0])


def _alarm(text: str) -> bool:
    return bool(int(text))


def _read(path: Path, meaning: Callable[[str], Value]) -> Value:
    text = path.read_text(encoding="ascii", errors="replace").strip()
    try:
        return meaning(text)
    except (ValueError, IndexError):
        raise DeviceError(f"{path} holds {text[:32]!r}, which makes no sense there") from None
