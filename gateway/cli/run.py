"""`gateway run`: the service."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import logging
import os
import signal
from collections.abc import Callable
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
    """Run the gateway until SIGTERM or Ctrl-C. SIGHUP reloads the configuration, as `gateway reload` does."""
    from gateway.config import load_config
    from gateway.locations import claim, control_socket, default_config
    from gateway.plugins import Plugins

    faulthandler.enable()  # what the watchdog kills with SIGABRT shows where each thread stood
    logs.configure(log, log_level, os.environ)
    path = (config_file or default_config(os.environ, Path.cwd())).absolute()

    def load() -> Config:
        return load_config(path, Plugins(), simulate=simulate)

    config = load()
    for warning in config.warnings:
        logger.warning("%s", warning)
    socket = control_socket(config.gateway.id, os.environ)
    claim(socket.parent)
    asyncio.run(_serve(config, socket, load, simulate=simulate, live_sinks=live_sinks))


async def _serve(config: Config, socket: Path, load: Callable[[], Config], *, simulate: bool, live_sinks: bool) -> None:
    from gateway.app import Gateway
    from gateway.notify import notify
    from gateway.pulse import beating

    def tell(state: str) -> None:
        notify(state, os.environ)

    stop = asyncio.Event()
    gateway = Gateway(config, simulate=simulate, live_sinks=live_sinks, socket=socket, load=load, tell=tell)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    had_terminal = _has_terminal()

    def hung_up() -> None:
        """SIGHUP asks for a reload, unless it says that our terminal was closed: that ends us, as it ends a shell."""
        if had_terminal and not _has_terminal():
            stop.set()
        else:
            gateway.reloads.soon()

    loop.add_signal_handler(signal.SIGHUP, hung_up)
    async with gateway:
        gc.freeze()  # what start-up made lives for ever: no collection needs to look at it again
        logger.info(
            "gateway %s runs: %d devices, %d sinks, log %s",
            config.gateway.id,
            len(config.devices),
            len(gateway.forwarders),
            config.buffer.path,
        )
        tell("READY=1")
        async with beating(gateway.route, os.environ, os.getpid()):
            await gateway.run_until(stop)
        tell("STOPPING=1")
        logger.info("stopping: committing everything, then giving the sinks a few seconds")
    logger.info("stopped")


def _has_terminal() -> bool:
    """Whether we hang on a terminal that is there; never so where SIGHUP is ignored from the start, as by nohup."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return False
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
