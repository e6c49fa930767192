"""`gateway replay`: recorded events once more, to one sink."""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.cli import door, look
from gateway.cli.progress import Progress
from gateway.cli.sinks import _load, find
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from gateway.client import Connection
    from gateway.config import SinkConfig
    from gateway.event import Event
    from gateway.replay import Tally


@click.command(short_help="Send recorded events once more, to one sink.")
@click.option("--from", "start", required=True, metavar="PLACE", help="The first event: an offset, a time, 10m (ago).")
@click.option("--to", "end", default="latest", show_default=True, metavar="PLACE", help="Where to end, without it.")
@click.option("--sink", "sink_id", required=True, metavar="ID", help="Which sink of the configuration.")
@click.option("--speed", default="max", show_default=True, metavar="SPEED", help="original, max, or a factor: x10.")
@door.selecting
@click.option(
    "--config", "config_file", type=click.Path(path_type=Path), metavar="FILE", help="The YAML with the sinks."
)
@door.options
def replay(
    start: str,
    end: str,
    sink_id: str,
    speed: str,
    types: Sequence[str],
    subjects: Sequence[str],
    quality: Sequence[str],
    config_file: Path | None,
    socket: Path | None,
    gateway_id: str | None,
    log_path: Path | None,
) -> None:
    """Send recorded events once more to the sink ID, over a connection of its own.

    They have the ids that they always had, and `historical: true`. State topics do not change, no rule sees them and
    nothing is switched. The sink's own filter (`events:`) applies; --type and the like narrow it further. Exit code 1
    says that not all were accepted.
    """
    from gateway.replay import parse_speed

    logging.getLogger("gateway").addHandler(logging.NullHandler())
    try:
        factor = parse_speed(speed)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--speed") from None
    config = _load(config_file)
    sink = find(config, sink_id)
    span = {"from": door.position(start, "--from"), "to": door.position(end, "--to")}
    lonely = (config.buffer.path, config.gateway.id)
    where = door.Where(socket, gateway_id or (None if socket else config.gateway.id), log_path, lonely)
    wanted = door.chosen(types, subjects, quality)
    tally = door.run(_replay(where, sink, config.gateway.id, span, wanted, factor))
    line = f"{look.counted(tally.accepted, 'event')} accepted by {sink_id}"
    if tally.refused:
        reason = look.printable(tally.reason)
        click.echo(f"{line}, {click.style(f'{look.count(tally.refused)} refused', fg='red')}: {reason}")
        raise SystemExit(1)
    click.echo(line)


async def _replay(
    where: door.Where,
    sink: SinkConfig,
    gateway_id: str,
    span: dict[str, str],
    wanted: dict[str, list[str]],
    factor: float | None,
) -> Tally:
    from gateway.replay import Interrupted, Pace, Replay
    from gateway.sink import Identity, Nothing

    identity = Identity(gateway_id, secrets.token_hex(8), Nothing(), probe=True, role="replay")
    made = sink.sink.create(sink.options, identity)
    async with door.opened(where) as connection:
        ends = await connection.ask("span", span)
        with Progress("event", ends["next"] - ends["first"]) as progress:
            running = Replay(made, Pace(factor))
            events = _events(connection, ends, wanted, sink, progress)
            try:
                return await running.run(events)
            except Interrupted as error:
                at = error.next_offset or ends["first"]
                raise GatewayError(
                    f"{sink.id} cannot be reached any more: {error.reason}; {running.tally.accepted} events were "
                    f"accepted, `--from {at}` continues"
                ) from None


async def _events(
    connection: Connection, ends: dict[str, Any], wanted: dict[str, list[str]], sink: SinkConfig, progress: Progress
) -> AsyncIterator[Event]:
    from gateway.foreign import from_builtins

    selection = sink.events.selection
    async for page in connection.pages(ends["first"], ends["next"], wanted):
        if page["gap"] is not None:
            click.secho("offsets {} to {} are no longer in the log".format(*page["gap"]), fg="yellow", err=True)
        for cloudevent in page["events"]:
            event = from_builtins(cloudevent)
            if selection.selects(event):
                yield event
            progress.at(event.offset - ends["first"] + 1)
