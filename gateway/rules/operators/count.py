"""`count`: so many events within a time. Half-open: of two events exactly `within` apart, the older is outside."""

from __future__ import annotations

from collections import deque
from typing import Any, Literal

from gateway.event import Event
from gateway.rules.operators.base import Judge, Selecting, State, ns
from gateway.rules.rule import Rule
from gateway.rules.told import Told


class Tally(State):
    """One key's newest events that fit: their times and offsets, at most as many as are counted."""

    __slots__ = ("offsets", "times")

    def __init__(self, key: str, rule: Rule) -> None:
        super().__init__(key, rule)
        self.times: deque[int] = deque()
        self.offsets: deque[int] = deque()

    def told(self, at: int) -> Told:
        config = self.rule.config.when.count
        assert config is not None
        counted = [time for time in self.times if time > at - ns(config.within_s)]
        if not counted:
            return Told("idle", n=0, of=config.at_least, things="events", quiet=True)
        return Told("counting", counted[0], len(counted), config.at_least, "events")

    def dump(self) -> list[Any]:
        return [list(self.times), list(self.offsets)]

    def load(self, kept: list[Any]) -> None:
        self.times, self.offsets = map(deque, kept)


class CountOperator(Selecting[Tally]):
    """`count:` says `rule.matched` when the last of so many events comes."""

    def __init__(self, rule: Rule) -> None:
        config = rule.config.when.count
        assert config is not None
        super().__init__(rule, config, at_least=False)
        self._at_least, self._within_ns = config.at_least, ns(config.within_s)
        self._consume: Literal["all", "oldest"] = config.consume

    def new(self, key: str) -> Tally:
        return Tally(key, self.rule)

    def judge_keyed(self, subject: str, key: str) -> Judge:
        del subject
        states, touch, make = self.keys.states, self.keys.touch, self.keys.make
        fits, here = self.fits, self.context
        at_least, within_ns = self._at_least, self._within_ns

        def judge(event: Event, at: int) -> None:
            if not fits(event):
                return
            tally = states.get(key)
            if tally is None:
                tally = make(key)
            else:
                touch(key)
            times = tally.times
            times.append(at)
            tally.offsets.append(here.offset)
            oldest = at - within_ns
            while times[0] <= oldest:
                times.popleft()
                tally.offsets.popleft()
            if len(times) >= at_least:
                self._reached(tally, event, at)

        return judge

    def _reached(self, tally: Tally, event: Event, at: int) -> None:
        offsets = list(tally.offsets)
        first = tally.times[0]
        if self._consume == "all":
            tally.times.clear()
            tally.offsets.clear()
        else:
            tally.times.popleft()
            tally.offsets.popleft()
        own = {"n": len(offsets), "first": self.context.told(first), "matched": self.rule.matched(offsets)}
        self.rule.speak("matched", tally.key, at, own, value=event.value, unit=event.unit, cause=self.context.offset)
