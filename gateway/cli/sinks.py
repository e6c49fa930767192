"""`gateway sinks`: where events go, and `gateway sinks test`: what a destination answers to one event."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

from gateway.cli import look
from gateway.clock import Clock, SystemClock
from gateway.config.model import Config, EventsConfig, SinkConfig
from gateway.errors import GatewayError, LinkError
from gateway.event import Event
from gateway.options import did_you_mean
from gateway.sink import Identity, Nothing, Outgoing, Session, Verdict

CONNECT_WITHIN_S = 5.0
ANSWER_WITHIN_S = 5.0
CLOSE_WITHIN_S = 1.0
NS_PER_MS = 1_000_000

VERDICTS = {"accepted": "accepted", "refused": "refused for good", "held": "not taken now"}


class UnknownSink(GatewayError):
    """The configuration has no sink of that id."""

    exit_code = 2


class Outcome(NamedTuple):
    """What came back. `verdict` is empty where no answer came; `reason` then says why. Times are ms."""

    connected_ms: float | None
    answered_ms: float | None
    verdict: Verdict | None
    reason: str


class _Ear:
    """A `Report` for one event."""

    def __init__(self) -> None:
        self._answer: asyncio.Future[tuple[Verdict | None, str]] = asyncio.get_running_loop().create_future()

    def settled(self, offset: int, verdict: Verdict, reason: str = "") -> None:
        del offset
        self._tell((verdict, reason))

    def lost(self, reason: str, retry_after_s: float | None = None, *, unrelated: bool = False) -> None:
        del retry_after_s, unrelated
        self._tell((None, reason))

    def _tell(self, answer: tuple[Verdict | None, str]) -> None:
        if not self._answer.done():
            self._answer.set_result(answer)

    async def answer(self, within_s: float) -> tuple[Verdict | None, str]:
        try:
            async with asyncio.timeout(within_s):
                return await self._answer
        except TimeoutError:
            return None, f"no answer within {within_s:g} s"


_config = click.option(
    "--config", "config_file", type=click.Path(path_type=Path), metavar="FILE", help="The YAML with the sinks."
)
_json = click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")


@click.group(short_help="List the sinks, or test one.", invoke_without_command=True)
@_config
@_json
@click.pass_context
def sinks(context: click.Context, config_file: Path | None, *, as_json: bool) -> None:
    """List the sinks of a configuration. `gateway sinks test ID` sends one event to one of them."""
    context.obj = config_file, as_json
    if context.invoked_subcommand is None:
        rows = [_row(sink) for sink in _load(config_file).sinks]
        click.echo(_as_json({"sinks": rows}) if as_json else listing(rows, look.columns()))


@sinks.command("test", short_help="Send one event to a sink, and say what came back.")
@click.argument("sink_id", metavar="ID")
@_config
@_json
@click.pass_context
def test(context: click.Context, sink_id: str, config_file: Path | None, *, as_json: bool) -> None:
    """Send one event of the type sink.test to the sink ID, over a connection of its own, and say what came back.

    The event is not recorded, and filters do not apply to it. A gateway that runs is not disturbed: an MQTT broker sees
    a second client, whose name ends in -test. Exit code 1 says that the event was not accepted.
    """
    given_file, given_json = context.obj
    logging.getLogger("gateway").addHandler(logging.NullHandler())
    config = _load(config_file or given_file)
    sink = find(config, sink_id)
    outcome = asyncio.run(try_out(sink, config.gateway.id, SystemClock()))
    if as_json or given_json:
        click.echo(_as_json({"id": sink.id, "sink": sink.sink.name, **outcome._asdict()}))
    else:
        click.echo("\n".join(report(sink, outcome)))
    if outcome.verdict != "accepted":
        context.exit(1)


async def try_out(sink: SinkConfig, gateway_id: str, clock: Clock) -> Outcome:
    """Connect, send one event, wait for the answer."""
    run = secrets.token_hex(8)
    ear, began = _Ear(), clock.mono_ns()
    made = sink.sink.create(sink.options, Identity(gateway_id, run, Nothing(), probe=True))
    try:
        async with asyncio.timeout(CONNECT_WITHIN_S):
            session = await made.connect(ear)
    except LinkError as error:
        return Outcome(None, None, None, error.reason)
    except TimeoutError:
        return Outcome(None, None, None, f"no connection within {CONNECT_WITHIN_S:g} s")
    connected = clock.mono_ns()
    verdict, reason = await _send(session, ear, _event(sink.id, run, clock))
    answered = clock.mono_ns()
    await session.close(CLOSE_WITHIN_S)
    took_ms = (answered - connected) / NS_PER_MS if verdict else None
    return Outcome((connected - began) / NS_PER_MS, took_ms, verdict, reason)


async def _send(session: Session, ear: _Ear, event: Event) -> tuple[Verdict | None, str]:
    session.send(Outgoing(event, None))
    session.flush()
    return await ear.answer(ANSWER_WITHIN_S)


def _event(sink_id: str, run: str, clock: Clock) -> Event:
    """An event that no log holds: its sequence is 0, where no log begins."""
    now = clock.wall_ns()
    return Event("sink.test", f"sink/{sink_id}", now, clock.mono_ns(), recorded=now, run=run, synced=clock.synced())


def find(config: Config, sink_id: str) -> SinkConfig:
    """Raises UnknownSink, with the nearest name, where there is none of that id."""
    known = [sink.id for sink in config.sinks]
    for sink in config.sinks:
        if sink.id == sink_id:
            return sink
    listed = ", ".join(known) or "(none)"
    raise UnknownSink(f"unknown sink {sink_id!r}{did_you_mean(sink_id, known)}; {config.files[0]} has: {listed}")


def report(sink: SinkConfig, outcome: Outcome) -> Iterator[str]:
    """What came back, in a few lines."""
    where = sink.sink.where(sink.options)
    yield click.style(f"{sink.id}", bold=True) + f"  {sink.sink.name}" + (f"  {look.printable(where)}" if where else "")
    if outcome.connected_ms is None:
        yield f"  {click.style('not connected', fg='red')}: {look.printable(outcome.reason)}"
        return
    yield f"  connected in {outcome.connected_ms:.0f} ms"
    why = f": {look.printable(outcome.reason)}" if outcome.reason else ""
    if outcome.verdict is None:
        yield f"  {click.style('no answer', fg='red')}{why}"
    else:
        colour = "green" if outcome.verdict == "accepted" else "red"
        yield f"  {click.style(VERDICTS[outcome.verdict], fg=colour)} after {outcome.answered_ms:.1f} ms{why}"
    for name, sentence in sink.sink.cautions(sink.options):
        yield f"  {click.style('note', fg='yellow')}: `{name}`: {sentence}"


def listing(rows: Sequence[dict[str, Any]], columns: int | None) -> str:
    if not rows:
        return "no sinks configured: events stay in the log"
    cells = [(row["id"], row["sink"], _events_text(row["events"]), look.printable(row["where"])) for row in rows]
    return look.table(cells, ("SINK", "KIND", "EVENTS", "WHERE"), columns=columns)


def _row(sink: SinkConfig) -> dict[str, Any]:
    return {
        "id": sink.id,
        "sink": sink.sink.name,
        "where": sink.sink.where(sink.options),
        "events": _events(sink.events),
    }


def _events(events: EventsConfig) -> dict[str, list[str]]:
    return {name: chosen for name, chosen in events.model_dump().items() if chosen is not None}


def _events_text(events: dict[str, list[str]]) -> str:
    return "; ".join(f"{name} {', '.join(chosen)}" for name, chosen in events.items()) or "all"


def _load(config_file: Path | None) -> Config:
    from gateway.config import load_config
    from gateway.locations import default_config
    from gateway.plugins import Plugins

    return load_config(config_file or default_config(os.environ, Path.cwd()), Plugins())


def _as_json(document: object) -> str:

    return look.document(document)
