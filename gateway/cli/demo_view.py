"""How the demo shows what its subscriber receives: a table in place on a terminal, one line per event elsewhere."""

from __future__ import annotations

import logging
import shutil
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TextIO

import click

from gateway.cli import look
from gateway.cli.demo_words import happened, human, verb
from gateway.clock import NS_PER_S, Clock
from gateway.demo import Seen, Tally
from gateway.rules.model import RuleConfig

HAPPENED_MIN, HAPPENED_MAX = 7, 14
"""Special events under the table: how many there is always room for, and the most that are shown."""

CAUSES_MAX = 200
"""What rules said lately, so that what an output did can name the rule that asked for it."""

DEEDS_MAX = 100
"""Deeds of actions that wait to be shown behind their event."""

SUBJECT_COLUMNS = 22

SUBJECTS_MAX = 500
"""Rows remembered; a demo with more subjects shows the first ones."""


class View(Protocol):
    """What both ways of showing have in common."""

    def arrived(self, event: Seen, first: bool) -> None:
        """An event came; `first` is False for a duplicate."""

    def note(self, text: str) -> None:
        """Something that the gateway logged."""

    def acted(self, at_s: float, subject: str, said: str) -> None:
        """What an action of a rule did, or would do, at that time of the wall clock."""

    def draw(self, tally: Tally) -> None:
        """A moment has passed."""

    def close(self, tally: Tally) -> None:
        """Nothing more will come."""


class Teller:
    """Words for events, with the rules that they are about and what asked for them."""

    def __init__(self, rules: Sequence[RuleConfig] = ()) -> None:
        self._rules: Mapping[str, RuleConfig] = {rule.id: rule for rule in rules}
        self._said: dict[str, str] = {}

    def __call__(self, event: Seen) -> str:
        if verb(event):
            if len(self._said) >= CAUSES_MAX:
                del self._said[next(iter(self._said))]
            self._said[event.id] = event.subject
        return happened(event, self._rules) + self.asked(event)

    def asked(self, event: Seen) -> str:
        """For an output: the rule that it follows, where that is known."""
        rule = self._said.get(event.causationid, "") if event.kind == "output.changed" else ""
        return f"  as {rule} says" if rule else ""


class Lines:
    """One aligned line for each event, as it comes."""

    def __init__(self, output: TextIO, rules: Sequence[RuleConfig] = ()) -> None:
        self._output, self._tell = output, Teller(rules)

    def arrived(self, event: Seen, first: bool) -> None:
        again = "" if first else "  (again)"
        measured = event.quality is not None and not verb(event)
        shown = f"{_reading(event)}{self._tell.asked(event)}" if measured else self._tell(event)
        self._say(f"{_clock_time(event)}  {look.pad(event.subject, SUBJECT_COLUMNS)}  {shown}{again}")

    def acted(self, at_s: float, subject: str, said: str) -> None:
        self._say(_deed(at_s, subject, said))

    def note(self, text: str) -> None:
        self._say(text)

    def draw(self, tally: Tally) -> None:
        """Lines stand where they are."""

    def close(self, tally: Tally) -> None:
        """As above."""

    def _say(self, text: str) -> None:
        click.echo(text.rstrip(), file=self._output)


def _deed(at_s: float, subject: str, said: str) -> str:
    when = f"{datetime.fromtimestamp(at_s).astimezone():%H:%M:%S.%f}"[:-3]
    return f"{click.style(when, dim=True)}  {look.pad(subject, SUBJECT_COLUMNS)}  {click.style(said, dim=True)}"


def _reading(event: Seen) -> str:
    reason = f"  {event.reason}" if event.reason else ""
    return f"{look.pad(human(event.value, event.unit), 12, '>')}  {_quality(event)}{reason}"


def _quality(event: Seen) -> str:
    quality = event.quality or ""
    return click.style(quality, fg=look.QUALITY_COLOUR.get(quality))


def _clock_time(event: Seen) -> str:
    """When it happened, by the clock on the wall here."""
    return f"{datetime.fromisoformat(event.time).astimezone():%H:%M:%S.%f}"[:-3]


@dataclass(slots=True)
class Row:
    """The latest event of one subject. `answers` is whether its device does."""

    event: Seen
    count: int
    mono_ns: int
    answers: bool = True


class Screen:
    """A table that is drawn over itself. Everything it needs to know of time comes from the clock it is given."""

    def __init__(self, output: TextIO, clock: Clock, rules: Sequence[RuleConfig] = ()) -> None:
        self._output, self._clock, self._tell = output, clock, Teller(rules)
        self._rows: dict[str, Row] = {}
        self._happened: deque[str] = deque(maxlen=HAPPENED_MAX)
        self._drawn = 0
        self._size = shutil.get_terminal_size()
        output.write(HIDE_CURSOR + NO_WRAP)

    def arrived(self, event: Seen, first: bool) -> None:
        del first  # the footer counts duplicates
        if event.quality is not None and not verb(event):
            self._count(event)
        if event.kind == "device.unavailable":
            self._silence(event.subject)
        if event.kind not in {"reading", "rule.started"}:
            subject = look.pad(event.subject, SUBJECT_COLUMNS)
            self._happened.append(f"{click.style(_clock_time(event), dim=True)}  {subject}  {self._tell(event)}")

    def acted(self, at_s: float, subject: str, said: str) -> None:
        self._happened.append(_deed(at_s, subject, said))

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
        footer = ["", counts]
        rows = [self._cells(subject, row) for subject, row in sorted(self._rows.items())]
        shown_max = max(HAPPENED_MIN, lines_max - len(rows) - len(footer) - 3)
        below = ["", *list(self._happened)[-shown_max:]] if self._happened else []
        room = max(1, lines_max - len(below) - len(footer) - 2)
        hidden = [click.style(f"… and {len(rows) - room} more", dim=True)] if len(rows) > room else []
        header = ("subject", "value", "quality", "count", "age")
        shown = look.table(rows[:room], header, "<><>>").split("\n")
        return [*shown, *hidden, *below, *footer]

    def _cells(self, subject: str, row: Row) -> Sequence[str]:
        event, age_s = row.event, (self._clock.mono_ns() - row.mono_ns) // NS_PER_S
        value, quality = (human(event.value, event.unit), _quality(event)) if row.answers else ("-", _SILENT)
        return subject, value, quality, look.count(row.count), look.duration(age_s) if age_s else "now"


_SILENT = click.style("no answer", fg="red")


def _counts(tally: Tally) -> str:
    lag = click.style(f"{look.count(tally.lost)} under way", fg="yellow" if tally.lost else "green")
    return f"{look.count(tally.accepted)} accepted   {look.count(tally.delivered)} delivered   {lag}"


ACTIONS = "gateway.actions"
"""The logger on which actions of rules say what they do."""

HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
NO_WRAP, WRAP = "\x1b[?7l", "\x1b[?7h"
CLEAR = "\x1b[2J\x1b[H"
ERASE_LINE_END, ERASE_BELOW = "\x1b[K", "\x1b[J"


def up(lines: int) -> str:
    """Move the cursor to the start of the line so many lines higher."""
    return f"\x1b[{lines}F" if lines else "\r"


class Notes(logging.Handler):
    """Brings the gateway's own errors into the view, where they cannot tear the table. Its warnings are events too.

    What actions of rules log is what they did, or would do: `rule/pump-knock: would POST to http://localhost:1880`.
    """

    def __init__(self, view: View) -> None:
        super().__init__(logging.INFO)
        self._view = view
        self._waiting: deque[tuple[float, str, str]] = deque(maxlen=DEEDS_MAX)

    def emit(self, record: logging.LogRecord) -> None:
        said = record.getMessage()
        if record.name == ACTIONS and record.levelno < logging.ERROR:
            subject, _, said = said.partition(": ")
            self._waiting.append((record.created, subject, said))
        elif record.levelno >= logging.ERROR:
            error = record.exc_info[1] if record.exc_info else None
            because = f": {error!r}" if error else ""
            self._view.note(f"{record.levelname.lower()}: {said}{because}")

    def show(self) -> None:
        """Show what actions did since the last time.

        An action hears of its event before a subscriber does, but who reads wants the cause first: so deeds wait for
        the next frame.
        """
        while self._waiting:
            self._view.acted(*self._waiting.popleft())
