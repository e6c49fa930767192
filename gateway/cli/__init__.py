"""The commands. Each lives in a file of its own and is imported only when it is called."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from keyword import iskeyword
from typing import cast

import click

from gateway import __version__
from gateway.errors import ConfigError, GatewayError

COMMANDS = (
    "run", "demo", "check", "budget", "schema", "drivers", "sinks", "outputs", "rules", "read", "tail", "status",
    "verify", "reload", "log", "letters", "consume", "replay", "export", "import", "backup", "restore", "purge",
)  # fmt: skip
"""In the order that a newcomer meets them."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are looked up: `gateway.cli.<name>:<name>`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in COMMANDS:
            return None
        name = f"{cmd_name}_" if iskeyword(cmd_name) else cmd_name
        return cast("click.Command", getattr(import_module(f"gateway.cli.{name}"), name))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="gateway")
def commands() -> None:
    """Everything that happens at your sensors, buttons and relays: as durable events."""
    if os.environ.get("NO_COLOR"):  # no-color.org
        click.get_current_context().color = False


def main() -> None:
    """The `gateway` program: runs a command and turns the gateway's own errors into one clear sentence."""
    try:
        commands.main(prog_name="gateway")
    except ConfigError as error:
        from gateway.cli.check import wrong_page

        click.echo(wrong_page(error), err=True, color=False if os.environ.get("NO_COLOR") else None)
        sys.exit(error.exit_code)
    except GatewayError as error:
        click.secho(f"{error}", fg="red" if sys.stderr.isatty() else None, err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # `gateway tail | head`: the reader has seen enough
        sys.stderr.close()
        sys.exit(0)
