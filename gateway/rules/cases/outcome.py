"""What a case came to: what was expected and what was said, in one notation. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gateway.clock import NS_PER_S
from gateway.event import Event, rfc3339
from gateway.rules.cases.notation import LEVELS, NUMBER, Expected, parse_ns, seconds

_TIMES: Final = frozenset({"since", "first", "last", "start", "end"})
_DURATION: Final = re.compile(r"-?(?:\d+(?:\.\d+)?(?:ms|[smhd]))+")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a case came to. Both lists are texts in the notation of `expect`; they are equal where it holds."""

    name: str
    expected: tuple[str, ...]
    told: tuple[str, ...]
    events: int

    @property
    def holds(self) -> bool:
        return self.expected == self.told


def expected_text(expected: Expected, *, many: bool) -> str:
    who = f"{expected.rule} " if many else ""
    fields = "".join(f" {name}={_number(text, name)}" for name, text in expected.data.items())
    return f"{who}{expected.kind}@{seconds(expected.at_ns)}{fields}"


def _number(text: str, name: str) -> str:
    if name in _TIMES and _DURATION.fullmatch(text):
        return seconds(parse_ns(text))
    return _shown(LEVELS.get(text, float(text) if re.fullmatch(NUMBER, text) else text))


def told_text(event: Event, asked: Sequence[str], wall: int, *, many: bool) -> str:
    who = f"{event.subject.removeprefix('rule/')} " if many else ""
    at_ns = event.time - wall
    fields = "".join(f" {name}={_field(event, name, wall)}" for name in asked)
    return f"{who}{event.type.removeprefix('rule.')}@{seconds(at_ns)}{fields}"


def _field(event: Event, name: str, wall: int) -> str:
    if name in {"value", "unit", "quality"}:
        return _shown(getattr(event, name))
    value = event.data.get(name)
    if name in _TIMES and isinstance(value, str) and (told := _time(value)) is not None:
        return seconds(told - wall)
    if isinstance(value, (list, dict)):
        return str(len(value))
    return _shown(value)


def _time(text: str) -> int | None:
    """Nanoseconds of a time that an operator tells, without the error of a float of seconds; None: no such time.

    `first` and `last` may as well be aggregates of a window.
    """
    try:
        told = datetime.fromisoformat(text)
    except ValueError:
        return None
    exact = round(told.replace(microsecond=0).timestamp()) * NS_PER_S + told.microsecond * 1000
    return exact if rfc3339(exact) == text else None


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, (int, float)):
        return f"{value:.6g}"
    return "none" if value is None else str(value).replace(" ", "_")
