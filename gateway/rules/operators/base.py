"""What every operator shares: which events it wants, how they are told apart, and how its state is kept. Pure.

An operator hands the engine one function for each (type, subject) that it selects, its *judge*: `judge(event, at)`,
`at` in ns of rule time. Whatever can be known from type and subject alone (the key, where `by` is channel, device or
none) is worked out when the judge is made, because judges run for every selected event.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Generic, TypeVar

from gateway.clock import NS_PER_S
from gateway.event import Event
from gateway.rules.keys import Keys, fixed_key, key_of
from gateway.rules.rule import Rule
from gateway.rules.select import Fits, Previous, fit, names
from gateway.rules.select_model import Selector, Source
from gateway.rules.timers import NEVER, Timer
from gateway.rules.told import Told

Judge = Callable[[Event, int], None]

S = TypeVar("S", bound="State")


def ns(seconds: float | None, otherwise: int = 0) -> int:
    """Integer nanoseconds of a duration; `otherwise` where there is none."""
    return otherwise if seconds is None else round(seconds * NS_PER_S)


class State(Timer):
    """What an operator knows of one key, with its one deadline."""

    __slots__ = ("key", "rule")

    def __init__(self, key: str, rule: Rule) -> None:
        super().__init__()
        self.key, self.rule = key, rule

    def speaks(self, at: int) -> bool:
        """Whether something will be said when the deadline `at` fires. Changes nothing."""
        raise NotImplementedError

    def told(self, at: int) -> Told:
        """What a person is told of the key at rule time `at`. Changes nothing."""
        raise NotImplementedError

    def dump(self) -> list[Any]:
        """What `load` takes, packable as MessagePack."""
        raise NotImplementedError

    def load(self, kept: list[Any]) -> None:
        raise NotImplementedError


class Operator(ABC, Generic[S]):
    """One rule's operator. `start`, `pause` and the judges are all that ever changes its state, and timers."""

    pauses: ClassVar[bool] = False
    """Whether its deadlines wait while the gateway does not run; else they fire at their logical time."""

    def __init__(self, rule: Rule, source: Source | None) -> None:
        self.rule, self.context = rule, rule.context
        self.by = rule.config.key_by
        self.keys: Keys[S] = Keys(rule.config.keys_max, self.new, self.context.timers)
        self.source = source
        self._names = names(source) if source is not None else None

    # -- what the engine asks -----------------------------------------------------------------------------------------

    def judge(self, event_type: str, subject: str) -> Judge | None:
        """The function that judges such events; None where they are not selected."""
        if self._names is None or not self._names(event_type, subject):
            return None
        key = fixed_key(self.by, subject)
        if key is not None:
            return self.judge_keyed(subject, key)
        return by_attribute(self.by, self.keys, lambda key: self.judge_keyed(subject, key))

    def expected(self, subjects: Iterable[tuple[str, str]]) -> None:
        """(type, subject) of every configured channel: what `absent` waits for from the start."""

    def start(self, at: int) -> None:
        """The rule begins at `at`, with nothing known."""
        del at
        self.keys.clear()

    def pause(self, gap_ns: int) -> None:
        """The gateway did not run for so long; only asked of an operator that `pauses`."""

    def dropped(self) -> dict[str, int]:
        """What bounds have cost so far, by word."""
        return {"keys": self.keys.evicted, "unkeyed": self.keys.unkeyed}

    def snapshot(self) -> list[Any]:
        states = [[state.key, state.due, state.armed, state.dump()] for state in self.keys]
        return [self.keys.evicted, self.keys.unkeyed, states]

    def restore(self, kept: list[Any]) -> list[tuple[int, int, S]]:
        """Take the state over; returns the deadlines (armed, due, state), which the engine arms in their old order."""
        self.keys.clear()
        evicted, unkeyed, states = kept
        deadlines = []
        for key, due, armed, dumped in states:
            state = self.keys.make(key)
            state.load(dumped)
            self.context.timers.forget(state)
            if due < NEVER:
                deadlines.append((armed, due, state))
        self.keys.evicted, self.keys.unkeyed = evicted, unkeyed
        return deadlines

    # -- what an operator says of itself ------------------------------------------------------------------------------

    @abstractmethod
    def new(self, key: str) -> S:
        """The state of a key that was not seen before."""

    @abstractmethod
    def judge_keyed(self, subject: str, key: str) -> Judge:
        """The judge of a subject whose events all have one key."""


def by_attribute(by: str, keys: Keys[Any], judge_of: Callable[[str], Judge]) -> Judge:
    """A judge that asks each event for its key, and leaves it to the judge of that key."""
    key_for = key_of(by)
    judges: dict[str, Judge] = {}

    def judge(event: Event, at: int) -> None:
        key = key_for(event)
        if key is None:
            keys.unkeyed += 1
            return
        known = judges.get(key)
        if known is None:
            if len(judges) >= keys.keys_max:
                judges.clear()
            known = judges[key] = judge_of(key)
        known(event, at)

    return judge


class Selecting(Operator[S]):
    """An operator with one selector whose predicates decide which events count."""

    def __init__(self, rule: Rule, selector: Selector, *, at_least: bool = True) -> None:
        super().__init__(rule, selector)
        self.previous = Previous(rule.config.keys_max)
        self.fits: Fits = fit(selector, self.previous, at_least=at_least, failed=self.context.expr_failed)

    def start(self, at: int) -> None:
        super().start(at)
        self.previous.restore({})

    def dropped(self) -> dict[str, int]:
        return super().dropped() | {"subjects": self.previous.evicted}

    def snapshot(self) -> list[Any]:
        return [*super().snapshot(), self.previous.snapshot(), self.previous.evicted]

    def restore(self, kept: list[Any]) -> list[tuple[int, int, S]]:
        *common, previous, self.previous.evicted = kept
        self.previous.restore(previous)
        return super().restore(common)
