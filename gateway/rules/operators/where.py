"""`where`: what the events of a sequence's steps have in common. Pure.

A comparison becomes a question to the event that would fill the later of its two steps. Of the events that a sequence
keeps only what may be asked of them: `Reference`, [offset, time, subject, value, other fields that `where` reads].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from gateway.event import Event
from gateway.rules import cel
from gateway.rules.select import Failed, same
from gateway.rules.sequence import Where
from gateway.rules.sequence_model import COMPARISONS, Comparison, SequenceConfig

Reference = list[Any]
OFFSET, AT, SUBJECT, VALUE, FIELDS = range(5)

_COMPARE: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "is_": lambda left, right: left == right,
    "not_": lambda left, right: left != right,
    "above": lambda left, right: left > right,
    "below": lambda left, right: left < right,
    "at_least": lambda left, right: left >= right,
    "at_most": lambda left, right: left <= right,
}


def wheres(config: SequenceConfig, order: list[str], failed: Failed) -> dict[str, Where]:
    """Condition name -> what is asked of an event that would fill it. `order`: the names in the order of the steps."""
    asked: dict[str, list[Where]] = {}
    for comparison in config.where:
        name, where = _where(comparison, order, failed)
        asked.setdefault(name, []).append(where)
    return {name: _every(questions) for name, questions in asked.items()}


def _every(questions: list[Where]) -> Where:
    if len(questions) == 1:
        return questions[0]
    return lambda matched, event: all(question(matched, event) for question in questions)


def _where(comparison: Comparison, order: list[str], failed: Failed) -> tuple[str, Where]:
    if comparison.expr is not None:
        return _where_expr(comparison.expr, order, failed)
    assert comparison.left is not None
    word = next(name for name in COMPARISONS if getattr(comparison, name) is not None)
    left_step, _, left_field = comparison.left.partition(".")
    right = getattr(comparison, word)
    right_step, dot, right_field = right.partition(".") if isinstance(right, str) else ("", "", "")
    compare = _COMPARE[word]
    if not dot or right_step not in order:
        return left_step, _with_value(word, left_field, right)
    if left_step == right_step:
        return left_step, lambda _, event: _compared(compare, field_of(event, left_field), field_of(event, right_field))
    if order.index(left_step) > order.index(right_step):
        here, there, flipped = (left_step, left_field), (right_step, right_field), False
    else:
        here, there, flipped = (right_step, right_field), (left_step, left_field), True

    def where(matched: Any, event: Reference) -> bool:
        others = matched.get(there[0])
        if not others:  # the other step was left out
            return True
        own, other = field_of(event, here[1]), field_of(others[-1], there[1])
        return _compared(compare, other, own) if flipped else _compared(compare, own, other)

    return here[0], where


def _with_value(word: str, field: str, value: Any) -> Where:
    if word not in {"is_", "not_"}:
        return lambda _, event: _compared(_COMPARE[word], field_of(event, field), value)
    equal, wanted = same(value), word == "is_"
    return lambda _, event: (own := field_of(event, field)) is not None and equal(own) is wanted


def _where_expr(text: str, order: list[str], failed: Failed) -> tuple[str, Where]:
    used = cel.names_in(text, order)
    last = max(used, key=order.index, default=order[-1])
    holds = cel.steps_condition(text, order, failed)

    def where(matched: Any, event: Reference) -> bool:
        steps = {name: as_fields(events[-1]) for name, events in matched.items()}
        return holds({**steps, last: as_fields(event)})

    return last, where


def _compared(compare: Callable[[Any, Any], bool], left: Any, right: Any) -> bool:
    """What cannot be compared does not fit."""
    if left is None or right is None:
        return False
    try:
        return compare(left, right)
    except TypeError:
        return False


def field_of(known: Reference, name: str) -> Any:
    match name:
        case "value":
            return known[VALUE]
        case "subject":
            return known[SUBJECT]
        case "device":
            return known[SUBJECT].partition("/")[0]
        case "channel":
            return known[SUBJECT].partition("/")[2]
        case "time":
            return known[AT]
        case _:
            return (known[FIELDS] or {}).get(name)


def as_fields(known: Reference) -> dict[str, Any]:
    fields = {name: field_of(known, name) for name in ("value", "subject", "device", "channel", "time")}
    return {**(known[FIELDS] or {}), **fields}


_OWN: Final = frozenset({"value", "subject", "device", "channel", "time"})


def fields_read(config: SequenceConfig) -> tuple[str, ...]:
    """Keys of events' data that `where` reads."""
    named: dict[str, None] = {}
    for comparison in config.where:
        texts = [comparison.left, *(getattr(comparison, word) for word in COMPARISONS)]
        fields = [text.partition(".")[2] for text in texts if isinstance(text, str)]
        named |= dict.fromkeys(field for field in fields if field and field not in _OWN)
        named |= dict.fromkeys(field for field in cel.fields_in(comparison.expr or "") if field not in _OWN)
    return tuple(named)


def read_fields(event: Event, fields: tuple[str, ...]) -> dict[str, Any]:
    return {name: event.data.get(name) for name in fields}
