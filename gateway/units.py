"""Quantities and their units: one canonical unit for each quantity, by its SenML name.

A driver reports in whatever unit its chip speaks; `to_canonical` brings it to the quantity's one unit, so that
consumers never convert. Unit names are those of RFC 8428 section 12.1 and RFC 8798; the chips' own are listed as
aliases.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.errors import GatewayError


class UnknownUnit(GatewayError, ValueError):
    """A unit that the quantity does not know."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """A kind of thing that is measured.

    `unit` is the canonical SenML unit, None for quantities without one (contacts, texts). `plausible` is the range that
    is physically sensible, in the canonical unit; what lies outside is `bad/range`. `other` maps further accepted units
    to (factor, addend): canonical = value * factor + addend.
    """

    name: str
    unit: str | None
    summary: str
    plausible: tuple[float, float] | None = None
    other: Mapping[str, tuple[float, float]] = field(default_factory=dict)


_ROWS = (
    Quantity(
        "temperature",
        "Cel",
        "temperature in degrees Celsius",
        (-273.15, 2000.0),
        {"mCel": (0.001, 0.0), "K": (1.0, -273.15), "degF": (5 / 9, -160 / 9)},
    ),
    Quantity("humidity", "%RH", "relative humidity", (0.0, 100.0), {"m%RH": (0.001, 0.0), "/": (100.0, 0.0)}),
    Quantity(
        "pressure",
        "Pa",
        "air pressure",
        (0.0, 1e8),
        {"hPa": (100.0, 0.0), "kPa": (1000.0, 0.0), "mbar": (100.0, 0.0), "bar": (1e5, 0.0)},
    ),
    Quantity("illuminance", "lx", "light on a surface", (0.0, 200_000.0)),
    Quantity("voltage", "V", "electrical tension", None, {"mV": (0.001, 0.0)}),
    Quantity("current", "A", "electrical current", None, {"mA": (0.001, 0.0)}),
    Quantity("power", "W", "electrical power", None, {"mW": (0.001, 0.0), "kW": (1000.0, 0.0)}),
    Quantity("energy", "J", "work done or stored"),
    Quantity("resistance", "Ohm", "electrical resistance"),
    Quantity("capacitance", "F", "electrical capacitance", None, {"nF": (1e-9, 0.0)}),
    Quantity("distance", "m", "a length", (0.0, 1e6), {"mm": (0.001, 0.0), "cm": (0.01, 0.0), "km": (1000.0, 0.0)}),
    Quantity("duration", "s", "a length of time", None, {"ms": (0.001, 0.0), "min": (60.0, 0.0), "h": (3600.0, 0.0)}),
    Quantity("frequency", "Hz", "how often it swings or turns", (0.0, 1e15), {"1/min": (1 / 60, 0.0)}),
    Quantity("acceleration", "m/s2", "change of speed"),
    Quantity("angular_velocity", "rad/s", "how fast it turns"),
    Quantity("magnetic_field", "T", "magnetic flux density", (-100.0, 100.0), {"G": (1e-4, 0.0)}),
    Quantity("concentration", "ppm", "a gas in air, such as CO2, by volume", (0.0, 1e6), {"%": (1e4, 0.0)}),
    Quantity("ratio", "/", "a part of a whole, 0 to 1", (0.0, 1.0), {"%": (0.01, 0.0)}),
    Quantity("size", "B", "an amount of storage", (0.0, 2.0**63), {"KiB": (1024.0, 0.0), "MiB": (1048576.0, 0.0)}),
    Quantity("load", "1", "a plain number without a unit"),
    Quantity("contact", None, "on or off, open or closed"),
    Quantity("occurrence", None, "something that happened at one instant"),
    Quantity("text", None, "a word"),
)

QUANTITIES: Mapping[str, Quantity] = {row.name: row for row in _ROWS}


def to_canonical(value: float, unit: str, quantity: Quantity) -> float:
    """`value` in `unit`, brought to the quantity's canonical unit.

    Raises:
        UnknownUnit: the quantity cannot be given in that unit.
    """
    if unit == quantity.unit:
        return value
    try:
        factor, addend = quantity.other[unit]
    except KeyError:
        known = ", ".join(filter(None, (quantity.unit, *quantity.other)))
        raise UnknownUnit(f"{quantity.name} in {unit!r}: expected one of {known or 'no unit at all'}") from None
    return value * factor + addend
