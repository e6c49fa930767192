"""`gateway log`: what the event log holds, how well it is packed, and who reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from gateway.cli import door, look

Document = Mapping[str, Any]


@click.command(short_help="Show the event log: bounds, size, packing, and who reads it.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@door.options
def log(socket: Path | None, gateway_id: str | None, log_path: Path | None, *, as_json: bool) -> None:
    """Show what the event log holds, how well it is packed, and its named consumers with their lag."""
    document = door.run(_ask(door.Where(socket, gateway_id, log_path)))
    if as_json:
        click.echo(look.document(document))
    else:
        click.echo(page(document, look.columns()))


async def _ask(where: door.Where) -> dict[str, Any]:
    async with door.opened(where) as connection:
        return await connection.log()


def page(document: Document, columns: int | None) -> str:
    """The document as text."""
    consumers = _consumers(document["consumers"], columns)
    title = click.style(document["gateway"], bold=True)
    return f"{title}\n{look.fields(_fields(document))}\n\n{click.style('Consumers', bold=True)}\n{consumers}"


def _fields(log: Document) -> Iterator[tuple[str, str]]:
    yield "file", look.printable(log["path"])
    if log["bytes_max"]:
        percent = look.number(round(100 * log["bytes"] / log["bytes_max"], 1))
        room = f"{look.bar(log['bytes'], log['bytes_max'])} {percent} %, "
        yield "size", f"{room}{look.size(log['bytes'])} of {look.size(log['bytes_max'])}"
    else:
        yield "size", look.size(log["bytes"])
    if not log["events"]:
        yield "events", f"none; the next is offset {log['next_offset']}"
        return
    span = f"offsets {log['first_offset']} to {log['next_offset'] - 1}"
    yield "events", f"{look.count(log['events'])}, {span}"
    if log["oldest"] and log["newest"]:
        yield "from", _local(log["oldest"])
        yield "to", _local(log["newest"])
    yield (
        "batches",
        f"{look.count(log['batches'])}, {look.count(round(log['events'] / max(1, log['batches'])))} events each",
    )
    yield "packing", _packing(log["packing"])


def _packing(packing: Document) -> str:
    if not packing["events"]:
        return look.NOTHING
    each = look.number(round(packing["stored_bytes"] / packing["events"], 1))
    times = look.number(round(packing["raw_bytes"] / max(1, packing["stored_bytes"]), 1))
    newest = look.counted(packing["events"], "event")
    return f"{each} B an event, {times} times smaller than unpacked (the newest {newest})"


def _consumers(consumers: Sequence[Document], columns: int | None) -> str:
    if not consumers:
        return "  none; `gateway consume NAME` makes one"
    header = ("NAME", "READER", "CURSOR", "BEHIND", "OPEN", "DEAD", "WANTS")
    rows = [
        (
            one["name"],
            click.style("reads", fg="green") if one["attended"] else "away",
            str(one["next_offset"]),
            look.count(one["lag_events"]),
            look.count(one["in_flight"]),
            click.style(look.count(one["dead_letters"]), fg="yellow") if one["dead_letters"] else "0",
            look.printable(wants(one["spec"])),
        )
        for one in consumers
    ]
    return look.table(rows, header, "<<>>>><", columns=columns, indent=2)


def wants(spec: Document) -> str:
    """The terms of a consumer in a few words: only what is not as usual."""
    parts = [", ".join(spec[name]) for name in ("types", "subjects", "quality") if spec.get(name)]
    return "; ".join([*(parts or ["all"]), *(["each"] if spec.get("ack") == "each" else [])]) + (
        "; protected" if spec.get("protect") else ""
    )


def _local(time: str) -> str:
    return f"{datetime.fromisoformat(time).astimezone():%Y-%m-%d %H:%M:%S}"
