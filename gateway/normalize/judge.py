"""Whether a reading can be believed, and what it is.

what was found                                   becomes
------------------------------------------------ -------------------------------
None, NaN, infinite, wrong type, too long        value null, bad / sensor
a unit that the quantity does not know           value null, bad / config
no result of the expression or calibration       value null, bad / range
outside the quantity's plausible range           value null, bad / range
the driver itself calls it bad                   value null, bad / its reason
beyond the ends of the calibration table         uncertain / calibration
anything else                                    canonical unit, the driver's quality
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from gateway.event import Quality, Reading, Value
from gateway.normalize.correct import Correct
from gateway.units import Quantity, UnknownUnit, to_canonical

TEXT_CHARACTERS_MAX: Final = 4096
REASON_CHARACTERS_MAX: Final = 200
INTEGER_MAX: Final = 2**53 - 1
"""RFC 7493 (I-JSON) section 2.2: beyond this, receivers of JSON disagree about the number."""

NUMBER_MAX: Final = 1e300
"""Nothing that is measured is larger; below it, differences and sums of any number of readings stay finite."""

_VALUE_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "contact": (bool,),
    "text": (str,),
    "occurrence": (bool, int, float, str),
}
"""What the quantities without a unit may carry. All others are numbers."""


class Judged(NamedTuple):
    """A value in its canonical unit; null if, and only if, the quality is bad."""

    value: Value
    quality: Quality
    reason: str


class Sense(NamedTuple):
    """How a channel's values are understood: what the driver measures, what becomes of it, and what that measures."""

    measures: Quantity
    correct: Correct | None
    quantity: Quantity


def judge(reading: Reading, sense: Sense) -> Judged:
    """The reading's value in the canonical unit of what it stands for."""
    if reading.quality not in ("good", "uncertain"):
        return _bad(_reason(reading, "sensor"))
    if reading.value is None:
        return _bad(_reason(reading, "sensor"))
    return _number(reading, sense) if sense.measures.unit is not None else _plain(reading, sense.measures)


def _number(reading: Reading, sense: Sense) -> Judged:
    value, measures = reading.value, sense.measures
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return _bad("sensor")
    try:
        number = to_canonical(float(value), reading.unit or measures.unit or "", measures)
    except (UnknownUnit, TypeError, AttributeError):  # the latter two: a unit that is no text
        return _bad("config")
    except OverflowError:  # an integer beyond all floats
        return _bad("sensor")
    if not math.isfinite(number):
        return _bad("sensor")
    return _true(reading, number, sense)


def _true(reading: Reading, number: float, sense: Sense) -> Judged:
    """The number corrected, if it can be."""
    doubt = ""
    if sense.correct is not None:
        try:
            number, doubt = sense.correct(number)
        except (ArithmeticError, ValueError):  # nothing true gives such a reading
            return _bad("range")
    lowest, highest = sense.quantity.plausible or (-NUMBER_MAX, NUMBER_MAX)
    if not lowest <= number <= highest:
        return _bad("range")
    number += 0.0  # -0.0 + 0.0 is 0.0: a minus sign before nothing only puzzles
    return Judged(number, "uncertain", doubt) if doubt else _good(reading, number)


def _plain(reading: Reading, quantity: Quantity) -> Judged:
    value = reading.value
    if not isinstance(value, _VALUE_TYPES.get(quantity.name, ())):
        return _bad("sensor")
    if reading.unit is not None:
        return _bad("config")
    if isinstance(value, str):
        return _good(reading, str.__str__(value)) if _is_text(value) else _bad("sensor")
    if isinstance(value, float):
        return _good(reading, float(value) + 0.0) if math.isfinite(value) else _bad("sensor")
    if isinstance(value, bool):
        return _good(reading, value)
    return _good(reading, int(value)) if value is not None and abs(value) <= INTEGER_MAX else _bad("range")


def _is_text(text: str) -> bool:
    """Short enough for a record, and free of lone surrogates, which no encoding can carry."""
    return len(text) <= TEXT_CHARACTERS_MAX and not any("\ud800" <= character <= "\udfff" for character in text)


def _reason(reading: Reading, otherwise: str) -> str:
    """The driver's reason, cut to size; `otherwise` where it gave none that can be written down."""
    reason = reading.reason
    return str.__str__(reason)[:REASON_CHARACTERS_MAX] if reason and _is_text(reason) else otherwise


def _good(reading: Reading, value: Value) -> Judged:
    """Believed as far as the driver believes it: its doubt is kept."""
    return Judged(value, reading.quality, _reason(reading, ""))


def _bad(reason: str) -> Judged:
    return Judged(None, "bad", reason)
