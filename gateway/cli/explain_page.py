"""What made a derived event: as a document, and as a timeline in text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import click

from gateway.cli import look
from gateway.clock import NS_PER_S
from gateway.event import Event, rfc3339

SHOWN_MAX = 30
"""Events of one derived event that are shown: the first and the last half of more, and all that it names."""

CELLS, CELLS_NARROW, NARROW = 16, 8, 100
"""Cells of a mark, and those on a terminal with fewer columns than that."""

BESIDE_SUBJECT = 46
"""What the other columns of the timeline take, without the mark."""

SUBJECT_COLUMNS_MIN = 12


@dataclass
class Why:
    """One derived event, and what made a rule derive it.

    `entries` are in order of time. `left_out` counts events that are not among them; they lie before offset `resumes`.
    `missing` are ids that the log no longer has. `below` explains those of the entries that are derived themselves, by
    offset.
    """

    event: Event
    asked: str = ""
    note: str = ""
    entries: list[tuple[Event, str]] = field(default_factory=list)
    left_out: int = 0
    resumes: int = 0
    missing: list[str] = field(default_factory=list)
    below: dict[int, Why] = field(default_factory=dict)


def document(why: Why) -> dict[str, Any]:
    """Everything as plain values."""
    event = why.event
    return {
        **_plain(event, event),
        "key": event.data.get("key", ""),
        "asked": why.asked,
        "note": why.note,
        "data": event.data,
        "events": [
            {**_plain(one, event), "part": part, **({"why": document(why.below[one.offset])} if _has(why, one) else {})}
            for one, part in why.entries
        ],
        "left_out": why.left_out,
        "missing": why.missing,
    }


def _has(why: Why, event: Event) -> bool:
    return event.offset in why.below


def _plain(event: Event, fired: Event) -> dict[str, Any]:
    return {
        "id": event.id,
        "type": event.type,
        "subject": event.subject,
        "time": rfc3339(event.time),
        "before_s": round((fired.time - event.time) / NS_PER_S, 6),
        "value": event.value,
        "unit": event.unit,
        "quality": event.quality,
    }


def page(why: Why, columns: int | None) -> str:
    """The explanation as text."""
    return "\n".join(_lines(why, columns))


def _lines(why: Why, columns: int | None) -> Iterator[str]:
    event = why.event
    rule_id = look.printable(event.subject.removeprefix("rule/"))
    key = look.printable(str(event.data.get("key", "")))
    kind = event.type.removeprefix("rule.")
    when = f"{local(rfc3339(event.time))}.{event.time // 1_000_000 % 1000:03d}"
    yield "  ".join(filter(None, [click.style(rule_id, bold=True), click.style(kind, fg="yellow"), key, when]))
    for line in filter(None, [why.asked, why.note, _said(event)]):
        colour = "yellow" if line == why.note else None
        for part in look.wrap(look.printable(line), columns and columns - 2):
            yield click.style(f"  {part}", fg=colour, dim=colour is None)
    yield ""
    yield _timeline(why, columns)
    if not why.entries and not why.missing and why.asked:
        yield "  No event of it came before."
    if why.missing:
        yield click.style(f"  no longer in the log: {', '.join(map(look.printable, why.missing))}", fg="yellow")
    for below in why.below.values():
        yield ""
        inner = None if columns is None else max(40, columns - 2)
        yield from (f"  {line}".rstrip() for part in _lines(below, inner) for line in part.splitlines() or [""])


def _said(event: Event) -> str:
    """What the event itself tells, in a line."""
    data = {name: value for name, value in event.data.items() if name not in _ELSEWHERE}
    value = " ".join(filter(None, look.measure(event.value, event.unit))) if event.value is not None else ""
    told = [value, *(f"{name} {_word(value)}" for name, value in data.items())]
    return f"{event.id}: {', '.join(filter(None, told))}"


_ELSEWHERE = frozenset({"rulekey", "key", "matched"})


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return look.number(value)
    return local(value) if isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\dT", value) else str(value)


def _timeline(why: Why, columns: int | None) -> str:
    rows: list[tuple[str, ...]] = []
    notes: list[str] = []
    cells = CELLS_NARROW if columns is not None and columns < NARROW else CELLS
    scale = _Scale(why, cells)
    room = None if columns is None else max(SUBJECT_COLUMNS_MIN, columns - BESIDE_SUBJECT - cells)
    for event, part in why.entries:
        if why.left_out and event.offset == why.resumes:
            notes[-1] = f".. {look.counted(why.left_out, 'more event')} .."
        rows.append(_row(event, part, why.event, scale, room))
        notes.append("")
    rows.append(_row(why.event, "", why.event, scale, room))
    heads = ("BEFORE", "OFFSET", "SUBJECT", "VALUE", "SCALE", "PART")
    used = [n for n in range(len(heads)) if n < 4 or any(row[n] for row in rows)]
    align = "".join(">><><<"[n] for n in used)
    return look.table(
        [[row[n] for n in used] for row in rows],
        [heads[n] for n in used],
        align,
        notes=[*notes, ""],
        columns=columns,
        indent=2,
    )


def _row(event: Event, part: str, fired: Event, scale: _Scale, room: int | None) -> tuple[str, ...]:
    value = " ".join(filter(None, look.measure(event.value, event.unit)))
    if event.quality == "bad":
        value = look.printable(f"bad {event.reason}".rstrip())
    said = click.style(look.printable(part), fg="cyan") if part else ""
    if event.type.startswith("rule."):
        kind = click.style(event.type.removeprefix("rule."), fg="yellow", bold=event is fired)
        said = f"{said} {kind}".strip()
    mark = "" if event is fired else scale.bar(event)
    subject = look.crop(look.printable(event.subject), room)
    return (before(fired.time - event.time), str(event.offset), subject, value, mark, said)


class _Scale:
    """Values of the shown events as marks beside each other, and beside the limit where there is one."""

    def __init__(self, why: Why, cells: int) -> None:
        from gateway.rules.explain import limits

        numbers = [float(v) for one, _ in why.entries if (v := _number(one)) is not None]
        is_rate = " changes " in why.asked
        self._limit = None if is_rate else limits(why.event)
        if self._limit is not None:
            numbers.append(self._limit)
        self._low, self._high = min(numbers, default=0.0), max(numbers, default=0.0)
        self._several, self._cells = len({*numbers}) > 1, cells

    def bar(self, event: Event) -> str:
        value = _number(event)
        if value is None or not self._several:
            return ""
        cells = ["-"] * self._cells
        at = self._cell(value)
        cells[: at + 1] = "#" * (at + 1)
        if self._limit is not None:
            cells[self._cell(self._limit)] = "|"
        return f"[{''.join(cells)}]"

    def _cell(self, value: float) -> int:
        return min(self._cells - 1, int((value - self._low) / (self._high - self._low) * self._cells))


def _number(event: Event) -> float | None:
    value = event.value
    usable = isinstance(value, (int, float)) and not isinstance(value, bool) and not event.type.startswith("rule.")
    return float(value) if usable else None  # type: ignore[arg-type]


def before(ns: int) -> str:
    """`-4 min 58 s`: how long before the event; `+` behind it, which an event that came late may be."""
    sign, seconds = ("+" if ns < 0 else "-"), abs(ns) / NS_PER_S
    if seconds < 0.0005:
        return "0 s"
    if seconds < 60:
        return f"{sign}{seconds:.3f}".rstrip("0").rstrip(".") + " s"
    whole = round(seconds)
    if whole < 3600:
        return f"{sign}{whole // 60} min {whole % 60:2d} s"
    return f"{sign}{whole // 3600} h {whole % 3600 // 60:2d} min"


def local(time: str) -> str:
    """A time as the clock on the wall here has it."""
    return f"{datetime.fromisoformat(time).astimezone():%Y-%m-%d %H:%M:%S}"
