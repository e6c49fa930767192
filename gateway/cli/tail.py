"""`gateway tail`: events as they are committed, for a person or for a program."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import aclosing
from datetime import date, datetime, tzinfo
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

import click

from gateway.cli import look, reach
from gateway.clock import NS_PER_S, SystemClock
from gateway.control import ControlClient, Disconnected
from gateway.errors import ControlError
from gateway.event import TYPE_PREFIX, TYPE_SUFFIX, rfc3339

CloudEvent = Mapping[str, Any]

SUBJECT_COLUMNS, SUBJECT_COLUMNS_MIN, SUBJECT_COLUMNS_MAX = 22, 12, 48
TIME_COLUMNS, VALUE_COLUMNS, UNIT_COLUMNS, QUALITY_COLUMNS = 12, 10, 4, 9
TYPE_COLUMNS, TEXT_INDENT = 18, TIME_COLUMNS + 2
BESIDE_SUBJECT = TIME_COLUMNS + VALUE_COLUMNS + UNIT_COLUMNS + QUALITY_COLUMNS + 6
"""What the other columns of a reading and the spaces between them take."""

SHOWN_DATA = frozenset({"value", "unit", "quality", "reason"})
TYPE_COLOUR = {
    "device.unavailable": "red",
    "device.available": "green",
    "log.gap": "yellow",
    "event.refused": "yellow",
    "store.degraded": "red",
    "store.recovered": "green",
}


class Wish(NamedTuple):
    """Which events to show: globs over subject and type, None for all."""

    subject: str | None
    type: str | None

    def takes(self, event: CloudEvent) -> bool:
        return (self.subject is None or fnmatchcase(event["subject"], self.subject)) and (
            self.type is None or fnmatchcase(short_type(event["type"]), self.type)
        )


class Ended(ControlError):
    """The service ended the stream, which would go on for ever by itself."""


@click.command(short_help="Show events as they are committed to the log.")
@click.option("--from", "offset", type=click.IntRange(min=1), metavar="OFFSET", help="Begin at this offset of the log.")
@click.option("--since", metavar="TIME", help="Begin at this time: 10m (ago), or 2026-11-23T06:00:00Z.")
@click.option("--subject", metavar="GLOB", help="Only events of these subjects: 'air/*'.")
@click.option("--type", "type_", metavar="GLOB", help="Only events of these types: reading, 'device.*'.")
@click.option("--json", "as_json", is_flag=True, help="Print one CloudEvent in JSON on each line.")
@reach.options
def tail(
    offset: int | None,
    since: str | None,
    subject: str | None,
    type_: str | None,
    socket: Path | None,
    gateway_id: str | None,
    *,
    as_json: bool,
) -> None:
    """Show events as they are committed to the log, new ones only unless --from or --since says more.

    Runs until Ctrl-C. When the gateway stops, the last line says from which offset to continue, and the exit code is 1.
    """
    if offset is not None and since is not None:
        raise click.UsageError("--from and --since both say where to begin: use one of them")
    args = {"from": offset, "since": since and rfc3339(instant_ns(since, SystemClock().wall_ns()))}
    shown: Lines | JsonLines = JsonLines() if as_json else Lines(look.columns(), datetime.now().astimezone().date())
    try:
        asyncio.run(_follow(reach.locate(socket, gateway_id), args, Wish(subject, type_), shown))
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:  # `gateway tail | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python's last flush needs somewhere to go


async def _follow(path: Path, args: dict[str, Any], wish: Wish, shown: Lines | JsonLines) -> None:
    last = kind = None
    try:
        async with aclosing(ControlClient(path).stream("tail", args)) as parts:
            async for part in parts:
                if "gap" in part:
                    shown.gap(*part["gap"])
                    continue
                event = part["event"]
                last, kind = int(event["sequence"]), short_type(event["type"])
                if wish.takes(event):
                    shown.event(event)
    except Disconnected:
        pass
    why = (
        "the gateway stopped"
        if kind == "gateway.stopped"
        else "the gateway stopped, or this reader was too slow for it"
    )
    raise Ended(why if last is None else f"{why}; `gateway tail --from {last + 1}` continues")


class JsonLines:
    """One CloudEvent a line, as the log has it. Gaps go to standard error: they are no events."""

    def __init__(self) -> None:
        import msgspec

        self._encode = msgspec.json.encode

    def event(self, event: CloudEvent) -> None:
        click.echo(self._encode(event))

    def gap(self, first: int, last: int) -> None:
        click.secho(gap_text(first, last), fg="yellow", err=True)


class Lines:
    """Aligned lines for people. The subject's column grows with the longest seen, so that lines stay aligned."""

    def __init__(self, columns: int | None, today: date, zone: tzinfo | None = None) -> None:
        """`zone` None is the machine's own time zone. A line with the date comes first where it is not `today`."""
        self._columns, self._date, self._zone = columns, today, zone
        room = SUBJECT_COLUMNS_MAX if columns is None else columns - BESIDE_SUBJECT
        self._subject_columns_max = max(SUBJECT_COLUMNS_MIN, min(SUBJECT_COLUMNS_MAX, room))
        self._text_columns = None if columns is None else columns - TEXT_INDENT
        self._subject_columns = min(SUBJECT_COLUMNS, self._subject_columns_max)

    def event(self, event: CloudEvent) -> None:
        for line in self.lines(event):
            click.echo(line)

    def gap(self, first: int, last: int) -> None:
        click.secho(gap_text(first, last), fg="yellow")

    def lines(self, event: CloudEvent) -> Iterator[str]:
        when = datetime.fromisoformat(event["time"]).astimezone(self._zone)
        if when.date() != self._date:
            self._date = when.date()
            yield click.style(f"-- {self._date} --", dim=True)
        subject = look.crop(look.printable(event["subject"]), self._subject_columns_max)
        self._subject_columns = max(self._subject_columns, look.width(subject))
        start = f"{when:%H:%M:%S}.{when.microsecond // 1000:03d}  {look.pad(subject, self._subject_columns)}  "
        room = None if self._columns is None else max(0, self._columns - look.width(start))
        first, *more = measured(event, room) if "value" in event["data"] else told(event, room)
        yield (start + first).rstrip()
        for text in more:
            yield from (click.style(" " * TEXT_INDENT + line, dim=True) for line in look.wrap(text, self._text_columns))


def measured(event: CloudEvent, room: int | None) -> list[str]:
    """One line for an event with a value: value, unit, quality, then the type where it is no reading, then the rest."""
    data, kind = event["data"], look.printable(short_type(event["type"]))
    value, unit = look.measure(data["value"], data.get("unit"))
    value = look.crop(value, None if room is None else max(VALUE_COLUMNS, room - UNIT_COLUMNS - QUALITY_COLUMNS - 2))
    amount = f"{look.pad(value, VALUE_COLUMNS, '>')} {look.pad(unit, UNIT_COLUMNS)} "
    quality = look.printable(data.get("quality", ""))
    notes = _notes(event) if kind == "reading" else f"{kind}  {_notes(event)}".rstrip()
    left = None if room is None else max(0, room - look.width(amount) - QUALITY_COLUMNS - 2)
    return [
        amount + _styled(look.pad(quality, QUALITY_COLUMNS), look.QUALITY_COLOUR.get(quality), look.crop(notes, left))
    ]


def told(event: CloudEvent, room: int | None) -> list[str]:
    """An event without a value: its type, then the rest, on a line of its own where it does not fit beside it."""
    kind, notes = look.printable(short_type(event["type"])), _notes(event)
    head = look.pad(kind, TYPE_COLUMNS)
    if room is None or look.width(head) + 2 + look.width(notes) <= room:
        return [_styled(head, TYPE_COLOUR.get(kind), notes)]
    return [_styled(look.crop(kind, room), TYPE_COLOUR.get(kind), ""), notes]


def _styled(head: str, colour: str | None, rest: str) -> str:
    return (
        f"{click.style(head, fg=colour)}  {click.style(rest, dim=True)}"
        if rest
        else click.style(head.rstrip(), fg=colour)
    )


def _notes(event: CloudEvent) -> str:
    data = event["data"]
    parts = [str(data.get("reason", ""))]
    parts += [f"{name}={_plain(value)}" for name, value in data.items() if name not in SHOWN_DATA]
    if not event.get("clocksync", True):
        parts.append("(clock not synchronised)")
    return look.printable("  ".join(filter(None, parts)))


def _plain(value: object) -> str:
    import msgspec

    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def gap_text(first: int, last: int) -> str:
    return (
        f"-- {look.counted(last - first + 1, 'event')} missing: offsets {first} to {last} are no longer in the log --"
    )


def short_type(type_: str) -> str:
    """`io.sensor-event-gateway.reading.v1` -> `reading`."""
    return type_.removeprefix(TYPE_PREFIX).removesuffix(TYPE_SUFFIX)


def instant_ns(text: str, now_ns: int) -> int:
    """Nanoseconds UTC of a time, or of a duration ago. A time without a zone is local.

    Raises:
        click.BadParameter: it is neither.
    """
    from gateway.options import parse_duration_s

    try:
        return max(0, now_ns - round(parse_duration_s(text) * NS_PER_S))
    except ValueError:
        pass
    try:
        return max(0, round(datetime.fromisoformat(text).astimezone().timestamp() * 1_000_000) * 1000)
    except (ValueError, OverflowError, OSError):
        expected = "expected a duration ago such as 10m or 2h, or a time such as 2026-11-23T06:00:00Z"
        raise click.BadParameter(f"{text!r}: {expected}", param_hint="--since") from None
