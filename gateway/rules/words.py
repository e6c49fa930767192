"""The words of the rule language: its scalars, names and bounds, as types that the models share."""

from __future__ import annotations

import re
from datetime import time
from typing import Annotated, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from gateway.options import Duration
from gateway.selection import check_subject, check_type

OPERATORS: Final = ("event", "hold", "count", "window", "rate", "absent", "sequence")
AGGREGATES: Final = ("count", "sum", "min", "max", "avg", "stddev", "median", "first", "last", "twa")
RESERVED_KEYS: Final = frozenset({"rulekey", "name", "severity", "key", "at", "gap"})
"""Keys of a derived event's `data` that the gateway writes itself."""

KEYS_MAX: Final = 1000
PARTIALS_MAX: Final = 10
SAMPLES_MAX: Final = 256
PANES_MAX: Final = 64
STEPS_MAX: Final = 32
HASH_DIGITS: Final = 8

Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[Duration, Field(gt=0, le=366 * 86400)]
Word = bool | int | Finite | Annotated[str, Field(max_length=256)]


def _subject(text: str) -> str:
    check_subject(text)
    if "/" not in text and text != "**":
        raise ValueError(f"expected a channel such as {text}/temperature, or a pattern such as {text}/*")
    return text


def _types(written: object) -> object:
    return [written] if isinstance(written, str) else written


def _times(written: object) -> object:
    """`3`, `2..4` or `2..` as (fewest, most); most is None where there is no bound."""
    if isinstance(written, int) and not isinstance(written, bool):
        return (written, written)
    found = re.fullmatch(r"(\d{1,4})\.\.(\d{1,4})?", written) if isinstance(written, str) else None
    if found is None:
        raise ValueError("expected a number such as 3, or a range such as 2..4 or 2..")
    return (int(found[1]), int(found[2]) if found[2] else None)


def _times_fit(times: tuple[int, int | None]) -> tuple[int, int | None]:
    fewest, most = times
    if most is not None and most < max(fewest, 1):
        raise ValueError("expected the smaller number first, and a larger one of at least 1")
    return times


def _clock_time(written: object) -> time:
    found = re.fullmatch(r"([01]\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?", written) if isinstance(written, str) else None
    if found is None:
        raise ValueError('expected a time of day in quotes, such as "22:00"')
    return time(int(found[1]), int(found[2]), int(found[3] or 0))


def check_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("this time zone is not known here: expected a name such as Europe/Berlin or UTC") from None
    return name


TypeNames = Annotated[
    list[Annotated[str, AfterValidator(check_type)]],
    BeforeValidator(_types),
    Field(min_length=1, max_length=16),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]
SubjectPattern = Annotated[str, AfterValidator(_subject)]
Times = Annotated[
    tuple[int, int | None],
    BeforeValidator(_times),
    AfterValidator(_times_fit),
    WithJsonSchema({"type": ["integer", "string"]}),
]
ClockTime = Annotated[time, BeforeValidator(_clock_time), WithJsonSchema({"type": "string"})]
FieldName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
