"""How a command finds the gateway it is to talk to: --socket, else --gateway, else the only one that runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from gateway.control.find import Ambiguous, Running, choose, running

__all__ = ["Ambiguous", "Running", "choose", "locate", "options", "running"]

Command = TypeVar("Command", bound=Callable[..., Any])


def options(command: Command) -> Command:
    """Adds `--gateway` and `--socket`."""
    socket = click.option(
        "--socket", type=click.Path(path_type=Path), metavar="PATH", help="Talk to the gateway on this control socket."
    )
    gateway = click.option("--gateway", "gateway_id", metavar="ID", help="Which gateway, where several run.")
    return gateway(socket(command))


def locate(socket: Path | None, gateway_id: str | None) -> Path:
    """The control socket to talk to.

    Raises:
        NotRunning: there is none.
        Ambiguous: there are several.
    """
    return socket or choose(asyncio.run(running()), gateway_id).path
