"""What `gateway rules backtest` found, as text: for each rule a timeline, a table, and why it did not fire."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import click

from gateway.cli import look
from gateway.options import duration_text

ROWS_SHOWN, ROWS_SHOWN_OF_EACH = 40, 8
"""Firings of one rule, and of each of several."""

CHANNELS_SHOWN = 12


def page(document: dict[str, Any], columns: int | None) -> str:
    """The document as text."""
    parts = ["\n".join(_heading(document, columns))]
    rows = ROWS_SHOWN if len(document["rules"]) == 1 else ROWS_SHOWN_OF_EACH
    parts += ["\n".join(_section(rule, document, rows, columns)) for rule in document["rules"]]
    return "\n\n".join(parts)


def _heading(document: dict[str, Any], columns: int | None) -> Iterator[str]:
    begin, end = _local(document["from"]), _local(document["to"])
    yield f"{look.counted(document['events'], 'event')} from {begin} to {end}"
    lines = []
    if document["log_begins_later"]:
        lines.append("the log begins later than that was asked for: what was before is not in it any more")
    if document["warm_up_events"]:
        warm = duration_text(document["warm_up_s"])
        lines.append(
            f"{look.counted(document['warm_up_events'], 'event')} of the {warm} before it are read to warm up: "
            "what began still earlier is not known"
        )
    else:
        lines.append("nothing is known of what was before: there is nothing to warm up with")
    if document["thinned"]:
        lines.append(f"{look.counted(document['thinned'], 'reading')} were summed up to save room, and are not judged")
    if document["damaged"]:
        lines.append(f"{look.counted(document['damaged'], 'event')} cannot be read: the log is damaged")
    if not document["channels_known"] and any(rule["operator"] == "absent" for rule in document["rules"]):
        lines.append("the file does not say which channels there are: `absent` waits for those that it names only")
    for line in lines:
        yield from (click.style(f"  {part}", dim=True) for part in look.wrap(line, columns and columns - 2))


def _section(rule: dict[str, Any], document: dict[str, Any], shown: int, columns: int | None) -> Iterator[str]:
    times = look.counted(rule["fired"], "time")
    would = click.style(f"would have fired {times}" if rule["fired"] else "would not have fired", bold=True)
    yield f"{click.style(rule['id'], bold=True)}  {would}; {_beside(rule)}"
    for line in _asked(rule):
        yield from (click.style(f"  {part}", dim=True) for part in look.wrap(line, columns and columns - 2))
    if rule["failed"]:
        yield click.style(f"  it broke: {look.printable(rule['failed'])}", fg="red")
    if rule["raised_before"]:
        yield f"  raised already when the range began: {_some(rule['raised_before'])}"
    if not rule["fired"] and not rule["failed"]:
        for line in _why_not(rule, document):
            yield from (f"  {part}" for part in look.wrap(line, columns and columns - 2))
    if rule["firings"]:
        yield ""
        yield from _timeline(rule, document)
        yield ""
        yield _table(rule["firings"][:shown], columns)
        if (left := rule["fired"] + rule["only_recorded"] - shown) > 0:
            yield click.style(f"  and {look.count(left)} more; --json has the first {len(rule['firings'])}", dim=True)


def _beside(rule: dict[str, Any]) -> str:
    """What the log has of it."""
    if not rule["recorded"]:
        return "the log has none"
    parts = [(rule["same"], "the same"), (rule["only_now"], "only now"), (rule["only_recorded"], "only in the log")]
    told = ", ".join(f"{look.count(n)} {words}" for n, words in parts if n)
    return f"the log has it {look.counted(rule['recorded'], 'time')}: {told}"


def _asked(rule: dict[str, Any]) -> Iterator[str]:
    yield look.printable(rule["asked"])
    if rule["only_if"]:
        yield look.printable(f"only if {'; and '.join(rule['only_if'])}")


def _timeline(rule: dict[str, Any], document: dict[str, Any]) -> Iterator[str]:
    line = rule["timeline"]
    yield f"  now  {''.join(map(_mark, line['now'], line['raised']))}"
    yield f"  log  {''.join(_mark(n, raised=False) for n in line['recorded'])}"
    begin, end = _local(document["from"])[5:-3], _local(document["to"])[5:-3]
    yield click.style(f"       {begin}{end:>{len(line['now']) - len(begin)}}", dim=True)


def _mark(fired: int, raised: bool) -> str:
    if fired:
        return click.style(str(fired) if fired < 10 else "+", fg="yellow", bold=True)
    return click.style("=", fg="yellow") if raised else "."


def _table(firings: Sequence[dict[str, Any]], columns: int | None) -> str:
    rows = [
        (
            _local(one["time"]),
            one["what"],
            look.printable(one["key"]),
            " ".join(filter(None, look.measure(one["value"], one["unit"]))),
            _lasted(one),
            _who(one),
        )
        for one in firings
    ]
    heads = ("WHEN", "WHAT", "KEY", "VALUE", "FOR", "LOG")
    used = [n for n in range(len(heads)) if n not in {2, 4} or any(row[n] for row in rows)]
    align = "".join("<<<><<"[n] for n in used)
    return look.table(
        [[row[n] for n in used] for row in rows], [heads[n] for n in used], align, columns=columns, indent=2
    )  # fmt: skip


def _lasted(one: dict[str, Any]) -> str:
    if one["what"] != "raised" or not one["now"]:
        return ""
    if one["end"] == "again":
        return "again"
    if one["lasted_s"] is None:
        return "still raised"
    unknown = ", then unknown" if one["end"] == "unknown" else ""
    return f"{look.duration(one['lasted_s'])}{unknown}"


def _who(one: dict[str, Any]) -> str:
    offset = one["id"].rpartition("-")[2]
    if one["now"] and one["recorded"]:
        return click.style(f"same ({offset})", dim=True)
    return click.style("only now", fg="green") if one["now"] else click.style(f"only in it ({offset})", fg="red")


def _why_not(rule: dict[str, Any], document: dict[str, Any]) -> Iterator[str]:
    if not rule["events"]:
        events = look.counted(document["events"], "event")
        yield f"It selects none of the {events} in the range."
        channels = [f"{subject} ({look.count(n)})" for subject, n in document["channels"].items()]
        yield f"Channels that have events in it: {_some(channels)}." if channels else "No channel has any event in it."
        return
    listed = [_values(one) for one in rule["selected"]]
    yield f"It looks at {look.counted(rule['events'], 'event')}: {_some(listed)}."
    if rule["guarded"]:
        yield f"It would have spoken {look.counted(rule['guarded'], 'time')}, which `only_if` forbade."
    elif rule["operator"] == "hold" and not rule["under_way"]:
        yield "What it asks for did not hold, or not for long enough."
    if rule["under_way"]:
        yield f"Under way at the end: {_some([_begun(key) for key in rule['under_way']])}."


def _begun(key: dict[str, Any]) -> str:
    """`cellar/temperature (pending since 06:00:15)`, `pump/x (1 of 3 events since 06:00:02)`."""
    what = key["state"] if key["of"] is None else f"{key['n']} of {key['of']} {key['things']}"
    since = "" if key["since"] is None else f" since {_local(key['since'])}"
    return f"{key['key'] or 'all'} ({what}{since})"


def _values(one: dict[str, Any]) -> str:
    span = "" if one["low"] is None else f", {look.number(one['low'])} to {look.number(one['high'])}"
    return f"{one['subject']} ({look.count(one['events'])}{span})"


def _some(words: Sequence[str]) -> str:
    more = len(words) - CHANNELS_SHOWN
    return ", ".join(map(look.printable, words[:CHANNELS_SHOWN])) + (f" and {more} more" if more > 0 else "")


def _local(time: str) -> str:
    return f"{datetime.fromisoformat(time).astimezone():%Y-%m-%d %H:%M:%S}"
