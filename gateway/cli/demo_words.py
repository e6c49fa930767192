"""What the demo says of an event: values as a person reads them, and what rules found in a few words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

import click

from gateway.cli import look
from gateway.cli.tail import TYPE_COLOUR
from gateway.demo import Seen
from gateway.event import VALUE_TYPES, Value
from gateway.rules.idle import DERIVED as DERIVED_TYPES
from gateway.rules.model import RuleConfig

TEXT_MAX = 16
"""Characters shown of a value that is a text."""

NAME_COLUMNS, VERB_COLUMNS, LINE_COLUMNS = 20, 7, 96

SHORTLY: Mapping[str, str] = {
    "device.available": "answers",
    "device.unavailable": "stopped answering",
    "gateway.started": "started",
    "gateway.stopped": "stopped in good order",
    "config.loaded": "configuration loaded",
    "rule.started": "in force",
}
"""Frequent events in fewer words than their description has."""

DERIVED = frozenset(kind.removeprefix("rule.") for kind in DERIVED_TYPES) - {"failed"}
"""What a rule says, as `rule.raised`."""

FIRED = DERIVED - {"cleared", "unknown"}
"""Of that, what says that the rule found what it looks for."""

SEVERITY_COLOUR = {"warning": "yellow", "error": "red", "critical": "bright_red"}

_UNITS: Mapping[str | None, Callable[[float], str]] = {
    "Cel": lambda v: f"{v:.1f} °C",
    "%RH": lambda v: f"{v:.1f} %",
    "Pa": lambda v: f"{v / 100:.1f} hPa",
    "lx": lambda v: f"{v:.0f} lx",
    "m": lambda v: f"{v:.2f} m",
    "s": look.duration,
    "/": lambda v: f"{v * 100:.1f} %",
    "B": lambda v: look.size(round(v)),
    "1": lambda v: f"{v:.2f}",
    None: lambda v: f"{v:g}",
}


def human(value: Value, unit: str | None) -> str:
    """A value as a person says it: `21.5 °C`, `48.0 %`, `on`, `-` for none."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, str):
        return value if len(value) <= TEXT_MAX else value[: TEXT_MAX - 1] + "…"
    known = _UNITS.get(unit)
    return known(value) if known else f"{value:.3g} {unit}"


def verb(event: Seen) -> str | None:
    """`raised` of what a rule says; None for every other event."""
    said = event.kind.removeprefix("rule.")
    return said if said != event.kind and said in DERIVED else None


def happened(event: Seen, rules: Mapping[str, RuleConfig]) -> str:
    """An event that is no measurement, in words."""
    if verb(event):
        return derived(event, rules.get(event.subject.removeprefix("rule/")))
    said = human(event.value, event.unit) if event.kind in VALUE_TYPES else SHORTLY.get(event.kind, event.told)
    because = f": {event.reason}" if event.reason else ""
    return click.style(said + because, fg=TYPE_COLOUR.get(event.kind))


def derived(event: Seen, rule: RuleConfig | None) -> str:
    """What a rule says: `pump.knock            matched  3 in 10 s`, coloured by how bad it is."""
    name, said = str(event.data.get("name", "")), verb(event) or ""
    head = f"{look.pad(name, NAME_COLUMNS)}  {look.pad(said, VERB_COLUMNS)}"
    return f"{click.style(head, fg=_colour(event))}  {_detail(event, rule)}".rstrip()


def _colour(event: Seen) -> str | None:
    if event.kind == "rule.cleared":
        return "green"
    return SEVERITY_COLOUR.get(str(event.data.get("severity")), "cyan" if event.kind != "rule.window" else None)


def _detail(event: Seen, rule: RuleConfig | None) -> str:
    """What it found. Only the rule knows how long its windows are; what happened stands in the event."""
    data, value = event.data, human(event.value, event.unit)
    operator = rule.when.operator if rule else ""
    if event.kind == "rule.window":
        return ", ".join(f"{name} {human(data[name], event.unit)}" for name in _aggregates(rule) if name in data)
    if "gap_s" in data:
        words = "silent for" if event.kind == "rule.raised" else "back after"
        return f"{data.get('key', '')} {words} {look.duration(data['gap_s'])}".lstrip()
    if rule is not None and rule.when.count is not None:
        return f"{data.get('n', '')} in {look.duration(rule.when.count.within_s)}"
    if operator == "sequence" and "first" in data:
        took_s = (datetime.fromisoformat(event.time) - datetime.fromisoformat(data["first"])).total_seconds()
        who = f"{value} " if isinstance(event.value, str) else ""
        return f"{who}after {look.duration(took_s)}"
    if rule is not None and rule.when.rate is not None:
        value += f" in {look.duration(rule.when.rate.per_s)}"
    if data.get("held_s"):
        return f"{value} {'after' if event.kind == 'rule.cleared' else 'for'} {look.duration(data['held_s'])}"
    return f"{data.get('key', '')} {value}".lstrip() if operator == "event" else value


def _aggregates(rule: RuleConfig | None) -> Iterable[str]:
    return rule.when.window.of if rule is not None and rule.when.window is not None else ()


def waits_for(rule: RuleConfig) -> str:
    """What must pass before the rule can fire: `lasting 5 min`. Empty where one event is enough."""
    when = rule.when
    if when.hold is not None and when.hold.for_s:
        return f"lasting {look.duration(when.hold.for_s)}"
    if when.rate is not None and when.rate.min_span_s:
        return f"over {look.duration(when.rate.min_span_s)}"
    if when.absent is not None:
        return f"silent for {look.duration(when.absent.for_s)}"
    if when.window is not None and when.window.tumbling_s:
        return f"every {look.duration(when.window.tumbling_s)}"
    if when.sequence is not None and when.sequence.within_s:
        is_absence = when.sequence.steps[-1].kind == "not"
        return f"{'nothing for' if is_absence else 'within'} {look.duration(when.sequence.within_s)}"
    return ""


def told(rules: Iterable[RuleConfig], fired: Mapping[str, int]) -> list[str]:
    """How often each rule fired, in one line, and further ones that name those that did not and what they wait for."""
    known = list(rules)
    often = sorted(((rule.id, fired.get(rule.id, 0)) for rule in known), key=lambda one: (-one[1], one[0]))
    listed = ", ".join(f"{rule_id} {look.count(n)}" for rule_id, n in often if n)
    total = sum(n for _, n in often)
    lines = [f"{len(known)} in force, fired {look.counted(total, 'time')}{': ' if listed else ''}{listed}"]
    quiet = [rule for rule in known if not fired.get(rule.id)]
    if quiet:
        named = (f"{rule.id} ({waits})" if (waits := waits_for(rule)) else rule.id for rule in quiet)
        lines += look.wrap(f"not yet: {', '.join(named)}", LINE_COLUMNS)
    return lines
