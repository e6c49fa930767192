"""How a command comes to a log: through the gateway that runs, else by opening the log itself.

Without a gateway a command is the log's writer for as long as it takes, so that nothing else can be.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click

from gateway.cli import reach
from gateway.client import Connection, connect, open_log
from gateway.errors import ConfigError, GatewayError, LogLocked, NotRunning

Command = TypeVar("Command", bound=Callable[..., Any])

SELECTIONS = (("types", "--type", "reading, 'device.*'"), ("subjects", "--subject", "'air/*', '*/temperature'"))


class Where(NamedTuple):
    """Which log is meant: of a gateway, or a file."""

    socket: Path | None
    gateway_id: str | None
    log: Path | None
    lonely: tuple[Path, str] | None = None
    """(log, gateway id) to open where no gateway runs; without it, that of the configuration in the usual places."""


def options(command: Command) -> Command:
    """Adds `--gateway`, `--socket` and `--log`."""
    log = click.option(
        "--log",
        "log_path",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="The log of a gateway that is stopped.",
    )
    return reach.options(log(command))


def selecting(command: Command) -> Command:
    """Adds `--type`, `--subject` and `--quality`, each as often as wanted."""
    for name, option, example in reversed(SELECTIONS):
        command = click.option(
            option, name, multiple=True, metavar="PATTERN", help=f"Only events like this: {example}. May be repeated."
        )(command)
    quality = click.Choice(["good", "uncertain", "bad"])
    return click.option("--quality", multiple=True, type=quality, help="Where an event has one. May be repeated.")(
        command
    )


def chosen(types: Sequence[str], subjects: Sequence[str], quality: Sequence[str]) -> dict[str, list[str]]:
    """What the options of `selecting` say, as the operations take it."""
    given = {"types": list(types), "subjects": list(subjects), "quality": list(quality)}
    return {name: wanted for name, wanted in given.items() if wanted}


def position(text: str, option: str) -> str:
    """A place in the log as the operations take it: also 10m (ago), and times without `time:`.

    Raises:
        click.BadParameter: it is none.
    """
    from gateway.cli.tail import instant_ns
    from gateway.clock import SystemClock
    from gateway.event import rfc3339
    from gateway.position import EXPECTED, parse_position

    try:
        parse_position(text)
    except ValueError:
        try:
            return f"time:{rfc3339(instant_ns(text.removeprefix('time:'), SystemClock().wall_ns()))}"
        except click.BadParameter:
            raise click.BadParameter(f"found {text!r}, {EXPECTED}, or 10m (ago)", param_hint=option) from None
    return text


@asynccontextmanager
async def opened(where: Where) -> AsyncIterator[Connection]:
    """The log that is meant.

    Raises:
        NotRunning: no gateway runs, and no log was found. Others: see `gateway.client`.
    """
    if where.log is not None:
        async with _file(where.log) as connection:
            yield connection
        return
    path, lonely = where.socket, None
    if path is None:
        try:
            path = reach.choose(await reach.running(), where.gateway_id).path
        except NotRunning as error:
            lonely = where.lonely or configured(where.gateway_id)
            if lonely is None:
                raise NotRunning(f"{error}; or name the log of one that is stopped with --log FILE") from None
    if path is not None:
        async with connect(socket=path) as connection:
            yield connection
    elif lonely is not None:
        click.secho(f"no gateway runs: this command opens {lonely[0]} itself", dim=True, err=True)
        async with _file(*lonely) as connection:
            yield connection


@asynccontextmanager
async def _file(path: Path, gateway_id: str | None = None) -> AsyncIterator[Connection]:
    try:
        async with open_log(path, gateway_id=gateway_id) as connection:
            yield connection
    except LogLocked as error:
        who = f"process {error.pid}" if error.pid else "another process"
        raise GatewayError(
            f"{path} is written by {who}: one log has one writer. A gateway that runs answers: leave --log away"
        ) from None


def configured(gateway_id: str | None = None) -> tuple[Path, str] | None:
    """(log, gateway id) of the configuration in the usual places; None where there is none or its log is not there."""
    from gateway.config import load_config
    from gateway.locations import NoConfiguration, default_config
    from gateway.plugins import Plugins

    try:
        config = load_config(default_config(os.environ, Path.cwd()), Plugins())
    except (NoConfiguration, ConfigError):
        return None
    if gateway_id not in {None, config.gateway.id} or not config.buffer.path.is_file():
        return None
    return config.buffer.path, config.gateway.id


def run(work: Any) -> Any:
    """Run a coroutine to its end; Ctrl-C ends it in good order, with the exit code of a program that it ended."""
    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        raise SystemExit(130) from None
