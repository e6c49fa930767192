"""`gateway export`: events of the log as a file that other programs read."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import click

from gateway.cli import door, look
from gateway.cli.progress import Progress
from gateway.errors import GatewayError, StoreUnavailable
from gateway.formats import FORMATS, Writer, format_of

STDOUT = "-"


@click.command(short_help="Write events to a file: JSON lines, CSV or Parquet.")
@click.argument("file", default=STDOUT, metavar="[FILE]")
@click.option(
    "--format", "kind", type=click.Choice(list(FORMATS)), help="Default: by the name of the file, else jsonl."
)
@click.option("--from", "start", default="earliest", show_default=True, metavar="PLACE", help="The first event.")
@click.option("--to", "end", default="latest", show_default=True, metavar="PLACE", help="Where to end, without it.")
@door.selecting
@door.options
def export(
    file: str,
    kind: str | None,
    start: str,
    end: str,
    types: Sequence[str],
    subjects: Sequence[str],
    quality: Sequence[str],
    socket: Path | None,
    gateway_id: str | None,
    log_path: Path | None,
) -> None:
    """Write recorded events to FILE, or to standard output.

    PLACE is an offset, a time such as 2026-11-23T06:00:00Z, or 10m (ago). The file gets its name when it is whole.
    Parquet needs pyarrow: pip install 'sensor-event-gateway[parquet]'.
    """
    kind = kind or format_of(file) or "jsonl"
    if file == STDOUT and kind == "parquet":
        raise click.UsageError("Parquet needs a file: its end is written last")
    span = {"from": door.position(start, "--from"), "to": door.position(end, "--to")}
    wanted = door.chosen(types, subjects, quality)
    with _target(file) as target:
        door.run(_export(door.Where(socket, gateway_id, log_path), FORMATS[kind](target), span, wanted, file))


async def _export(
    where: door.Where, writer: Writer, span: dict[str, str], wanted: dict[str, list[str]], file: str
) -> None:
    written = 0
    async with door.opened(where) as connection:
        ends = await connection.ask("span", span)
        with Progress("event", ends["next"] - ends["first"]) as progress:
            async for page in connection.pages(ends["first"], ends["next"], wanted):
                if page["gap"] is not None:
                    first, last = page["gap"]
                    click.secho(f"offsets {first} to {last} are no longer in the log", fg="yellow", err=True)
                writer.write(page["events"])
                written += len(page["events"])
                progress.at(page["next"] - ends["first"])
            writer.close()
    if file != STDOUT:
        click.echo(f"{look.counted(written, 'event')} in {look.printable(file)}")


@contextmanager
def _target(file: str) -> Iterator[BinaryIO]:
    """Where to write. A file has another name until it is whole and on the disk."""
    if file == STDOUT:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    from gateway.eventlog.excerpt import SUFFIX, refuse_existing, settle

    path = Path(file).absolute()
    refuse_existing(path)
    partial = path.with_name(f".{path.name}{SUFFIX}")
    try:
        with partial.open("wb") as target:
            yield target
        settle(partial, path)
    except OSError as error:
        raise StoreUnavailable(f"{path}: {error.strerror or error}") from error
    except GatewayError:
        raise
    finally:
        partial.unlink(missing_ok=True)
