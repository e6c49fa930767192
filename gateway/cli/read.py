"""`gateway read`: one device, once, from what the hardware says to what would be recorded."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import click

from gateway.cli import look, reach
from gateway.clock import SystemClock
from gateway.config.model import Config
from gateway.control import ControlClient
from gateway.errors import GatewayError, NotRunning
from gateway.options import did_you_mean, parse_duration_s

STOP_TIMEOUT_S = 2.0
TEXT_COLUMNS_MIN, OTHER_COLUMNS = 12, 40
"""On a terminal, long texts give way: this much is kept of them, and this much is left to the other columns."""

Row = Mapping[str, Any]


class UnknownDevice(GatewayError):
    """The configuration has no device of that id."""

    exit_code = 2


def _seconds(_ctx: click.Context, _param: click.Parameter, value: str) -> float:
    try:
        return parse_duration_s(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r}: {error}") from None


@click.command(short_help="Read one device once: raw, and what it becomes.")
@click.argument("device")
@click.option(
    "--config", "config_file", type=click.Path(path_type=Path), metavar="FILE", help="The YAML with the device."
)
@click.option("--simulate", is_flag=True, help="Read simulated hardware.")
@click.option(
    "--timeout",
    "timeout_s",
    callback=_seconds,
    metavar="DURATION",
    default="10s",
    show_default=True,
    help="How long it may take.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the readings as JSON.")
@reach.options
def read(
    device: str,
    config_file: Path | None,
    timeout_s: float,
    socket: Path | None,
    gateway_id: str | None,
    *,
    simulate: bool,
    as_json: bool,
) -> None:
    """Read DEVICE once: what the hardware says, and what it means. Nothing is recorded.

    A running gateway is asked, because the hardware is its own; without one, the device is opened here. --config and
    --simulate say which gateway is meant: the one that runs on that file, simulated or not.
    """
    logging.getLogger("gateway").addHandler(logging.NullHandler())  # what goes wrong is said once, by the error
    if socket or gateway_id:
        readings = asyncio.run(_ask(reach.locate(socket, gateway_id), device, timeout_s))
    elif config_file or simulate:
        config = _load(config_file, simulate=simulate)
        running = [one for one in asyncio.run(reach.running()) if one.id == config.gateway.id]
        readings = _read(running, config, device, timeout_s, simulate=simulate)
    else:
        running = asyncio.run(reach.running())
        readings = _read(running, None if running else _load(None), device, timeout_s)
    click.echo(_json(readings) if as_json else text(readings, look.columns()))


def _read(
    running: Sequence[reach.Running], config: Config | None, device: str, timeout_s: float, *, simulate: bool = False
) -> Sequence[Row]:
    if running or config is None:
        return asyncio.run(_ask(reach.choose(running, None).path, device, timeout_s))
    return asyncio.run(_open_and_read(config, device, timeout_s, simulate=simulate))


def _load(config_file: Path | None, *, simulate: bool = False) -> Config:
    from gateway.config import load_config
    from gateway.locations import NoConfiguration, default_config
    from gateway.plugins import Plugins

    try:
        path = config_file or default_config(os.environ, Path.cwd())
    except NoConfiguration as error:
        raise NotRunning(f"no gateway is running that could be asked, and {error}") from error
    return load_config(path, Plugins(), simulate=simulate)


async def _ask(path: Path, device: str, timeout_s: float) -> Sequence[Row]:
    """What the running gateway reads."""
    client = ControlClient(path)
    status = await client.call("status")
    check_known(device, [one["id"] for one in status["devices"]], status["gateway"]["config"])
    answer = await client.call("read", {"device": device, "timeout_s": timeout_s}, timeout_s + 2)
    return list(answer["readings"])


async def _open_and_read(config: Config, device: str, timeout_s: float, *, simulate: bool) -> Sequence[Row]:
    """What the device says when it is opened here, for this one reading."""
    from gateway.acquire import Acquirer
    from gateway.health import readings_document

    check_known(device, [one.id for one in config.devices], str(config.files[0]))
    meant = [one for one in config.devices if one.id == device]
    acquirer = Acquirer(meant, clock=SystemClock(), record=lambda _: None, simulate=simulate, random=Random())
    await acquirer.start()
    try:
        answer = await acquirer.read_once(device, timeout_s)
    finally:
        await acquirer.stop(STOP_TIMEOUT_S)
    return list(readings_document(answer)["readings"])


def check_known(device: str, known: list[str], file: str) -> None:
    """Raises UnknownDevice, with the nearest name, where `device` is none of the `known`."""
    if device not in known:
        listed = ", ".join(known) or "(none)"
        raise UnknownDevice(f"unknown device {device!r}{did_you_mean(device, known)}; {file} has: {listed}")


def text(readings: Sequence[Row], columns: int | None) -> str:
    """One line a channel: raw -> normalised, quality, reason."""
    if not readings:
        return "the device answered, and had nothing to say"
    room = None if columns is None else max(TEXT_COLUMNS_MIN, (columns - OTHER_COLUMNS) // 2)
    rows = [
        (
            row["channel"],
            look.crop(_raw(row), room),
            "->",
            look.crop(" ".join(look.measure(row["value"], row["unit"])).rstrip(), room),
            _quality(row),
            look.printable(row["reason"]),
        )
        for row in readings
    ]
    header = ("CHANNEL", "RAW", "", "VALUE", "QUALITY", "REASON")
    if any(row[-1] for row in rows):
        return look.table(rows, header, columns=columns)
    return look.table([row[:-1] for row in rows], header[:-1])


def _raw(row: Row) -> str:
    """As the driver reported it: every digit, its own unit."""
    value, unit = row["raw"], row["raw_unit"]
    if value is None:
        return look.NOTHING
    if isinstance(value, bool):
        return str(value).lower()
    digits = f"{value:.12g}" if isinstance(value, float) else look.printable(str(value))
    return digits if unit in {None, "1"} else f"{digits} {look.printable(unit)}"


def _quality(row: Row) -> str:
    quality = row["quality"] or look.NOTHING
    return click.style(quality, fg=look.QUALITY_COLOUR.get(quality))


def _json(readings: Sequence[Row]) -> str:

    return look.document({"readings": readings})
