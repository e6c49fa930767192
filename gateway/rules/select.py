"""Selectors and predicates, compiled into plain functions. Pure.

`names` answers for a (type, subject) whether a selector wants such events; the engine asks once and keeps the answer.
`condition` and `fit` then judge single events. They are what runs for every selected event, so each common form is
one small function, and the general one a chain of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gateway.event import Event, Value
from gateway.rules import cel
from gateway.rules.select_model import Predicates, Selector, Source, Transition
from gateway.selection import Selection

Fits = Callable[[Event], bool]
Test = Callable[..., bool]
"""A question to a value; its event may be given, too, and is not looked at."""
Failed = Callable[[], None] | None

TYPES: Final = ("reading", "state", "input")
RULE_TYPES: Final = ("rule.raised", "rule.matched", "rule.window")

_TRUE: Final = frozenset({"on", "open", "pressed", "detected", "true"})
_FALSE: Final = frozenset({"off", "closed", "released", "clear", "false"})
"""Words that people use for levels: drivers report these as true and false."""


def subject_pattern(source: Source) -> str:
    if source.channel is not None:
        return source.channel
    if source.device is not None:
        return f"{source.device}/**"
    return "**" if source.rule is None else f"rule/{source.rule}"


def names(source: Source) -> Callable[[str, str], bool]:
    """(type, subject) -> whether such events are selected."""
    types = source.type or (RULE_TYPES if source.rule is not None else TYPES)
    exact = exact_subject(source)
    if exact is not None and not any("*" in kind for kind in types):
        return lambda event_type, subject: subject == exact and event_type in types
    return Selection(types, [subject_pattern(source)]).names


def exact_subject(source: Source) -> str | None:
    """The one subject that is selected; None where there may be more."""
    pattern = subject_pattern(source)
    return None if any(wild in pattern for wild in "*?") else pattern


def value_of(field: str) -> Callable[[Event], Value] | None:
    """How the judged value is read; None for the event's own value, which needs no function."""
    if field == "value":
        return None
    return lambda event: event.data.get(field)


def same(wanted: Value) -> Test:
    """Equality as people mean it: `on` and `open` are true, but 1 is not, and 1.0 is 1."""
    accepted = {wanted} if isinstance(wanted, str) else set()
    word = wanted.lower() if isinstance(wanted, str) else wanted
    if word is True or word in _TRUE:
        return lambda value, _event=None: value is True or value in accepted
    if word is False or word in _FALSE:
        return lambda value, _event=None: value is False or value in accepted
    if isinstance(wanted, str):
        return lambda value, _event=None: value == wanted
    return lambda value, _event=None: value == wanted and value.__class__ is not bool


def _number(compare: Test) -> Test:
    return lambda value, _event=None: (value.__class__ is float or value.__class__ is int) and compare(value)


def _above(limit: float) -> Test:
    return lambda value, _event=None: (value.__class__ is float or value.__class__ is int) and value > limit


def _below(limit: float) -> Test:
    return lambda value, _event=None: (value.__class__ is float or value.__class__ is int) and value < limit


def bounds(
    above: float | None = None, below: float | None = None, at_least: float | None = None, at_most: float | None = None
) -> list[Test]:
    tests: list[Test] = []
    if above is not None:
        tests.append(_above(above))
    if below is not None:
        tests.append(_below(below))
    if at_least is not None:
        tests.append(_number(lambda value: value >= at_least))
    if at_most is not None:
        tests.append(_number(lambda value: value <= at_most))
    return tests


def value_tests(predicates: Predicates, *, at_least: bool = True) -> list[Test]:
    """What the structured predicates ask of a value. `at_least` False: that word means something else here."""
    p = predicates
    tests = bounds(p.above, p.below, p.at_least if at_least else None, p.at_most)
    if p.is_ is not None:
        tests.append(same(p.is_))
    if p.not_ is not None and not isinstance(p.not_, Source):
        equal = same(p.not_)
        tests.append(lambda value, _event=None: value is not None and not equal(value))
    if p.in_ is not None:
        some = tuple(map(same, p.in_))
        tests.append(lambda value, _event=None: any(equal(value) for equal in some))
    return tests


def all_of(tests: list[Test]) -> Test | None:
    if len(tests) < 2:
        return tests[0] if tests else None
    if len(tests) == 2:
        first, second = tests
        return lambda value, _event=None: first(value) and second(value)
    chain = tuple(tests)
    return lambda value, _event=None: all(test(value) for test in chain)


def condition(predicates: Predicates, failed: Failed = None) -> Callable[[Value, Event], bool]:
    """The predicates as a function of a value (which is not None) and its event."""
    test = all_of(value_tests(predicates))
    if predicates.expr is None:
        return (lambda _value, _event: True) if test is None else test
    holds = cel.event_condition(predicates.expr, failed)
    if test is None:
        return lambda _value, event: holds(event)
    return lambda value, event: test(value) and holds(event)


def usable(source: Source) -> Fits | None:
    """Whether the event's quality will do; None where the value alone tells. Bad events have no value.

    What has no quality (events of rules, of the gateway) passes.
    """
    if source.quality == "good":
        return lambda event: event.quality == "good" or event.quality is None
    if source.quality == "any":
        return lambda _event: True
    return lambda event: event.quality != "bad"


def fit(
    selector: Predicates, previous: Previous | None = None, *, at_least: bool = True, failed: Failed = None
) -> Fits:
    """The whole selector as one function of an event of a named type and subject.

    `failed` is told of expressions without a result. Where the selector says `changed`, `previous` remembers; such a
    function must see each event exactly once.
    """
    tests = value_tests(selector, at_least=at_least)
    read = value_of(selector.field)
    test = all_of(tests)
    plain = selector.quality == "usable" and read is None and selector.expr is None
    changed = selector.changed if isinstance(selector, Selector) else None
    if plain and not changed:
        return _plain(test, selector, at_least=at_least)
    steps: list[Fits] = []
    quality = usable(selector)
    if selector.quality != "any" and quality is not None:
        steps.append(quality)
    if changed:
        assert previous is not None, "`changed` needs a memory"
        steps.append(_changes(changed, read, previous))
    if test is not None:
        steps.append(_on_value(test, read))
    if selector.expr is not None:
        steps.append(cel.event_condition(selector.expr, failed))
    return all_of(steps) or (lambda _event: True)


def _plain(test: Test | None, predicates: Predicates, *, at_least: bool) -> Fits:
    if test is None:
        return lambda event: event.quality != "bad"
    if (one := _one_bound(predicates, at_least=at_least)) is not None:
        return one
    return lambda event: test(event.value)


def _one_bound(predicates: Predicates, *, at_least: bool) -> Fits | None:
    """The commonest forms in one step: a single `above` or `below`."""
    given = {"above", "below", "at_least", "at_most", "is_", "not_", "in_"} - ({"at_least"} if not at_least else set())
    named = [name for name in given if getattr(predicates, name) is not None]
    limit = getattr(predicates, named[0])
    if named == ["above"]:
        return lambda event: ((value := event.value).__class__ is float or value.__class__ is int) and value > limit
    if named == ["below"]:
        return lambda event: ((value := event.value).__class__ is float or value.__class__ is int) and value < limit
    return None


def _on_value(test: Test, read: Callable[[Event], Value] | None) -> Fits:
    if read is None:
        return lambda event: test(event.value)
    return lambda event: test(read(event))


def _changes(changed: bool | Transition, read: Callable[[Event], Value] | None, previous: Previous) -> Fits:
    came = same(changed.from_) if isinstance(changed, Transition) and changed.from_ is not None else None
    became = same(changed.to) if isinstance(changed, Transition) and changed.to is not None else None

    def changes(event: Event) -> bool:
        value = event.value if read is None else read(event)
        if value is None:
            return False
        before = previous.swap(event.subject, value)
        if before is None or before == value:
            return False
        return (came is None or came(before)) and (became is None or became(value))

    return changes


class Previous:
    """The value before, for each subject. The first value that is ever seen is no change: nothing is known before
    it.
    """

    __slots__ = ("_values", "evicted", "subjects_max")

    def __init__(self, subjects_max: int) -> None:
        self._values: dict[str, Value] = {}
        self.subjects_max, self.evicted = subjects_max, 0

    def swap(self, subject: str, value: Value) -> Value:
        """The value before; from now on it is this one."""
        before = self._values.get(subject)
        if before is None and len(self._values) >= self.subjects_max:
            del self._values[next(iter(self._values))]
            self.evicted += 1
        self._values[subject] = value
        return before

    def snapshot(self) -> dict[str, Value]:
        return dict(self._values)

    def restore(self, values: dict[str, Value]) -> None:
        self._values = dict(values)
