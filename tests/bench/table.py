"""The figures of a bench as a table that a person reads, and what of it noise cannot move: the gates. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One line. `ratio` is to the bare baseline of the same run; `bar` says what good is, and `ok` whether it is met.

    A figure is a gate where `gate` is true: a missed one fails the bench. The others depend on the machine's mood.
    """

    name: str
    gateway: str
    bare: str = ""
    ratio: float | None = None
    bar: str = ""
    ok: bool | None = None
    gate: bool = False


HEADINGS = ("", "gateway", "bare", "ratio", "bar", "")


def table(figures: Sequence[Figure]) -> str:
    rows = [HEADINGS, *(_row(figure) for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    lines = [
        "  ".join(
            cell.ljust(width) if column in {0, 4, 5} else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join(lines)


def _row(figure: Figure) -> tuple[str, ...]:
    ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
    word = "" if figure.ok is None else "ok" if figure.ok else "MISSED" if figure.gate else "missed, not judged"
    return figure.name, figure.gateway, figure.bare, ratio, figure.bar, word


def breakdown(threads: Mapping[str, float], parts: Mapping[str, float], count: int) -> str:
    """Microseconds of CPU per event: by thread, and the event loop's by part of the story."""
    loop_s = threads.get("the event loop", 0.0)
    lines = [f"  {1e6 * seconds / count:6.1f} us  {name}" for name, seconds in sorted(threads.items(), key=_most)]
    lines += ["         of the event loop:"]
    lines += [
        f"  {1e6 * loop_s * part / count:6.1f} us  {100 * part:3.0f} %  {name}"
        for name, part in sorted(parts.items(), key=_most)
    ]
    return "\n".join(lines)


def _most(entry: tuple[str, float]) -> float:
    return -entry[1]


def missed(figures: Sequence[Figure]) -> list[str]:
    """The names of the gates that do not hold."""
    return [figure.name for figure in figures if figure.gate and figure.ok is False]
