"""`gateway purge`: forget recorded events for good."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path
from typing import Any

import click

from gateway.cli import door, look
from gateway.cli.progress import Progress


@click.command(short_help="Forget recorded events for good: overwritten, not only deleted.")
@click.option("--before", metavar="PLACE", help="Forget what lies before: an offset, a time, or 30d (ago).")
@click.option("--all", "everything", is_flag=True, help="Forget all events.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@door.options
def purge(
    before: str | None,
    socket: Path | None,
    gateway_id: str | None,
    log_path: Path | None,
    *,
    everything: bool,
    yes: bool,
) -> None:
    """Forget recorded events for good: what they took in the file is overwritten, and dead letters go with them.

    What a sink has not read yet is lost to it; a log.gap event says so. Whole commits go, so some events before PLACE
    may stay with those after it. With the gateway stopped, what was trimmed earlier is overwritten too.
    """
    if (before is None) == (not everything):
        raise click.UsageError("say what to forget: --before PLACE, or --all")
    place = "latest" if before is None else door.position(before, "--before")
    done = door.run(_purge(door.Where(socket, gateway_id, log_path), place, yes=yes))
    if done is None:
        raise SystemExit(1)
    unread = f"; {look.counted(done['unread'], 'event')} had not been read by every sink" if done["unread"] else ""
    click.echo(
        f"{look.counted(done['events'], 'event')} purged{unread}; the log begins at offset {done['first_offset']}"
    )
    click.echo("\n".join(look.wrap(done["sentence"], look.columns())))
    if not done["free_too"]:
        said = (
            "Pages that earlier trims have freed were not overwritten, and may hold parts of what was purged: "
            "stop the gateway and purge once more to be rid of them."
        )
        click.echo("\n".join(look.wrap(said, look.columns())))


async def _purge(where: door.Where, place: str, *, yes: bool) -> dict[str, Any] | None:
    async with door.opened(where) as connection:
        span = await connection.ask("span", {"from": "earliest", "to": place})
        count = span["next"] - span["first"]
        asked = f"Forget {look.counted(count, 'event')} for good, offsets {span['first']} to {span['next'] - 1}?"
        if not count and not connection.alone:
            click.echo("there is nothing to forget")
            return None
        if not yes and not click.confirm(asked):
            return None
        told: dict[str, Any] = {}
        with Progress("event", count) as progress:
            async with aclosing(connection.stream("purge", {"upto": span["next"]})) as steps:
                async for step in steps:
                    told |= step
                    progress.at(told["events"])
    return told
