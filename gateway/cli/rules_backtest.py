"""`gateway rules backtest`: what rules, as they are written now, would have said to what is in the log."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from gateway.cli import door, look, rules_found
from gateway.cli.backtest_page import CHANNELS_SHOWN, page
from gateway.cli.progress import Progress
from gateway.clock import NS_PER_S, SystemClock
from gateway.errors import GatewayError
from gateway.event import rfc3339
from gateway.options import did_you_mean, parse_duration_s
from gateway.position import time_ns

if TYPE_CHECKING:
    from gateway.client import Connection
    from gateway.config.rules_file import Rules
    from gateway.rules.backtest import Backtest
    from gateway.rules.model import RuleConfig
    from gateway.rules.trial import Firing, Trial

WARM_UP_MIN_S = 600.0
"""Two heartbeats of a channel that says nothing else of its own."""

WARM_UP_TIMES = 2
"""How often the longest time of the rules: once, and what lasted since before it would seem to begin with the range."""

SETTLED_S = 2.0
"""What happened longer ago than this is in the log."""


class NoSuchRule(GatewayError):
    """A rule that the file does not hold."""

    exit_code = 2


class Span(NamedTuple):
    """What is read: records [warm, upto), of which those from `first` on count. Times are ns UTC."""

    warm: int
    first: int
    upto: int
    begin_ns: int
    end_ns: int
    warm_s: float
    trimmed: bool
    """The range was asked to begin before the log does."""
    now_ns: int | None
    """A gateway runs, and nothing came since the last record."""


@click.command("backtest", short_help="Play the log against rules as they are written now.")
@click.argument("rule_ids", nargs=-1, metavar="[RULE]...")
@click.option("--since", metavar="PLACE", help="The same as --from: 7d (ago), a time, or an offset.")
@click.option("--from", "start", metavar="PLACE", help="Where to begin; default: the oldest event of the log.")
@click.option("--to", "end", default="latest", show_default=True, metavar="PLACE", help="Where to end, without it.")
@click.option(
    "--warm-up",
    metavar="TIME",
    help="Read so much before the range, so that what began before it is known; default: twice the longest time of the "
    "rules, at least 10m.",
)
@rules_found.options
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@door.options
def backtest(
    rule_ids: Sequence[str],
    since: str | None,
    start: str | None,
    end: str,
    warm_up: str | None,
    config_file: Path | None,
    rules_file: Path | None,
    socket: Path | None,
    gateway_id: str | None,
    log_path: Path | None,
    *,
    as_json: bool,
) -> None:
    """Read the log again with RULE as it is written now: would it have fired, when, and did it?

    Without RULE all rules of the file are tested. So edit a threshold, and see what it would have done last week.
    Nothing is done outside, and nothing is written to the log. A rule that is tested hears what other rules said at
    the time; of rules that are tested together, each hears what the others say now.

    PLACE is an offset, a time such as 2026-11-23T06:00:00Z, or 7d (ago).
    """
    if since is not None and start is not None:
        raise click.UsageError("--since and --from both say where to begin: use one of them")
    places = (door.position(since or start or "earliest", "--from"), door.position(end, "--to"))
    warm_s = None if warm_up is None else _duration_s(warm_up)
    where = door.Where(socket, gateway_id, log_path, rules_found.lonely(config_file))
    document = door.run(_tested(where, rule_ids, places, warm_s, config_file, rules_file))
    if as_json:
        click.echo(look.document(document))
    else:
        click.echo(page(document, look.columns()))


def _duration_s(text: str) -> float:
    try:
        return parse_duration_s(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--warm-up") from None


async def _tested(
    where: door.Where,
    rule_ids: Sequence[str],
    places: tuple[str, str],
    warm_s: float | None,
    config_file: Path | None,
    rules_file: Path | None,
) -> dict[str, Any]:
    async with door.opened(where) as connection:
        from gateway.rules.backtest import Backtest
        from gateway.rules.wording import longest_s

        found = await rules_found.rules_of(connection, config_file, rules_file)
        chosen = _chosen(found, rule_ids)
        if warm_s is None:
            warm_s = max(WARM_UP_MIN_S, WARM_UP_TIMES * max(map(longest_s, chosen), default=0.0))
        span = await _span(connection, places, warm_s)
        test = Backtest(chosen, found.channels, first=span.first, begin_ns=span.begin_ns, end_ns=span.end_ns)
        records = connection.records(span.warm, span.upto)
        with Progress("event", span.upto - span.warm) as progress:
            async for events in records.commits():
                test.read(events)
                progress.at(events[-1].offset + 1 - span.warm)
        test.finish(span.now_ns)
        return _document(test, span, found, records.damaged)


def _chosen(found: Rules, rule_ids: Sequence[str]) -> list[RuleConfig]:
    known = [rule.id for rule in found.rules]
    for wanted in rule_ids:
        if wanted not in known:
            listed = f"it has {', '.join(known)}" if known else "it has none"
            raise NoSuchRule(f"{found.file} has no rule {wanted!r}{did_you_mean(wanted, known)}; {listed}")
    if not known:
        raise NoSuchRule(f"{found.file} holds no rules")
    return [rule for rule in found.rules if not rule_ids or rule.id in rule_ids]


async def _span(connection: Connection, places: tuple[str, str], warm_s: float) -> Span:
    start, end = places
    ends = await connection.ask("span", {"from": start, "to": end})
    first, upto = max(ends["first"], ends["first_offset"]), ends["next"]
    now_ns = SystemClock().wall_ns()
    begin_ns = await _recorded_ns(connection, first, upto, now_ns)
    trimmed = ends["first"] < ends["first_offset"]
    if start.startswith("time:"):
        asked_ns = time_ns(start.removeprefix("time:"))
        trimmed = first == ends["first_offset"] and asked_ns < begin_ns
        begin_ns = begin_ns if trimmed else asked_ns
    live = end == "latest" and not connection.alone
    end_ns = now_ns if live else await _recorded_ns(connection, max(first, upto - 1), upto, begin_ns)
    if end.startswith("time:"):
        end_ns = min(time_ns(end.removeprefix("time:")), now_ns)
    warm = first
    if warm_s:
        back = await connection.ask("span", {"from": f"time:{rfc3339(begin_ns - round(warm_s * NS_PER_S))}"})
        warm = min(first, max(back["first"], back["first_offset"]))
    settled_ns = now_ns - round(SETTLED_S * NS_PER_S) if live else None
    return Span(warm, first, upto, begin_ns, end_ns, warm_s, trimmed, settled_ns)


async def _recorded_ns(connection: Connection, offset: int, upto: int, otherwise: int) -> int:
    """When the first event from `offset` on was recorded."""
    for behind in (offset + 1, upto):
        if offset < upto:
            events = (await connection.ask("page", {"from": offset, "upto": min(behind, upto)}))["events"]
            if events:
                return time_ns(events[0]["recordedtime"])
    return otherwise


# -- the document -----------------------------------------------------------------------------------------------------


def _document(test: Backtest, span: Span, found: Rules, damaged: int) -> dict[str, Any]:
    return {
        "file": str(found.file),
        "from": rfc3339(span.begin_ns),
        "to": rfc3339(span.end_ns),
        "first_offset": span.first,
        "next_offset": span.upto,
        "events": test.events,
        "warm_up_events": test.warm_up_events,
        "warm_up_s": span.warm_s,
        "log_begins_later": span.trimmed,
        "thinned": test.thinned,
        "damaged": damaged,
        "channels_known": found.whole,
        "channels": dict(test.channels()),
        "rules": [_rule(test, rule_id, trial) for rule_id, trial in test.trials.items()],
    }


def _rule(test: Backtest, rule_id: str, trial: Trial) -> dict[str, Any]:
    from gateway.rules.wording import asked, guards_asked, limit_of

    selected = test.selected(rule_id)
    part = test.engine.parts[rule_id]
    return {
        "id": rule_id,
        "hash": trial.config.hash,
        "operator": trial.config.when.operator,
        "asked": asked(trial.config),
        "only_if": guards_asked(trial.config),
        "limit": limit_of(trial.config),
        "failed": trial.failed,
        "events": sum(seen.n for _, _, seen in selected),
        "selected": [
            {"subject": subject, "type": kind, "events": seen.n, "low": seen.low, "high": seen.high}
            for kind, subject, seen in selected[:CHANNELS_SHOWN]
        ],
        "guarded": part.rule.guarded,
        "under_way": test.under_way(rule_id),
        "raised_before": trial.before,
        "fired": trial.fired,
        "recorded": trial.recorded,
        "same": trial.same,
        "only_now": trial.only_now,
        "only_recorded": trial.only_recorded,
        "timeline": {
            "now": trial.cells,
            "raised": [bool(cell) for cell in trial.raised_cells],
            "recorded": trial.recorded_cells,
        },
        "firings": [_firing(firing) for firing in sorted(trial.kept, key=lambda one: one.time)],
    }


def _firing(firing: Firing) -> dict[str, Any]:
    ended = firing.ended
    return {
        "time": rfc3339(firing.time),
        "what": firing.kind,
        "key": firing.key,
        "value": firing.value,
        "unit": firing.unit,
        "ended": None if ended is None else rfc3339(ended),
        "end": firing.end,
        "lasted_s": None if ended is None else round((ended - firing.time) / NS_PER_S, 3),
        "now": firing.now,
        "recorded": firing.recorded,
        "id": firing.id,
        "data": {name: value for name, value in firing.data.items() if name not in {"matched", "rulekey"}},
    }
