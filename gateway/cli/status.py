"""`gateway status`: how the running gateway is, on one page.

Sections of what a gateway does not have (actions, consumers, rules) are left out; sinks and devices are always there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from gateway.cli import look, reach
from gateway.control import ControlClient

Document = Mapping[str, Any]

_CLONED = "another machine wrote this log: was its card copied? Then one of both needs another `gateway.id`"


@click.command(short_help="Show the log, the sinks, the actions and the devices.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole document as JSON.")
@reach.options
def status(socket: Path | None, gateway_id: str | None, *, as_json: bool) -> None:
    """Show how the running gateway is: log, sinks, actions of rules, named consumers and devices.

    Exit code 1 says that no gateway is running.
    """
    from gateway.clock import SystemClock

    document = asyncio.run(ControlClient(reach.locate(socket, gateway_id)).call("status"))
    if as_json:
        click.echo(look.document(document))
    else:
        click.echo(page(document, SystemClock().wall_ns() / 1e9, look.columns()))


def page(document: Document, now_s: float, columns: int | None) -> str:
    """The document as text. `now_s` (seconds since 1970) is what `ago` counts from."""
    simulated = document["gateway"]["simulated"]
    parts = [
        _gateway(document["gateway"], document.get("rules", ())),
        _log(document["log"]),
        _heading("Sinks") + "\n" + _sinks(document["sinks"], now_s, columns),
    ]
    if actions := document.get("actions"):
        parts.append(_heading("Actions") + "\n" + _actions(actions, now_s, columns))
    if consumers := document.get("consumers"):
        parts.append(_heading("Consumers") + "\n" + _consumers(consumers, columns))
    parts.append(_heading("Devices") + "\n" + _devices(document["devices"], now_s, columns, simulated=simulated))
    return "\n\n".join(parts)


def _gateway(gateway: Document, rules: Sequence[Document]) -> str:
    line = [f"up {look.duration(gateway['uptime_s'])}", f"version {gateway['version']}", f"pid {gateway['pid']}"]
    if gateway["simulated"]:
        line.append(click.style("simulated", fg="yellow"))
    title = click.style(gateway["id"], bold=True)
    labels = ", ".join(f"{name}={text}" for name, text in gateway["labels"].items())
    pairs = [("config", f"{look.printable(gateway['config'])} ({gateway['config_hash'][:12]})")]
    if labels:
        pairs.append(("labels", look.printable(labels)))
    if rules:
        pairs.append(("rules", _rules(rules)))
    return f"{title}  {' · '.join(line)}\n{look.fields(pairs)}"


def _rules(rules: Sequence[Document]) -> str:
    """`7 in force, 1 failed (cellar-hot: KeyError: ..)`; `gateway rules status` has the rest."""
    states = [rule["state"] for rule in rules]
    told = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    failed = [f"{rule['id']}: {look.printable(rule['reason'])}" for rule in rules if rule["reason"]]
    return f"{told} ({click.style('; '.join(failed), fg='red')})" if failed else told


def _log(log: Document) -> str:
    return _heading("Log") + "\n" + look.fields(_log_fields(log))


def _log_fields(log: Document) -> Iterator[tuple[str, str]]:
    yield "file", look.printable(log["path"])
    yield "size", _fill(log["bytes"], log["bytes_max"])
    yield "events", _span(log)
    if log["oldest"] and log["newest"]:
        yield "from", _local(log["oldest"])
        yield "to", _local(log["newest"])
    if log.get("recorded"):
        commits = look.counted(log["batches"], "commit")
        yield "recorded", f"{look.counted(log['recorded'], 'event')} in {commits} since the start"
    if log.get("lost"):
        yield "lost", click.style(f"{look.counted(log['lost'], 'event')} since the start: see log.gap", fg="yellow")
    yield from _written(log.get("written"))
    if log["pending"]:
        yield "pending", f"{look.counted(log['pending'], 'event')} not yet committed"
    if log.get("held"):
        in_memory = f"{look.counted(log['held'], 'event')} in memory only: a crash loses them"
        yield "held", click.style(in_memory, fg="yellow")
    if log.get("cloned"):
        yield "cloned", click.style(_CLONED, fg="yellow")
    ok = log["store"] == "ok"
    yield "store", click.style("ok", fg="green") if ok else click.style(look.printable(log["store"]), fg="red")


def _written(written: Document | None) -> Iterator[tuple[str, str]]:
    if written is None or written["bytes_per_day"] is None:
        return
    per_day, limit = f"{look.size(written['bytes_per_day'])}/day", written["limit_bytes_per_day"]
    yield "written", f"{look.size(written['bytes'])} since the start, {per_day} at the pace of the last hour"
    if limit is None:
        return
    waits = f"readings wait {look.number(round(written['commit_within_s'], 1))} s for their commit"
    said = {
        "free": f"below {look.size(limit)}/day; {waits}",
        "spread": f"kept below {look.size(limit)}/day: {waits}",
        "over": click.style(f"more than {look.size(limit)}/day, although {waits}", fg="yellow"),
    }
    yield "wear", said[written["mode"]]


def _fill(bytes_: int, bytes_max: int) -> str:
    percent = look.number(round(100 * bytes_ / bytes_max, 1)) if bytes_max else "?"
    return f"{look.bar(bytes_, bytes_max)} {percent} %, {look.size(bytes_)} of {look.size(bytes_max)}"


def _span(log: Document) -> str:
    if not log["events"]:
        return f"none yet; the next is offset {log['next_offset']}"
    return f"{look.count(log['events'])}, offsets {log['first_offset']} to {log['next_offset'] - 1}"


def _sinks(sinks: Sequence[Document], now_s: float, columns: int | None) -> str:
    if not sinks:
        return "  none configured: events stay in the log"
    header = ("SINK", "KIND", "STATE", "BEHIND", "DELIVERED", "DEAD", "EVICTED")
    rows = [
        (
            sink["id"],
            sink["sink"],
            _state(sink["connected"], "connected", "disconnected", sink["since"], now_s),
            _behind(sink["lag_events"], sink["lag_s"]),
            look.count(sink["ledger"]["delivered"]),
            _warned(sum(sink["ledger"]["dead_lettered"].values())),
            _warned(sum(sink["ledger"]["evicted"].values())),
        )
        for sink in sinks
    ]
    notes = ["\n".join(_sink_notes(sink)) for sink in sinks]
    return look.table(rows, header, "<<<>>>>", notes=notes, columns=columns, indent=2)


def _sink_notes(sink: Document) -> Iterator[str]:
    ledger = sink["ledger"]
    if ledger["not_selected"]:
        yield f"not selected: {look.count(ledger['not_selected'])}"
    for fate, words in (("dead_lettered", "dead letters"), ("evicted", "evicted unread")):
        if ledger[fate]:
            reasons = (f"{look.count(count)} {look.printable(reason)}" for reason, count in ledger[fate].items())
            yield f"{words}: {', '.join(reasons)}"
    if sink["last_error"]:
        yield f"last error: {look.printable(sink['last_error'])}"


def _actions(actions: Sequence[Document], now_s: float, columns: int | None) -> str:
    rows = [
        (
            action["name"],
            _state(action["connected"], "ready", "away", action["since"], now_s),
            _behind(action["lag_events"], action["lag_s"]),
            look.count(action["done"]),
            _warned(action["refused"]),
            _warned(action["dead_letters"]),
        )
        for action in actions
    ]
    notes = ["\n".join(_action_notes(action, now_s)) for action in actions]
    header = ("ACTION", "STATE", "BEHIND", "DONE", "REFUSED", "DEAD")
    return look.table(rows, header, "<<>>>>", notes=notes, columns=columns, indent=2)


def _action_notes(action: Document, now_s: float) -> Iterator[str]:
    if waits := action["waits"]:
        yield f"waits: {waits['type']} {waits['id']}, {_ago(waits['time'], now_s)}"
    if action["last_error"]:
        yield f"last error: {look.printable(action['last_error'])}"


def _consumers(consumers: Sequence[Document], columns: int | None) -> str:
    rows = [
        (
            one["name"],
            click.style("reads", fg="green") if one["attended"] else "away",
            str(one["cursor"]),
            _behind(one["lag_events"], one["lag_s"]),
            look.count(one["in_flight"]),
            _warned(one["dead_letters"]),
        )
        for one in consumers
    ]
    header = ("CONSUMER", "READER", "CURSOR", "BEHIND", "OPEN", "DEAD")
    return look.table(rows, header, "<<>>>>", columns=columns, indent=2)


def _devices(devices: Sequence[Document], now_s: float, columns: int | None, *, simulated: bool) -> str:
    if not devices:
        return "  none configured"
    rows = [
        (
            device["id"],
            device["driver"] + _unlike(device["simulated"], simulated),
            _state(device["available"], "available", "unavailable", device["since"], now_s),
            look.count(device["readings"]),
            _ago(device["last"], now_s),
        )
        for device in devices
    ]
    notes = [look.printable(device["reason"]) for device in devices]
    header = ("DEVICE", "DRIVER", "STATE", "READINGS", "LAST")
    return look.table(rows, header, "<<<>>", notes=notes, columns=columns, indent=2)


def _unlike(device: bool, gateway: bool) -> str:
    """Said only of a device that differs from what the first line says of all."""
    return "" if device == gateway else " (simulated)" if device else " (real)"


def _behind(events: int, seconds: float) -> str:
    return f"{look.count(events)} ({look.duration(seconds)})" if events else "0"


def _heading(text: str) -> str:
    return click.style(text, bold=True)


def _state(state: bool | None, yes: str, no: str, since: str | None, now_s: float) -> str:
    if state is None:
        return click.style("not known yet", dim=True)
    word = click.style(yes, fg="green") if state else click.style(no, fg="red")
    return f"{word} {look.duration(max(0.0, now_s - _seconds(since)))}" if since else word


def _warned(number: int) -> str:
    return click.style(look.count(number), fg="yellow") if number else "0"


def _ago(time: str | None, now_s: float) -> str:
    if not time:
        return look.NOTHING
    seconds = now_s - _seconds(time)
    return "now" if seconds < 1 else f"{look.duration(seconds)} ago"


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()


def _local(time: str) -> str:
    return f"{datetime.fromisoformat(time).astimezone():%Y-%m-%d %H:%M:%S}"
