"""`gateway outputs`: which devices act, and `gateway outputs safe`: put them where they harm nobody."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.cli import look
from gateway.errors import GatewayError, LogLocked, StoreUnavailable

if TYPE_CHECKING:
    from gateway.acquire.safe import Made
    from gateway.config import Config, DeviceConfig
    from gateway.event import Value

_config = click.option(
    "--config", "config_file", type=click.Path(path_type=Path), metavar="FILE", help="The YAML with the outputs."
)
_json = click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")


class InUse(GatewayError):
    """A gateway runs with this configuration's log, and has the outputs."""


@click.group(short_help="List the outputs, or make them safe.", invoke_without_command=True)
@_config
@_json
@click.pass_context
def outputs(context: click.Context, config_file: Path | None, *, as_json: bool) -> None:
    """List the outputs of a configuration. `gateway outputs safe` puts them where they harm nobody."""
    from gateway.acquire.safe import outputs as acting

    context.obj = config_file, as_json
    if context.invoked_subcommand is None:
        rows = [_row(device) for device in acting(_load(config_file).devices)]
        click.echo(_as_json({"outputs": rows}) if as_json else listing(rows))


@outputs.command(short_help="Put every output where it harms nobody.")
@_config
@_json
@click.pass_context
def safe(context: click.Context, config_file: Path | None, *, as_json: bool) -> None:
    """Put every output where it harms nobody, and give it back. For systemd's ExecStopPost=, after a crash.

    The gateway does this itself when it stops. Refused while one runs. Exit code 1 says that an output is not safe.
    """
    from gateway.acquire.safe import make_safe
    from gateway.acquire.safe import outputs as acting

    above_file, above_json = context.obj
    config = _load(config_file or above_file)
    _check_unused(config)
    made = make_safe(acting(config.devices))
    click.echo(_as_json({"outputs": [_document(one) for one in made]}) if as_json or above_json else report(made))
    if any(one.trouble for one in made):
        sys.exit(1)


def listing(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "no device of this configuration acts"
    table = [
        (row["id"], row["driver"], ", ".join(row["hardware"]) or look.NOTHING, ", ".join(row["channels"]))
        for row in rows
    ]
    return look.table(table, ("OUTPUT", "DRIVER", "HARDWARE", "CHANNELS"), columns=look.columns())


def report(made: list[Made]) -> str:
    if not made:
        return "no device of this configuration acts: nothing to make safe"
    rows = [(one.device_id, _verdict(one), look.printable(_said(one))) for one in made]
    return look.table(rows, ("OUTPUT", "", "CHANNELS"), columns=look.columns())


def _verdict(made: Made) -> str:
    return click.style("NOT SAFE", fg="red") if made.trouble else click.style("safe", fg="green")


def _said(made: Made) -> str:
    return made.trouble or ", ".join(f"{channel} {_plain(value)}" for channel, value in made.levels)


def _plain(value: Value) -> str:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else f"{value}"


def _load(file: Path | None) -> Config:
    from gateway.config import load_config
    from gateway.locations import default_config
    from gateway.plugins import Plugins

    return load_config(file or default_config(os.environ, Path.cwd()), Plugins())


def _check_unused(config: Config) -> None:
    from gateway.eventlog.lock import WriterLock

    try:
        WriterLock(config.buffer.path).release()
    except LogLocked as error:
        raise InUse(f"a gateway has these outputs: {error}. It makes them safe itself when it stops") from error
    except StoreUnavailable:  # no log, so no gateway that we could know of
        return


def _row(device: DeviceConfig) -> dict[str, Any]:
    return {
        "id": device.id,
        "driver": device.driver.name,
        "hardware": list(device.driver.claims(device.options)),
        "channels": [channel.name for channel in device.declared],
    }


def _document(made: Made) -> dict[str, Any]:
    return {
        "id": made.device_id,
        "safe": not made.trouble,
        "channels": dict(made.levels),
        "reason": made.trouble or None,
    }


def _as_json(document: object) -> str:

    return look.document(document)
