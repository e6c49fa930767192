"""`gateway backup`: a copy of the log, also while the gateway writes it."""

from __future__ import annotations

from pathlib import Path

import click

from gateway.cli import door, look
from gateway.cli.progress import Progress


@click.command(short_help="Copy the log, also while the gateway writes it.")
@click.argument("file", type=click.Path(path_type=Path))
@door.options
def backup(file: Path, socket: Path | None, gateway_id: str | None, log_path: Path | None) -> None:
    """Copy the log to FILE, also while the gateway writes it: all events up to now, and where every reader is.

    The copy is a log itself, checked batch by batch. FILE must not exist; it gets its name when it is whole and on the
    disk. `gateway restore` puts it back.
    """
    events, first, upto = door.run(_backup(door.Where(socket, gateway_id, log_path), file))
    size = look.size(file.stat().st_size)
    offsets = f", offsets {first} to {upto - 1}" if events else ""
    click.echo(f"{look.counted(events, 'event')}{offsets}, {size} in {look.printable(str(file))}")


async def _backup(where: door.Where, file: Path) -> tuple[int, int, int]:
    from gateway.eventlog.excerpt import NewLog
    from gateway.log_answers import unpacked

    async with door.opened(where) as connection, NewLog(file) as new:
        begun = await connection.ask("copy")
        for table in unpacked(begun["rows"]):
            await new.add(table)
        at, upto, first = begun["first"], begun["upto"], None
        with Progress("event", upto - at) as progress:
            while (page := await connection.ask("copy", {"table": "batch", "from": at, "upto": upto}))["rows"]:
                for rows in unpacked(page["rows"]):
                    new.check(rows)
                    first = first or rows.rows[0][rows.columns.index("base_offset")]
                    await new.add(rows)
                progress.add(page["events"])
                at = page["next"]
            letters = {"table": "dead_letter", "after": ["", 0]}
            while (page := await connection.ask("copy", letters))["rows"]:
                for rows in unpacked(page["rows"]):
                    await new.add(rows)
                letters = {"table": "dead_letter", "after": page["after"]}
        await new.finish()
    return progress.done, first or upto, upto
