"""Quantities and their units: one canonical unit for each quantity, by its SenML name.

A driver reports in whatever unit its chip speaks; `to_canonical` brings it to the quantity's one unit, so that
consumers never convert. Canonical units are those of the IANA SenML registry (RFC 8428 section 12.1, RFC 8798), but for
`rad/s`, which it does not have, and `1` for a plain number. The registry's secondary units and the chips' own are
listed as further units; a test checks every factor against pint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import pi
from typing import Final

from gateway.errors import GatewayError

SPELLINGS: Final[Mapping[str, str]] = {
    "°C": "Cel",
    "degC": "Cel",
    "°F": "degF",
    "°": "deg",
    "°/s": "deg/s",
    "dps": "deg/s",
    "\u03a9": "Ohm",
    "k\u03a9": "kOhm",
    "M\u03a9": "MOhm",
    "rpm": "1/min",
    "cpm": "1/min",
}
"""Other ways to write a unit. Besides, `µ` is read as `u`, and `²` and `³` as digits."""

_LETTERS: Final = str.maketrans({"\u00b5": "u", "\u03bc": "u", "\u00b2": "2", "\u00b3": "3", "\u2126": "\u03a9"})
"""Letters that look alike: micro, mu, powers, and the sign for ohm."""


class UnknownUnit(GatewayError, ValueError):
    """A unit that the quantity does not know."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """A kind of thing that is measured.

    `unit` is the canonical SenML unit, None for quantities without one (contacts, texts). `plausible` is the range that
    is physically sensible, in the canonical unit; what lies outside is `bad/range`. `other` maps further accepted units
    to (factor, addend): canonical = value * factor + addend. No factor is negative.
    """

    name: str
    unit: str | None
    summary: str
    plausible: tuple[float, float] | None = None
    other: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def conversion(self, unit: str) -> tuple[float, float]:
        """(factor, addend) from `unit` to the canonical one.

        Raises:
            UnknownUnit: the quantity cannot be given in that unit.
        """
        if unit == self.unit:
            return 1.0, 0.0
        known = self.other.get(unit)
        if known is not None:
            return known
        spelled = _spelled(unit)
        if spelled != unit:
            return self.conversion(spelled)
        units = ", ".join(filter(None, (self.unit, *self.other)))
        raise UnknownUnit(f"{self.name} in {unit!r}: expected one of {units or 'no unit at all'}")


def to_canonical(value: float, unit: str, quantity: Quantity) -> float:
    """`value` in `unit`, brought to the quantity's canonical unit.

    Raises:
        UnknownUnit: the quantity cannot be given in that unit.
    """
    if unit == quantity.unit:
        return value
    factor, addend = quantity.conversion(unit)
    return value * factor + addend


def _spelled(unit: str) -> str:
    plain = unit.translate(_LETTERS)
    return SPELLINGS.get(plain, plain)


def _by(factors: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    """Units that differ from the canonical one by a factor only."""
    return {unit: (factor, 0.0) for unit, factor in factors.items()}


_WEATHER = (
    Quantity(
        "temperature",
        "Cel",
        "temperature in degrees Celsius",
        (-273.15, 2000.0),
        {"mCel": (0.001, 0.0), "K": (1.0, -273.15), "degF": (5 / 9, -160 / 9)},
    ),
    Quantity("humidity", "%RH", "relative humidity", (0.0, 100.0), _by({"m%RH": 0.001, "/": 100.0, "%": 1.0})),
    Quantity(
        "pressure",
        "Pa",
        "air pressure",
        (0.0, 1e8),
        _by({"hPa": 100.0, "kPa": 1e3, "MPa": 1e6, "mbar": 100.0, "bar": 1e5, "atm": 101_325.0})
        | _by({"mmHg": 133.322387415, "inHg": 3386.388640341, "psi": 6894.757293168}),
    ),
    Quantity("illuminance", "lx", "light on a surface", (0.0, 200_000.0), _by({"klx": 1e3})),
    Quantity("irradiance", "W/m2", "radiant power on a surface", (-50.0, 1e4), _by({"kW/m2": 1e3})),
)

_ELECTRICITY = (
    Quantity("voltage", "V", "electrical tension", None, _by({"uV": 1e-6, "mV": 0.001, "kV": 1e3})),
    Quantity("current", "A", "electrical current", None, _by({"uA": 1e-6, "mA": 0.001, "kA": 1e3})),
    Quantity("power", "W", "electrical power", None, _by({"uW": 1e-6, "mW": 0.001, "kW": 1e3, "MW": 1e6})),
    Quantity("apparent_power", "VA", "voltage times current", None, _by({"kVA": 1e3})),
    Quantity("reactive_power", "var", "power that swings to and fro", None, _by({"kvar": 1e3})),
    Quantity(
        "energy",
        "J",
        "work done or stored",
        None,
        _by({"kJ": 1e3, "MJ": 1e6, "Wh": 3600.0, "kWh": 3.6e6, "MWh": 3.6e9}),
    ),
    Quantity("charge", "C", "electrical charge", None, _by({"mAh": 3.6, "Ah": 3600.0})),
    Quantity("resistance", "Ohm", "electrical resistance", None, _by({"mOhm": 0.001, "kOhm": 1e3, "MOhm": 1e6})),
    Quantity("capacitance", "F", "electrical capacitance", None, _by({"pF": 1e-12, "nF": 1e-9, "uF": 1e-6})),
    Quantity("battery", "%EL", "what is left in a battery", (0.0, 100.0), _by({"/": 100.0, "%": 1.0})),
    Quantity("signal", "dBm", "strength of a radio signal", (-200.0, 100.0), {"dBW": (1.0, 30.0)}),
)

_SPACE_AND_MOTION = (
    Quantity(
        "distance",
        "m",
        "a length",
        (0.0, 1e6),
        _by({"um": 1e-6, "mm": 0.001, "cm": 0.01, "km": 1e3, "in": 0.0254, "ft": 0.3048, "mi": 1609.344}),
    ),
    Quantity("altitude", "m", "height above the sea", (-12_000.0, 1e6), _by({"km": 1e3, "ft": 0.3048})),
    Quantity("latitude", "lat", "degrees north of the equator", (-90.0, 90.0)),
    Quantity("longitude", "lon", "degrees east of Greenwich", (-180.0, 180.0)),
    Quantity(
        "speed",
        "m/s",
        "a length in a time: wind, a vehicle, rain",
        None,
        _by({"mm/s": 0.001, "cm/s": 0.01, "m/h": 1 / 3600, "mm/h": 1 / 3.6e6, "km/h": 1 / 3.6})
        | _by({"mph": 0.44704, "kn": 1852 / 3600, "ft/s": 0.3048}),
    ),
    Quantity("acceleration", "m/s2", "change of speed", None, _by({"gn": 9.80665, "mgn": 0.00980665})),
    Quantity("angle", "deg", "a direction, a turn", None, _by({"rad": 180 / pi, "mrad": 0.18 / pi, "turn": 360.0})),
    Quantity(
        "angular_velocity",
        "rad/s",
        "how fast it turns",
        None,
        _by({"deg/s": pi / 180, "mdeg/s": pi / 180_000, "1/min": pi / 30}),
    ),
    Quantity(
        "frequency",
        "Hz",
        "how often it swings or turns",
        (0.0, 1e15),
        _by({"kHz": 1e3, "MHz": 1e6, "GHz": 1e9, "1/min": 1 / 60}),
    ),
    Quantity(
        "magnetic_field",
        "T",
        "magnetic flux density",
        (-100.0, 100.0),
        _by({"nT": 1e-9, "uT": 1e-6, "mT": 0.001, "mG": 1e-7, "G": 1e-4}),
    ),
)

_MATTER = (
    Quantity(
        "mass",
        "kg",
        "what a scale shows",
        None,
        _by({"mg": 1e-6, "g": 0.001, "t": 1e3, "oz": 0.028349523125, "lb": 0.45359237}),
    ),
    Quantity("force", "N", "a push or a pull", None, _by({"mN": 0.001, "kN": 1e3, "kgf": 9.80665})),
    Quantity("volume", "m3", "a volume", None, _by({"l": 0.001, "ml": 1e-6, "cm3": 1e-6, "gal": 0.003785411784})),
    Quantity(
        "flow",
        "m3/s",
        "volume in a time",
        None,
        _by({"l/s": 0.001, "l/min": 0.001 / 60, "l/h": 0.001 / 3600, "ml/min": 1e-6 / 60, "m3/h": 1 / 3600}),
    ),
    Quantity(
        "concentration",
        "ppm",
        "a gas in air, such as CO2, by volume",
        (0.0, 1e6),
        _by({"ppb": 0.001, "ppt": 1e-6, "%": 1e4, "/100": 1e4, "/": 1e6}),
    ),
    Quantity("particulate", "ug/m3", "dust in air", (0.0, 1e9), _by({"mg/m3": 1e3, "kg/m3": 1e9})),
    Quantity("ph", "pH", "acidity", (-2.0, 16.0)),
    Quantity("conductivity", "S/m", "how well water conducts", (0.0, 1e9), _by({"uS/cm": 1e-4, "mS/cm": 0.1})),
    Quantity("turbidity", "NTU", "how cloudy water is", (0.0, 1e6)),
    Quantity("sound", "dB", "sound pressure level", (-50.0, 250.0)),
)

_NUMBERS = (
    Quantity(
        "duration",
        "s",
        "a length of time",
        None,
        _by({"us": 1e-6, "ms": 0.001, "min": 60.0, "h": 3600.0, "d": 86_400.0}),
    ),
    Quantity("count", "count", "how many there were", None),
    Quantity("rate", "1/s", "how many there are in a time", None, _by({"1/min": 1 / 60, "1/h": 1 / 3600})),
    Quantity("ratio", "/", "a part of a whole, 0 to 1", (0.0, 1.0), _by({"%": 0.01, "/100": 0.01, "/1000": 0.001})),
    Quantity(
        "size",
        "B",
        "an amount of storage",
        (0.0, 2.0**63),
        _by({"kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 1024.0, "MiB": 1024.0**2, "GiB": 1024.0**3}),
    ),
    Quantity(
        "data_rate",
        "bit/s",
        "storage in a time",
        (0.0, 1e18),
        _by({"kbit/s": 1e3, "Mbit/s": 1e6, "Gbit/s": 1e9, "B/s": 8.0, "kB/s": 8e3, "MB/s": 8e6}),
    ),
    Quantity("load", "1", "a plain number without a unit"),
)

_WITHOUT_UNIT = (
    Quantity("contact", None, "on or off, open or closed"),
    Quantity("occurrence", None, "something that happened at one instant"),
    Quantity("text", None, "a word"),
)

QUANTITIES: Final[Mapping[str, Quantity]] = {
    row.name: row for row in (*_WEATHER, *_ELECTRICITY, *_SPACE_AND_MOTION, *_MATTER, *_NUMBERS, *_WITHOUT_UNIT)
}
