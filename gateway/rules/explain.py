"""Why a derived event came about: what it names, and what the rule looked at between its beginning and its end. Pure.

An event that a rule derived names its cause and what it matched. Of what lasted (`hold`, `rate`, `absent`, `window`)
it names only the beginning, so the records in between are looked for with the rule's own selector and key. If the
rule was changed since, or is gone, its selector is not known any more: then the channel of the cause stands for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from gateway.event import Event
from gateway.rules.idle import DERIVED
from gateway.rules.keys import fixed_key, key_of
from gateway.rules.model import RuleConfig
from gateway.rules.rule import hash_of
from gateway.rules.select import RULE_TYPES, TYPES, names, subject_pattern
from gateway.rules.select_model import Source

NODES_MAX: Final = 12
"""Derived events that one explanation follows to what made them fire."""


class Named(NamedTuple):
    """An event that the derived one names: its id, and its part in it (name of a step, `cause`, empty)."""

    id: str
    part: str


class Stretch(NamedTuple):
    """Records between the beginning of what lasted and the derived event.

    `since` is RFC 3339 as the derived event tells it, `before_s` how much earlier to look. `takes` says whether a
    record of these types and subjects belongs to it.
    """

    since: str
    before_s: float
    types: Sequence[str]
    subjects: Sequence[str]
    takes: Callable[[Event], bool]


def has_reasons(event: Event) -> bool:
    """Whether a rule said it about what it saw."""
    return event.type in DERIVED and event.type != "rule.failed"


def same_rule(event: Event, rules: Sequence[RuleConfig]) -> RuleConfig | None:
    """The rule that derived the event, if it is still the same."""
    rule_id = event.subject.removeprefix("rule/")
    return next((rule for rule in rules if rule.id == rule_id and rule.hash == hash_of(event)), None)


def named(event: Event) -> list[Named]:
    """What the event names, matched ones first; each once."""
    matched, found = event.data.get("matched"), list[Named]()
    if isinstance(matched, dict):
        found += [Named(str(one), str(step)) for step, ids in matched.items() for one in ids]
    elif isinstance(matched, list):
        found += [Named(str(one), "") for one in matched]
    known = {one.id for one in found}
    if event.cause and event.cause not in known:
        found.append(Named(event.cause, "cause"))
    return found


def stretch(event: Event, rule: RuleConfig | None, cause: Event | None) -> Stretch | None:
    """What to look for between the beginning and the event; None where the event names all that there is."""
    since = event.data.get("since") or event.data.get("start")
    if not isinstance(since, str):
        return None
    if rule is None:
        if cause is None or has_reasons(cause):
            return None
        return Stretch(since, 0.0, [cause.type], [cause.subject], lambda _: True)
    source: Source = getattr(rule.when, rule.when.operator)
    wants, key = names(source), str(event.data.get("key", ""))
    before_s = rule.when.rate.over_s if rule.when.rate is not None else 0.0
    types = source.type or (RULE_TYPES if source.rule is not None else TYPES)
    return Stretch(
        since,
        before_s,
        types,
        [subject_pattern(source)],
        lambda one: wants(one.type, one.subject) and key_is(rule.key_by, one, key),
    )


def key_is(by: str, event: Event, key: str) -> bool:
    """Whether the event is one of that key."""
    fixed = fixed_key(by, event.subject)
    return (key_of(by)(event) if fixed is None else fixed) == key


def limits(event: Event) -> float | None:
    """The one limit that a level was judged by, where the event tells it."""
    limit = event.data.get("limit")
    return float(limit) if isinstance(limit, (int, float)) and not isinstance(limit, bool) else None
