"""Runs the demo behind a view, and sums up."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click

from gateway.broker import HOST, Broker
from gateway.cli import look
from gateway.cli.demo_view import Lines, Notes, Screen, View
from gateway.clock import SystemClock
from gateway.config import Config
from gateway.demo import Demo, Tally, who_is_real

FRAME_S = 0.25


async def show(config: Config, broker: Broker, for_s: float | None) -> Tally:
    """Run the demo until somebody ends it or `for_s` is over. Afterwards nothing is left on the disk."""
    stop = _stop_on_signals(for_s)
    with tempfile.TemporaryDirectory(prefix="gateway-demo-") as folder, broker:
        click.echo(_intro(config, broker))
        view: View = Screen(sys.stdout, SystemClock()) if sys.stdout.isatty() else Lines(sys.stdout)
        shown = Demo(config, broker.port, Path(folder), view.arrived)
        with _logging_to(view):
            try:
                async with shown.running() as gateway:
                    drawing = asyncio.create_task(_draw(view, shown), name="demo view")
                    await gateway.run_until(stop)
                    drawing.cancel()
            finally:
                view.close(shown.tally())
        return shown.tally()


async def _draw(view: View, shown: Demo) -> None:
    while True:
        view.draw(shown.tally())
        await asyncio.sleep(FRAME_S)


def _stop_on_signals(for_s: float | None) -> asyncio.Event:
    """Set by Ctrl-C, by SIGTERM, by a closed terminal, or when the time is over."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    if for_s is not None:
        loop.call_later(for_s, stop.set)
    return stop


@contextlib.contextmanager
def _logging_to(view: View) -> Iterator[None]:
    notes, root = Notes(view), logging.getLogger()
    root.addHandler(notes)
    try:
        yield
    finally:
        root.removeHandler(notes)


def _intro(config: Config, broker: Broker) -> str:
    simulated, real = who_is_real(config)
    return (
        f"Simulated: {', '.join(simulated) or 'nothing'}. Real: {', '.join(real) or 'nothing'}. "
        "The driver code is the same for both.\n"
        f"Below: what an MQTT subscriber gets from {broker.describe()} at {HOST}:{broker.port}.\n"
    )


def summary(tally: Tally) -> str:
    """The account, at the end."""
    lost = click.style(look.count(tally.lost), fg="red" if tally.lost else "green", bold=True)
    account = look.fields(
        [
            ("accepted", f"{look.count(tally.accepted)} events, committed to the gateway's log"),
            ("delivered", f"{look.count(tally.delivered)} of them at the subscriber"),
            ("duplicates", look.count(tally.duplicates)),
            ("out of order", look.count(tally.out_of_order)),
            ("lost", lost),
        ]
    )
    return f"\n{account}"
