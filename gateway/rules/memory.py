"""What a rule can come to hold at worst: an estimate on the safe side, in bytes of a 64-bit CPython. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

from gateway.rules.graph import listened
from gateway.rules.guards import SUBJECTS_MAX
from gateway.rules.keys import fixed_key
from gateway.rules.model import RuleConfig
from gateway.rules.operators.following import conditions, pattern
from gateway.rules.select import exact_subject
from gateway.rules.select_model import Source

KEY: Final = 900
"""A key's text of usual length, its place among the keys, its timer, and what every state has."""

SAMPLE: Final = 112
"""A time and a value in a list of their own."""

REFERENCE: Final = 520
"""An event that a sequence keeps: offset, time, subject, value, and the list around them."""

PARTIAL: Final = 480
AGGREGATE: Final = 160
PANE: Final = 480
PREVIOUS: Final = 240


class Need(NamedTuple):
    """At worst: so many keys, so many bytes for each, and for the rule as a whole."""

    keys: int
    key_bytes: int
    bytes: int


def need(config: RuleConfig) -> Need:
    """The worst case of one rule."""
    keys = _keys(config)
    key_bytes = 0 if config.when.event is not None else KEY + _own(config)
    subjects = [_subjects(one, config.keys_max) for one in _selectors(config) if getattr(one, "changed", None)]
    subjects += [_subjects(one, SUBJECTS_MAX) for one in listened(config) if one not in _selectors(config)]
    once = PREVIOUS * keys if config.once else 0
    return Need(keys, key_bytes, keys * key_bytes + sum(subjects) * PREVIOUS + once)


def _subjects(source: Source, subjects_max: int) -> int:
    return 1 if exact_subject(source) is not None else subjects_max


def _keys(config: RuleConfig) -> int:
    """How many there can be: one where the subject is known, else the bound."""
    if config.key_by == "none":
        return 1
    subjects = [exact_subject(selector) for selector in _selectors(config)]
    known = [None if subject is None else fixed_key(config.key_by, subject) for subject in subjects]
    if None in known:
        return config.keys_max
    return len(set(known))


def _selectors(config: RuleConfig) -> list[Source]:
    if config.when.sequence is not None:
        return list(conditions(config.when.sequence).values())
    return [getattr(config.when, config.when.operator)]


def _own(config: RuleConfig) -> int:
    """Bytes of one key beyond what every key has."""
    when = config.when
    if when.count is not None:
        return when.count.at_least * SAMPLE
    if when.rate is not None:
        return when.rate.samples_max * SAMPLE
    if when.sequence is not None:
        compiled = pattern(when.sequence.model_copy(update={"where": []}))
        return compiled.partials_max * (PARTIAL + compiled.events_max * REFERENCE)
    if when.window is None:
        return 0
    window = when.window
    panes = 1
    if window.hopping is not None:
        panes = int(window.hopping.size_s / window.hopping.every_s) + 2
    if window.sliding_s is not None or window.count is not None:
        return window.samples_max * 2 * SAMPLE + PANE
    ranked = sum(1 for kind in window.of.values() if not isinstance(kind, str) or kind == "median")
    return panes * (PANE + len(window.of) * AGGREGATE + ranked * window.samples_max * 40)
