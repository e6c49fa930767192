"""Chips of the kernel's hardware monitoring, read from directories that look like the kernel's."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from drivers.hwmon.driver import TYPES, USUAL, Hwmon, HwmonOptions
from gateway.errors import DeviceError
from gateway.event import Reading
from gateway.units import QUANTITIES, to_canonical
from tests.drivers.kernel import break_down, put, put_linked
from tests.drivers.worlds import Stage

BASE = "sys/class/hwmon/hwmon"
PI = {
    f"{BASE}0/name": "cpu_thermal",
    f"{BASE}0/temp1_input": "48312",
    f"{BASE}1/name": "rpi_volt",
    f"{BASE}1/in0_lcrit_alarm": "0",
    f"{BASE}2/name": "sht3x",
    f"{BASE}2/temp1_input": "-21437",
    f"{BASE}2/temp1_alarm": "0",
    f"{BASE}2/humidity1_input": "45120",
    f"{BASE}2/humidity1_alarm": "0",
}


def opened(root: Path, **options: Any) -> Hwmon:
    chip = Hwmon(HwmonOptions(**options), root)
    chip.open()
    return chip


def read(root: Path, **options: Any) -> tuple[Reading, ...]:
    return tuple(opened(root, **options).read())


@pytest.mark.parametrize("chip", ["sht3x", 2])
def test_a_chip_is_found_by_name_or_number(chip: str | int, tmp_path: Path) -> None:
    inputs = {"temp1": "temperature", "humidity1": "humidity"}
    assert read(put(tmp_path, PI), chip=chip, inputs=inputs) == (
        Reading("temperature", -21.437, "Cel"),
        Reading("humidity", 45.12, "%RH"),
    )


@pytest.mark.parametrize(
    ("word", "shown", "value", "unit"),
    [
        ("temp1", "21500", 21.5, "Cel"),
        ("in0", "3287", 3.287, "V"),
        ("curr1", "-1250", -1.25, "A"),
        ("power1", "2500000", 2.5, "W"),
        ("energy1", "1000000", 1.0, "J"),
        ("humidity1", "45120", 45.12, "%RH"),
        ("fan1", "1500", 25.0, "Hz"),
    ],
)
def test_every_type_is_scaled_as_the_kernel_documents_it(
    word: str, shown: str, value: float, unit: str, tmp_path: Path
) -> None:
    root = put(tmp_path, {f"{BASE}0/name": "chip", f"{BASE}0/{word}_input": shown})
    (reading,) = read(root, chip="chip", inputs={word: "x"})
    (channel,) = Hwmon.channels(HwmonOptions(chip="chip", inputs={word: "x"}))
    assert channel.measures.unit == unit
    assert to_canonical(float(reading.value or 0), str(reading.unit), channel.measures) == pytest.approx(value)


def test_all_types_have_been_looked_at() -> None:
    assert set(TYPES) == {"temp", "in", "curr", "power", "energy", "humidity", "fan"}
    assert all(kind.quantity in QUANTITIES for kind in TYPES.values())


def test_an_average_serves_where_there_is_no_input(tmp_path: Path) -> None:
    root = put(tmp_path, {f"{BASE}0/name": "meter", f"{BASE}0/power1_average": "7300000"})
    assert read(root, chip="meter", inputs={"power1": "power"}) == (Reading("power", 7.3, "W"),)


def test_what_chips_usually_have_needs_no_words() -> None:
    for chip in USUAL:
        channels = Hwmon.channels(HwmonOptions(chip=chip))
        assert [channel.name for channel in channels] == list(USUAL[chip].values())


def test_the_warning_of_a_pi_is_a_level(tmp_path: Path) -> None:
    chip = opened(put(tmp_path, PI), chip="rpi_volt")
    assert chip.read() == (Reading("undervoltage", False),)
    put(tmp_path, {f"{BASE}1/in0_lcrit_alarm": "1"})
    assert chip.read() == (Reading("undervoltage", True),)
    (channel,) = Hwmon.channels(HwmonOptions(chip="rpi_volt"))
    assert (channel.kind, channel.quantity) == ("state", "contact")


def test_a_fault_means_that_the_value_is_not_to_be_trusted(tmp_path: Path) -> None:
    root = put(tmp_path, {**PI, f"{BASE}0/temp1_fault": "0"})
    chip = opened(root, chip="cpu_thermal")
    assert chip.read()[0].quality == "good"
    put(root, {f"{BASE}0/temp1_fault": "1"})
    assert chip.read() == (Reading("temperature", None, quality="bad", reason="sensor"),)


def test_an_alarm_keeps_the_value_and_says_that_it_is_beyond_a_limit(tmp_path: Path) -> None:
    root = put(tmp_path, {**PI, f"{BASE}2/temp1_alarm": "1"})
    temperature, humidity = read(root, chip="sht3x")
    assert temperature == Reading("temperature", -21.437, "Cel", "uncertain", "alarm")
    assert humidity.quality == "good"


def test_two_chips_of_one_name_are_told_apart_by_their_places_or_labels(tmp_path: Path) -> None:
    for number, address in ((0, "1-0044"), (1, "1-0045")):
        files = {"name": "sht3x", "temp1_input": f"{number + 20}000", "humidity1_input": "1000"}
        if number:
            files["label"] = "cellar"
        put_linked(tmp_path, f"{BASE}{number}", f"i2c-1/{address}/hwmon/hwmon{number}", files)
    with pytest.raises(
        DeviceError, match=r"any of hwmon0 \(sht3x, 1-0044\), hwmon1 \(sht3x, label cellar, 1-0045\): say which"
    ):
        opened(tmp_path, chip="sht3x")
    inputs = {"temp1": "temperature"}
    assert read(tmp_path, chip="1-0044", inputs=inputs)[0].value == 20.0
    assert read(tmp_path, chip="1-0045", inputs=inputs)[0].value == 21.0
    assert read(tmp_path, chip="cellar", inputs=inputs)[0].value == 21.0


def test_a_chip_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"no hwmon chip 'lm75' .*found hwmon0 \(cpu_thermal\), hwmon1 \(rpi_volt\)"):
        opened(put(tmp_path, PI), chip="lm75")


def test_a_machine_without_chips_says_so(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="found none"):
        opened(tmp_path, chip="lm75")


def test_an_input_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"hwmon2 \(sht3x\) has no temp2_input .*found humidity1_alarm, humidity1_in"):
        opened(put(tmp_path, PI), chip="sht3x", inputs={"temp2": "temperature"})


@pytest.mark.parametrize("rubbish", ["", "warm", "nan"])
def test_what_is_no_number_is_a_failing_device(rubbish: str, tmp_path: Path) -> None:
    chip = opened(put(tmp_path, PI), chip="cpu_thermal")
    put(tmp_path, {f"{BASE}0/temp1_input": rubbish})
    with pytest.raises(DeviceError, match="expected thousandths of a degree"):
        chip.read()


def test_a_chip_that_does_not_answer_is_a_failing_device(tmp_path: Path) -> None:
    chip = opened(put(tmp_path, PI), chip="sht3x")
    break_down(tmp_path / f"{BASE}2/temp1_input")
    with pytest.raises(OSError, match="Input/output error"):
        chip.read()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"chip": "mystery"}, "what has chip 'mystery'"),
        ({"chip": 3}, "what has chip 3"),
        ({"chip": "x", "inputs": {"pwm1": "fan"}}, "input 'pwm1': expected temp, in, curr"),
        ({"chip": "x", "inputs": {"temp1": "t", "temp2": "t"}}, "two inputs have one name"),
        ({"chip": "x", "inputs": {}}, "at least 1"),
        ({"chip": "x", "inputs": {"temp1": "Big T"}}, "pattern"),
        ({}, "required"),
    ],
)
def test_options_that_cannot_work_are_refused_in_words(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        HwmonOptions.model_validate(options)


def test_the_bus_is_the_one_that_the_yaml_names() -> None:
    assert Hwmon.bus(HwmonOptions(chip="sht3x", bus="i2c-1")) == "i2c-1"
    assert Hwmon.bus(HwmonOptions(chip="sht3x")) is None


def test_simulated_every_type_comes_out_as_it_went_in() -> None:
    inputs = {f"{word}1": word for word in TYPES} | {"temp1_crit_alarm": "hot"}
    options = HwmonOptions(chip="chip", inputs=inputs)
    stage = Stage(Hwmon, options)
    chip = Hwmon.simulate(options, stage.world)
    chip.open()
    for reading, channel in zip(chip.read(), Hwmon.channels(options), strict=True):
        if channel.kind == "reading":
            found = to_canonical(float(reading.value or 0), str(reading.unit), channel.measures)
            assert found == pytest.approx(channel.rest, rel=0.001), channel
    stage.values["hot"] = True
    assert chip.read()[-1] == Reading("hot", True)
    for strange in (math.nan, math.inf, "warm"):
        stage.values["temp"] = strange
        with pytest.raises(DeviceError, match="expected thousandths"):
            chip.read()
    chip.close()
