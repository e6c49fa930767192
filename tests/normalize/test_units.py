"""Every unit of every quantity against pint, which knows them from elsewhere."""

from __future__ import annotations

import math

import pint
import pytest

from gateway.units import QUANTITIES, SPELLINGS, Quantity, UnknownUnit, to_canonical

AS_PINT = {
    "Cel": "degC", "degF": "degF", "%RH": "percent", "/": "dimensionless", "%": "percent", "%EL": "percent",
    "/100": "percent", "/1000": "permille", "ppm": "ppm", "inHg": "inHg", "mmHg": "mmHg", "W/m2": "W/m**2",
    "kW/m2": "kW/m**2", "var": "W", "kvar": "kW", "Ohm": "ohm", "mOhm": "milliohm", "kOhm": "kiloohm",
    "MOhm": "megaohm", "dBm": "dBm", "um": "micrometer", "uV": "microvolt", "uA": "microampere", "uW": "microwatt",
    "uF": "microfarad", "uT": "microtesla", "us": "microsecond", "in": "inch", "m/h": "meter / hour",
    "mm/h": "millimeter / hour", "km/h": "kilometer / hour", "kn": "knot", "ft/s": "foot / second", "m/s2": "m/s**2",
    "gn": "standard_gravity", "deg": "degree", "deg/s": "degree / second", "G": "gauss", "t": "metric_ton",
    "oz": "ounce", "lb": "pound", "kgf": "kilogram_force", "m3": "m**3", "l": "liter", "ml": "milliliter",
    "cm3": "cm**3", "gal": "gallon", "m3/s": "m**3/s", "l/s": "liter / second", "l/min": "liter / minute",
    "l/h": "liter / hour", "ml/min": "milliliter / minute", "m3/h": "m**3 / hour", "ug/m3": "microgram / m**3",
    "mg/m3": "mg / m**3", "kg/m3": "kg / m**3", "uS/cm": "microsiemens / cm", "mS/cm": "millisiemens / cm",
    "min": "minute", "h": "hour", "d": "day", "1/s": "1 / second", "1/min": "1 / minute", "1/h": "1 / hour",
    "B": "byte", "kB": "kilobyte", "MB": "megabyte", "GB": "gigabyte", "KiB": "kibibyte", "MiB": "mebibyte",
    "GiB": "gibibyte", "bit/s": "bit / second", "kbit/s": "kilobit / second", "Mbit/s": "megabit / second",
    "Gbit/s": "gigabit / second", "B/s": "byte / second", "kB/s": "kilobyte / second", "MB/s": "megabyte / second",
}  # fmt: skip
"""Our name -> pint's, where they differ."""

PARTS = {
    "mCel": ("degC", 1000), "m%RH": ("percent", 1000), "ppb": ("ppm", 1000), "ppt": ("ppm", 1_000_000),
    "mgn": ("standard_gravity", 1000), "mdeg/s": ("degree / second", 1000), "mG": ("gauss", 1000),
}  # fmt: skip
"""Ours that pint has no prefix for: so many of them are one of pint's."""

TURNS = {("angular_velocity", "1/min"): "revolution / minute", ("frequency", "1/min"): "1 / minute"}
"""What the same name means elsewhere: a revolution has 2 pi radians, and a frequency counts it as one."""

CONVERTED = [(quantity, unit) for quantity in QUANTITIES.values() for unit in quantity.other]


@pytest.fixture(scope="module")
def registry() -> pint.UnitRegistry:
    return pint.UnitRegistry(autoconvert_offset_to_baseunit=True)


def by_pint(registry: pint.UnitRegistry, value: float, quantity: Quantity, unit: str) -> float:
    if unit == "dBW":  # a level: pint knows no dBW, and 0 dBW is one watt
        return registry.Quantity(10 ** (value / 10), "W").to("dBm").magnitude
    known, parts = PARTS.get(unit, (TURNS.get((quantity.name, unit), AS_PINT.get(unit, unit)), 1))
    canonical = AS_PINT.get(quantity.unit, quantity.unit)
    with registry.context("Gaussian"):  # gauss and tesla have different dimensions, strictly
        return registry.Quantity(value / parts, known).to(canonical).magnitude


@pytest.mark.parametrize(("quantity", "unit"), CONVERTED, ids=lambda one: getattr(one, "name", one))
def test_a_unit_is_what_pint_says_it_is(registry, quantity, unit):
    for value in (0.0, 1.0, -3.5, 451.0):
        ours, theirs = to_canonical(value, unit, quantity), by_pint(registry, value, quantity, unit)
        assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-12 * quantity.conversion(unit)[0])


def test_each_quantity_has_a_name_of_its_own_and_bounds_that_are_some():
    for name, quantity in QUANTITIES.items():
        assert (name, quantity.unit not in quantity.other) == (quantity.name, True)
        assert quantity.summary
        assert quantity.plausible is None or quantity.plausible[0] < quantity.plausible[1]
        assert all(factor > 0 and math.isfinite(addend) for factor, addend in quantity.other.values())
    assert 40 <= len(QUANTITIES) == len({quantity.summary for quantity in QUANTITIES.values()})


@pytest.mark.parametrize(
    ("quantity", "spelled", "unit"),
    [
        ("temperature", "°C", "Cel"),
        ("temperature", "°F", "degF"),
        ("resistance", "k\u03a9", "kOhm"),
        ("resistance", "\u2126", "Ohm"),
        ("particulate", "\u00b5g/m\u00b3", "ug/m3"),
        ("particulate", "\u03bcg/m3", "ug/m3"),
        ("irradiance", "kW/m\u00b2", "kW/m2"),
        ("angular_velocity", "dps", "deg/s"),
        ("frequency", "rpm", "1/min"),
    ],
)
def test_people_spell_units_in_their_own_way(quantity, spelled, unit):
    assert QUANTITIES[quantity].conversion(spelled) == QUANTITIES[quantity].conversion(unit)


def test_each_spelling_means_a_unit_that_somebody_knows():
    known = {unit for quantity in QUANTITIES.values() for unit in (quantity.unit, *quantity.other)}
    assert set(SPELLINGS.values()) <= known
    assert not known & set(SPELLINGS)


def test_a_unit_of_another_quantity_is_refused_with_those_that_are_known():
    with pytest.raises(UnknownUnit, match=r"pressure in 'Cel': expected one of Pa, hPa, kPa"):
        to_canonical(1.0, "Cel", QUANTITIES["pressure"])
    with pytest.raises(UnknownUnit, match="contact in 'V': expected one of no unit at all"):
        to_canonical(1.0, "V", QUANTITIES["contact"])
