"""Runs the demo behind a view, and sums up."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from gateway.broker import HOST, Broker
from gateway.cli import look
from gateway.cli.demo_view import ACTIONS, Lines, Notes, Screen, View
from gateway.cli.demo_words import FIRED, told, verb
from gateway.clock import SystemClock
from gateway.config import Config
from gateway.demo import Demo, Seen, Tally, who_is_real
from gateway.rules.model import RuleConfig

FRAME_S = 0.25


@dataclass(frozen=True, slots=True)
class Shown:
    """What was seen: the account of all events, and how often each rule fired."""

    tally: Tally
    fired: Mapping[str, int]


async def show(config: Config, broker: Broker, for_s: float | None) -> Shown:
    """Run the demo until somebody ends it or `for_s` is over. Afterwards nothing is left on the disk."""
    fired = Counter[str]()

    def arrived(event: Seen, first: bool) -> None:
        if first and verb(event) in FIRED:
            fired[event.subject.removeprefix("rule/")] += 1
        view.arrived(event, first)

    stop = _stop_on_signals(for_s)
    with tempfile.TemporaryDirectory(prefix="gateway-demo-") as folder, broker:
        click.echo(_intro(config, broker))
        view: View = (
            Screen(sys.stdout, SystemClock(), config.rules) if sys.stdout.isatty() else Lines(sys.stdout, config.rules)
        )
        shown = Demo(config, broker.port, Path(folder), arrived)
        notes = Notes(view)
        with _logging_to(notes):
            try:
                async with shown.running() as gateway:
                    drawing = asyncio.create_task(_draw(view, notes, shown), name="demo view")
                    await gateway.run_until(stop)
                    drawing.cancel()
            finally:
                notes.show()
                view.close(shown.tally())
        return Shown(shown.tally(), fired)


async def _draw(view: View, notes: Notes, shown: Demo) -> None:
    while True:
        notes.show()
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
def _logging_to(notes: Notes) -> Iterator[None]:
    root, actions = logging.getLogger(), logging.getLogger(ACTIONS)
    before = actions.level
    root.addHandler(notes)
    actions.setLevel(logging.INFO)
    try:
        yield
    finally:
        actions.setLevel(before)
        root.removeHandler(notes)


def _intro(config: Config, broker: Broker) -> str:
    simulated, real = who_is_real(config)
    return (
        f"Simulated: {', '.join(simulated) or 'nothing'}. Real: {', '.join(real) or 'nothing'}. "
        "The driver code is the same.\n"
        f"Below: what an MQTT subscriber gets from {broker.describe()} at {HOST}:{broker.port}.\n"
    )


def summary(shown: Shown, rules: Sequence[RuleConfig] = ()) -> str:
    """The account, at the end."""
    tally = shown.tally
    lost = click.style(look.count(tally.lost), fg="red" if tally.lost else "green", bold=True)
    account = look.fields(
        [
            ("accepted", f"{look.count(tally.accepted)} events, committed to the gateway's log"),
            ("delivered", f"{look.count(tally.delivered)} of them at the subscriber"),
            ("duplicates", look.count(tally.duplicates)),
            ("out of order", look.count(tally.out_of_order)),
            ("lost", lost),
            *(("" if n else "rules", line) for n, line in enumerate(told(rules, shown.fired) if rules else ())),
        ]
    )
    return f"\n{account}"
