"""Sensors that the kernel's Industrial I/O knows: weather chips, light, A/D converters, DHT11 and DHT22, and more.

A channel is called `<type>[number][_modifier]` and has either `in_<channel>_input`, ready to use, or `in_<channel>_raw`
with `value = (raw + offset) * scale`, where offset and scale may stand for one channel or for all of its type.

Sources, all of the Linux kernel: Documentation/ABI/testing/sysfs-bus-iio (entries `in_voltageY_raw`, `in_temp_raw`,
`in_pressureY_input`, `in_humidityrelative_input` and so on for the units; `in_<type>_offset` and `in_<type>_scale` for
the formula and for what is shared; `name`, `label`), drivers/iio/humidity/dht11.c (EIO and ETIMEDOUT where a
transmission was spoilt, values kept for 2 s).
"""

from __future__ import annotations

import errno
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

from pydantic import Field, StringConstraints, model_validator

from drivers._inputs import Bus, Vocabulary, Wanted
from gateway import sysfs
from gateway.driver import Channel, PolledDriver, World
from gateway.errors import DeviceError
from gateway.event import Reading
from gateway.options import Identifier, Options

DEVICES: Final = "sys/bus/iio/devices"
DEVICE_PREFIX: Final = "iio:device"


class Type(NamedTuple):
    """A type of channel: the unit that the kernel gives after scaling; `rest` is in the canonical unit."""

    quantity: str
    unit: str
    rest: float


TYPES: Final[Mapping[str, Type]] = {
    "temp": Type("temperature", "mCel", 21.0),
    "humidityrelative": Type("humidity", "m%RH", 45.0),
    "pressure": Type("pressure", "kPa", 101_325.0),
    "illuminance": Type("illuminance", "lx", 300.0),
    "voltage": Type("voltage", "mV", 1.5),
    "current": Type("current", "mA", 0.5),
    "power": Type("power", "mW", 2.5),
    "energy": Type("energy", "J", 1000.0),
    "distance": Type("distance", "m", 1.2),
    "accel": Type("acceleration", "m/s2", 9.81),
    "anglvel": Type("angular_velocity", "rad/s", 0.1),
    "magn": Type("magnetic_field", "G", 0.00005),
    "resistance": Type("resistance", "Ohm", 1000.0),
    "capacitance": Type("capacitance", "nF", 1e-7),
    "concentration": Type("concentration", "%", 800.0),
}
"""Units: sysfs-bus-iio, one entry for each type. Many are not SI: pressure is in kilopascal, a field in gauss."""

_WORD = re.compile(rf"({'|'.join(TYPES)})(\d{{1,3}})?(?:-({'|'.join(TYPES)})(\d{{1,3}}))?((?:_[a-z0-9]+)*)")

_CLIMATE: Final = ("temp", "humidityrelative")

USUAL: Final[Mapping[str, tuple[str, ...]]] = {
    "bme280": ("temp", "humidityrelative", "pressure"),
    "bmp280": ("temp", "pressure"),
    "dht11": _CLIMATE,
    "si7020": _CLIMATE,
    "htu21": _CLIMATE,
    "bh1750": ("illuminance",),
    "vl53l0x": ("distance",),
    "ads1015": tuple(f"voltage{n}" for n in range(4)),
    "mcp3004": tuple(f"voltage{n}" for n in range(4)),
    "mcp3008": tuple(f"voltage{n}" for n in range(8)),
}
"""What is read of devices that are well known, where the YAML does not say. The kernel calls a DHT22 `dht11`, too."""

VOCABULARY: Final = Vocabulary(
    what="device",
    usual={kind: {word: word for word in words} for kind, words in USUAL.items()},
    files=f"{DEVICES}/*/in_*",
    example="temp: temperature",
    word=_WORD,
    expected=f"one of {', '.join(TYPES)}, perhaps with a number",
)

_FILE = re.compile(r"in_.*_(input|raw)")
"""What an error names where an input is missing."""

TRIES_MAX: Final = 3
PAUSE_S: Final[Mapping[str, float]] = {"dht11": 2.0}
"""Devices whose transmissions fail now and then, and how long they rest after one: 2 s, the longer one of DHT11 and
DHT22 (dht11.c keeps a good value as long)."""

SPOILT: Final = frozenset({errno.EIO, errno.ETIMEDOUT})


class IioOptions(Options):
    device: Wanted = Field(
        description="the device's name such as bme280, its label, its place such as 1-0076, or its number",
        examples=["bme280"],
    )
    inputs: (
        Annotated[
            dict[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]*$", max_length=64)], Identifier],
            Field(min_length=1, max_length=32),
        ]
        | None
    ) = Field(
        None,
        description="which inputs are read, and what each one is called here; default: the usual ones of the device",
        examples=[{"temp": "temperature"}],
    )
    bus: Bus = None

    @model_validator(mode="after")
    def _names_inputs(self) -> IioOptions:
        VOCABULARY.check(self.device, _kind(self.device), self.inputs)
        return self

    @property
    def named(self) -> Mapping[str, str]:
        """Kernel's word -> channel."""
        return VOCABULARY.named(_kind(self.device), self.inputs)


@dataclass(frozen=True, slots=True)
class Input:
    """A channel that is there. `is_raw`: to calculate with the files `offset` and `scale`, None for 0 and 1."""

    channel: str
    unit: str
    file: Path
    is_raw: bool = False
    offset: Path | None = None
    scale: Path | None = None

    def read(self) -> Reading:
        value = sysfs.number(self.file, "a number")
        if self.is_raw:
            offset = sysfs.number(self.offset, "a number") if self.offset else 0.0
            scale = sysfs.number(self.scale, "a number") if self.scale else 1.0
            value = (value + offset) * scale
        return Reading(self.channel, value, self.unit)


class Iio(PolledDriver):
    name = "iio"
    summary = "a sensor of the kernel's Industrial I/O: BME280, DHT22, BH1750, A/D converters and many more"
    Options = IioOptions

    def __init__(self, options: IioOptions, root: Path, wait: Callable[[float], object] | None = None) -> None:
        """`wait` blocks for so many seconds."""
        self._options = options
        self.root = root
        self._wait = wait or threading.Event().wait
        self._inputs: tuple[Input, ...] = ()
        self._pause_s: float | None = None

    @classmethod
    def channels(cls, options: IioOptions) -> tuple[Channel, ...]:
        return tuple(
            Channel(name, type_of(word).quantity, f"{word} of the device", rest=type_of(word).rest)
            for word, name in options.named.items()
        )

    @classmethod
    def bus(cls, options: IioOptions) -> str | None:
        return options.bus

    @classmethod
    def create(cls, options: IioOptions) -> Iio:
        return cls(options, Path("/"))

    @classmethod
    def simulate(cls, options: IioOptions, world: World) -> Iio:
        from drivers.iio.simulator import SimulatedIio  # noqa: PLC0415 - only where something is simulated

        return SimulatedIio(options, world)

    def open(self) -> None:
        device = sysfs.choose(self.root / DEVICES, DEVICE_PREFIX, self._options.device, "IIO device")
        self._pause_s = PAUSE_S.get(device.kind)
        self._inputs = tuple(_find(device, word, name) for word, name in self._options.named.items())

    def read(self) -> Sequence[Reading]:
        """Every channel. A spoilt transmission is tried again, at most `TRIES_MAX` times in all, after a rest.

        The rest follows the last failure, too: then whoever asks next is not too early either.
        """
        if not self._inputs:
            raise DeviceError("iio: read before open")
        for tries_left in reversed(range(TRIES_MAX)):
            try:
                return tuple(found.read() for found in self._inputs)
            except OSError as error:
                if self._pause_s is None or error.errno not in SPOILT:
                    raise
                self._wait(self._pause_s)
                if not tries_left:
                    raise
        raise AssertionError("the last try returns or raises")


def type_of(word: str) -> Type:
    """The type of a channel."""
    found = _WORD.fullmatch(word)
    assert found is not None, "the options have been validated"
    return TYPES[found[1]]


def shared_names(word: str, attribute: str) -> list[str]:
    """The files that may hold `offset` or `scale` of a channel: its own, then those it shares with more and more.

    `voltage0-voltage1` has `in_voltage0-voltage1_scale`, `in_voltage-voltage_scale`, `in_voltage_scale`, ..
    """
    found = _WORD.fullmatch(word)
    assert found is not None, "the options have been validated"
    kind, number, minus, minus_number, modifier = (part or "" for part in found.groups())
    own_pair, shared_pair = (f"-{minus}{minus_number}", f"-{minus}") if minus else ("", "")
    stems = (f"{kind}{number}{own_pair}{modifier}", f"{kind}{shared_pair}{modifier}", f"{kind}{number}", kind)
    return [*dict.fromkeys(f"in_{stem}_{attribute}" for stem in stems), f"in_{attribute}", attribute]


def _find(device: sysfs.Entry, word: str, name: str) -> Input:
    """The files of a channel.

    Raises:
        DeviceError: the device does not have it; names what it has.
    """
    unit, raw = type_of(word).unit, f"in_{word}_raw"
    file = sysfs.file_of(device, (f"in_{word}_input", raw), _FILE)
    if file.name != raw:
        return Input(name, unit, file)
    return Input(name, unit, file, True, _first(device, word, "offset"), _first(device, word, "scale"))


def _first(device: sysfs.Entry, word: str, attribute: str) -> Path | None:
    files = (device.path / name for name in shared_names(word, attribute))
    return next((file for file in files if file.exists()), None)


def _kind(device: Any) -> str:
    """The device's name without the pin: the kernel says `dht11@4`."""
    return str(device).partition("@")[0]
