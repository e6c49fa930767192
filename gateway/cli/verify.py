"""`gateway verify`: proves that what the log holds for a sink comes out at the other end, or names what does not."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, NamedTuple

import click

from gateway.chain import Chain, Missing, Span, missing, short_type
from gateway.cli import look, reach
from gateway.cli.sinks import find
from gateway.clock import NS_PER_S, Clock, SystemClock
from gateway.config.model import Config, SinkConfig
from gateway.control import ControlClient, Disconnected
from gateway.errors import GatewayError, LinkError, NotRunning
from gateway.event import Event
from gateway.options import parse_duration_s
from gateway.sink import Listener

SETTLE_WITHIN_S = 15.0
"""How long to wait, at the end, for what the sink had not settled and for what is still on its way to us."""

RESTART_WITHIN_S = 15.0
QUIET_S = 1.0
"""When everything is settled and nothing came for this long, nothing more is on its way."""

SHOWN_MAX = 20
PENDING = "pending"


class NotVerifiable(GatewayError):
    """Nothing can be heard of that sink, or it could not be heard."""

    exit_code = 2


class Proof(NamedTuple):
    """What was found. Offsets of [since, until) were judged; `missing` holds those that did not arrive."""

    sink: str
    since: int
    until: int
    expected: int
    heard: int
    repeats: int
    altered: int
    holes: Sequence[Span]
    missing: Sequence[Missing]
    took_s: float

    @property
    def lost(self) -> int:
        return sum(one.events for one in self.missing if one.why == "lost")

    @property
    def proven(self) -> bool:
        """Nothing is missing but what is still to come; no event was altered; the chain agrees with the log."""
        unexplained = [
            hole for hole in self.holes if not any(one.first <= hole.last <= one.last for one in self.missing)
        ]
        pending = all(one.why == PENDING for one in self.missing)
        return pending and not self.altered and not unexplained


@click.command(short_help="Prove that a sink misses nothing.")
@click.option("--sink", "sink_id", required=True, metavar="ID", help="The sink to verify.")
@click.option("--for", "span", default="60s", show_default=True, metavar="DURATION", help="How long to listen.")
@click.option(
    "--config", "config_file", type=click.Path(path_type=Path), metavar="FILE", help="The YAML of the gateway."
)
@click.option("--json", "as_json", is_flag=True, help="Print the proof as JSON.")
@reach.options
@click.pass_context
def verify(
    context: click.Context,
    sink_id: str,
    span: str,
    config_file: Path | None,
    socket: Path | None,
    gateway_id: str | None,
    *,
    as_json: bool,
) -> None:
    """Listen at the sink ID as any other subscriber would, and compare with the log of the running gateway.

    Every event names the one before it: what the sink had not delivered when this began, and everything until the time
    is over, must arrive, or be named by an event that tells why not. Exit code 1 says that something is missing.
    """
    logging.getLogger("gateway").addHandler(logging.NullHandler())
    try:
        seconds = parse_duration_s(span)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--for") from None
    clock, client = SystemClock(), ControlClient(reach.locate(socket, gateway_id))
    status = _status(client, clock)
    config = _load(config_file, status)
    sink = find(config, sink_id)
    listener = _listener(sink, status["gateway"]["id"])
    proof = _prove(client, sink, listener, seconds, clock)
    if as_json:
        click.echo(json.dumps(document(proof), indent=2))
    else:
        click.echo("\n".join(report(proof)))
    if not proof.proven:
        context.exit(1)


def _load(config_file: Path | None, status: Mapping[str, Any]) -> Config:
    from gateway.config import load_config
    from gateway.plugins import Plugins

    return load_config(config_file or Path(status["gateway"]["config"]), Plugins())


def _listener(sink: SinkConfig, gateway_id: str) -> Listener:
    listener = sink.sink.listener(sink.options, gateway_id)
    if listener is None:
        raise NotVerifiable(
            f"sink {sink.id} is of the kind {sink.sink.name}, of which nothing can be heard: "
            "only sinks whose destination passes events on can be verified, such as mqtt"
        )
    return listener


def _prove(client: ControlClient, sink: SinkConfig, listener: Listener, seconds: float, clock: Clock) -> Proof:
    try:
        listener.open()
    except LinkError as error:
        raise NotVerifiable(f"cannot listen at sink {sink.id}: {error.reason}") from None
    try:
        began = clock.mono_ns()
        state = _sink_state(_status(client, clock), sink.id)
        chain = Chain()
        _listen(listener, chain, seconds, clock)
        until = _status(client, clock)["log"]["next_offset"]
        cursor = _settle(client, sink.id, listener, chain, until, clock)
    except LinkError as error:
        raise NotVerifiable(
            f"sink {sink.id} could not be heard to the end, so nothing is proven: {error.reason}"
        ) from None
    finally:
        listener.close()
    expected = asyncio.run(_selected(client, sink, chain, state["cursor"], until))
    return Proof(
        sink.id,
        state["cursor"],
        until,
        len(expected),
        sum(offset in chain for offset in expected),
        chain.repeats,
        chain.altered,
        chain.holes(state["cursor"], until),
        missing(expected, chain, cursor),
        (clock.mono_ns() - began) / NS_PER_S,
    )


def _status(client: ControlClient, clock: Clock) -> dict[str, Any]:
    """The status, also of a gateway that is just being restarted: that must lose nothing either."""
    deadline = clock.mono_ns() + round(RESTART_WITHIN_S * NS_PER_S)
    while True:
        try:
            return asyncio.run(client.call("status"))
        except (NotRunning, Disconnected):
            if clock.mono_ns() >= deadline:
                raise
            asyncio.run(asyncio.sleep(0.2))


def _sink_state(status: Mapping[str, Any], sink_id: str) -> dict[str, Any]:
    for sink in status["sinks"]:
        if sink["id"] == sink_id:
            return dict(sink)
    raise NotVerifiable(f"the running gateway has no sink {sink_id!r}: it was started with another configuration")


def _listen(listener: Listener, chain: Chain, seconds: float, clock: Clock) -> None:
    """Hear for that long. On a terminal a line tells how it goes."""
    began = clock.mono_ns()
    shown = sys.stderr.isatty()
    while (passed_s := (clock.mono_ns() - began) / NS_PER_S) < seconds:
        _take(chain, listener.hear(min(0.5, seconds - passed_s)))
        if shown:
            click.echo(
                f"\r\033[K{passed_s:.0f} s of {seconds:g} s, {look.counted(len(chain), 'event')}", nl=False, err=True
            )
    if shown:
        click.echo("\r\033[K", nl=False, err=True)


def _settle(client: ControlClient, sink_id: str, listener: Listener, chain: Chain, until: int, clock: Clock) -> int:
    """Wait until the sink has settled everything before `until` and nothing more comes; returns its cursor then."""
    deadline = clock.mono_ns() + round(SETTLE_WITHIN_S * NS_PER_S)
    while True:
        heard = _take(chain, listener.hear(QUIET_S))
        cursor: int = _sink_state(_status(client, clock), sink_id)["cursor"]
        if (cursor >= until and not heard) or clock.mono_ns() >= deadline:
            return cursor


def _take(chain: Chain, payloads: Sequence[bytes]) -> int:
    """Other messages may share the topics: what is no event of a gateway is passed over."""
    heard = 0
    for payload in payloads:
        try:
            event = json.loads(payload)
            chain.hear(event)
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
        heard += 1
    return heard


async def _selected(client: ControlClient, sink: SinkConfig, chain: Chain, since: int, until: int) -> list[int]:
    """The offsets of [since, until) that the sink wants, as the log has them. Gaps of the log go to the chain."""
    selection = sink.events.selection
    wanted: list[int] = []
    if since >= until:
        return wanted
    async with aclosing(client.stream("tail", {"from": since})) as items:
        async for item in items:
            if "gap" in item:
                first, last = item["gap"]
                chain.named.append((Span(first, last), "evicted (no longer in the log)"))
                wanted += [offset for offset in range(first, min(last + 1, until)) if offset in chain]
                continue
            event = item["event"]
            offset = int(event["sequence"])
            if offset < until and selection.selects(_event(event)):
                wanted.append(offset)
            if offset >= until - 1:
                break
    return wanted


def _event(event: Mapping[str, Any]) -> Event:
    quality = (event.get("data") or {}).get("quality")
    return Event(short_type(event["type"]), event["subject"], 0, 0, quality=quality)


def report(proof: Proof) -> Iterator[str]:
    """The proof as a person reads it."""
    span = f"offsets {proof.since} to {proof.until - 1}" if proof.until > proof.since else "no offsets"
    yield f"{click.style(proof.sink, bold=True)}  {span}, {look.duration(proof.took_s)}"
    rows = [
        ("for this sink", look.counted(proof.expected, "event")),
        ("arrived", look.counted(proof.heard, "event")),
        ("came again", f"{look.count(proof.repeats)} with the same id"),
    ]
    if proof.altered:
        rows.append(("altered", click.style(f"{look.count(proof.altered)} came again with another id", fg="red")))
    yield look.fields(rows)
    for one in proof.missing[:SHOWN_MAX]:
        where = f"offset {one.first}" if one.first == one.last else f"offsets {one.first} to {one.last}"
        colour = "red" if one.why == "lost" else "yellow"
        yield f"  {click.style('missing', fg=colour)}  {where}, {look.counted(one.events, 'event')}: {_reason(one)}"
    if len(proof.missing) > SHOWN_MAX:
        yield f"  and {len(proof.missing) - SHOWN_MAX} more ranges; --json has them all"
    yield _verdict(proof)


def _reason(one: Missing) -> str:
    if one.why == "lost":
        return "the destination acknowledged them, and they never arrived here"
    if one.why == PENDING:
        return "not delivered yet"
    return look.printable(one.why)


def _verdict(proof: Proof) -> str:
    if proof.proven and not proof.expected:
        return click.style("nothing to prove: no event for this sink in that time", fg="yellow")
    if proof.proven and proof.missing:
        return click.style("nothing is lost; some events are still to come", fg="green")
    if proof.proven:
        return click.style("proven: the chain is whole, nothing is missing", fg="green")
    return click.style("not proven: events are missing", fg="red")


def document(proof: Proof) -> dict[str, Any]:
    return {
        **proof._asdict(),
        "holes": [hole._asdict() for hole in proof.holes],
        "missing": [one._asdict() for one in proof.missing],
        "lost": proof.lost,
        "proven": proof.proven,
    }
