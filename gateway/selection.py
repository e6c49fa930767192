"""Which events a sink wants. Pure.

`subjects` are patterns over levels: `*` is anything within a level, `**` any number of levels, `?` one character. So
`air/*` are the channels of `air`, `*/temperature` is that channel of every device, and `air/**` is `air` with all below
it, its availability too. What tells of missing events passes every selection: without it a consumer could not prove
that it missed nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from gateway.event import EVENT_TYPES, THINNED, Event, Quality

ALWAYS: Final = frozenset({"log.gap", "event.refused"})

PATTERN: Final = r"[a-z0-9_*?-]+(/[a-z0-9_*?-]+)*"
PATTERN_CHARS_MAX: Final = 128

_KNOWN_MAX: Final = 4096
"""Answers that are remembered. Subjects come from the configuration, so more is not usual."""


class Selection:
    """What one sink wants; None stands for no restriction. An event that has no quality passes that of quality."""

    def __init__(
        self,
        types: Collection[str] | None = None,
        subjects: Collection[str] | None = None,
        qualities: Collection[Quality] | None = None,
    ) -> None:
        self._types = None if types is None else _any_of(map(_type_expression, types))
        self._subjects = None if subjects is None else _any_of(map(_subject_expression, subjects))
        self._qualities = None if qualities is None else frozenset(qualities)
        self._known: dict[tuple[str, str], bool] = {}
        self.by_name = qualities is None
        """Whether type and subject decide alone."""
        self.everything = types is None and subjects is None and qualities is None

    def selects(self, event: Event) -> bool:
        if self.everything or event.type in ALWAYS:
            return True
        if self._qualities is not None and event.quality is not None and event.quality not in self._qualities:
            return False
        return self.names(event.type, event.subject)

    def may_select(self, event_type: str, subject: str) -> bool:
        """Whether some event of that type about that subject passes: a look before the rest of it is decoded."""
        return event_type in ALWAYS or self.names(event_type, subject)

    def names(self, event_type: str, subject: str) -> bool:
        """Whether events of that type about that subject are wanted, whatever their quality."""
        known = self._known.get((event_type, subject))
        if known is None:
            if len(self._known) >= _KNOWN_MAX:
                self._known.clear()
            known = self._names_type(event_type) and self.names_subject(subject)
            self._known[event_type, subject] = known
        return known

    def _names_type(self, event_type: str) -> bool:
        """A thinned reading stands for readings: whoever wants those gets it."""
        return _matches(self._types, event_type) or (event_type == THINNED and _matches(self._types, "reading"))

    def names_subject(self, subject: str) -> bool:
        return _matches(self._subjects, subject)


def check_type(pattern: str) -> str:
    """Raises ValueError where no type of event is of that name or pattern (`device.*`)."""
    expression = re.compile(_type_expression(pattern))
    if not any(map(expression.fullmatch, EVENT_TYPES)):
        raise ValueError(f"no event has the type {pattern!r}: expected some of {', '.join(EVENT_TYPES)}, or `device.*`")
    return pattern


def check_subject(pattern: str) -> str:
    """Raises ValueError where the text is no pattern of subjects."""
    if not re.fullmatch(PATTERN, pattern) or len(pattern) > PATTERN_CHARS_MAX:
        raise ValueError("expected a pattern of subjects such as air/*, */temperature or air/**")
    if any("**" in level and level != "**" for level in pattern.split("/")):
        raise ValueError("`**` stands alone in its level: air/**")
    return pattern


def _matches(expression: re.Pattern[str] | None, text: str) -> bool:
    return expression is None or expression.fullmatch(text) is not None


def _any_of(expressions: Collection[str] | map[str]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{one})" for one in expressions))


def _type_expression(pattern: str) -> str:
    return ".*".join(map(re.escape, pattern.split("*")))


def _subject_expression(pattern: str) -> str:
    """`**` takes its slash along, so that `air/**` is also `air`."""
    expression = ""
    for index, level in enumerate(pattern.split("/")):
        if level == "**":
            expression += "(?:[^/]+(?:/[^/]+)*)" if index == 0 else "(?:/[^/]+)*"
        else:
            expression += ("/" if index else "") + _level_expression(level)
    return expression


def _level_expression(level: str) -> str:
    wild = {"*": "[^/]*", "?": "[^/]"}
    return "".join(wild.get(character) or re.escape(character) for character in level)
