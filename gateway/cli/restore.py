"""`gateway restore`: put a backup where the gateway looks for its log."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import click

from gateway.cli import door, look
from gateway.cli.progress import Progress
from gateway.errors import GatewayError


class LogExists(GatewayError):
    """There is a log already."""

    exit_code = 2


@click.command(short_help="Put a backup where the gateway looks for its log.")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--log", "log_path", type=click.Path(path_type=Path), help="Where to. [default: `buffer.path`]")
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="The YAML that says where.")
@click.option("--replace", is_flag=True, help="Move the log that is there aside; it is kept.")
def restore(file: Path, log_path: Path | None, config_file: Path | None, *, replace: bool) -> None:
    """Put the backup FILE where the gateway looks for its log. The gateway must be stopped.

    Every batch is checked before anything changes. What is recorded from then on has a run of its own, so no id is ever
    given twice. Sinks go on where they were at the time of the backup: what they got since comes again only if it is in
    the backup.
    """
    path = (log_path or _configured(config_file)).absolute()
    events, aside = door.run(_restore(file.absolute(), path, replace=replace))
    if aside is not None:
        click.echo(f"the log that was there is kept as {look.printable(str(aside))}")
    click.echo(f"{look.counted(events, 'event')} in {look.printable(str(path))}")


def _configured(config_file: Path | None) -> Path:
    import os

    from gateway.config import load_config
    from gateway.locations import default_config
    from gateway.plugins import Plugins

    return load_config(config_file or default_config(os.environ, Path.cwd()), Plugins()).buffer.path


async def _restore(file: Path, path: Path, *, replace: bool) -> tuple[int, Path | None]:
    from gateway.eventlog import restoring

    with Progress("event") as progress:
        async with restoring.held(path):
            if path.exists() and not replace:  # noqa: ASYNC240
                raise LogExists(f"{path} exists: --replace moves it aside, or choose another place with --log FILE")
            async with restoring.Restoration(file, path) as restoration:
                async for done in restoration.check():
                    progress.at(done)
                aside = None
                if path.exists():  # noqa: ASYNC240
                    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
                    aside = await asyncio.to_thread(restoring.move_aside, path, stamp)
                restoration.finish()
    return progress.done, aside
