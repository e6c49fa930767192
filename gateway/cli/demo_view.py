"""How the demo shows what its subscriber receives: a table in place on a terminal, one line per event elsewhere."""

from __future__ import annotations

import logging
import shutil
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TextIO

import click

from gateway.cli import look
from gateway.cli.tail import TYPE_COLOUR
from gateway.clock import NS_PER_S, Clock
from gateway.demo import Seen, Tally
from gateway.event import VALUE_TYPES, Value

HAPPENED_MAX = 5
"""Special events under the table."""

TEXT_MAX = 16
"""Characters shown of a value that is a text."""

SUBJECTS_MAX = 500
"""Rows remembered; a demo with more subjects shows the first ones."""

SHORTLY: Mapping[str, str] = {
    "device.available": "answers",
    "device.unavailable": "stopped answering",
    "gateway.started": "started",
    "gateway.stopped": "stopped in good order",
    "config.loaded": "configuration loaded",
}
"""Frequent events in fewer words than their description has."""

_UNITS: Mapping[str | None, Callable[[float], str]] = {
    "Cel": lambda v: f"{v:.1f} °C",
    "%RH": lambda v: f"{v:.1f} %",
    "Pa": lambda v: f"{v / 100:.1f} hPa",
    "lx": lambda v: f"{v:.0f} lx",
    "m": lambda v: f"{v:.2f} m",
    "s": look.duration,
    "/": lambda v: f"{v * 100:.1f} %",
    "B": lambda v: look.size(round(v)),
    "1": lambda v: f"{v:.2f}",
    None: lambda v: f"{v:g}",
}


def human(value: Value, unit: str | None) -> str:
    """A value as a person says it: `21.5 °C`, `48.0 %`, `on`, `-` for none."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, str):
        return value if len(value) <= TEXT_MAX else value[: TEXT_MAX - 1] + "…"
    known = _UNITS.get(unit)
    return known(value) if known else f"{value:.3g} {unit}"


class View(Protocol):
    """What both ways of showing have in common."""

    def arrived(self, event: Seen, first: bool) -> None:
        """An event came; `first` is False for a duplicate."""

    def note(self, text: str) -> None:
        """Something that the gateway logged."""

    def draw(self, tally: Tally) -> None:
        """A moment has passed."""

    def close(self, tally: Tally) -> None:
        """Nothing more will come."""


class Lines:
    """One aligned line for each event, as it comes."""

    def __init__(self, output: TextIO) -> None:
        self._output = output

    def arrived(self, event: Seen, first: bool) -> None:
        again = "" if first else "  (again)"
        shown = happened(event) if event.data.quality is None else _reading(event)
        self._say(f"{_clock_time(event)}  {look.pad(event.subject, 24)}  {shown}{again}")

    def note(self, text: str) -> None:
        self._say(text)

    def draw(self, tally: Tally) -> None:
        """Lines stand where they are."""

    def close(self, tally: Tally) -> None:
        """As above."""

    def _say(self, text: str) -> None:
        click.echo(text.rstrip(), file=self._output)


def _reading(event: Seen) -> str:
    data = event.data
    reason = f"  {data.reason}" if data.reason else ""
    return f"{look.pad(human(data.value, data.unit), 12, '>')}  {_quality(event)}{reason}"


def _quality(event: Seen) -> str:
    quality = event.data.quality or ""
    return click.style(quality, fg=look.QUALITY_COLOUR.get(quality))


def _clock_time(event: Seen) -> str:
    """When it happened, by the clock on the wall here."""
    return f"{datetime.fromisoformat(event.time).astimezone():%H:%M:%S.%f}"[:-3]


def happened(event: Seen) -> str:
    """An event that is no measurement, in words."""
    data = event.data
    said = human(data.value, data.unit) if event.kind in VALUE_TYPES else SHORTLY.get(event.kind, event.told)
    because = f": {data.reason}" if data.reason else ""
    return click.style(said + because, fg=TYPE_COLOUR.get(event.kind))


@dataclass(slots=True)
class Row:
    """The latest event of one subject. `answers` is whether its device does."""

    event: Seen
    count: int
    mono_ns: int
    answers: bool = True


class Screen:
    """A table that is drawn over itself. Everything it needs to know of time comes from the clock it is given."""

    def __init__(self, output: TextIO, clock: Clock) -> None:
        self._output = output
        self._clock = clock
        self._rows: dict[str, Row] = {}
        self._happened: deque[str] = deque(maxlen=HAPPENED_MAX)
        self._drawn = 0
        self._size = shutil.get_terminal_size()
        output.write(HIDE_CURSOR + NO_WRAP)

    def arrived(self, event: Seen, first: bool) -> None:
        del first  # the footer counts duplicates
        if event.data.quality is not None:
            self._count(event)
        if event.kind == "device.unavailable":
            self._silence(event.subject)
        if event.kind != "reading":
            subject = look.pad(event.subject, 24)
            self._happened.append(f"{click.style(_clock_time(event), dim=True)}  {subject}  {happened(event)}")

    def note(self, text: str) -> None:
        self._happened.append(click.style(text, fg="yellow"))

    def draw(self, tally: Tally, hint: str = "Ctrl-C stops and sums up") -> None:
        size = shutil.get_terminal_size()
        lines = self._lines(f"{_counts(tally)}   {click.style(hint, dim=True)}".rstrip(), size.lines - 1)
        start = CLEAR if size != self._size else up(self._drawn)
        self._output.write(start + "".join(f"{line}{ERASE_LINE_END}\n" for line in lines) + ERASE_BELOW)
        self._output.flush()
        self._drawn, self._size = len(lines), size

    def close(self, tally: Tally) -> None:
        self.draw(tally, hint="")
        self._output.write(WRAP + SHOW_CURSOR)
        self._output.flush()

    def _count(self, event: Seen) -> None:
        row = self._rows.get(event.subject)
        if row is None and len(self._rows) >= SUBJECTS_MAX:
            return
        self._rows[event.subject] = Row(event, row.count + 1 if row else 1, self._clock.mono_ns())

    def _silence(self, device: str) -> None:
        """A device that does not answer has no values: say so, rather than let the last ones stand."""
        for subject, row in self._rows.items():
            if subject.startswith(f"{device}/"):
                row.answers = False

    def _lines(self, counts: str, lines_max: int) -> list[str]:
        below = ["", *self._happened] if self._happened else []
        footer = ["", counts]
        room = max(1, lines_max - len(below) - len(footer) - 2)
        rows = [self._cells(subject, row) for subject, row in sorted(self._rows.items())]
        hidden = [click.style(f"… and {len(rows) - room} more", dim=True)] if len(rows) > room else []
        header = ("subject", "value", "quality", "count", "age")
        shown = look.table(rows[:room], header, "<><>>").split("\n")
        return [*shown, *hidden, *below, *footer]

    def _cells(self, subject: str, row: Row) -> Sequence[str]:
        data, age_s = row.event.data, (self._clock.mono_ns() - row.mono_ns) // NS_PER_S
        value, quality = (human(data.value, data.unit), _quality(row.event)) if row.answers else ("-", _SILENT)
        return subject, value, quality, look.count(row.count), look.duration(age_s) if age_s else "now"


_SILENT = click.style("no answer", fg="red")


def _counts(tally: Tally) -> str:
    lag = click.style(f"{look.count(tally.lost)} under way", fg="yellow" if tally.lost else "green")
    return f"{look.count(tally.accepted)} accepted   {look.count(tally.delivered)} delivered   {lag}"


HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
NO_WRAP, WRAP = "\x1b[?7l", "\x1b[?7h"
CLEAR = "\x1b[2J\x1b[H"
ERASE_LINE_END, ERASE_BELOW = "\x1b[K", "\x1b[J"


def up(lines: int) -> str:
    """Move the cursor to the start of the line so many lines higher."""
    return f"\x1b[{lines}F" if lines else "\r"


class Notes(logging.Handler):
    """Brings the gateway's own errors into the view, where they cannot tear the table. Its warnings are events too."""

    def __init__(self, view: View) -> None:
        super().__init__(logging.ERROR)
        self._view = view

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        because = f": {error!r}" if error else ""
        self._view.note(f"{record.levelname.lower()}: {record.getMessage()}{because}")
