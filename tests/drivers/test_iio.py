"""Sensors of the kernel's Industrial I/O, read from directories that look like the kernel's."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from drivers.iio.driver import PAUSE_S, TRIES_MAX, TYPES, USUAL, Iio, IioOptions, shared_names
from gateway.errors import DeviceError
from gateway.event import Reading
from gateway.units import QUANTITIES, to_canonical
from tests.drivers.kernel import break_down, put, put_linked
from tests.drivers.worlds import Stage

BASE = "sys/bus/iio/devices/iio:device"
BME280 = {
    f"{BASE}1/name": "bme280",
    f"{BASE}1/in_temp_input": "21540",
    f"{BASE}1/in_humidityrelative_input": "48002.929687500",
    f"{BASE}1/in_pressure_input": "100.829941406",
}
DHT22 = {
    f"{BASE}0/name": "dht11@4",
    f"{BASE}0/in_temp_input": "19800",
    f"{BASE}0/in_humidityrelative_input": "61200",
}
SENSORS = {**BME280, **DHT22}


class Pauses:
    """Instead of waiting: what the driver would have waited, and a deed after so many pauses."""

    def __init__(self, after: int = 0, deed: Any = None) -> None:
        self.waited: list[float] = []
        self._after, self._deed = after, deed

    def __call__(self, seconds: float) -> None:
        self.waited.append(seconds)
        if len(self.waited) == self._after:
            self._deed()


def opened(root: Path, wait: Any = None, **options: Any) -> Iio:
    device = Iio(IioOptions(**options), root, wait)
    device.open()
    return device


def read(root: Path, **options: Any) -> tuple[Reading, ...]:
    return tuple(opened(root, **options).read())


def canonical(word: str, files: dict[str, str], root: Path) -> float:
    """What becomes of the one channel of a device with these files, in the canonical unit."""
    put(root, {f"{BASE}0/name": "chip", **{f"{BASE}0/{name}": text for name, text in files.items()}})
    options = {"device": "chip", "inputs": {word: "x"}}
    (reading,) = read(root, **options)
    (channel,) = Iio.channels(IioOptions.model_validate(options))
    return to_canonical(float(reading.value or 0), str(reading.unit), channel.measures)


def test_a_weather_chip_reports_in_the_units_of_the_kernel(tmp_path: Path) -> None:
    assert read(put(tmp_path, SENSORS), device="bme280") == (
        Reading("temp", 21540.0, "mCel"),
        Reading("humidityrelative", 48002.9296875, "m%RH"),
        Reading("pressure", 100.829941406, "kPa"),
    )


def test_the_yaml_may_give_inputs_other_names(tmp_path: Path) -> None:
    root = put(tmp_path, SENSORS)
    assert [r.channel for r in read(root, device="bme280", inputs={"pressure": "air"})] == ["air"]


@pytest.mark.parametrize("device", ["dht11@4", "dht11", 0])
def test_a_device_is_found_by_name_with_or_without_its_pin_or_by_number(device: str | int, tmp_path: Path) -> None:
    (reading,) = read(put(tmp_path, SENSORS), device=device, inputs={"temp": "temperature"})
    assert reading == Reading("temperature", 19800.0, "mCel")


@pytest.mark.parametrize(
    ("word", "files", "value"),
    [
        ("temp", {"in_temp_input": "-40125"}, -40.125),
        ("temp_object", {"in_temp_object_raw": "14658", "in_temp_offset": "-13657.5", "in_temp_scale": "20"}, 20.01),
        ("pressure", {"in_pressure_raw": "80000", "in_pressure_scale": "0.001250000"}, 100_000.0),
        ("humidityrelative", {"in_humidityrelative_input": "45000"}, 45.0),
        ("illuminance", {"in_illuminance_raw": "240", "in_illuminance_scale": "0.833333"}, 200.0),
        ("voltage3", {"in_voltage3_raw": "512", "in_voltage_scale": "3.222656250"}, 1.65),
        ("voltage3", {"in_voltage3_raw": "512", "in_voltage3_scale": "1", "in_voltage_scale": "3.2"}, 0.512),
        ("voltage0-voltage1", {"in_voltage0-voltage1_raw": "-100", "in_voltage-voltage_scale": "0.125"}, -0.0125),
        ("current1", {"in_current1_raw": "250", "in_current_scale": "2"}, 0.5),
        ("power1", {"in_power1_raw": "100", "in_power1_scale": "20"}, 2.0),
        ("energy", {"in_energy_input": "12"}, 12.0),
        ("distance", {"in_distance_raw": "1234", "in_distance_scale": "0.001000"}, 1.234),
        ("accel_z", {"in_accel_z_raw": "16384", "in_accel_scale": "0.000598"}, 9.797632),
        ("anglvel_x", {"in_anglvel_x_raw": "-100", "in_anglvel_scale": "0.001065264"}, -0.1065264),
        ("magn_x", {"in_magn_x_raw": "500", "in_magn_x_scale": "0.001"}, 0.00005),
        ("resistance", {"in_resistance_raw": "10", "in_resistance_scale": "100"}, 1000.0),
        ("capacitance0", {"in_capacitance0_raw": "100", "in_capacitance_scale": "0.5"}, 5e-8),
        ("concentration_co2", {"in_concentration_co2_raw": "800", "in_concentration_co2_scale": "0.0001"}, 800.0),
        ("voltage0", {"in_voltage0_raw": "7"}, 0.007),
        ("voltage0", {"in_voltage0_raw": "8", "in_scale": "0.5"}, 0.004),
    ],
)
def test_every_type_is_scaled_as_the_kernel_documents_it(
    word: str, files: dict[str, str], value: float, tmp_path: Path
) -> None:
    assert canonical(word, files, tmp_path) == pytest.approx(value)


def test_what_is_ready_wins_over_what_is_raw(tmp_path: Path) -> None:
    assert canonical("temp", {"in_temp_input": "21000", "in_temp_raw": "7", "in_temp_scale": "9"}, tmp_path) == 21.0


def test_a_scale_that_changes_is_noticed(tmp_path: Path) -> None:
    files = {f"{BASE}0/name": "adc", f"{BASE}0/in_voltage0_raw": "100", f"{BASE}0/in_voltage_scale": "1"}
    device = opened(put(tmp_path, files), device="adc", inputs={"voltage0": "v"})
    assert device.read() == (Reading("v", 100.0, "mV"),)
    put(tmp_path, {f"{BASE}0/in_voltage_scale": "2"})
    assert device.read() == (Reading("v", 200.0, "mV"),)


def test_a_scale_is_looked_for_from_the_channels_own_to_that_of_all() -> None:
    assert shared_names("voltage0-voltage1", "scale") == [
        "in_voltage0-voltage1_scale",
        "in_voltage-voltage_scale",
        "in_voltage0_scale",
        "in_voltage_scale",
        "in_scale",
        "scale",
    ]


def test_all_types_have_quantities_and_usual_devices_have_channels() -> None:
    assert all(kind.quantity in QUANTITIES for kind in TYPES.values())
    for device in USUAL:
        assert [channel.name for channel in Iio.channels(IioOptions(device=device))] == list(USUAL[device])


def test_devices_of_one_name_are_listed_and_told_apart_by_places_or_labels(tmp_path: Path) -> None:
    for number, address in ((0, "1-0076"), (1, "1-0077")):
        files = {"name": "bmp280", "in_temp_input": f"{number + 20}000", **({"label": "attic"} if number else {})}
        put_linked(tmp_path, f"{BASE}{number}", f"i2c-1/{address}/iio:device{number}", files)
    inputs = {"temp": "t"}
    with pytest.raises(
        DeviceError,
        match=r"any of iio:device0 \(bmp280, 1-0076\), iio:device1 \(bmp280, label attic, 1-0077\): say which",
    ):
        opened(tmp_path, device="bmp280", inputs=inputs)
    assert read(tmp_path, device="1-0076", inputs=inputs)[0].value == 20_000
    assert read(tmp_path, device="attic", inputs=inputs)[0].value == 21_000


def test_two_dhts_are_told_apart_by_their_pins(tmp_path: Path) -> None:
    root = put(tmp_path, {**DHT22, f"{BASE}5/name": "dht11@17", f"{BASE}5/in_temp_input": "5000"})
    with pytest.raises(DeviceError, match=r"any of iio:device0 \(dht11@4\), iio:device5 \(dht11@17\)"):
        opened(root, device="dht11")
    assert read(root, device="dht11@17", inputs={"temp": "t"})[0].value == 5000


def test_a_device_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"no IIO device 'bh1750' .*found iio:device0 \(dht11@4\), iio:device1 \(bme"):
        opened(put(tmp_path, SENSORS), device="bh1750")


def test_an_input_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    root = put(tmp_path, {f"{BASE}0/name": "bme280", f"{BASE}0/in_temp_input": "1", f"{BASE}0/in_pressure_input": "1"})
    with pytest.raises(
        DeviceError,
        match=r"\(bme280\) has no in_humidityrelative_input or .*found in_pressure_input, in_temp_input",
    ):
        opened(root, device="bme280")


@pytest.mark.parametrize("rubbish", ["", "warm", "inf"])
def test_what_is_no_number_is_a_failing_device(rubbish: str, tmp_path: Path) -> None:
    device = opened(put(tmp_path, SENSORS), device="bme280")
    put(tmp_path, {f"{BASE}1/in_temp_input": rubbish})
    with pytest.raises(DeviceError, match="expected a number"):
        device.read()


def test_a_spoilt_transmission_is_tried_again_after_a_rest(tmp_path: Path) -> None:
    file = tmp_path / f"{BASE}0/in_temp_input"

    def mend() -> None:
        file.unlink()
        put(tmp_path, DHT22)

    pauses = Pauses(after=2, deed=mend)
    device = opened(put(tmp_path, SENSORS), pauses, device="dht11")
    break_down(file)
    assert device.read()[0] == Reading("temp", 19800.0, "mCel")
    assert pauses.waited == [PAUSE_S["dht11"]] * 2


def test_a_sensor_that_never_answers_is_asked_three_times_and_left_in_peace_before_anybody_asks_again(
    tmp_path: Path,
) -> None:
    pauses = Pauses()
    device = opened(put(tmp_path, SENSORS), pauses, device="dht11")
    break_down(tmp_path / f"{BASE}0/in_temp_input")
    with pytest.raises(OSError, match="Input/output error"):
        device.read()
    assert pauses.waited == [2.0] * TRIES_MAX


def test_a_chip_that_needs_no_second_try_gets_none(tmp_path: Path) -> None:
    pauses = Pauses()
    device = opened(put(tmp_path, SENSORS), pauses, device="bme280")
    break_down(tmp_path / f"{BASE}1/in_temp_input")
    with pytest.raises(OSError, match="Input/output error"):
        device.read()
    assert pauses.waited == []


def test_a_sensor_that_is_gone_is_not_waited_for(tmp_path: Path) -> None:
    pauses = Pauses()
    device = opened(put(tmp_path, SENSORS), pauses, device="dht11")
    (tmp_path / f"{BASE}0/in_temp_input").unlink()
    with pytest.raises(FileNotFoundError):
        device.read()
    assert pauses.waited == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"device": "mystery"}, "what has device 'mystery'"),
        ({"device": 3}, "what has device 3"),
        ({"device": "x", "inputs": {"warmth": "t"}}, "input 'warmth': expected one of temp, humidityrelative"),
        ({"device": "x", "inputs": {"temp0": "t", "temp1": "t"}}, "two inputs have one name"),
        ({"device": "x", "inputs": {"../temp": "t"}}, "pattern"),
        ({}, "required"),
    ],
)
def test_options_that_cannot_work_are_refused_in_words(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        IioOptions.model_validate(options)


def test_the_bus_is_the_one_that_the_yaml_names() -> None:
    assert Iio.bus(IioOptions(device="bme280", bus="i2c-1")) == "i2c-1"
    assert Iio.bus(IioOptions(device="bme280")) is None


def test_simulated_every_type_comes_out_as_it_went_in() -> None:
    inputs = {word: word for word in TYPES} | {"voltage0-voltage1": "difference", "accel_x": "accel_x"}
    options = IioOptions(device="chip", inputs=inputs)
    stage = Stage(Iio, options)
    device = Iio.simulate(options, stage.world)
    device.open()
    for reading, channel in zip(device.read(), Iio.channels(options), strict=True):
        found = to_canonical(float(reading.value or 0), str(reading.unit), channel.measures)
        assert found == pytest.approx(channel.rest, rel=0.002), channel  # the steps of a chip
    for strange in (math.nan, math.inf, "warm"):
        stage.values["temp"] = strange
        with pytest.raises(DeviceError, match="expected a number"):
            device.read()
    device.close()
