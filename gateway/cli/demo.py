"""`gateway demo`: see it work, without any hardware and without root."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from gateway.broker import KINDS, find_broker
from gateway.locations import share


def _seconds(ctx: click.Context, param: click.Parameter, text: str | None) -> float | None:
    from gateway.options import parse_duration_s

    try:
        return None if text is None else parse_duration_s(text)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None


@click.command(short_help="Watch simulated hardware arrive at an MQTT subscriber.")
@click.option("--for", "for_s", callback=_seconds, metavar="DURATION", help="End after this time, such as 10s.")
@click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Simulate this configuration instead of the one that comes with the gateway.",
)
@click.option("--broker", "kind", type=click.Choice(list(KINDS)), help="Which broker to start; default: what is there.")
def demo(for_s: float | None, file: Path | None, kind: str | None) -> None:
    """Run the gateway on simulated hardware and watch its events arrive over MQTT.

    Starts a broker of its own on this machine and shows what an ordinary MQTT subscriber receives. Leaves nothing
    behind. Exits with 0 only if every event that the gateway accepted reached the subscriber.
    """
    from gateway.cli.demo_show import show, summary
    from gateway.config import load_config
    from gateway.plugins import Plugins

    path = file or share("config") / "gateway.yaml"
    config = load_config(path, Plugins(), simulate=True)
    shown = asyncio.run(show(config, find_broker(kind), for_s))
    click.echo(summary(shown, config.rules))
    copied = " and ".join([str(_near(path)), *(file.name for file in config.files[1:])])
    click.echo(f"\nNext: copy {copied}, change what you like, and see it with `gateway demo --config FILE`.")
    click.echo("README.md wires the first real sensor.")
    sys.exit(1 if shown.tally.lost else 0)


def _near(path: Path) -> Path:
    """The path as one would type it here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
