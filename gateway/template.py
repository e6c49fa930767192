"""Texts with names in them: `{subject} is {value} {unit}`. Pure.

A template is read once and knows its names, so that a misspelt one is found when the configuration is read, not in the
night when the rule speaks. `{{` and `}}` are braces. A number can be given decimals: `{value:.1f}`; whatever is no
number ignores that. What an event does not say is `unknown`; on and off, and durations are written as people do.

In a tree for JSON, a text that is one name and nothing else becomes the value itself, with its type: `{n: "{value}"}`
sends a number.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final, NamedTuple

from gateway.options import DURATION_UNITS_S, did_you_mean

CHARACTERS_MAX: Final = 4096
DEPTH_MAX: Final = 8
UNKNOWN: Final = "unknown"

_NAME = re.compile(r"[a-z_][a-z0-9_]*", re.ASCII)
_DECIMALS = re.compile(r"\.\d?f|", re.ASCII)

Values = Mapping[str, Any]


class Duration(float):
    """Seconds that a text shows as `5m` and JSON as a number."""


class _Piece(NamedTuple):
    literal: str
    name: str
    decimals: str


class Template:
    """One text. `names` are all that it mentions, in order of their first mention."""

    __slots__ = ("_pieces", "names", "text")

    def __init__(self, text: str) -> None:
        """Raises ValueError where the text is no template; says what was found and what was expected."""
        if len(text) > CHARACTERS_MAX:
            raise ValueError(f"expected at most {CHARACTERS_MAX} characters, found {len(text)}")
        self.text = text
        self._pieces = tuple(_pieces(text))
        self.names = tuple(dict.fromkeys(piece.name for piece in self._pieces if piece.name))

    def fill(self, values: Values) -> str:
        """The text with its names replaced. A name that `values` lacks is unknown, like one that is None."""
        return "".join(
            piece.literal + (_shown(values.get(piece.name), piece.decimals) if piece.name else "")
            for piece in self._pieces
        )

    def value(self, values: Values) -> Any:
        """As `fill`, but the value itself where the template is one name and nothing else."""
        pieces = self._pieces
        if len(pieces) == 1 and not pieces[0].literal and not pieces[0].decimals and pieces[0].name:
            return values.get(pieces[0].name)
        return self.fill(values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Template) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Template({self.text!r})"


def templates_in(tree: Any) -> Iterator[Template]:
    """Every text of a tree of mappings and lists, keys not included.

    Raises:
        ValueError: a text is no template, or the tree is too deep.
    """
    yield from _walk(tree, 0)


def fill_tree(tree: Any, values: Values) -> Any:
    """The tree with the names in its texts replaced."""
    if isinstance(tree, str):
        return Template(tree).value(values)
    if isinstance(tree, Mapping):
        return {key: fill_tree(inner, values) for key, inner in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [fill_tree(inner, values) for inner in tree]
    return tree


def unknown_name(name: str, known: Collection[str]) -> str:
    """The sentence for a name that no event of the rule has."""
    return f"no event of this rule has {{{name}}}{did_you_mean(name, known)}; there are: {', '.join(sorted(known))}"


def duration_words(seconds: float) -> str:
    """`1h 5m`, `30s`, `800ms`: the two largest units that are not zero."""
    left_ms, found = round(abs(seconds) * 1000), []
    for unit, size_s in sorted(DURATION_UNITS_S.items(), key=lambda pair: -pair[1]):
        count, left_ms = divmod(left_ms, round(size_s * 1000))
        if count:
            found.append(f"{count}{unit}")
        elif found:
            break
    return ("-" if seconds < 0 else "") + (" ".join(found[:2]) or "0s")


def _pieces(text: str) -> Iterator[_Piece]:
    try:
        parsed = list(string.Formatter().parse(text))
    except ValueError as error:
        raise ValueError(f"{error}: a name stands in braces, and a brace itself is written twice") from None
    for literal, name, decimals, conversion in parsed:
        if name is None:
            yield _Piece(literal, "", "")
            continue
        if not _NAME.fullmatch(name) or conversion:
            written = name + (f"!{conversion}" if conversion else "")
            raise ValueError(f"found {{{written}}}, expected a name such as {{value}}; a brace itself is written twice")
        if not _DECIMALS.fullmatch(decimals or ""):
            raise ValueError(f"found {{{name}:{decimals}}}, expected decimals such as {{{name}:.1f}}")
        yield _Piece(literal, name, decimals or "")


def _walk(tree: Any, depth: int) -> Iterator[Template]:
    if depth > DEPTH_MAX:
        raise ValueError(f"expected at most {DEPTH_MAX} levels")
    if isinstance(tree, str):
        yield Template(tree)
    elif isinstance(tree, Mapping):
        for inner in tree.values():
            yield from _walk(inner, depth + 1)
    elif isinstance(tree, (list, tuple)):
        for inner in tree:
            yield from _walk(inner, depth + 1)


def _shown(value: Any, decimals: str) -> str:
    if value is None:
        return UNKNOWN
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, (int, float)) and decimals:
        return format(value, decimals)
    if isinstance(value, Duration):
        return duration_words(value)
    if isinstance(value, float):
        return f"{value:.10g}"
    return json.dumps(value) if isinstance(value, (dict, list)) else str(value)
