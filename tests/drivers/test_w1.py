"""Thermometers on the 1-wire bus, read from directories that look like the kernel's."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from drivers.w1.driver import W1, W1Options, judge, parse_slave
from gateway.errors import DeviceError
from gateway.event import Reading
from tests.drivers.kernel import break_down, put, put_linked
from tests.drivers.worlds import Stage

BASE = "sys/bus/w1/devices"
TANK, PIPE = "28-0123456789ab", "28-0123456789ac"
GOOD = "57 01 4b 46 7f ff 09 10 8f : crc=8f YES\n57 01 4b 46 7f ff 09 10 8f t=21437"
WRONG = GOOD.replace("YES", "NO")
NOTHING = Reading("temperature", None, quality="bad", reason="sensor")


def sensor(root: Path, name: str = TANK, **files: str) -> Path:
    return put(root, {f"{BASE}/{name}/{file}": text for file, text in (files or {"temperature": "21437"}).items()})


def opened(root: Path, **options: Any) -> W1:
    thermometer = W1(W1Options(**options), root)
    thermometer.open()
    return thermometer


def read(root: Path, **options: Any) -> Reading:
    (reading,) = opened(root, **options).read()
    return reading


@pytest.mark.parametrize("name", [None, TANK])
def test_a_thermometer_is_found_by_its_number_or_because_it_is_the_only_one(name: str | None, tmp_path: Path) -> None:
    put(tmp_path, {f"{BASE}/w1_bus_master1/w1_master_slave_count": "1", f"{BASE}/00-800000000000/id": "?"})
    assert read(sensor(tmp_path), sensor=name) == Reading("temperature", 21437, "mCel")


@pytest.mark.parametrize("family", ["10", "22", "28", "42"])
def test_all_families_of_the_kernels_driver_but_thermocouples_are_known(family: str, tmp_path: Path) -> None:
    assert read(sensor(tmp_path, f"{family}-0123456789ab")).value == 21437


def test_several_thermometers_are_listed(tmp_path: Path) -> None:
    sensor(tmp_path, PIPE)
    with pytest.raises(DeviceError, match=rf"2 thermometers in .*: {TANK}, {PIPE}; say which one with `sensor:`"):
        opened(sensor(tmp_path))
    assert read(tmp_path, sensor=PIPE).value == 21437


def test_a_thermometer_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=rf"no thermometer {PIPE} at bus 1 .*found {TANK}"):
        opened(sensor(tmp_path), sensor=PIPE)


def test_a_machine_without_the_bus_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="no 1-wire bus: `dtoverlay=w1-gpio`"):
        opened(tmp_path)


def test_a_thermometer_on_another_bus_is_not_taken_for_one_of_this(tmp_path: Path) -> None:
    for name, master in ((TANK, 1), (PIPE, 3)):
        device = f"w1_bus_master{master}/{name}"
        put_linked(tmp_path, f"{BASE}/{name}", device, {"temperature": f"{master}000"})
    assert read(tmp_path).value == 1000
    assert read(tmp_path, master=3).value == 3000
    with pytest.raises(DeviceError, match=rf"{PIPE} \(w1_bus_master3\); give it the `master:` that it hangs on"):
        opened(tmp_path, sensor=PIPE)


def test_sensors_of_one_master_share_a_bus() -> None:
    assert W1.bus(W1Options(sensor=TANK)) == W1.bus(W1Options(sensor=PIPE)) == "1-wire 1"
    assert W1.bus(W1Options(master=2)) == "1-wire 2"


# What can be believed


@pytest.mark.parametrize(
    ("mcel", "last", "reading"),
    [
        (21437, None, Reading("temperature", 21437, "mCel")),
        (-55000, None, Reading("temperature", -55000, "mCel")),
        (125000, None, Reading("temperature", 125000, "mCel")),
        (85000, None, Reading("temperature", 85000, "mCel", "uncertain", "initial")),
        (85000, 21437, NOTHING),
        (85000, 84500, Reading("temperature", 85000, "mCel")),
        (84937, 21437, Reading("temperature", 84937, "mCel")),
        (-127000, 21437, NOTHING),
        (127937, 21437, NOTHING),
        (None, 21437, NOTHING),
    ],
)
def test_impossible_and_power_on_values_are_not_taken_for_temperatures(
    mcel: int | None, last: int | None, reading: Reading
) -> None:
    assert judge(mcel, last) == reading


@given(st.none() | st.integers(-300_000, 300_000), st.none() | st.integers(-55_000, 125_000))
def test_whatever_comes_bad_has_no_value_and_the_rest_is_what_came(mcel: int | None, last: int | None) -> None:
    reading = judge(mcel, last)
    assert (reading.value is None) == (reading.quality == "bad")
    assert reading.value in {None, mcel}
    assert reading.quality == "good" or reading.reason


def test_a_sensor_that_only_says_85_stays_uncertain_and_one_that_loses_power_is_noticed(tmp_path: Path) -> None:
    thermometer = opened(sensor(tmp_path, temperature="85000"))
    seen = []
    for shown in ("85000", "85000", "60000", "85000", "61000"):
        sensor(tmp_path, temperature=shown)
        seen.append(thermometer.read()[0].quality)
    assert seen == ["uncertain", "uncertain", "good", "bad", "good"]


def test_a_boiler_may_pass_through_85(tmp_path: Path) -> None:
    thermometer = opened(sensor(tmp_path))
    for shown in (81000, 83500, 85000, 85000, 86250, 85000):
        sensor(tmp_path, temperature=str(shown))
        assert thermometer.read() == (Reading("temperature", shown, "mCel"),)


# Kernels of different age


@pytest.mark.parametrize(
    ("shown", "reading"),
    [
        (GOOD, Reading("temperature", 21437, "mCel")),
        (GOOD.replace("t=21437", "t=-1250"), Reading("temperature", -1250, "mCel")),
        (WRONG, NOTHING),
        (GOOD.replace("t=21437", "t=85000"), Reading("temperature", 85000, "mCel", "uncertain", "initial")),
    ],
)
def test_an_old_kernel_shows_two_lines_and_the_first_one_judges_the_second(
    shown: str, reading: Reading, tmp_path: Path
) -> None:
    assert read(sensor(tmp_path, w1_slave=shown)) == reading


@pytest.mark.parametrize("shown", ["", "t=21437", "crc=8f YES", "57 01 : crc=8f YES\n57 01 t=warm", "a\nt=1"])
def test_other_lines_are_a_failing_device(shown: str) -> None:
    with pytest.raises(DeviceError, match="expected a line with crc="):
        parse_slave(shown)


def test_a_conversion_that_failed_shows_an_empty_file(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=f"{TANK} did not convert: check its wires"):
        read(sensor(tmp_path, temperature=""))


@pytest.mark.parametrize("rubbish", ["warm", "21.5", "nan"])
def test_what_is_no_whole_number_is_a_failing_device(rubbish: str, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="expected a whole number"):
        read(sensor(tmp_path, temperature=rubbish))


def test_a_thermometer_that_vanishes_is_a_failing_device(tmp_path: Path) -> None:
    thermometer = opened(sensor(tmp_path))
    (tmp_path / BASE / TANK / "temperature").unlink()
    with pytest.raises(FileNotFoundError):
        thermometer.read()
    break_down(tmp_path / BASE / TANK / "temperature")
    with pytest.raises(OSError, match="Input/output error"):
        thermometer.read()


# Resolution


def test_the_resolution_is_set_where_it_is_another_one(tmp_path: Path) -> None:
    file = tmp_path / BASE / TANK / "resolution"
    opened(sensor(tmp_path, temperature="1", resolution="12"), resolution=9)
    assert file.read_text() == "9\n"
    file.chmod(0o444)
    before = file.stat().st_mtime_ns
    opened(tmp_path, resolution=9)
    assert file.stat().st_mtime_ns == before


def test_without_the_option_the_resolution_is_left_alone(tmp_path: Path) -> None:
    opened(sensor(tmp_path, temperature="1", resolution="11"))
    assert (tmp_path / BASE / TANK / "resolution").read_text() == "11\n"


def test_a_kernel_or_sensor_without_resolutions_says_so(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="has one resolution only; remove `resolution:`"):
        opened(sensor(tmp_path), resolution=9)


def test_who_is_not_allowed_to_set_it_learns_the_command(tmp_path: Path, mocker: Any) -> None:
    sensor(tmp_path, temperature="1", resolution="12")
    mocker.patch("pathlib.Path.write_text", side_effect=PermissionError)  # the tests may run as root, who may all
    with pytest.raises(DeviceError, match=r"only root may .*it is 12: `echo 10 | sudo tee"):
        opened(tmp_path, resolution=10)


@pytest.mark.parametrize(
    "options", [{"sensor": "28-xyz"}, {"sensor": "3b-0123456789ab"}, {"resolution": 8}, {"master": 0}]
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        W1Options.model_validate(options)


@pytest.mark.parametrize(("bits", "mcel"), [(None, 20312), (12, 20312), (10, 20250), (9, 20500)])
def test_simulated_it_answers_in_the_steps_of_its_resolution(bits: int | None, mcel: int) -> None:
    options = W1Options(sensor=TANK, resolution=bits)
    stage = Stage(W1, options, temperature=20.3)
    thermometer = W1.simulate(options, stage.world)
    thermometer.open()
    assert thermometer.read() == (Reading("temperature", mcel, "mCel"),)
    stage.values["temperature"] = math.inf
    with pytest.raises(DeviceError, match="'inf'"):
        thermometer.read()
    thermometer.close()
