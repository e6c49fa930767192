"""`event`: every event that fits, as it is. It needs no memory but that of `changed`."""

from __future__ import annotations

from gateway.event import Event
from gateway.rules.operators.base import Judge, Selecting, State
from gateway.rules.rule import Rule


class EventOperator(Selecting[State]):
    """`event:` says `rule.matched` with the event's value."""

    def __init__(self, rule: Rule) -> None:
        assert rule.config.when.event is not None
        super().__init__(rule, rule.config.when.event)

    def new(self, key: str) -> State:
        raise AssertionError(f"nothing is remembered of {key!r}")

    def judge_keyed(self, subject: str, key: str) -> Judge:
        fits, speak, here = self.fits, self.rule.speak, self.context

        def judge(event: Event, at: int) -> None:
            if fits(event):
                own = {"subject": subject}
                speak(
                    "matched",
                    key,
                    at,
                    own,
                    value=event.value,
                    unit=event.unit,
                    quality=event.quality,
                    cause=here.offset,
                )

        return judge
