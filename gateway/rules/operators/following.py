"""`sequence`: one thing after another. The matcher is in `gateway.rules.sequence`; here it meets events.

A matcher keeps small references instead of events: [offset, time, subject, value, other fields that `where` reads].
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from gateway.event import Event
from gateway.rules import cel
from gateway.rules.keys import fixed_key
from gateway.rules.operators.base import Judge, Operator, State, by_attribute, ns
from gateway.rules.rule import Rule
from gateway.rules.select import Failed, Fits, Previous, fit, names, same
from gateway.rules.select_model import Selector
from gateway.rules.sequence import AllOf, Condition, Match, Matcher, Not, Pattern, Step, Timeout, Where
from gateway.rules.sequence_model import COMPARISONS, Comparison, SequenceConfig, StepConfig
from gateway.rules.timers import NEVER

Reference = list[Any]
_OFFSET, _AT, _SUBJECT, _VALUE, _FIELDS = range(5)

_COMPARE: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "is_": lambda left, right: left == right,
    "not_": lambda left, right: left != right,
    "above": lambda left, right: left > right,
    "below": lambda left, right: left < right,
    "at_least": lambda left, right: left >= right,
    "at_most": lambda left, right: left <= right,
}


class Attempts(State):
    """One key's matcher, and its deadline."""

    __slots__ = ("_operator", "matcher")

    def __init__(self, key: str, operator: SequenceOperator, matcher: Matcher) -> None:
        super().__init__(key, operator.rule)
        self._operator, self.matcher = operator, matcher

    def speaks(self, at: int) -> bool:
        kept = self.matcher.snapshot()
        told = self._operator.tells(self.matcher.advance(at))
        self.matcher.restore(kept)
        return bool(told) and self.rule.may_speak(self.key, at)

    def fire(self, at: int) -> None:
        self._operator.advance(self, at)

    def dump(self) -> list[Any]:
        return self.matcher.snapshot()

    def load(self, kept: list[Any]) -> None:
        self.matcher.restore(kept)


class SequenceOperator(Operator[Attempts]):
    """`sequence:` says `rule.matched`, and `rule.timeout` where the rule has `on_timeout`."""

    def __init__(self, rule: Rule) -> None:
        config = rule.config.when.sequence
        assert config is not None
        super().__init__(rule, None)
        self._selectors = conditions(config)
        self._fields = _fields(config)
        self.pattern = pattern(config, self.context.expr_failed)
        self.previous = {name: Previous(rule.config.keys_max) for name in self._selectors}
        self._fits: dict[str, Fits] = {
            name: fit(selector, self.previous[name], failed=self.context.expr_failed)
            for name, selector in self._selectors.items()
        }
        self._wants = {name: names(selector) for name, selector in self._selectors.items()}
        self._tells_timeouts = rule.config.on_timeout is not None

    def new(self, key: str) -> Attempts:
        return Attempts(key, self, Matcher(self.pattern))

    def start(self, at: int) -> None:
        super().start(at)
        for previous in self.previous.values():
            previous.restore({})
        if self.by == "none":
            self.keys.make("").matcher.advance(at)

    def dropped(self) -> dict[str, int]:
        matchers = [attempts.matcher for attempts in self.keys]
        return super().dropped() | {
            "partials": sum(matcher.partials_dropped for matcher in matchers),
            "repetitions": sum(matcher.repetitions_dropped for matcher in matchers),
        }

    def snapshot(self) -> list[Any]:
        return [*super().snapshot(), [previous.snapshot() for previous in self.previous.values()]]

    def restore(self, kept: list[Any]) -> list[tuple[int, int, Attempts]]:
        *common, values = kept
        for previous, known in zip(self.previous.values(), values, strict=True):
            previous.restore(known)
        return super().restore(common)

    def judge(self, event_type: str, subject: str) -> Judge | None:
        named = [name for name, wants in self._wants.items() if wants(event_type, subject)]
        if not named:
            return None
        key = fixed_key(self.by, subject)
        if key is not None:
            return self._judge(named, subject, key)
        return by_attribute(self.by, self.keys, lambda key: self._judge(named, subject, key))

    def judge_keyed(self, subject: str, key: str) -> Judge:
        raise AssertionError(f"{subject} {key}: which conditions an event may fit depends on its type, too")

    def _judge(self, named: list[str], subject: str, key: str) -> Judge:
        states, touch, make = self.keys.states, self.keys.touch, self.keys.make
        tests = [(name, self._fits[name]) for name in named]
        fields, here, found_by, settle = self._fields, self.context, self._found, self._settle
        masks = {1 << index: name for index, (name, _) in enumerate(tests)}
        fitting: dict[int, tuple[str, ...]] = {}
        numbered = [(1 << index, fits) for index, (_, fits) in enumerate(tests)]

        def judge(event: Event, at: int) -> None:
            mask = 0
            for bit, fits in numbered:
                if fits(event):
                    mask |= bit
            if not mask:
                return
            attempts = states.get(key)
            if attempts is None:
                attempts = make(key)
            else:
                touch(key)
            fit_names = fitting.get(mask)
            if fit_names is None:
                fit_names = fitting[mask] = tuple(name for bit, name in masks.items() if mask & bit)
            known = [here.offset, at, subject, event.value, read_fields(event, fields) if fields else None]
            matcher = attempts.matcher
            if found := matcher.feed(at, fit_names, known):
                found_by(attempts, found)
            settle(attempts)

        return judge

    def advance(self, attempts: Attempts, at: int) -> None:
        self._found(attempts, attempts.matcher.advance(at))
        self._settle(attempts)

    def _settle(self, attempts: Attempts) -> None:
        deadline = attempts.matcher.deadline
        if deadline is None:
            if attempts.due < NEVER:
                self.context.timers.disarm(attempts)
        elif deadline != attempts.due:
            self.context.timers.arm(attempts, deadline)

    def _found(self, attempts: Attempts, found: Any) -> None:
        for one in self.tells(found):
            self._tell(attempts.key, one)

    def tells(self, found: Iterable[Match | Timeout]) -> list[Match | Timeout]:
        """What of it is said."""
        return [one for one in found if self._tells_timeouts or isinstance(one, Match)]

    def _tell(self, key: str, found: Match | Timeout) -> None:
        offsets = {name: [event[_OFFSET] for event in events] for name, events in found.steps.items()}
        times = [event[_AT] for events in found.steps.values() for event in events]
        newest = max((event for events in found.steps.values() for event in events), key=lambda one: one[_OFFSET])
        own: dict[str, Any] = {"first": self.context.told(min(times)), "last": self.context.told(max(times))}
        own["matched"] = {name: self.rule.matched(known) for name, known in offsets.items()}
        kind: Any = "matched" if isinstance(found, Match) else "timeout"
        self.rule.speak(kind, key, found.at, own, value=newest[_VALUE], cause=newest[_OFFSET])


def conditions(config: SequenceConfig) -> dict[str, Selector]:
    """Name -> selector of everything that an event may fit, in the order of the steps."""
    return {name: selector for n, step in enumerate(config.steps, 1) for name, selector in _of_step(step, n)}


def _of_step(step: StepConfig, index: int) -> list[tuple[str, Selector]]:
    if step.kind in {"all", "any"}:
        branches = step.all or step.any or []
        return [(one.as_ or f"step{index}.{n}", one) for n, one in enumerate(branches, 1)]
    if step.kind == "not":
        assert isinstance(step.not_, Selector)
        return [(step.as_ or f"not{index}", step.not_)]
    return [(step.as_ or f"step{index}", step)]


def pattern(config: SequenceConfig, failed: Failed = None) -> Pattern:
    """The compiled steps.

    Raises:
        PatternError: they make no sequence.
    """
    wheres = _wheres(config, failed)
    steps: list[Step | AllOf | Not] = []
    for index, step in enumerate(config.steps, 1):
        named = tuple(Condition(name, wheres.get(name)) for name, _ in _of_step(step, index))
        if step.kind == "not":
            steps.append(Not(named[0], None if step.for_s is None else ns(step.for_s)))
        elif step.kind == "all":
            steps.append(AllOf(named, step.link))
        else:
            steps.append(Step(named, step.link, *step.times, step.greedy))
    within = None if config.within_s is None else ns(config.within_s)
    return Pattern(steps, within_ns=within, mode=config.mode, partials_max=config.max)


# -- where ------------------------------------------------------------------------------------------------------------


def _wheres(config: SequenceConfig, failed: Failed) -> dict[str, Where]:
    """Condition name -> what is asked of an event that would fill it."""
    order = list(conditions(config))
    asked: dict[str, list[Where]] = {}
    for comparison in config.where:
        name, where = _where(comparison, order, failed)
        asked.setdefault(name, []).append(where)
    return {name: _every(wheres) for name, wheres in asked.items()}


def _every(wheres: list[Where]) -> Where:
    if len(wheres) == 1:
        return wheres[0]
    return lambda matched, event: all(where(matched, event) for where in wheres)


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
        equal = same(right) if word in {"is_", "not_"} else None
        if equal is not None:
            return left_step, lambda _, event: equal(field_of(event, left_field)) is (word == "is_")
        return left_step, lambda _, event: _compared(compare, field_of(event, left_field), right)
    if order.index(left_step) >= order.index(right_step):
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


def steps_named(comparison: Comparison, order: list[str]) -> list[str]:
    """Steps that a comparison names but that do not exist."""
    if comparison.left is None:
        return []
    step = comparison.left.partition(".")[0]
    return [] if step in order else [step]


def field_of(known: Reference, name: str) -> Any:
    match name:
        case "value":
            return known[_VALUE]
        case "subject":
            return known[_SUBJECT]
        case "device":
            return known[_SUBJECT].partition("/")[0]
        case "channel":
            return known[_SUBJECT].partition("/")[2]
        case "time":
            return known[_AT]
        case _:
            return (known[_FIELDS] or {}).get(name)


def as_fields(known: Reference) -> dict[str, Any]:
    fields = {name: field_of(known, name) for name in ("value", "subject", "device", "channel", "time")}
    return {**(known[_FIELDS] or {}), **fields}


_OWN: Final = frozenset({"value", "subject", "device", "channel", "time"})


def _fields(config: SequenceConfig) -> tuple[str, ...]:
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
