"""`gateway import`: exported JSON lines as a fresh log."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import click

from gateway.cli import door, look
from gateway.cli.progress import Progress
from gateway.errors import GatewayError
from gateway.event import Event

CHUNK_EVENTS = 2000
LINE_BYTES_MAX = 2**20


class WrongLine(GatewayError):
    """A line that is no event of ours."""

    exit_code = 2


@click.command("import", short_help="Make a fresh log of exported JSON lines.")
@click.argument("file", type=click.File("rb"))
@click.argument("log_path", type=click.Path(path_type=Path), metavar="LOG")
def import_(file: BinaryIO, log_path: Path) -> None:
    """Make the fresh log LOG of the JSON lines in FILE (- for standard input), as `gateway export` writes them.

    Events keep their ids and offsets, so they are the same events; what was not exported is missing. Their times are
    exact to the microsecond. LOG must not exist; it gets its name when it is whole.
    """
    events = door.run(_import(file, log_path))
    click.echo(f"{look.counted(events, 'event')} in {look.printable(str(log_path))}")


async def _import(file: BinaryIO, log_path: Path) -> int:
    from gateway.errors import LogError
    from gateway.eventlog.excerpt import NewLog

    name = getattr(file, "name", "-")
    async with NewLog(log_path) as new:
        with Progress("event") as progress:
            for first_line, events in _chunks(file, name):
                try:
                    await new.add_events(events)
                except LogError as error:
                    raise WrongLine(f"{name}, from line {first_line} on: {error}") from error
                progress.add(len(events))
        await new.finish()
    return progress.done


def _chunks(file: BinaryIO, name: str) -> Iterator[tuple[int, list[Event]]]:
    """(number of the first line, events of some lines)."""
    from gateway.foreign import NotOurs, parse_event

    events: list[Event] = []
    number = first = 1
    while line := file.readline(LINE_BYTES_MAX):
        if line.strip():
            try:
                events.append(parse_event(line))
            except NotOurs as error:
                raise WrongLine(f"{name}, line {number}: {error}") from None
        number += 1
        if len(events) == CHUNK_EVENTS:
            yield first, events
            events, first = [], number
    if events:
        yield first, events
