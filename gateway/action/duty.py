"""Who does an action, and when: one consumer of the log for each, which events of the rule start it.

Publish, webhook, log and notify are done at least once: their cursor moves when they have succeeded. An output is told
at most once: its cursor moves before it is told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from gateway.action.model import ActionConfig, Phase
from gateway.event import Event

TYPES: Final[Mapping[Phase, frozenset[str]]] = {
    "do": frozenset({"rule.raised", "rule.matched", "rule.window"}),
    "on_cleared": frozenset({"rule.cleared"}),
    "on_timeout": frozenset({"rule.timeout"}),
}
"""Which events of its rule start an action. `rule.unknown` starts none."""


class Duty(NamedTuple):
    """One action of one rule, and the name of the consumer that does it."""

    name: str
    rule: str
    phase: Phase
    action: ActionConfig

    def wants(self, event: Event) -> bool:
        return event.type in TYPES[self.phase] and event.subject == f"rule/{self.rule}"


def duties(rule_id: str, actions: Mapping[Phase, Sequence[ActionConfig]]) -> list[Duty]:
    """A consumer for each action: `rule/cellar-hot/do/webhook`, the second one of that kind `webhook-2`.

    So a cursor stays with its action when its URL is mended, or when an action of another kind is put before it.
    """
    found = []
    for phase, listed in actions.items():
        seen: Counter[str] = Counter()
        for action in listed:
            seen[action.kind] += 1
            which = f"{action.kind}-{seen[action.kind]}" if seen[action.kind] > 1 else action.kind
            found.append(Duty(f"rule/{rule_id}/{phase}/{which}", rule_id, phase, action))
    return found
