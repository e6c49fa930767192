"""`absent`: something that should happen does not. What the configuration names is waited for from the start."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gateway.clock import NS_PER_S
from gateway.event import Event
from gateway.rules.keys import fixed_key
from gateway.rules.operators.base import Judge, Selecting, State, ns
from gateway.rules.rule import Rule
from gateway.rules.select import exact_subject
from gateway.rules.timers import NEVER
from gateway.rules.told import Told


class Silence(State):
    """One key: when it was last heard (or waited for from), by which offset, and whether that was said."""

    __slots__ = ("_operator", "heard", "last", "offset", "said", "since")

    def __init__(self, key: str, operator: AbsentOperator) -> None:
        super().__init__(key, operator.rule)
        self._operator = operator
        self.since = self.offset = 0
        self.heard = self.said = False
        self.last: float | int | bool | str | None = None

    def speaks(self, at: int) -> bool:
        return self.rule.may_speak(self.key, at)

    def fire(self, at: int) -> None:
        self._operator.silent(self, at)

    def told(self, at: int) -> Told:
        del at
        then = "" if self.due >= NEVER else "raised again" if self.said else "raised"
        if self.due < NEVER and not self.said:
            return Told("heard" if self.heard else "waiting", self.since, value=self.last, then=then, quiet=self.heard)
        return Told("silent", self.since, value=self.last, then=then)

    def dump(self) -> list[Any]:
        return [self.since, self.offset, self.heard, self.said, self.last]

    def load(self, kept: list[Any]) -> None:
        self.since, self.offset, self.heard, self.said, self.last = kept


class AbsentOperator(Selecting[Silence]):
    """`absent:` says `rule.raised` after `for`, again each `repeat`, and `rule.cleared` when it is heard again."""

    pauses = True

    def __init__(self, rule: Rule) -> None:
        config = rule.config.when.absent
        assert config is not None
        super().__init__(rule, config)
        self._for_ns, self._repeat_ns = ns(config.for_s), ns(config.repeat_s)
        self._expected: list[str] = []
        subject = exact_subject(config)
        key = None if subject is None else fixed_key(self.by, subject)
        if key is not None:
            self._expected.append(key)
        elif self.by == "none":
            self._expected.append("")

    def expected(self, subjects: Iterable[tuple[str, str]]) -> None:
        for event_type, subject in subjects:
            key = fixed_key(self.by, subject)
            if key is not None and key not in self._expected and self._names and self._names(event_type, subject):
                self._expected.append(key)

    def new(self, key: str) -> Silence:
        return Silence(key, self)

    def start(self, at: int) -> None:
        super().start(at)
        for key in self._expected:
            silence = self.keys.make(key)
            silence.since = at
            self.context.timers.arm(silence, at + self._for_ns)

    def pause(self, gap_ns: int) -> None:
        for silence in sorted(self.keys, key=lambda one: one.armed):
            due = silence.due
            if due < NEVER:
                silence.since += gap_ns
                self.context.timers.arm(silence, due + gap_ns)

    def judge_keyed(self, subject: str, key: str) -> Judge:
        del subject
        states, touch, make = self.keys.states, self.keys.touch, self.keys.make
        fits, here, arm, for_ns = self.fits, self.context, self.context.timers.arm, self._for_ns

        def judge(event: Event, at: int) -> None:
            if not fits(event):
                return
            silence = states.get(key)
            if silence is None:
                silence = make(key)
            else:
                touch(key)
            silence.last = event.value
            if silence.said:
                silence.said = False
                self._say("cleared", silence, at, here.offset)
            silence.since, silence.offset, silence.heard = at, here.offset, True
            arm(silence, at + for_ns)

        return judge

    def silent(self, silence: Silence, at: int) -> None:
        """Nothing came until `at`."""
        again = silence.said
        said = self._say("raised", silence, at, silence.offset)
        silence.said = said or again
        if self._repeat_ns and silence.said:
            self.context.timers.arm(silence, at + self._repeat_ns)

    def _say(self, kind: Any, silence: Silence, at: int, cause: int) -> bool:
        since = self.context.told(silence.since)
        own = {"since": since, "gap_s": (at - silence.since) / NS_PER_S, "heard": silence.heard}
        return self.rule.speak(kind, silence.key, at, own, value=silence.last, cause=cause)
