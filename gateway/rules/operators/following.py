"""`sequence`: one thing after another. The matcher is in `gateway.rules.sequence`; here it meets events.

A matcher keeps small references instead of events: [offset, time, subject, value, other fields that `where` reads].
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gateway.event import Event
from gateway.rules.keys import fixed_key
from gateway.rules.operators.base import Judge, Operator, State, by_attribute, ns
from gateway.rules.operators.where import AT, OFFSET, VALUE, fields_read, read_fields, wheres
from gateway.rules.rule import Rule
from gateway.rules.select import Failed, Fits, Previous, fit, names
from gateway.rules.select_model import Selector
from gateway.rules.sequence import AllOf, Condition, Match, Matcher, Not, Pattern, Step, Timeout
from gateway.rules.sequence_model import SequenceConfig, StepConfig
from gateway.rules.timers import NEVER
from gateway.rules.told import Told


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

    def told(self, at: int) -> Told:
        del at
        steps, furthest = self._operator.pattern.length, self.matcher.furthest
        if furthest is None:
            return Told("idle", n=0, of=steps, things="steps", quiet=True)
        first, *_, last = [one.event for one in furthest.events()] * 2
        step, open_ = furthest.node.step + 1, self.matcher.partials
        then = "" if self.due >= NEVER else self._operator.then(self.matcher)
        return Told("open", first[AT], step, steps, "steps", open_, last[VALUE], then=then)

    def forgotten(self) -> None:
        self._operator.forgotten(self.matcher)

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
        self._fields = fields_read(config)
        self.pattern = pattern(config, self.context.expr_failed)
        self.previous = {name: Previous(rule.config.keys_max) for name in self._selectors}
        self._fits: dict[str, Fits] = {
            name: fit(selector, self.previous[name], failed=self.context.expr_failed)
            for name, selector in self._selectors.items()
        }
        self._wants = {name: names(selector) for name, selector in self._selectors.items()}
        self._tells_timeouts = rule.config.on_timeout is not None
        self._partials_dropped = self._repetitions_dropped = 0  # by matchers of keys that there was no room for

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
            "subjects": sum(previous.evicted for previous in self.previous.values()),
            "partials": self._partials_dropped + sum([matcher.partials_dropped for matcher in matchers]),
            "repetitions": self._repetitions_dropped + sum([matcher.repetitions_dropped for matcher in matchers]),
        }

    def forgotten(self, matcher: Matcher) -> None:
        self._partials_dropped += matcher.partials_dropped
        self._repetitions_dropped += matcher.repetitions_dropped

    def then(self, matcher: Matcher) -> str:
        """What the next deadline brings."""
        return "matched" if matcher.ends_next else "timeout" if self._tells_timeouts else "given up"

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
        offsets = {name: [event[OFFSET] for event in events] for name, events in found.steps.items()}
        times = [event[AT] for events in found.steps.values() for event in events]
        newest = max((event for events in found.steps.values() for event in events), key=lambda one: one[OFFSET])
        own: dict[str, Any] = {"first": self.context.told(min(times)), "last": self.context.told(max(times))}
        own["matched"] = {name: self.rule.matched(known) for name, known in offsets.items()}
        kind: Any = "matched" if isinstance(found, Match) else "timeout"
        self.rule.speak(kind, key, found.at, own, value=newest[VALUE], cause=newest[OFFSET])


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
    asked = wheres(config, list(conditions(config)), failed)
    steps: list[Step | AllOf | Not] = []
    for index, step in enumerate(config.steps, 1):
        named = tuple(Condition(name, asked.get(name)) for name, _ in _of_step(step, index))
        if step.kind == "not":
            steps.append(Not(named[0], None if step.for_s is None else ns(step.for_s)))
        elif step.kind == "all":
            steps.append(AllOf(named, step.link))
        else:
            steps.append(Step(named, step.link, *step.times, step.greedy))
    within = None if config.within_s is None else ns(config.within_s)
    return Pattern(steps, within_ns=within, mode=config.mode, partials_max=config.max)
