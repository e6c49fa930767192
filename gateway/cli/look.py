"""How every command looks: aligned columns, and colour only where a person watches.

`click.echo` strips colours where standard output is no terminal, so callers style freely. What comes from outside (a
scanned code, a broker's error) passes through `printable` first: it may hold a terminal's own commands.
"""

from __future__ import annotations

import shutil
import sys
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any, Literal

import click

Align = Literal["<", ">"]

QUALITY_COLOUR = {"good": "green", "uncertain": "yellow", "bad": "red"}

ELLIPSIS = "…"
NOTHING = "–"
NOTE_INDENT = 2
FIRST_COLUMN_MIN, LAST_COLUMN_MIN = 12, 24
"""Text that wraps on a narrow terminal keeps this much: below it, lines of single words read worse than long ones."""


def columns() -> int | None:
    """How wide the terminal is; None where standard output is none, and nothing is ever cut."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def printable(text: str) -> str:
    """`text` on one line, with everything that is not to be seen written as an escape."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def width(text: str) -> int:
    """Columns that `text` takes on a terminal, styling not counted."""
    plain = click.unstyle(text)
    return len(plain) if plain.isascii() else sum(map(_cells, plain))


def _cells(character: str) -> int:
    if unicodedata.category(character) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def pad(text: str, columns: int, align: Align = "<") -> str:
    space = " " * max(0, columns - width(text))
    return space + text if align == ">" else text + space


def crop(text: str, columns: int | None) -> str:
    """Unstyled `text`, cut to that many columns with an ellipsis where it is longer."""
    if columns is None or width(text) <= columns:
        return text
    kept, room = "", columns - 1
    for character in text:
        room -= _cells(character)
        if room < 0:
            break
        kept += character
    return kept.rstrip() + ELLIPSIS if columns > 0 else ""


def wrap(text: str, columns: int | None) -> list[str]:
    """Unstyled `text` in lines of at most that many columns, broken between words where that is possible."""
    if columns is None or width(text) <= columns:
        return [text]
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if width(longer) <= columns or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def table(
    rows: Iterable[Sequence[str]],
    header: Sequence[str],
    align: Sequence[Align] | str = "",
    *,
    notes: Iterable[str] = (),
    columns: int | None = None,
    indent: int = 0,
) -> str:
    """Rows under a bold header, each column as wide as its widest cell. `align` has one of `<` `>` for each column.

    On a terminal of `columns`, the last column continues on further lines where it would be too long, and where that is
    not enough, the first is cut; both hold unstyled text wherever they may be that long.
    `notes` has sentences for each row, a line each, empty where there are none; they follow their row.
    """
    body = [list(row) for row in rows]
    sides = list(align) or ["<"] * len(header)
    if columns is not None:
        room = _first_column_room(_widths(header, body), columns - indent)
        body = [[crop(row[0], room), *row[1:]] if width(row[0]) > room else row for row in body]
    widths = _widths(header, body)
    before_last = indent + sum(widths[:-1]) + 2 * (len(widths) - 1)
    room_last = None if columns is None else max(LAST_COLUMN_MIN, columns - before_last)

    def line(cells: Sequence[str]) -> str:
        padded = (pad(c, w, ">" if s == ">" else "<") for c, w, s in zip(cells, widths, sides, strict=True))
        return (" " * indent + "  ".join(padded)).rstrip()

    lines = [line([click.style(title, bold=True) for title in header])]
    for row, note in zip_longest(body, notes, fillvalue=""):
        first, *more = wrap(row[-1], room_last)
        lines += [line([*row[:-1], first]), *(" " * before_last + text for text in more)]
        lines += _note(note, columns, indent + NOTE_INDENT)
    return "\n".join(lines)


def _widths(header: Sequence[str], body: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(width, column)) for column in zip(header, *body, strict=True)]


def _first_column_room(widths: Sequence[int], columns: int) -> int:
    others = sum(widths[1:-1]) + min(widths[-1], LAST_COLUMN_MIN) + 2 * (len(widths) - 1)
    return max(FIRST_COLUMN_MIN, columns - others)


def _note(text: str, columns: int | None, indent: int) -> list[str]:
    room = None if columns is None else max(LAST_COLUMN_MIN, columns - indent)
    return [" " * indent + part for line in text.splitlines() for part in wrap(line, room)]


def fields(pairs: Iterable[tuple[str, str]]) -> str:
    """Names on the left, values on the right, aligned."""
    listed = list(pairs)
    wide = max((width(name) for name, _ in listed), default=0)
    return "\n".join(f"  {pad(click.style(name, dim=True), wide)}  {value}".rstrip() for name, value in listed)


def bar(part: float, whole: float, cells: int = 20) -> str:
    """A part of a whole: `[####----------------]`. Anything at all shows at least one mark."""
    share = min(1.0, part / whole) if whole > 0 else 0.0
    full = max(round(share * cells), 1 if share > 0 else 0)
    return f"[{'#' * full}{'-' * (cells - full)}]"


def number(value: float) -> str:
    """A measured value as a person reads it: at most three decimals, more only where the value is tiny."""
    if isinstance(value, int):
        return str(value)
    if value == 0 or 1e-3 <= abs(value) < 1e12:
        return f"{value:.3f}".rstrip("0").rstrip(".")
    return f"{value:.4g}"


def duration(seconds: float) -> str:
    """A length of time that a person reads at a glance: `340 ms`, `12 s`, `5 min`, `3 h 20 min`, `2 d 4 h`."""
    if seconds < 0:
        return f"-{duration(-seconds)}"
    if 0 < seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if minutes < 120:
        return f"{minutes} min"
    if hours < 48:
        return f"{hours} h {minutes % 60} min"
    return f"{days} d {hours % 24} h"


def count(number: int) -> str:
    """A whole number in groups: `1 234 567`."""
    return f"{number:,}".replace(",", " ")


def document(value: Any) -> str:
    """What `--json` prints of one document: indented, for machines and for people."""
    import msgspec

    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def counted(number: int, thing: str) -> str:
    """`1 event`, `2 events`."""
    return f"{count(number)} {thing}{'' if number == 1 else 's'}"


def size(bytes_: int) -> str:
    """Bytes as a person reads them: `312 B`, `44.1 kB`, `512 MB`."""
    amount = float(bytes_)
    for unit in ("B", "kB", "MB", "GB"):
        if round(amount) < 1000 or unit == "GB":
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"
        amount /= 1000
    raise AssertionError("unreachable")


def measure(value: object, unit: str | None) -> tuple[str, str]:
    """A value and its unit as a person reads them: (21.5, `Cel`) -> (`21.5`, `°C`), (0.42, `/`) -> (`42`, `%`)."""
    sign = printable(unit or "")
    if value is None:
        return NOTHING, ""
    if isinstance(value, bool):
        return str(value).lower(), sign
    if isinstance(value, int | float):
        return _MEASURES.get(sign, _plain)(value, sign)
    return printable(str(value)), sign


def _plain(value: float, sign: str) -> tuple[str, str]:
    return number(value), _SIGNS.get(sign, sign)


def _percent(value: float, _sign: str) -> tuple[str, str]:
    return number(round(value * 100, 1)), "%"


def _bytes(value: float, sign: str) -> tuple[str, str]:
    if not 1000 <= value < 1e18:  # small, negative, or not finite
        return number(value), sign
    amount, _, unit = size(round(value)).rpartition(" ")
    return amount, unit


def _seconds(value: float, sign: str) -> tuple[str, str]:
    return (duration(value), "") if 120 <= abs(value) < 1e12 else (number(value), sign)


_MEASURES: Mapping[str, Callable[[float, str], tuple[str, str]]] = {"/": _percent, "B": _bytes, "s": _seconds}
_SIGNS: Mapping[str, str] = {"Cel": "°C", "%RH": "% rh", "1": ""}
"""SenML's names, as people write them."""
