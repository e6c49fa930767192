"""`gateway consume`: read the log as a named consumer, and show each event or hand it to a command."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from gateway.cli import door, look
from gateway.cli.tail import JsonLines, Lines

if TYPE_CHECKING:
    from gateway.client import Consumption, Received
    from gateway.eventlog import ConsumerSpec

KILL_AFTER_S = 2.0
ATTRIBUTES = ("id", "type", "subject", "time", "offset", "value", "unit", "quality", "deliveries")


class Wish(NamedTuple):
    """What is to be done with the events."""

    name: str
    start: str
    spec: ConsumerSpec | None
    command: str | None
    within_s: float
    ends_after: int | None


@click.command(short_help="Read the log as a named consumer; show each event or hand it to a command.")
@click.argument("name")
@click.option(
    "--from", "start", default="latest", show_default=True, metavar="PLACE",
    help="Where a new consumer begins: earliest, latest, last, an offset, a time, or 10m (ago).",
)  # fmt: skip
@door.selecting
@click.option("--exec", "command", metavar="CMD", help="Run this for each event; exit code 0 acknowledges it.")
@click.option("--json", "as_json", is_flag=True, help="Print one CloudEvent in JSON on each line.")
@click.option("--each", is_flag=True, help="Acknowledge event by event, not by cursor. --exec does so anyway.")
@click.option("--in-order", is_flag=True, help="With --exec: nothing follows an event until it is dealt with.")
@click.option(
    "--timeout", "within", default="30s", show_default=True, help="With --exec: how long the command may take."
)
@click.option("--max-deliver", type=click.IntRange(1, 1000), default=5, show_default=True,
              help="With --exec: after so many failures the event is a dead letter.")  # fmt: skip
@click.option(
    "--protect", is_flag=True, help="Have the log keep what this consumer has not read, as it does for sinks."
)
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="End after N events.")
@click.option("--forget", is_flag=True, help="Forget the consumer, its place and its dead letters.")
@door.options
def consume(
    name: str,
    start: str,
    types: Sequence[str],
    subjects: Sequence[str],
    quality: Sequence[str],
    command: str | None,
    within: str,
    max_deliver: int,
    count: int | None,
    socket: Path | None,
    gateway_id: str | None,
    log_path: Path | None,
    *,
    as_json: bool,
    each: bool,
    in_order: bool,
    protect: bool,
    forget: bool,
) -> None:
    """Read the log as the consumer NAME: from where it left off, then each event as it is committed.

    An event is acknowledged when it has been printed, or when --exec has ended with exit code 0. The command gets the
    event in JSON on its standard input, and its parts in GATEWAY_EVENT_ID, _TYPE, _SUBJECT, _TIME, _OFFSET, _VALUE,
    _UNIT, _QUALITY and _DELIVERIES. Another exit code, or no end in time, gives the event again after 1 s, 5 s, 30 s
    and 5 min; then it is a dead letter.

    A consumer keeps its place for 7 days after it was last read, with --protect until it is forgotten. Options that say
    what it wants replace what it had; without any it goes on as it was.
    """
    from gateway.consumers.words import parse_spec
    from gateway.options import parse_duration_s

    where = door.Where(socket, gateway_id, log_path)
    if forget:
        door.run(_forget(name, where))
        return
    try:
        within_s = parse_duration_s(within)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--timeout") from None
    terms: dict[str, Any] = dict(door.chosen(types, subjects, quality))
    if command is not None or each:
        terms |= {"ack": "each", "deliveries_max": max_deliver, "ack_within_s": within_s + KILL_AFTER_S + 5}
    if in_order:
        terms["in_flight_max"] = 1
    if protect:
        terms["protect"] = True
    spec = parse_spec(terms) if terms else None
    wish = Wish(name, door.position(start, "--from") if start != "last" else start, spec, command, within_s, count)
    shown: Lines | JsonLines = JsonLines() if as_json else Lines(look.columns(), datetime.now().astimezone().date())
    try:
        asyncio.run(_consume(wish, where, shown))
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:  # the reader has seen enough: what it has not seen is not acknowledged
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python's last flush needs somewhere to go


async def _forget(name: str, where: door.Where) -> None:
    async with door.opened(where) as connection:
        await connection.forget(name)
        click.echo(f"{name} is forgotten")


async def _consume(wish: Wish, where: door.Where, shown: Lines | JsonLines) -> None:
    async with door.opened(where) as connection:
        consumption = await connection.attend(wish.name, wish.start, wish.spec).begin()
        _say(consumption, wish)
        left = wish.ends_after
        async for event in consumption:
            if event.type == "log.gap" and not event.id:
                shown.gap(int(event.data["first"]), int(event.data["last"]))
                continue
            await (_show(event, shown) if wish.command is None else _hand(event, wish))
            if left is not None and (left := left - 1) == 0:
                return


def _say(consumption: Consumption, wish: Wish) -> None:
    if not consumption.created:
        at = f"{wish.name} goes on at offset {consumption.next_offset}"
        click.secho(at + ("" if wish.start == "latest" else "; --from is for a new consumer"), dim=True, err=True)


async def _show(event: Received, shown: Lines | JsonLines) -> None:
    shown.event(event.cloudevent)
    sys.stdout.flush()
    await event.ack()


async def _hand(event: Received, wish: Wish) -> None:
    """Run the command for one event. Its outcome is the event's."""
    failed = await execute(wish.command or "", event, wish.within_s)
    if failed is None:
        await event.ack()
        return
    click.secho(f"{event.subject}, offset {event.offset}, delivery {event.deliveries}: {failed}", fg="yellow", err=True)
    await event.nak()


async def execute(command: str, event: Received, within_s: float) -> str | None:
    """Run a shell command with the event on its standard input. None: it ended with 0; else what happened."""
    import msgspec

    process = await asyncio.create_subprocess_shell(
        command, stdin=asyncio.subprocess.PIPE, env={**os.environ, **environ(event)}, start_new_session=True
    )
    try:
        async with asyncio.timeout(within_s):
            await process.communicate(msgspec.json.encode(event.cloudevent) + b"\n")
    except TimeoutError:
        await _end(process)
        return f"no end within {within_s:g} s"
    except BaseException:
        await _end(process)
        raise
    return None if process.returncode == 0 else f"exit code {process.returncode}"


def environ(event: Received) -> Mapping[str, str]:
    """The parts of an event for a command that does not read JSON. What an event does not have is empty."""
    import msgspec

    found = {name: getattr(event, name) for name in ATTRIBUTES} | {"time": event.cloudevent["time"]}
    texts = {
        name: "" if value is None else value if isinstance(value, str) else msgspec.json.encode(value).decode()
        for name, value in found.items()
    }
    return {f"GATEWAY_EVENT_{name.upper()}": text.replace("\0", "") for name, text in texts.items()}


async def _end(process: asyncio.subprocess.Process) -> None:
    """End the command and what it has started, politely at first."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            async with asyncio.timeout(KILL_AFTER_S):
                await process.wait()
                return
        except ProcessLookupError:
            await process.wait()
            return
        except TimeoutError:
            continue
