"""An analogue-to-digital converter of Microchip's MCP3xxx family on SPI, and what is connected to its inputs.

Sources: Microchip DS21295 (MCP3004/3008, 10 bits), DS21298 (MCP3204/3208, 12 bits) and DS21697 (MCP3302/3304), the
sections on serial communication for the frame and on the digital output code: code = 2^bits * VIN / VREF, and no higher
than 2^bits - 1. gpiozero 2.0, `spi_devices.py`: its classes open the SPI and make the frames.

Three things are done here instead. Volts come from the code by the data sheet's formula: gpiozero's `value` of code 0
is 0.0005. The null bit before the code is looked at: gpiozero takes a line that nobody drives for a measurement. And
where the kernel has no SPI this is an error that says so: gpiozero would make the clock by hand.

The MCP3304's inputs are read against ground, which gives 12 bits. Its 13th bit is the sign of pairs of inputs
(DS21697F section 6.1); pairs are not offered.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Final, Literal, NamedTuple

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from drivers._gpio import PinFactory, check_pull, gpio_errors, pi_pin_factory
from gateway.driver import Channel, PolledDriver, World
from gateway.errors import DeviceError
from gateway.event import Reading
from gateway.options import Identifier, Options, Pin, did_you_mean
from gateway.units import QUANTITIES


class Chip(NamedTuple):
    """What one kind of chip has. `zeros` bits that are always 0 stand before the code: null bit, and sign if any."""

    inputs: int
    bits: int
    zeros: int


CHIPS: Final[Mapping[str, Chip]] = {
    "mcp3004": Chip(4, 10, 1),
    "mcp3008": Chip(8, 10, 1),
    "mcp3204": Chip(4, 12, 1),
    "mcp3208": Chip(8, 12, 1),
    "mcp3304": Chip(8, 12, 2),
}

ChipName = Literal["mcp3004", "mcp3008", "mcp3204", "mcp3208", "mcp3304"]

SELECT_PINS: Final = (8, 7)
"""GPIO numbers of the Pi's own SPI: chip select 0 and 1; then clock, MOSI and MISO."""

SPI_PINS: Final = (11, 10, 9)

MEASURABLE: Final = tuple(name for name, quantity in QUANTITIES.items() if quantity.unit is not None)


def _measurable(name: str) -> str:
    if name not in MEASURABLE:
        raise ValueError(f"{name!r} is not measured in volts{did_you_mean(name, MEASURABLE)}: {', '.join(MEASURABLE)}")
    return name


class Input(Options):
    """What is connected to one input: channel value = volts * scale + bias."""

    pin: Annotated[int, Field(ge=0, le=7)] = Field(description="number of the input, as in CH0 to CH7")
    quantity: Annotated[
        str, AfterValidator(_measurable), WithJsonSchema({"type": "string", "enum": list(MEASURABLE)})
    ] = Field("voltage", description="what the voltage stands for")
    scale: Annotated[float, Field(allow_inf_nan=False)] | None = Field(
        None, description="how much one volt is; default: 1 for a voltage, a part of `vref` for a ratio"
    )
    bias: Annotated[float, Field(allow_inf_nan=False)] = Field(0.0, description="how much no volt is")

    @model_validator(mode="after")
    def _scale_is_known(self) -> Input:
        if self.scale == 0:
            raise ValueError("scale: 0 makes every voltage the same")
        if self.scale is None and self.quantity not in {"voltage", "ratio"}:
            unit = QUANTITIES[self.quantity].unit
            raise ValueError(f"quantity: {self.quantity} needs a scale: how many {unit} one volt is")
        return self

    def factor(self, vref: float) -> float:
        """How much one volt is, in the quantity's unit."""
        if self.scale is not None:
            return self.scale
        return 1.0 / vref if self.quantity == "ratio" else 1.0


class SoftwarePins(Options):
    """Any four pins, for SPI that is made by the gateway itself."""

    clock: Pin
    mosi: Pin
    miso: Pin
    select: Pin

    @model_validator(mode="after")
    def _four_that_fit(self) -> SoftwarePins:
        if len(set(self.numbers)) < len(self.numbers):
            raise ValueError("clock, mosi, miso and select must be four different pins")
        if self.numbers[:3] == SPI_PINS and self.select in SELECT_PINS:
            raise ValueError(f"these pins are the Pi's own SPI: use chip_select: {SELECT_PINS.index(self.select)}")
        check_pull(self.miso, "down")
        return self

    @property
    def numbers(self) -> tuple[int, ...]:
        return (self.clock, self.mosi, self.miso, self.select)


class AdcOptions(Options):
    chip: ChipName = Field(description="what is printed on it")
    inputs: dict[Identifier, Input] = Field(
        min_length=1, max_length=8, description="a channel for each input that is connected, by the name you give it"
    )
    vref: Annotated[float, Field(gt=0, le=5.5, allow_inf_nan=False)] = Field(
        3.3, description="volts at the chip's VREF pin"
    )
    chip_select: Literal[0, 1] = Field(0, description="which select line of the Pi's own SPI: 0 is GPIO 8, 1 is GPIO 7")
    pins: SoftwarePins | None = Field(None, description="other pins than those of the Pi's own SPI; slower")

    @model_validator(mode="after")
    def _inputs_fit_the_chip(self) -> AdcOptions:
        count = CHIPS[self.chip].inputs
        names: dict[int, str] = {}
        for name, given in self.inputs.items():
            if given.pin >= count:
                raise ValueError(f"inputs.{name}: pin {given.pin}, but an {self.chip} has 0 to {count - 1}")
            if given.pin in names:
                raise ValueError(f"inputs.{name}: pin {given.pin} is {names[given.pin]} already")
            names[given.pin] = name
        return self

    @model_validator(mode="after")
    def _one_kind_of_spi(self) -> AdcOptions:
        if self.pins is not None and "chip_select" in self.model_fields_set:
            raise ValueError("chip_select and pins exclude each other: pins names its own select")
        return self

    @property
    def spi(self) -> dict[str, int]:
        """Where the chip is, in gpiozero's words."""
        if self.pins is None:
            return {"port": 0, "device": self.chip_select}
        return {
            f"{name}_pin": number for name, number in zip(SoftwarePins.model_fields, self.pins.numbers, strict=True)
        }

    @property
    def place(self) -> str:
        """Where the chip is, for people."""
        if self.pins is None:
            return f"SPI 0.{self.chip_select}"
        return "SPI on GPIO {}, {}, {}, {}".format(*self.pins.numbers)


class Adc(PolledDriver):
    name = "adc"
    summary = "an analogue-to-digital converter MCP3004, 3008, 3204, 3208 or 3304 on SPI"
    Options = AdcOptions

    def __init__(self, options: AdcOptions, pin_factory: PinFactory) -> None:
        self._options, self._pin_factory = options, pin_factory
        self._inputs: dict[str, Any] = {}

    @classmethod
    def channels(cls, options: AdcOptions) -> tuple[Channel, ...]:
        def middle(given: Input) -> float:
            return options.vref / 2 * given.factor(options.vref) + given.bias

        return tuple(
            Channel(name, given.quantity, f"input {given.pin}", rest=middle(given))
            for name, given in options.inputs.items()
        )

    @classmethod
    def claims(cls, options: AdcOptions) -> tuple[str, ...]:
        if options.pins is None:  # the other three pins are shared by both select lines
            return (options.place, f"GPIO {SELECT_PINS[options.chip_select]}")
        return tuple(f"GPIO {number}" for number in options.pins.numbers)

    @classmethod
    def create(cls, options: AdcOptions) -> Adc:
        return cls(options, pi_pin_factory)

    @classmethod
    def simulate(cls, options: AdcOptions, world: World) -> Adc:
        from drivers.adc.simulator import SimulatedAdc  # noqa: PLC0415 - only where something is simulated

        return SimulatedAdc(options, world)

    def open(self) -> None:
        options = self._options
        factory = self._pin_factory()
        checked = checked_class(options.chip)
        try:
            with self._errors():
                for name, given in options.inputs.items():  # they share one SPI, and gpiozero counts who uses it
                    self._inputs[name] = checked(
                        given.pin, max_voltage=options.vref, pin_factory=factory, **options.spi
                    )
            self._check_spi()
        except DeviceError:
            self.close()
            raise

    def read(self) -> Sequence[Reading]:
        with self._errors():
            codes = {name: self._code(name) for name in self._options.inputs}
        return tuple(self._reading(name, code) for name, code in codes.items())

    def close(self) -> None:
        inputs, self._inputs = self._inputs, {}
        for device in inputs.values():
            device.close()

    def _check_spi(self) -> None:
        if self._options.pins is None and any(device.is_bit_banged for device in self._inputs.values()):
            raise DeviceError(
                f"{self._options.place} is not there. Is SPI switched on (sudo raspi-config nonint do_spi 0, then "
                "restart), and this user in the group spi?"
            )

    def _code(self, name: str) -> int:
        device = self._inputs.get(name)
        if device is None:
            raise DeviceError(f"{self._options.chip} is not open")
        return int(device.raw_value)

    def _reading(self, name: str, code: int) -> Reading:
        """The top code of a voltage says only that there is at least so much; a ratio ends there by itself."""
        given, steps = self._options.inputs[name], 1 << CHIPS[self._options.chip].bits
        value = code * self._options.vref / steps * given.factor(self._options.vref) + given.bias
        if code == steps - 1 and given.quantity != "ratio":
            return Reading(name, value, quality="uncertain", reason="limit")
        return Reading(name, value)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except gpio_errors() as error:
            raise DeviceError(f"{self._options.chip} on {self._options.place}: {error}") from error


def checked_class(chip: str) -> Any:
    """The class that gpiozero has for this chip, and that notices when nobody answers.

    `raw_value` raises DeviceError where a bit is 1 that the chip always sends as 0. A line that nobody drives reads as
    all ones only where something pulls it up; see README.md.
    """
    import gpiozero  # noqa: PLC0415 - only where a chip is used
    from gpiozero.pins.spi import SPISoftware  # noqa: PLC0415 - only where a chip is used

    kind = CHIPS[chip]

    class Checked(getattr(gpiozero, chip.upper())):  # type: ignore[misc]  # gpiozero ships no types
        def __init__(self, pin: int, **where: Any) -> None:
            super().__init__(pin, **where)
            self._frame = self._send()

        @property
        def is_bit_banged(self) -> bool:
            return isinstance(self._spi, SPISoftware)

        def _read(self) -> int:
            spi = self._spi  # gpiozero looks at it again and again, and `close` on another thread takes it away
            if spi is None:
                raise DeviceError(f"{chip} is closed")
            high, low = spi.transfer(self._frame)[-2:]
            answer = (high << 8 | low) & ((1 << kind.bits + kind.zeros) - 1)
            if answer >> kind.bits:
                raise DeviceError(
                    f"{chip} does not answer: expected 0 before the code. Is it connected, and has it power?"
                )
            return int(answer)

    return Checked
