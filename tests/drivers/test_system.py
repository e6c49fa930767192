"""The machine: the real one, and machines that only the test knows."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest
from pydantic import ValidationError

from drivers.system.driver import KernelMachine, PsutilMachine, System, SystemOptions, UnixMachine, is_linked
from gateway.driver import Channel
from gateway.errors import DeviceError
from gateway.event import Reading
from gateway.testing.rig import check_reading
from tests.drivers.worlds import Stage

linux = pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="reads what Linux shows")


class Machine:
    asked: str = ""

    def load(self) -> float:
        return 0.5

    def memory_used(self) -> float:
        return 0.25

    def disk(self, path: str) -> tuple[float, float]:
        self.asked = path
        return 0.75, 1000

    def interfaces(self) -> Mapping[str, bool]:
        return {"eth0": False, "wlan0": True}


def files(root: Path, **contents: str) -> Path:
    paths = {
        "uptime": "proc/uptime",
        "memory": "proc/meminfo",
        "boot": "proc/sys/kernel/random/boot_id",
        "chip": "sys/class/hwmon/hwmon1/name",
        "alarm": "sys/class/hwmon/hwmon1/in0_lcrit_alarm",
        "other_chip": "sys/class/hwmon/hwmon0/name",
    }
    for name, text in contents.items():
        file = root / paths[name]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n", encoding="ascii")
    return root


def read(root: Path, **options: str) -> dict[str, object]:
    system = System(SystemOptions.model_validate(options), Machine(), root)
    system.open()
    found: dict[str, object] = {reading.channel: reading.value for reading in system.read()}
    system.close()
    return found


def test_a_pi_tells_everything(tmp_path: Path) -> None:
    root = files(tmp_path, uptime="12.34 40.00", boot="b0-07", other_chip="cpu_thermal", chip="rpi_volt", alarm="1")
    assert read(root) == {
        "load": 0.5,
        "memory": 0.25,
        "disk": 0.75,
        "disk_free": 1000,
        "link": True,
        "uptime": 12.34,
        "boot": "b0-07",
        "under_voltage": True,
    }


def test_what_a_machine_cannot_tell_is_not_read(tmp_path: Path) -> None:
    assert set(read(tmp_path)) == {"load", "memory", "disk", "disk_free", "link"}


def test_a_power_supply_that_is_strong_enough_is_no_alarm(tmp_path: Path) -> None:
    assert read(files(tmp_path, chip="rpi_volt", alarm="0"))["under_voltage"] is False


@pytest.mark.parametrize(("interface", "up"), [("wlan0", True), ("eth0", False), ("usb0", False)])
def test_link_is_about_the_interface_that_is_named(interface: str, up: bool, tmp_path: Path) -> None:
    assert read(tmp_path, interface=interface)["link"] is up


def test_without_a_name_any_interface_will_do() -> None:
    assert is_linked({"eth0": False, "wlan0": True}, None)
    assert not is_linked({"eth0": False}, None)
    assert not is_linked({}, None)


def test_a_file_that_makes_no_sense_is_a_failing_device(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="uptime holds 'soon'"):
        read(files(tmp_path, uptime="soon"))


def test_a_file_that_vanishes_is_a_failing_device(tmp_path: Path) -> None:
    system = System(SystemOptions(), Machine(), files(tmp_path, uptime="1 1"))
    system.open()
    (tmp_path / "proc/uptime").unlink()
    with pytest.raises(FileNotFoundError):
        system.read()


def test_the_space_of_the_named_path_is_watched(tmp_path: Path) -> None:
    machine = Machine()
    system = System(SystemOptions(path="/srv"), machine, tmp_path)
    system.open()
    system.read()
    assert machine.asked == "/srv"
    with pytest.raises(ValidationError, match="path"):
        SystemOptions(path="srv")


def test_this_machine_reports_what_it_can_and_only_that() -> None:
    options = SystemOptions()
    channels: dict[str, Channel] = {channel.name: channel for channel in System.channels(options)}
    system = System.create(options)
    system.open()
    readings = system.read()
    system.close()
    for reading in readings:
        check_reading(reading, channels)
        quantity = channels[reading.channel].measures
        if quantity.plausible and isinstance(reading.value, (int, float)):
            assert quantity.plausible[0] <= reading.value <= quantity.plausible[1], reading
    told = {reading.channel for reading in readings}
    assert {"load", "memory", "disk", "disk_free", "link"} <= told
    if Path("/proc/uptime").exists():
        assert {"uptime", "boot"} <= told


def test_loopback_is_no_interface() -> None:
    assert not {"lo", "lo0"} & set(PsutilMachine().interfaces())


@linux
def test_the_kernels_files_say_what_psutil_says() -> None:
    """Memory moves between two looks, so a look of the one lies between two of the other, or near them."""
    kernel, library = KernelMachine(Path("/")), PsutilMachine()
    before, looked, after = library.memory_used(), kernel.memory_used(), library.memory_used()
    assert min(before, after) - 0.02 <= looked <= max(before, after) + 0.02
    assert kernel.interfaces() == library.interfaces()


@linux
def test_on_linux_psutil_is_not_imported() -> None:
    program = (
        "import sys; from drivers.system.driver import System, SystemOptions as O; s = System.create(O()); s.open(); "
        "s.read(); assert 'psutil' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_disk_is_as_full_as_df_says(tmp_path: Path) -> None:
    used, left = UnixMachine().disk(str(tmp_path))
    space = psutil.disk_usage(str(tmp_path))
    assert used == pytest.approx(space.percent / 100, abs=0.002)
    assert left == pytest.approx(space.free, rel=0.01)


def test_memory_that_the_kernel_would_give_back_is_free(tmp_path: Path) -> None:
    files(tmp_path, memory="MemTotal: 1000 kB\nMemFree: 100 kB\nMemAvailable: 750 kB\nHugePages_Total: 0\n")
    assert KernelMachine(tmp_path).memory_used() == 0.25


def test_a_kernel_that_does_not_tell_what_is_available_is_a_failing_device(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="meminfo has no 'MemAvailable:'"):
        KernelMachine(files(tmp_path, memory="MemTotal: 1000 kB")).memory_used()


@pytest.mark.parametrize(
    ("flags", "operstate", "up"),
    [
        ("0x1003", "up", True),
        ("0x1003", "unknown", True),
        ("0x1003", "down", False),
        ("0x1003", "dormant", False),
        ("0x1002", "up", False),
    ],
)
def test_an_interface_is_up_if_it_is_switched_on_and_has_a_carrier(
    flags: str, operstate: str, up: bool, tmp_path: Path
) -> None:
    network = tmp_path / "sys/class/net"
    for name, shown in (("eth0", (flags, operstate)), ("lo", ("0x9", "unknown"))):
        (network / name).mkdir(parents=True)
        for file, content in zip(("flags", "operstate"), shown, strict=True):
            (network / name / file).write_text(f"{content}\n", encoding="ascii")
    (network / "bonding_masters").write_text("\n", encoding="ascii")
    assert KernelMachine(tmp_path).interfaces() == {"eth0": up}


def test_a_machine_without_a_network_has_no_interface(tmp_path: Path) -> None:
    assert KernelMachine(tmp_path).interfaces() == {}


def test_load_is_the_one_of_the_last_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (1.0, 5.0, 15.0))
    assert UnixMachine().load() == 1.0


def test_a_path_that_is_not_there_is_a_failing_device() -> None:
    with pytest.raises(OSError, match="nowhere"):
        UnixMachine().disk("/nowhere")


def test_simulated_the_driver_reads_what_the_world_says() -> None:
    options = SystemOptions(interface="eth7")
    stage = Stage(System, options, load=1.5, link=False, under_voltage=True, boot="first")
    system = System.simulate(options, stage.world)
    system.open()
    stage.now_s = 90.0
    found = {reading.channel: reading for reading in system.read()}
    assert found["load"] == Reading("load", 1.5)
    assert (found["link"].value, found["under_voltage"].value, found["boot"].value) == (False, True, "first")
    assert found["uptime"].value == 90.0
    stage.values["under_voltage"] = OSError("unplugged")
    with pytest.raises(OSError, match="in0_lcrit_alarm"):
        system.read()
    system.close()
