"""`gateway rules explain`: which events made a rule fire, as a timeline, down to the ones that no rule derived."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from gateway.cli import door, look, rules_found
from gateway.cli.explain_page import SHOWN_MAX, Why, document, local, page
from gateway.cli.progress import Progress
from gateway.clock import NS_PER_S
from gateway.errors import ConfigError, GatewayError
from gateway.event import Event, rfc3339
from gateway.foreign import from_builtins
from gateway.locations import NoConfiguration
from gateway.position import time_ns

if TYPE_CHECKING:
    from gateway.client import Connection
    from gateway.rules.explain import Stretch
    from gateway.rules.model import RuleConfig


_ID = re.compile(r"(?:([0-9a-f]{16})-)?([1-9][0-9]{0,18})")


class Unexplained(GatewayError):
    """There is no such event, or nothing derived it."""


class Rules(NamedTuple):
    """The rules as they are written now; none, and why, where they cannot be read."""

    configs: Sequence[RuleConfig] = ()
    trouble: str = ""


@click.command("explain", short_help="Show which events made a rule fire.")
@click.argument("event_id", metavar="EVENT-ID")
@rules_found.options
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@door.options
def explain(
    event_id: str,
    config_file: Path | None,
    rules_file: Path | None,
    socket: Path | None,
    gateway_id: str | None,
    log_path: Path | None,
    *,
    as_json: bool,
) -> None:
    """Show which events made a rule say what it said, as a timeline, with times from there.

    EVENT-ID is the id of an event that a rule derived (rule.raised, rule.matched ..), or its offset alone. `gateway
    tail --type 'rule.*' --json` shows ids, `gateway rules backtest` offsets. What was derived from other rules is
    followed down to the events of devices.
    """
    found = _ID.fullmatch(event_id)
    if found is None:
        expected = "expected an id such as 5f0c9a31d2e47b88-1234, or an offset such as 1234"
        raise click.BadParameter(f"found {event_id!r}, {expected}", param_hint="EVENT-ID")
    where = door.Where(socket, gateway_id, log_path, rules_found.lonely(config_file))
    why = door.run(_explained(where, found[1], int(found[2]), config_file, rules_file))
    if as_json:
        click.echo(look.document(document(why)))
    else:
        click.echo(page(why, look.columns()))


# -- finding out ------------------------------------------------------------------------------------------------------


async def _explained(
    where: door.Where, run: str | None, offset: int, config_file: Path | None, rules_file: Path | None
) -> Why:
    async with door.opened(where) as connection:
        event = await _asked_for(connection, run, offset)
        try:
            rules = Rules((await rules_found.rules_of(connection, config_file, rules_file)).rules)
        except (ConfigError, NoConfiguration) as error:
            if config_file or rules_file:
                raise
            rules = Rules(trouble=f"{error}".splitlines()[0])
        return await _Explanation(connection, rules).of(event)


async def _asked_for(connection: Connection, run: str | None, offset: int) -> Event:
    """The event that is to be explained.

    Raises:
        Unexplained: there is none, or no rule derived it.
    """
    from gateway.rules.explain import has_reasons

    ends = await connection.ask("span")
    if offset < ends["first_offset"]:
        bounds = await connection.log()
        begins = f", {local(bounds['oldest'])}" if bounds["oldest"] else ""
        first = ends["first_offset"]
        raise Unexplained(f"event {offset} is no longer in the log, which begins at offset {first}{begins}")
    if offset >= ends["next"]:
        raise Unexplained(f"there is no event {offset} yet: the newest one is {ends['next'] - 1}")
    event = await _event(connection, offset)
    if event is None:
        raise Unexplained(f"offset {offset} holds no event that can be read: a log.gap may tell why")
    if run is not None and event.run != run:
        raise Unexplained(f"offset {offset} belongs to {event.id}: {run}-{offset} is an event of another log")
    if not has_reasons(event):
        raise Unexplained(f"{event.id} is {_what_it_is(event)}: it was not derived by a rule from other events")
    return event


async def _event(connection: Connection, offset: int) -> Event | None:
    page = await connection.ask("page", {"from": offset, "upto": offset + 1})
    return from_builtins(page["events"][0]) if page["events"] else None


def _what_it_is(event: Event) -> str:
    value = " ".join(filter(None, look.measure(event.value, event.unit))) if event.value is not None else ""
    parts = [f"a {event.type} of {look.printable(event.subject)}", value, f"at {local(rfc3339(event.time))}"]
    return ", ".join(filter(None, parts))


class _Explanation:
    """Follows events to what made them. At most so many of them, each once."""

    def __init__(self, connection: Connection, rules: Rules) -> None:
        self._connection, self._rules = connection, rules
        self._explained = 0

    async def of(self, event: Event, depth: int = 0) -> Why:
        from gateway.rules import explain
        from gateway.rules.graph import DEPTH_MAX
        from gateway.rules.wording import asked

        self._explained += 1
        rule = explain.same_rule(event, self._rules.configs)
        why = Why(event, "" if rule is None else asked(rule), "" if rule is not None else self._note(event))
        entries = await self._named(why)
        cause = next((one for one, _ in entries.values() if one.id == event.cause), None)
        wanted = explain.stretch(event, rule, cause)
        if wanted is not None:
            await self._between(why, entries, wanted, cause)
        why.entries = sorted(entries.values(), key=lambda row: (row[0].time, row[0].offset))
        for one, _ in why.entries:
            if explain.has_reasons(one) and depth < DEPTH_MAX and self._explained < explain.NODES_MAX:
                why.below[one.offset] = await self.of(one, depth + 1)
        return why

    def _note(self, event: Event) -> str:
        rule_id = event.subject.removeprefix("rule/")
        if self._rules.trouble:
            return f"what the rule asks for is not known here: {self._rules.trouble}"
        if any(rule.id == rule_id for rule in self._rules.configs):
            return f"rule {rule_id} was changed since: shown is what the event names, and the channel of its cause"
        return f"there is no rule {rule_id} any more: shown is what the event names, and the channel of its cause"

    async def _named(self, why: Why) -> dict[int, tuple[Event, str]]:
        from gateway.rules.explain import named

        entries: dict[int, tuple[Event, str]] = {}
        for one in named(why.event):
            run, _, offset = one.id.partition("-")
            found = await _event(self._connection, int(offset)) if offset.isdigit() and int(offset) else None
            if found is None or found.run != run:
                why.missing.append(one.id)
            else:
                entries[found.offset] = (found, one.part)
        return entries

    async def _between(
        self, why: Why, entries: dict[int, tuple[Event, str]], wanted: Stretch, cause: Event | None
    ) -> None:
        """Add the first and the last of what lies between, and count the rest."""
        since_ns = time_ns(wanted.since) - round(wanted.before_s * NS_PER_S)
        ends = await self._connection.ask("span", {"from": f"time:{rfc3339(since_ns)}"})
        first, upto = max(ends["first"], ends["first_offset"]), why.event.offset
        if cause is not None and not wanted.before_s:
            first = min(first, cause.offset)
        chosen = {"types": list(wanted.types), "subjects": list(wanted.subjects)}
        head: list[Event] = []
        tail: deque[Event] = deque(maxlen=SHOWN_MAX // 2)
        passed = 0
        with Progress("event", max(0, upto - first)) as progress:
            async for found in self._connection.pages(first, upto, chosen):
                progress.at(found["next"] - first)
                for event in map(from_builtins, found["events"]):
                    if event.offset in entries or not wanted.takes(event) or _outside(event, why.event, since_ns):
                        continue
                    if len(head) < SHOWN_MAX // 2:
                        head.append(event)
                    else:
                        passed += 1
                        tail.append(event)
        entries.update((event.offset, (event, "")) for event in [*head, *tail])
        why.left_out, why.resumes = passed - len(tail), tail[0].offset if tail else 0


def _outside(event: Event, derived: Event, since_ns: int) -> bool:
    """Whether its time lies before the beginning, or not before the end of a window."""
    end = derived.data.get("end")
    if not (event.synced and derived.synced):  # corrected times say nothing about those that were told
        return False
    return event.time < since_ns or (isinstance(end, str) and event.time >= time_ns(end))
