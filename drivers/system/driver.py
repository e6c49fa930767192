"""The machine itself: how busy, how full, how long up, whether it is connected and well powered.

Sources: getloadavg(3) and statvfs(3) for load and disk; the kernel's files for the rest:

* `/proc/meminfo`: `MemTotal`, and `MemAvailable` that the kernel could give to programs without swapping
  (Documentation/filesystems/proc.rst).
* `/sys/class/net/*/flags` and `operstate`: an interface runs if it is IFF_UP and its state is `up`, or `unknown` where
  its driver does not tell (Documentation/networking/operstates.rst).
* `/proc/uptime`: seconds since boot, suspend included (Documentation/filesystems/proc.rst).
* `/proc/sys/kernel/random/boot_id`: new at each boot, the same until the next (random(4)).
* hwmon chip `rpi_volt`, `in0_lcrit_alarm`: 1 while the Pi's firmware reports under-voltage
  (Documentation/hwmon/raspberrypi-hwmon.rst; the kernel asks the firmware every 2 s).

What this machine cannot tell is not read: a laptop has no `rpi_volt`, and macOS has no `/proc`. There psutil tells
memory and network. Where the kernel's files do, it is not imported: it is a megabyte of the gateway's memory.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Protocol

from pydantic import Field, StringConstraints

from gateway.driver import Channel, PolledDriver, World
from gateway.errors import DeviceError
from gateway.event import Reading, Value
from gateway.options import Options
from gateway.sysfs import text, text_or_none

MEMORY = "proc/meminfo"
MEMORY_TOTAL, MEMORY_AVAILABLE = "MemTotal:", "MemAvailable:"
NETWORK = "sys/class/net"
IFF_UP, IFF_LOOPBACK = 0x1, 0x8  # linux/if.h
RUNNING = frozenset({"up", "unknown"})
UPTIME = "proc/uptime"
BOOT_ID = "proc/sys/kernel/random/boot_id"
HWMON = "sys/class/hwmon"
VOLTAGE_CHIP = "rpi_volt"
VOLTAGE_ALARM = "in0_lcrit_alarm"


class Machine(Protocol):
    """What the driver asks of the machine."""

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
        root = Path("/")
        return cls(options, KernelMachine(root) if (root / MEMORY).exists() else PsutilMachine(), root)

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


class UnixMachine:
    """What any Unix tells by the same calls."""

    def load(self) -> float:
        return os.getloadavg()[0]

    def disk(self, path: str) -> tuple[float, float]:
        found = os.statvfs(path)
        used, left = found.f_blocks - found.f_bfree, found.f_bavail  # what is kept for root is neither
        return used / (used + left) if used + left else 0.0, left * found.f_frsize


class KernelMachine(UnixMachine):
    """A machine with Linux, of which `root` is the root directory."""

    def __init__(self, root: Path) -> None:
        self._memory, self._network = root / MEMORY, root / NETWORK

    def memory_used(self) -> float:
        lines = (line.split() for line in text(self._memory).splitlines())
        kibibytes = {words[0]: int(words[1]) for words in lines if words[0] in {MEMORY_TOTAL, MEMORY_AVAILABLE}}
        try:
            total, available = kibibytes[MEMORY_TOTAL], kibibytes[MEMORY_AVAILABLE]
        except KeyError as missing:
            raise DeviceError(f"{self._memory} has no {missing}") from None
        return (total - available) / total

    def interfaces(self) -> Mapping[str, bool]:
        found = {path.name: self._flags(path) for path in self._network.glob("*")}
        return {
            name: bool(flags & IFF_UP) and text_or_none(self._network / name / "operstate") in RUNNING
            for name, flags in found.items()
            if flags is not None and not flags & IFF_LOOPBACK
        }

    def _flags(self, interface: Path) -> int | None:
        """None for what is no interface (`bonding_masters` lies beside them), or is none any more."""
        flags = text_or_none(interface / "flags")
        return None if flags is None else int(flags, 16)


class PsutilMachine(UnixMachine):
    """A machine with another system, as psutil sees it."""

    def __init__(self) -> None:
        import psutil  # noqa: PLC0415 - only where it is needed

        self._psutil = psutil

    def memory_used(self) -> float:
        memory = self._psutil.virtual_memory()
        return (memory.total - memory.available) / memory.total

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
