"""Bare words of YAML 1.2: the core schema (YAML 1.2.2, section 10.3.2), and the surprises of YAML 1.1.

YAML 1.1 read `on` as true, `017` as 15, `1:30` as 90 and `1_000` as 1000. YAML 1.2 reads the first as a text, the
second as 17, and the rest as texts. Where both readings are plausible and different, the word is refused; where another
type was expected, `hint` explains.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Literal

Wanted = Literal["boolean", "integer", "number", "string"]
"""JSON Schema's words for what a scalar should have been."""

NUMBER_CHARS_MAX = 32

_WORDS: dict[str, bool | None] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_NUMBERS: tuple[tuple[re.Pattern[str], Callable[[str], int | float]], ...] = (
    (re.compile(r"[-+]?[0-9]+"), int),
    (re.compile(r"0o[0-7]+"), lambda text: int(text, 0)),
    (re.compile(r"0x[0-9a-fA-F]+"), lambda text: int(text, 0)),
    (re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"), float),
    (re.compile(r"[-+]?\.(inf|Inf|INF)"), lambda text: float(text.replace(".", ""))),
    (re.compile(r"\.(nan|NaN|NAN)"), lambda _: math.nan),
)
_LEADING_ZERO = re.compile(r"([-+]?)0+([0-9]+)")
_OCTAL_DIGITS = re.compile(r"[0-7]+")
_BASE_60 = re.compile(r"[0-9]+(:[0-5]?[0-9])+")
_UNDERSCORES = re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9_]*)?")
_BINARY = re.compile(r"[-+]?0b[01_]+")
_BOOLEANS_1_1 = {"y": "true", "yes": "true", "on": "true", "n": "false", "no": "false", "off": "false"}


def resolve(text: str) -> str | int | float | bool | None:
    """The value of a bare word.

    Raises:
        ValueError: YAML 1.1 and 1.2 disagree about the number, or it is too long; says what to write.
    """
    if text in _WORDS:
        return _WORDS[text]
    for pattern, number in _NUMBERS:
        if pattern.fullmatch(text):
            _refuse_doubtful(text)
            value = number(text)
            if math.isinf(value) and "i" not in text.lower():
                raise ValueError(f"found {text}, which is too large for a number")
            return value
    return text


def _refuse_doubtful(text: str) -> None:
    if len(text) > NUMBER_CHARS_MAX:
        raise ValueError(
            f"found a number of {len(text)} characters, at most {NUMBER_CHARS_MAX} are possible; "
            "put it in quotes if it is a text"
        )
    if zeros := _LEADING_ZERO.fullmatch(text):
        sign, digits = zeros.groups()
        octal = f" or 0o{digits} (octal)" if _OCTAL_DIGITS.fullmatch(digits) and not sign else ""
        in_1_1 = "octal in YAML 1.1" if octal else "no number in YAML 1.1"
        raise ValueError(
            f"found {text}, a number with a leading zero: {in_1_1}, {sign}{digits} in YAML 1.2; "
            f"write {sign}{digits}{octal}, or '{text}' in quotes for a text"
        )


def hint(text: str, value: object, wanted: set[str], *, quoted: bool) -> str:
    """Why a scalar that looks right is not, beginning with `; `; empty where there is nothing to explain.

    `wanted` are JSON Schema type names that would have been accepted.
    """
    if not isinstance(value, str):
        return f"; put it in quotes to make it a text: '{text}'" if wanted == {"string"} and value is not None else ""
    if "boolean" in wanted and (meant := _BOOLEANS_1_1.get(text.lower())):
        return f"; YAML 1.2 booleans are true and false: write {meant}"
    if quoted and _type_unquoted(text) in wanted:
        return f"; a value in quotes is a text: write {text} without them"
    if wanted & {"integer", "number"} and not quoted:
        return _number_hint(text)
    return ""


def _type_unquoted(text: str) -> str:
    try:
        value = resolve(text)
    except ValueError:
        return ""
    return {bool: "boolean", int: "integer", float: "number"}.get(type(value), "")


def _number_hint(text: str) -> str:
    if _BASE_60.fullmatch(text):
        return "; YAML 1.2 has no numbers to base 60 (1:30 was 90 in YAML 1.1): write the plain number"
    if _BINARY.fullmatch(text):
        return f"; YAML 1.2 has no binary numbers: write {hex(int(text.replace('_', '')[:NUMBER_CHARS_MAX], 2))}"
    if "_" in text and _UNDERSCORES.fullmatch(text):
        return f"; YAML 1.2 numbers have no underscores: write {text.replace('_', '')}"
    return ""
