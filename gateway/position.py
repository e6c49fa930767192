"""Places in the log as people and programs name them. Pure.

earliest            the oldest event that the log still holds
latest              behind the newest one: only what comes
last                the newest value of each subject, then what comes
1234, offset:1234   that offset
time:<RFC 3339>     the first event recorded at that time or later
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final, Literal, NamedTuple

Kind = Literal["earliest", "latest", "last", "offset", "time"]

EXPECTED: Final = "expected earliest, latest, last, an offset such as 1234, or time:2026-11-23T06:00:00Z"


class Position(NamedTuple):
    """A place. `at` is an offset, or nanoseconds UTC, for the kinds that have one."""

    kind: Kind
    at: int = 0


def parse_position(text: str) -> Position:
    """The place that a text names.

    Raises:
        ValueError: it names none; says what was expected.
    """
    kind, colon, rest = text.partition(":")
    if not colon and kind.isascii() and kind.isdigit():
        kind, rest = "offset", kind
    match kind:
        case "earliest" | "latest" | "last" if not rest:
            return Position(kind)
        case "offset" if rest.isascii() and rest.isdigit() and 0 < int(rest) < 2**63:
            return Position("offset", int(rest))
        case "time":
            return Position("time", time_ns(rest))
    raise ValueError(f"found {text!r}, {EXPECTED}")


def time_ns(text: str) -> int:
    """Nanoseconds UTC of an RFC 3339 time with its zone.

    Raises:
        ValueError: it is none.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ValueError(f"found {text!r}, expected a time such as 2026-11-23T06:00:00Z")
    # Whole numbers: a float of today's seconds is 0.2 µs coarse.
    return ((moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)) * 1000
