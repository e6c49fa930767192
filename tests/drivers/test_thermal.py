"""Thermal zones, read from directories that look like the kernel's."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from drivers.thermal.driver import Thermal, ThermalOptions
from gateway.errors import DeviceError
from gateway.event import Reading
from tests.drivers.worlds import Stage


def kernel(root: Path, zones: dict[int, tuple[str, str]]) -> Path:
    for number, (kind, temp) in zones.items():
        zone = root / f"sys/class/thermal/thermal_zone{number}"
        zone.mkdir(parents=True)
        (zone / "type").write_text(f"{kind}\n", encoding="ascii")
        (zone / "temp").write_text(f"{temp}\n", encoding="ascii")
    return root


TWO = {10: ("gpu-thermal", "40100"), 2: ("cpu-thermal", "-500")}


@pytest.mark.parametrize(
    ("zone", "millidegrees"),
    [(None, -500), ("cpu-thermal", -500), ("gpu-thermal", 40100), (2, -500), (10, 40100)],
)
def test_a_zone_is_found_by_type_or_number_and_the_first_is_the_lowest(
    zone: str | int | None, millidegrees: int, tmp_path: Path
) -> None:
    thermal = Thermal(ThermalOptions(zone=zone), kernel(tmp_path, TWO))
    thermal.open()
    assert thermal.read() == (Reading("temperature", millidegrees, "mCel"),)


@pytest.mark.parametrize(("zone", "wanted"), [("nvme", "thermal zone 'nvme'"), (7, "thermal zone 7")])
def test_a_zone_that_is_not_there_is_named_with_those_that_are(zone: str | int, wanted: str, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=rf"no {wanted} .*found thermal_zone2 \(cpu-thermal\), thermal_zone10"):
        Thermal(ThermalOptions(zone=zone), kernel(tmp_path, TWO)).open()


def test_a_machine_without_zones_says_so(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="found none"):
        Thermal(ThermalOptions(), tmp_path).open()


@pytest.mark.parametrize("rubbish", ["", "warm", "21.5.1"])
def test_what_is_no_number_is_a_failing_device(rubbish: str, tmp_path: Path) -> None:
    thermal = Thermal(ThermalOptions(), kernel(tmp_path, {0: ("cpu-thermal", rubbish)}))
    thermal.open()
    with pytest.raises(DeviceError, match="expected thousandths of a degree"):
        thermal.read()


def test_a_zone_that_vanishes_is_a_failing_device(tmp_path: Path) -> None:
    thermal = Thermal(ThermalOptions(), kernel(tmp_path, {0: ("cpu-thermal", "40000")}))
    thermal.open()
    (tmp_path / "sys/class/thermal/thermal_zone0/temp").unlink()
    with pytest.raises(FileNotFoundError):
        thermal.read()


@pytest.mark.parametrize("zone", [None, "gpu-thermal", 3])
def test_simulated_the_driver_reads_the_zone_that_the_options_name(zone: str | int | None) -> None:
    options = ThermalOptions(zone=zone)
    stage = Stage(Thermal, options, temperature={"ramp": {"from": 40, "to": 60, "period": "10s"}})
    thermal = Thermal.simulate(options, stage.world)
    thermal.open()
    assert thermal.read() == (Reading("temperature", 40000, "mCel"),)
    stage.now_s = 5.0
    assert thermal.read() == (Reading("temperature", 50000, "mCel"),)
    stage.values["temperature"] = math.nan
    with pytest.raises(DeviceError, match="'nan'"):
        thermal.read()
    thermal.close()
