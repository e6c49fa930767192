"""Chips that the kernel's hardware monitoring knows: temperatures, voltages, currents, fans, humidity.

Sources, all of the Linux kernel: Documentation/hwmon/sysfs-interface.rst (file names `<type><number>_<item>`, their
units, section "Alarms" for `_fault` and `_alarm`), Documentation/ABI/testing/sysfs-class-hwmon (`name`, `label`), and
for what single chips have Documentation/hwmon/sht3x.rst, ina2xx.rst, ads7828.rst, pwm-fan.rst and
drivers/hwmon/raspberrypi-hwmon.c.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, NamedTuple

from pydantic import Field, StringConstraints, model_validator

from drivers._inputs import Bus, Vocabulary, Wanted
from gateway import sysfs
from gateway.driver import Channel, PolledDriver, World
from gateway.errors import DeviceError
from gateway.event import Reading
from gateway.options import Identifier, Options

CHIPS: Final = "sys/class/hwmon"
CHIP_PREFIX: Final = "hwmon"


class Type(NamedTuple):
    """A type of input. A file holds `value * steps`, with the value in `unit`; `rest` is in the canonical unit."""

    quantity: str
    unit: str
    steps: float
    expected: str
    rest: float


TYPES: Final[Mapping[str, Type]] = {
    "temp": Type("temperature", "Cel", 1e3, "thousandths of a degree", 21.0),
    "in": Type("voltage", "V", 1e3, "millivolts", 3.3),
    "curr": Type("current", "A", 1e3, "milliamperes", 0.5),
    "power": Type("power", "W", 1e6, "microwatts", 2.5),
    "energy": Type("energy", "J", 1e6, "microjoules", 1000.0),
    "humidity": Type("humidity", "%RH", 1e3, "thousandths of a percent", 45.0),
    "fan": Type("frequency", "1/min", 1.0, "revolutions per minute", 25.0),
}
"""Units: sysfs-interface.rst, one section for each type. Fans turn so often a minute; the gateway makes that hertz."""

_MEASURE = re.compile(rf"({'|'.join(TYPES)})\d{{1,3}}")
_FLAG = re.compile(rf"({'|'.join(TYPES)}|intrusion)\d{{1,3}}(_[a-z]+)?_(alarm|fault)")

_WARM: Final = {"temp1": "temperature"}
_WEATHER: Final = {"temp1": "temperature", "humidity1": "humidity"}
_POWER: Final = {"in1": "voltage", "curr1": "current", "power1": "power"}

USUAL: Final[Mapping[str, Mapping[str, str]]] = {
    "cpu_thermal": _WARM,
    "rpi_volt": {"in0_lcrit_alarm": "undervoltage"},
    "pwmfan": {"fan1": "fan"},
    "lm75": _WARM,
    "tmp102": _WARM,
    "sht3x": _WEATHER,
    "sht4x": _WEATHER,
    "shtc3": _WEATHER,
    "ina219": _POWER,
    "ina226": _POWER,
    "ads7828": {f"in{n}": f"in{n}" for n in range(8)},
}
"""What is read of chips that are well known, where the YAML does not say."""

VOCABULARY: Final = Vocabulary(
    what="chip",
    usual=USUAL,
    files=f"{CHIPS}/*/*_input",
    example="temp1: temperature",
    word=re.compile(f"{_MEASURE.pattern}|{_FLAG.pattern}"),
    expected=f"{', '.join(TYPES)} with a number, or an _alarm or _fault",
)

_FILE = re.compile(r".*_(input|alarm|fault)")
"""What an error names where an input is missing."""


class HwmonOptions(Options):
    chip: Wanted = Field(
        description="the chip's name such as sht3x, its label, its place such as 1-0044, or its number",
        examples=["sht3x"],
    )
    inputs: (
        Annotated[
            dict[Annotated[str, StringConstraints(pattern=r"^[a-z]+\d{1,3}(_[a-z]+)*$")], Identifier],
            Field(min_length=1, max_length=32),
        ]
        | None
    ) = Field(
        None,
        description="which inputs are read, and what each one is called here; default: the usual ones of the chip",
        examples=[{"temp1": "temperature"}],
    )
    bus: Bus = None

    @model_validator(mode="after")
    def _names_inputs(self) -> HwmonOptions:
        VOCABULARY.check(self.chip, str(self.chip), self.inputs)
        return self

    @property
    def named(self) -> Mapping[str, str]:
        """Kernel's word -> channel."""
        return VOCABULARY.named(str(self.chip), self.inputs)


@dataclass(frozen=True, slots=True)
class Input:
    """An input that is there, with its files. `type` is None for a flag."""

    channel: str
    type: Type | None
    file: Path
    fault: Path | None
    alarm: Path | None


class Hwmon(PolledDriver):
    name = "hwmon"
    summary = "a chip of the kernel's hardware monitoring: temperature, voltage, current, fan, humidity"
    Options = HwmonOptions

    def __init__(self, options: HwmonOptions, root: Path) -> None:
        self._options = options
        self.root = root
        self._inputs: tuple[Input, ...] = ()

    @classmethod
    def channels(cls, options: HwmonOptions) -> tuple[Channel, ...]:
        return tuple(_channel(word, name) for word, name in options.named.items())

    @classmethod
    def bus(cls, options: HwmonOptions) -> str | None:
        return options.bus

    @classmethod
    def create(cls, options: HwmonOptions) -> Hwmon:
        return cls(options, Path("/"))

    @classmethod
    def simulate(cls, options: HwmonOptions, world: World) -> Hwmon:
        from drivers.hwmon.simulator import SimulatedHwmon  # noqa: PLC0415 - only where something is simulated

        return SimulatedHwmon(options, world)

    def open(self) -> None:
        chip = sysfs.choose(self.root / CHIPS, CHIP_PREFIX, self._options.chip, "hwmon chip")
        self._inputs = tuple(_find(chip, word, name) for word, name in self._options.named.items())

    def read(self) -> Sequence[Reading]:
        if not self._inputs:
            raise DeviceError("hwmon: read before open")
        return tuple(_read(found) for found in self._inputs)


def type_of(word: str) -> Type | None:
    """The type of a measured input, None for a flag."""
    measure = _MEASURE.fullmatch(word)
    return TYPES[measure[1]] if measure else None


def _channel(word: str, name: str) -> Channel:
    kind = type_of(word)
    if kind is None:
        return Channel(name, "contact", f"{word}: whether the chip says so", kind="state", rest=False)
    return Channel(name, kind.quantity, f"{word} of the chip", rest=kind.rest)


def _find(chip: sysfs.Entry, word: str, name: str) -> Input:
    """The files of an input.

    Raises:
        DeviceError: the chip does not have it; names what it has.
    """
    kind = type_of(word)
    file = sysfs.file_of(chip, (f"{word}_input", f"{word}_average") if kind else (word,), _FILE)
    return Input(name, kind, file, _flag_file(chip, word, "fault"), _flag_file(chip, word, "alarm"))


def _flag_file(chip: sysfs.Entry, word: str, flag: str) -> Path | None:
    file = chip.path / f"{word}_{flag}"
    return file if type_of(word) and file.exists() else None


def _read(found: Input) -> Reading:
    """One value. A fault says that it should not be trusted, an alarm only that it is beyond a limit of the chip."""
    if found.type is None:
        return Reading(found.channel, _is_set(found.file))
    if found.fault is not None and _is_set(found.fault):
        return Reading(found.channel, None, quality="bad", reason="sensor")
    value = sysfs.number(found.file, found.type.expected) / found.type.steps
    if found.alarm is not None and _is_set(found.alarm):
        return Reading(found.channel, value, found.type.unit, "uncertain", "alarm")
    return Reading(found.channel, value, found.type.unit)


def _is_set(file: Path) -> bool:
    return sysfs.number(file, "0 or 1") != 0
