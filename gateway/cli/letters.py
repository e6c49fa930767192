"""`gateway letters`: the events that were refused for good, kept for a person to look at."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import click

from gateway.cli import door, look

if TYPE_CHECKING:
    from gateway.client import Connection
    from gateway.event import Event

SHOWN_MAX: Final = 50
"""Rows of the table; `--json` prints all."""


class Letter(NamedTuple):
    """One dead letter. `consumer` is a sink's id, `consumer/<name>` or the name of an action; `refused_ns` is UTC."""

    consumer: str
    refused_ns: int
    reason: str
    event: Event


@click.command(short_help="Show the events that were refused for good: the dead letters.")
@click.argument("consumer", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print every letter with its whole event, a line each.")
@door.options
def letters(
    consumer: str | None, socket: Path | None, gateway_id: str | None, log_path: Path | None, *, as_json: bool
) -> None:
    """Show the dead letters: the events that a sink, an action or a named consumer refused for good, and why.

    CONSUMER is the id of a sink, the name of a consumer, or what the first column shows; without it, those of all.
    """
    found, gateway = door.run(_ask(door.Where(socket, gateway_id, log_path)))
    found = [letter for letter in found if consumer in {None, letter.consumer, _name(letter)}]
    if as_json:
        for line in lines(found, gateway):
            click.echo(line)
    else:
        click.echo(page(found, look.columns()))


async def _ask(where: door.Where) -> tuple[list[Letter], str]:
    async with door.opened(where) as connection:
        gateway = str((await connection.log())["gateway"])
        return [letter async for letter in _kept(connection)], gateway


async def _kept(connection: Connection) -> AsyncIterator[Letter]:
    """Every dead letter, by consumer and offset."""
    import msgspec

    from gateway.event import Event
    from gateway.log_answers import unpacked

    decode = msgspec.msgpack.Decoder(Event).decode
    after: list[object] = ["", 0]
    while (answer := await connection.ask("copy", {"table": "dead_letter", "after": after}))["rows"]:
        for rows in unpacked(answer["rows"]):
            at = [rows.columns.index(name) for name in ("consumer", "time", "reason", "event")]
            for consumer, refused_ns, reason, event in ([row[index] for index in at] for row in rows.rows):
                yield Letter(consumer, refused_ns, reason, decode(event))
        after = answer["after"]


def lines(letters: Sequence[Letter], gateway: str) -> Iterator[str]:
    """A line of JSON for each letter, with its event as CloudEvent."""
    import msgspec

    from gateway.event import CloudEventEncoder, rfc3339

    encoder = CloudEventEncoder(gateway)
    for letter in letters:
        document = {
            "consumer": letter.consumer,
            "refused": rfc3339(letter.refused_ns),
            "reason": letter.reason,
            "event": msgspec.Raw(encoder.encode(letter.event, None)),
        }
        yield msgspec.json.encode(document).decode()


def page(letters: Sequence[Letter], columns: int | None) -> str:
    """The letters as a table, the newest first."""
    if not letters:
        return "no dead letters: nothing was refused for good"
    newest = sorted(letters, key=lambda letter: (letter.refused_ns, letter.event.offset), reverse=True)
    rows = [
        (
            look.printable(letter.consumer),
            f"{datetime.fromtimestamp(letter.refused_ns / 1e9, UTC).astimezone():%Y-%m-%d %H:%M:%S}",
            str(letter.event.offset),
            letter.event.type,
            look.printable(letter.event.subject),
            look.printable(letter.reason),
        )
        for letter in newest[:SHOWN_MAX]
    ]
    table = look.table(rows, ("REFUSED BY", "AT", "OFFSET", "TYPE", "SUBJECT", "REASON"), "<<><<<", columns=columns)
    more = len(letters) - len(rows)
    return f"{table}\n{look.count(more)} older ones: `--json` prints all" if more else table


def _name(letter: Letter) -> str:
    """The name of a named consumer, as `gateway consume` has it."""
    return letter.consumer.removeprefix("consumer/")
