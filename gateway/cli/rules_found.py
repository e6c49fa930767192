"""Which rules and which log a command about rules is about."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from gateway.errors import ControlError

if TYPE_CHECKING:
    from gateway.client import Connection
    from gateway.config.rules_file import Rules

Command = TypeVar("Command", bound=Callable[..., Any])


def options(command: Command) -> Command:
    """Adds `--config` and `--rules`."""
    rules = click.option(
        "--rules",
        "rules_file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="A file that holds only rules, in place of those of the configuration.",
    )
    config = click.option(
        "--config",
        "config_file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="The configuration; default: that of the running gateway, else what `gateway run` would use.",
    )
    return config(rules(command))


def lonely(config_file: Path | None) -> tuple[Path, str] | None:
    """(log, gateway id) that the configuration names, for when no gateway runs; None where its log is not there.

    Raises:
        ConfigError: the configuration cannot be used.
    """
    if config_file is None:
        return None
    from gateway.config import load_config
    from gateway.plugins import Plugins

    config = load_config(config_file, Plugins())
    return (config.buffer.path, config.gateway.id) if config.buffer.path.is_file() else None


async def rules_of(connection: Connection, config_file: Path | None, rules_file: Path | None) -> Rules:
    """The rules as they are written now.

    Raises:
        ConfigError: the file cannot be used. NoConfiguration: none was found.
    """
    from gateway.config.rules_file import load_rules
    from gateway.locations import default_config
    from gateway.plugins import Plugins

    file = rules_file or config_file or await _of_gateway(connection) or default_config(os.environ, Path.cwd())
    return load_rules(file, Plugins())


async def _of_gateway(connection: Connection) -> Path | None:
    """The file that the running gateway was started with, where this user can read it."""
    if connection.alone:
        return None
    try:
        document = await connection.ask("status")
    except ControlError:
        return None
    file = Path(document["gateway"]["config"])
    return file if file.is_absolute() and os.access(file, os.R_OK) else None
