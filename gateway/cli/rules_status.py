"""`gateway rules status`: how the rules of the running gateway stand, key by key, and what comes next."""

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

STATE_COLOUR = {"raised": "yellow", "silent": "yellow", "pending": "cyan", "clearing": "cyan", "unknown": "magenta"}
IN_FORCE = "in force"
LATE_S = 1.0
"""A deadline that is longer past than this waits for something to be said: a guard forbids it, or nothing is to say."""

COUNTED = {
    "guarded": ("time", "forbidden by only_if"),
    "keys": ("key", "forgotten"),
    "unkeyed": ("event", "without the key"),
    "subjects": ("previous value", "forgotten"),
    "samples": ("sample", "thinned"),
    "partials": ("attempt", "given up for room"),
    "repetitions": ("repetition", "not kept"),
    "guard_subjects": ("last value", "of guards forgotten"),
    "once": ("key", "that may speak once more"),
}
ENGINE_COUNTED = {
    "late": ("event", "late, and judged at the newest time"),
    "without_result": ("time", "that an expression had no result"),
    "failed": ("time", "that a rule broke"),
    "mismatches": ("derived event", "that differed when the log was read at the start"),
}
"""What was counted -> (one of it, what is said of it)."""


@click.command("status", short_help="Show the state of each rule and key, and what comes next.")
@click.argument("rule", required=False, metavar="[RULE]")
@click.option("--json", "as_json", is_flag=True, help="Print the whole document as JSON.")
@reach.options
def status(rule: str | None, socket: Path | None, gateway_id: str | None, *, as_json: bool) -> None:
    """Show how the rules of the running gateway stand: the state of each key, since when, and the next deadline.

    Of each rule 20 keys are shown, those first for which something is under way; the others are counted. What bounds
    have cost is told with each rule. Exit code 1 says that no gateway is running.
    """
    args = {} if rule is None else {"rule": rule}
    document = asyncio.run(ControlClient(reach.locate(socket, gateway_id)).call("rules", args))
    if as_json:
        click.echo(look.document(document))
    else:
        click.echo(page(document, look.columns(), datetime.now().astimezone()))


def page(document: Document, columns: int | None, now: datetime) -> str:
    """The document as text. Times of another day than `now` bear their date."""
    rules = document["rules"]
    if not rules:
        return f"{click.style(document['gateway'], bold=True)}  no rules: the configuration has none under `rules:`"
    parts = [_heading(document["gateway"], rules)]
    parts += ["\n".join(_rule(rule, columns, now)) for rule in rules]
    counts = document["counts"] | {"mismatches": document.get("mismatches", 0)}
    notes = [
        click.style(_counted(counts[word], *said), fg="yellow")
        for word, said in ENGINE_COUNTED.items()
        if counts.get(word)
    ]
    return "\n\n".join([*parts, *(["\n".join(notes)] if notes else [])])


def _counted(number: int, thing: str, said: str) -> str:
    return f"{look.counted(number, thing)} {said}"


def _heading(gateway: str, rules: Sequence[Document]) -> str:
    states = [rule["state"] for rule in rules]
    told = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    return f"{click.style(gateway, bold=True)}  {look.counted(len(rules), 'rule')}: {told}"


def _rule(rule: Document, columns: int | None, now: datetime) -> Iterator[str]:
    state = click.style(rule["state"], fg="green" if rule["state"] == IN_FORCE else "red")
    derived = f"{look.counted(rule['derived'], 'event')} derived"
    yield f"{click.style(rule['id'], bold=True)}  {rule['operator']} · {state} · {derived}"
    yield from (click.style(f"  {line}", dim=True) for line in look.wrap(_asked(rule), columns and columns - 2))
    if rule["reason"]:
        yield click.style(f"  {look.printable(rule['reason'])}", fg="red")
    if rule["shown"]:
        yield _keys(rule["shown"], columns, now)
    yield from (click.style(f"  {line}", dim=True) for line in _rest(rule))
    costs = [_counted(n, *COUNTED[word]) for word, n in rule["dropped"].items() if n]
    if costs:
        yield from (
            click.style(f"  {line}", fg="yellow") for line in look.wrap(", ".join(costs), columns and columns - 2)
        )


def _asked(rule: Document) -> str:
    return look.printable(rule["asked"])


def _keys(shown: Sequence[Document], columns: int | None, now: datetime) -> str:
    rows = [
        (
            look.printable(key["key"]) or "all",
            click.style(key["state"], fg=STATE_COLOUR.get(key["state"])),
            _since(key, now),
            _so_far(key),
            " ".join(filter(None, look.measure(key["value"], key["unit"]))) if key["value"] is not None else "",
            _next(key, now),
        )
        for key in shown
    ]
    heads = ("KEY", "STATE", "SINCE", "SO FAR", "VALUE", "NEXT")
    used = [n for n, _ in enumerate(heads) if n < 2 or any(row[n] for row in rows)]
    return look.table(
        [[row[n] for n in used] for row in rows], [heads[n] for n in used], columns=columns, indent=2
    )  # fmt: skip


def _since(key: Document, now: datetime) -> str:
    return "" if key["since"] is None else f"{moment(key['since'], now)} ({look.duration(max(0, key['since_s']))})"


def _so_far(key: Document) -> str:
    if key["n"] is None:
        return ""
    so_far = f"{look.count(key['n'])} {key['things']}"
    if key["of"] is not None:
        thing = key["things"].removesuffix("s")
        so_far = f"step {key['n']} of {key['of']}" if thing == "step" else f"{key['n']} of {key['of']} {key['things']}"
    return so_far if key["open"] in {None, 1} else f"{so_far}, {key['open']} open"


def _next(key: Document, now: datetime) -> str:
    if key["due"] is None:
        return ""
    if key["due_in_s"] < -LATE_S:
        return f"{key['then']}, unsaid"
    return f"{key['then']} {moment(key['due'], now)} ({look.duration(max(0.0, key['due_in_s']))})"


def _rest(rule: Document) -> Iterator[str]:
    """What is not in the table."""
    if not rule["keys"]:
        if rule["operator"] != "event" and rule["state"] == IN_FORCE:
            yield "nothing is known yet: no event that it selects came"
        return
    if rule["keys"] > len(rule["shown"]):
        states = ", ".join(f"{look.count(n)} {word}" for word, n in rule["states"].items())
        of = "" if rule["looked_at"] == rule["keys"] else f" (of {look.count(rule['looked_at'])})"
        yield f"{look.counted(rule['keys'], 'key')} in all, at most {look.count(rule['keys_max'])}; {states}{of}"


def moment(time: str, now: datetime) -> str:
    """A time of today as `14:03:20`, another with its date."""
    when = datetime.fromisoformat(time).astimezone(now.tzinfo)
    return f"{when:%H:%M:%S}" if when.date() == now.date() else f"{when:%m-%d %H:%M:%S}"
