"""Rules feed rules: in which order, and how deep. A circle is refused by name. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from gateway.rules.idle import DERIVED
from gateway.rules.model import RuleConfig
from gateway.rules.operators.following import conditions
from gateway.rules.select import names
from gateway.rules.select_model import Source

DEPTH_MAX: Final = 8
"""Rules on top of each other: what an event sets off ends after so many."""


class RuleCycle(ValueError):
    """Rules that feed each other. `ids` are on the circle, beginning with the first in the file."""

    def __init__(self, ids: Sequence[str]) -> None:
        self.ids = tuple(ids)
        super().__init__(f"rules feed each other in a circle: {' -> '.join([*ids, ids[0]])}")


class RulesTooDeep(ValueError):
    """More rules on top of each other than allowed. `ids` from the bottom to the top."""

    def __init__(self, ids: Sequence[str]) -> None:
        self.ids = tuple(ids)
        super().__init__(f"{len(ids)} rules stand on top of each other ({' -> '.join(ids)}), at most {DEPTH_MAX} may")


def sources(config: RuleConfig) -> Iterator[Source]:
    """Every selector of the rule's operator."""
    if config.when.sequence is not None:
        yield from conditions(config.when.sequence).values()
    else:
        yield getattr(config.when, config.when.operator)


def listened(config: RuleConfig) -> Iterator[Source]:
    """Every selector of the rule, those of its guards too."""
    yield from sources(config)
    for guard in config.only_if:
        if guard.kind == "last":
            yield guard
        elif guard.kind != "time":
            selector = guard.preceded_by or guard.not_preceded_by
            assert selector is not None
            yield selector


def feeds(configs: Sequence[RuleConfig]) -> dict[str, list[str]]:
    """Rule id -> ids of the rules whose derived events it listens to."""
    ids = [config.id for config in configs]
    heard: dict[str, list[str]] = {}
    for config in configs:
        wants = [names(source) for source in listened(config)]
        heard[config.id] = [
            other for other in ids if any(want(kind, f"rule/{other}") for want in wants for kind in DERIVED)
        ]
    return heard


def in_order(configs: Sequence[RuleConfig]) -> list[RuleConfig]:
    """The rules, each after those that it listens to; else in the order of the file.

    Raises:
        RuleCycle, RulesTooDeep: there is no such order, or it is too deep.
    """
    heard = feeds(configs)
    by_id = {config.id: config for config in configs}
    done: dict[str, list[str]] = {}  # id -> the longest chain below it, itself included
    for config in configs:
        _visit(config.id, heard, done, [])
    deepest = max(done.values(), key=len, default=[])
    if len(deepest) > DEPTH_MAX:
        raise RulesTooDeep(deepest)
    return [by_id[rule_id] for rule_id in done]


def _visit(rule_id: str, heard: dict[str, list[str]], done: dict[str, list[str]], way: list[str]) -> None:
    if rule_id in done:
        return
    if rule_id in way:
        raise RuleCycle(list(reversed(way[way.index(rule_id) :])))
    for below in heard[rule_id]:
        _visit(below, heard, done, [*way, rule_id])
    chains = [done[below] for below in heard[rule_id]]
    done[rule_id] = [*max(chains, key=len, default=[]), rule_id]
