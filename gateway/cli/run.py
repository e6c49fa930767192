"""`gateway run`: the service."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import logging
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway import logs

if TYPE_CHECKING:
    from gateway.config import Config

logger = logging.getLogger("gateway.run")


@click.command(short_help="Run the gateway until SIGTERM or Ctrl-C.")
@click.option(
    "--config", "config_file", type=click.Path(path_type=Path), help="The YAML file. [default: the usual places]"
)
@click.option("--simulate", is_flag=True, help="Simulate the hardware; the log is its own, sinks become the console.")
@click.option("--live-sinks", is_flag=True, help="With --simulate: use the sinks of the configuration after all.")
@click.option("--log", type=click.Choice(logs.STYLES), default="text", help="How log lines look.", show_default=True)
@click.option(
    "--log-level", type=click.Choice(logs.LEVELS), default="info", help="The least that is logged.", show_default=True
)
def run(config_file: Path | None, *, simulate: bool, live_sinks: bool, log: logs.Style, log_level: str) -> None:
    """Run the gateway until SIGTERM or Ctrl-C."""
    from gateway.config import load_config
    from gateway.locations import claim, control_socket, default_config
    from gateway.plugins import Plugins

    faulthandler.enable()  # what the watchdog kills with SIGABRT shows where each thread stood
    logs.configure(log, log_level, os.environ)
    path = config_file or default_config(os.environ, Path.cwd())
    config = load_config(path, Plugins(), simulate=simulate)
    for warning in config.warnings:
        logger.warning("%s", warning)
    socket = control_socket(config.gateway.id, os.environ)
    claim(socket.parent)
    asyncio.run(_serve(config, socket, simulate=simulate, live_sinks=live_sinks))


async def _serve(config: Config, socket: Path, *, simulate: bool, live_sinks: bool) -> None:
    from gateway.app import Gateway
    from gateway.notify import notify
    from gateway.pulse import beating

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with Gateway(config, simulate=simulate, live_sinks=live_sinks, socket=socket) as gateway:
        gc.freeze()  # what start-up made lives for ever: no collection needs to look at it again
        logger.info(
            "gateway %s runs: %d devices, %d sinks, log %s",
            config.gateway.id,
            len(config.devices),
            len(gateway.forwarders),
            config.buffer.path,
        )
        notify("READY=1", os.environ)
        async with beating(gateway.route, os.environ, os.getpid()):
            await gateway.run_until(stop)
        notify("STOPPING=1", os.environ)
        logger.info("stopping: committing everything, then giving the sinks a few seconds")
    logger.info("stopped")
