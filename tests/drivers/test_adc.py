"""The converters: gpiozero's classes and our driver are real, the chip is not."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from typing import Any

import gpiozero
import pytest
from gpiozero.pins.mock import MockFactory, MockSPIDevice
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from drivers._mockpins import BOARD
from drivers.adc.driver import CHIPS, Adc, AdcOptions, checked_class
from drivers.adc.simulator import BoardWithChip, ChipOnSpi, McpChip
from gateway.errors import DeviceError
from gateway.event import Reading
from tests.drivers.worlds import DEADLINE_S, Stage, elsewhere

BITS = {"mcp3004": 10, "mcp3008": 10, "mcp3204": 12, "mcp3208": 12, "mcp3304": 12}
INPUTS = {"mcp3004": 4, "mcp3008": 8, "mcp3204": 4, "mcp3208": 8, "mcp3304": 8}
VREF = 3.3
ALL = pytest.mark.parametrize("chip", list(BITS))


def options_of(chip: str, **more: Any) -> AdcOptions:
    inputs = {f"in{pin}": {"pin": pin} for pin in range(INPUTS[chip])}
    return AdcOptions.model_validate({"chip": chip, "inputs": inputs, **more})


class Wired:
    """A converter with a voltage at each input."""

    def __init__(self, options: AdcOptions, volts: Callable[[int], float]) -> None:
        self.board = BoardWithChip(McpChip(CHIPS[options.chip], options.vref, volts))
        self.device = Adc(options, lambda: self.board)

    def read(self) -> dict[str, Reading]:
        self.device.open()
        try:
            return {reading.channel: reading for reading in self.device.read()}
        finally:
            self.device.close()


def read_one(chip: str, volts: float, **given: Any) -> Reading:
    options = AdcOptions.model_validate({"chip": chip, "inputs": {"x": {"pin": 1, **given}}, "vref": VREF})
    return Wired(options, lambda _: volts).read()["x"]


# The codes, and what they mean


@ALL
@pytest.mark.parametrize(
    ("steps_up", "code"),
    [(-1000.0, 0), (0.0, 0), (0.99, 0), (1.01, 1), (-2.01, -3), (-1.99, -2), (-1.01, -2), (-0.99, -1), (0, 0)],
)
def test_the_codes_at_both_ends_are_those_of_the_data_sheet(chip: str, steps_up: float, code: int) -> None:
    """Steps and codes below 0 count from the top: -1 is the highest code; -1000 steps are below ground."""
    top = 1 << BITS[chip]
    from_top = code < 0
    steps = top + steps_up if from_top else steps_up
    wired = Wired(options_of(chip, vref=VREF), lambda _: steps * VREF / top)
    wired.device.open()
    codes = {device.raw_value for device in wired.device._inputs.values()}
    wired.device.close()
    assert codes == {top + code if from_top else code}


@ALL
def test_no_volt_is_exactly_zero_and_the_reference_is_the_top_code_and_uncertain(chip: str) -> None:
    top = (1 << BITS[chip]) - 1
    assert read_one(chip, 0.0) == Reading("x", 0.0)
    for volts in (VREF, VREF + 1.0, math.inf):
        assert read_one(chip, volts) == Reading("x", top * VREF / (top + 1), quality="uncertain", reason="limit")
    below = read_one(chip, VREF - 1.5 * VREF / (top + 1))
    assert below == Reading("x", (top - 1) * VREF / (top + 1))


@given(chip=st.sampled_from(list(BITS)), part=st.floats(0, 1, exclude_max=True))
def test_any_voltage_is_told_to_within_a_step(chip: str, part: float) -> None:
    step = VREF / (1 << BITS[chip])
    value = read_one(chip, part * VREF).value
    assert isinstance(value, float)
    assert -1e-9 <= part * VREF - value <= step + 1e-9


@ALL
def test_each_input_is_read_where_it_is(chip: str) -> None:
    found = Wired(options_of(chip), lambda pin: 0.1 + pin * 0.3).read()
    assert list(found) == [f"in{pin}" for pin in range(INPUTS[chip])]
    for pin in range(INPUTS[chip]):
        assert found[f"in{pin}"].value == pytest.approx(0.1 + pin * 0.3, abs=0.004)


@pytest.mark.parametrize(
    ("chip", "pin", "frame"),
    [
        ("mcp3004", 3, [0b00000001, 0b10110000, 0]),
        ("mcp3008", 3, [0b00000001, 0b10110000, 0]),
        ("mcp3008", 7, [0b00000001, 0b11110000, 0]),
        ("mcp3204", 1, [0b00000110, 0b01000000, 0]),
        ("mcp3208", 5, [0b00000111, 0b01000000, 0]),
        ("mcp3304", 5, [0b00001110, 0b10000000, 0]),
    ],
)
def test_the_frame_on_the_wire_is_that_of_the_data_sheet(
    chip: str, pin: int, frame: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[list[int]] = []
    plain = ChipOnSpi.transfer

    def transfer(self: ChipOnSpi, data: Sequence[int]) -> list[int]:
        sent.append(list(data))
        return plain(self, data)

    monkeypatch.setattr(ChipOnSpi, "transfer", transfer)
    options = AdcOptions.model_validate({"chip": chip, "inputs": {"x": {"pin": pin}}})
    Wired(options, lambda _: 1.0).read()
    assert sent == [frame]


def test_a_read_is_one_round_over_the_inputs_that_are_named() -> None:
    asked: list[int] = []

    def volts(pin: int) -> float:
        asked.append(pin)
        return 1.0

    options = AdcOptions.model_validate({"chip": "mcp3008", "inputs": {"b": {"pin": 6}, "a": {"pin": 2}}})
    assert list(Wired(options, volts).read()) == ["b", "a"]
    assert asked == [6, 2]


@pytest.mark.parametrize(
    ("volts", "given", "value"),
    [
        (1.0, {}, 1.0),
        (1.0, {"scale": 5.7}, 5.7),
        (0.75, {"quantity": "temperature", "scale": 100, "bias": -50}, 25.0),
        (1.65, {"quantity": "ratio"}, 0.5),
        (1.0, {"quantity": "humidity", "scale": -50, "bias": 100}, 50.0),
    ],
)
def test_scale_and_bias_make_a_quantity_of_volts(volts: float, given: dict[str, Any], value: float) -> None:
    reading = read_one("mcp3208", volts, **given)
    assert reading.quality == "good"
    assert reading.value == pytest.approx(value, rel=0.004)


def test_a_ratio_at_its_end_is_nothing_to_doubt() -> None:
    reading = read_one("mcp3008", VREF, quantity="ratio")
    assert reading.quality == "good"
    assert reading.value == pytest.approx(1023 / 1024)


def test_an_open_input_reads_as_ground() -> None:
    assert read_one("mcp3008", math.nan) == Reading("x", 0.0)


# What can go wrong


def unplugged(_: int) -> float:
    raise OSError("unplugged")


@ALL
def test_a_chip_that_does_not_answer_is_a_failing_device(chip: str) -> None:
    with pytest.raises(DeviceError, match=f"{chip} does not answer"):
        Wired(options_of(chip), unplugged).read()


@ALL
@pytest.mark.parametrize("level", [True, False])
def test_of_a_line_that_nobody_drives_only_a_pulled_up_one_is_noticed(
    chip: str, level: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ChipOnSpi, "transfer", lambda self, data: [0xFF * level for _ in data])
    wired = Wired(options_of(chip), lambda _: 1.0)
    if level:
        with pytest.raises(DeviceError, match="does not answer"):
            wired.read()
    else:
        assert {reading.value for reading in wired.read().values()} == {0.0}


def test_an_error_on_the_bus_is_a_failing_device(monkeypatch: pytest.MonkeyPatch) -> None:
    def transfer(self: ChipOnSpi, data: Sequence[int]) -> list[int]:
        raise OSError("SPI transfer error -1")

    monkeypatch.setattr(ChipOnSpi, "transfer", transfer)
    with pytest.raises(DeviceError, match=r"mcp3008 on SPI 0\.0: SPI transfer error"):
        Wired(options_of("mcp3008"), lambda _: 1.0).read()


def test_closing_during_a_measurement_ends_it_with_an_error() -> None:
    reached, go_on = threading.Event(), threading.Event()
    errors: list[BaseException] = []

    def volts(_: int) -> float:
        reached.set()
        assert go_on.wait(DEADLINE_S)
        return 1.0

    wired = Wired(options_of("mcp3008"), volts)
    wired.device.open()

    def read() -> None:
        with pytest.raises(DeviceError) as raised:
            wired.device.read()
        errors.append(raised.value)

    reader = threading.Thread(target=read, name="device")
    reader.start()
    assert reached.wait(DEADLINE_S)
    elsewhere(wired.device.close)
    go_on.set()
    reader.join(DEADLINE_S)
    assert "not open" in str(errors[0])


def test_a_class_whose_spi_was_taken_away_says_so() -> None:
    board = BoardWithChip(McpChip(CHIPS["mcp3008"], VREF, lambda _: 1.0))
    device = checked_class("mcp3008")(0, pin_factory=board, port=0, device=0)
    spi = device._spi
    device.close()
    with pytest.raises(DeviceError, match="closed"):
        _ = device.raw_value
    with pytest.raises(OSError, match="closed"):
        spi.transfer([0])


class NoKernelSpi(MockFactory):
    """A board whose kernel has no SPI, as lgpio tells it: gpiozero makes the clock by hand then."""

    def _get_spi_class(self, shared: bool, hardware: bool) -> Any:
        if hardware:
            raise OSError("can not open SPI device")
        return super()._get_spi_class(shared, hardware)


@pytest.mark.filterwarnings("ignore:failed to initialize hardware SPI")
def test_without_the_kernels_spi_opening_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    board = NoKernelSpi(BOARD)
    monkeypatch.setattr(gpiozero.Device, "pin_factory", board)
    device = Adc(options_of("mcp3008"), lambda: board)
    with pytest.raises(DeviceError, match=r"SPI 0\.0 is not there.*raspi-config.*group spi"):
        device.open()
    gpiozero.Button(11, pin_factory=board).close()  # nothing is kept
    with pytest.raises(DeviceError, match="not open"):
        device.read()


# Bits that gpiozero bangs itself


class BangedChip(MockSPIDevice):
    """The chip at the far end of four mock pins. It is clocked by the edges that gpiozero makes."""

    def __init__(self, chip: McpChip, *pins: int, pin_factory: MockFactory) -> None:
        super().__init__(*pins, pin_factory=pin_factory)
        self.chip = chip

    def on_start(self) -> None:
        super().on_start()
        self.chip.select()

    def on_bit(self) -> None:
        if self.chip.clock(bool(self.rx_buf[-1])):
            self.miso_pin.drive_high()
        else:
            self.miso_pin.drive_low()


@ALL
def test_on_other_pins_gpiozero_makes_the_clock_and_the_codes_are_the_same(
    chip: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = MockFactory(BOARD)
    monkeypatch.setattr(gpiozero.Device, "pin_factory", board)
    options = options_of(chip, pins={"clock": 21, "mosi": 20, "miso": 19, "select": 16})
    volts = [0.0, 1.0, VREF, 0.5, 0.0, 2.0, 3.0, 3.2]
    far_end = BangedChip(McpChip(CHIPS[chip], VREF, volts.__getitem__), 21, 20, 19, 16, pin_factory=board)
    device = Adc(options, lambda: board)
    device.open()
    banged = device.read()
    device.close()
    far_end.close()
    assert {reading.channel: reading for reading in banged} == Wired(options_of(chip), volts.__getitem__).read()
    gpiozero.Button(21, pin_factory=board).close()  # the pins are free again


def test_pins_that_are_taken_are_a_failing_device(monkeypatch: pytest.MonkeyPatch) -> None:
    board = MockFactory(BOARD)
    monkeypatch.setattr(gpiozero.Device, "pin_factory", board)
    other = gpiozero.Button(19, pin_factory=board)
    device = Adc(options_of("mcp3008", pins={"clock": 21, "mosi": 20, "miso": 19, "select": 16}), lambda: board)
    with pytest.raises(DeviceError, match=r"SPI on GPIO 21, 20, 19, 16: .*in use"):
        device.open()
    other.close()
    gpiozero.Button(21, pin_factory=board).close()


# What the YAML may say

ONE = {"x": {"pin": 0}}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"chip": "mcp3009", "inputs": ONE}, "mcp3008"),
        ({"chip": "mcp3008", "inputs": {}}, "at least 1"),
        ({"chip": "mcp3004", "inputs": {"x": {"pin": 4}}}, r"inputs\.x: pin 4, but an mcp3004 has 0 to 3"),
        ({"chip": "mcp3008", "inputs": {"x": {"pin": 1}, "y": {"pin": 1}}}, r"inputs\.y: pin 1 is x already"),
        ({"chip": "mcp3008", "inputs": {"x": {"pin": 0, "quantity": "contact"}}}, "not measured in volts"),
        ({"chip": "mcp3008", "inputs": {"x": {"pin": 0, "quantity": "temprature"}}}, "did you mean 'temperature'"),
        ({"chip": "mcp3008", "inputs": {"x": {"pin": 0, "quantity": "temperature"}}}, "how many Cel one volt is"),
        ({"chip": "mcp3008", "inputs": {"x": {"pin": 0, "scale": 0}}}, "every voltage the same"),
        ({"chip": "mcp3008", "inputs": ONE, "vref": 12}, "5.5"),
        ({"chip": "mcp3008", "inputs": ONE, "chip_select": 2}, "0 or 1"),
        ({"chip": "mcp3008", "inputs": ONE, "pins": {"clock": 1, "mosi": 4, "miso": 4, "select": 5}}, "four different"),
        ({"chip": "mcp3008", "inputs": ONE, "pins": {"clock": 21, "mosi": 20, "miso": 2, "select": 16}}, "pull-up"),
        (
            {"chip": "mcp3008", "inputs": ONE, "pins": {"clock": 11, "mosi": 10, "miso": 9, "select": 7}},
            "use chip_select: 1",
        ),
        (
            {
                "chip": "mcp3008",
                "inputs": ONE,
                "chip_select": 1,
                "pins": {"clock": 21, "mosi": 20, "miso": 19, "select": 16},
            },
            "exclude each other",
        ),
    ],
)
def test_options_that_cannot_work_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        AdcOptions.model_validate(given)


@pytest.mark.parametrize(
    ("more", "claims"),
    [
        ({}, ("SPI 0.0", "GPIO 8")),
        ({"chip_select": 1}, ("SPI 0.1", "GPIO 7")),
        ({"pins": {"clock": 21, "mosi": 20, "miso": 19, "select": 16}}, ("GPIO 21", "GPIO 20", "GPIO 19", "GPIO 16")),
    ],
)
def test_it_claims_its_place_on_the_bus(more: dict[str, Any], claims: tuple[str, ...]) -> None:
    assert Adc.claims(options_of("mcp3008", **more)) == claims


# The simulated chip


@ALL
def test_the_simulated_chip_follows_the_world_in_the_quantities_of_the_yaml(chip: str) -> None:
    options = AdcOptions.model_validate(
        {
            "chip": chip,
            "inputs": {
                "warmth": {"pin": 3, "quantity": "temperature", "scale": 100, "bias": -50},
                "knob": {"pin": 0, "quantity": "ratio"},
            },
        }
    )
    stage = Stage(Adc, options, warmth={"ramp": {"from": 0, "to": 100, "period": "10s"}}, knob=0.25)
    device = Adc.simulate(options, stage.world)
    device.open()
    for stage.now_s in (0.0, 5.0, 10.0):
        warmth, knob = device.read()
        assert warmth.value == pytest.approx(stage.now_s * 10, abs=0.33)
        assert knob.value == pytest.approx(0.25, abs=0.001)
    stage.values["knob"] = OSError("unplugged")
    with pytest.raises(DeviceError, match="does not answer"):
        device.read()
    stage.values["knob"] = 0.5
    assert device.read()[1].value == pytest.approx(0.5, abs=0.001)
    device.close()
