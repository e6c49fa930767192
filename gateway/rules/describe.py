"""What a person is told of an engine as it is: its rules, their keys, what comes next, what bounds have cost. Pure.

The document is plain values, ready for JSON. Times are RFC 3339 as the wall clock has them, spans are seconds from
`now`. Each operator tells of its own keys (`State.told`); here they are only put in order.
"""

from __future__ import annotations

from heapq import nsmallest
from itertools import islice
from typing import Any, Final

from gateway.clock import NS_PER_S
from gateway.rules.context import Context
from gateway.rules.engine import Engine, Part
from gateway.rules.keys import Keys
from gateway.rules.operators.base import State
from gateway.rules.timers import NEVER
from gateway.rules.told import Told
from gateway.rules.wording import asked

KEYS_SHOWN: Final = 20
"""Keys of a rule that are told of one by one. What is under way comes first, then what is due first."""

KEYS_LOOKED_AT: Final = 200
"""Keys of a rule from which these are chosen: one half of what is due first, the other of what was used last. To look
at more would hold up the events that come."""


def described(engine: Engine, now: int, *, keys_shown: int = KEYS_SHOWN, rule_id: str | None = None) -> dict[str, Any]:
    """All rules, or one, at rule time `now` (ns). With `keys_shown` 0 keys are only counted, at no cost."""
    chosen = [part for part in engine.parts.values() if rule_id is None or part.rule.id == rule_id]
    return {
        "counts": {
            "late": engine.late,
            "derived": engine.derived,
            "failed": engine.failures,
            "without_result": engine.context.expr_errors,
        },
        "rules": [_rule(part, now, keys_shown) for part in chosen],
    }


def _rule(part: Part, now: int, keys_shown: int) -> dict[str, Any]:
    rule, keys = part.rule, part.operator.keys
    return {
        "id": rule.id,
        "hash": rule.hash,
        "operator": rule.config.when.operator,
        "asked": asked(rule.config),
        "by": rule.config.key_by,
        "state": "in force" if part.active else "failed" if part.failed else "not in force",
        "reason": part.failed,
        "derived": rule.derived,
        "dropped": _dropped(part),
        "keys": len(keys),
        "keys_max": keys.keys_max,
        **(_keys(part, now, keys_shown) if keys_shown else {}),
    }


def _dropped(part: Part) -> dict[str, int]:
    """What bounds have cost, and what could not be told apart or was forbidden, by word."""
    rule = part.rule
    more = {"guarded": rule.guarded, "guard_subjects": rule.guards.evicted, "once": rule.forgotten}
    return {**part.operator.dropped(), **more}


def _keys(part: Part, now: int, keys_shown: int) -> dict[str, Any]:
    looked_at = _looked_at(part.operator.keys)
    told = [(state, state.told(now)) for state in looked_at]
    words: dict[str, int] = {}
    for _, one in told:
        words[one.state] = words.get(one.state, 0) + 1
    shown = nsmallest(keys_shown, told, key=lambda row: (row[1].quiet, row[0].due, row[0].key))
    return {
        "states": dict(sorted(words.items())),
        "looked_at": len(looked_at),
        "shown": [_key(state, one, now, part.rule.context) for state, one in shown],
    }


def _looked_at(keys: Keys[State]) -> list[State]:
    if len(keys) <= KEYS_LOOKED_AT:
        return list(keys)
    half = KEYS_LOOKED_AT // 2
    due = nsmallest(half, keys, key=lambda state: state.due)
    known = {id(state) for state in due}
    used_last = (state for state in reversed(keys.states.values()) if id(state) not in known)
    return [*due, *islice(used_last, KEYS_LOOKED_AT - half)]


def _key(state: State, told: Told, now: int, context: Context) -> dict[str, Any]:
    due = state.due if state.due < NEVER else None
    return {
        "key": state.key,
        "state": told.state,
        "since": None if told.since is None else context.told(told.since),
        "since_s": None if told.since is None else round((now - told.since) / NS_PER_S, 3),
        "n": told.n,
        "of": told.of,
        "things": told.things,
        "open": told.open,
        "value": told.value,
        "unit": told.unit,
        "then": told.then if due is not None else "",
        "due": None if due is None else context.told(due),
        "due_in_s": None if due is None else round((due - now) / NS_PER_S, 3),
    }
