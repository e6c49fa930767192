"""`hold`: a condition that lasts, such as a temperature above a threshold for five minutes."""

from __future__ import annotations

from gateway.event import Event
from gateway.rules.operators.base import Judge, Operator
from gateway.rules.operators.level import Level, terms
from gateway.rules.rule import Rule
from gateway.rules.select import condition, usable, value_of


class HoldOperator(Operator[Level]):
    """`hold:` says `rule.raised`, `rule.cleared` and `rule.unknown`. Deadlines wait while the gateway does not run."""

    pauses = True

    def __init__(self, rule: Rule) -> None:
        config = rule.config.when.hold
        assert config is not None
        super().__init__(rule, config)
        self._config = config
        self._terms = terms(config, condition(config, self.context.expr_failed))

    def new(self, key: str) -> Level:
        return Level(key, self.rule, self._terms)

    def pause(self, gap_ns: int) -> None:
        for level in sorted(self.keys, key=lambda level: level.armed):
            level.pause(gap_ns)

    def judge_keyed(self, subject: str, key: str) -> Judge:
        del subject
        states, touch, make = self.keys.states, self.keys.touch, self.keys.make
        read = value_of(self._config.field)
        passes = usable(self._config) if self._config.quality == "good" else None

        def judge(event: Event, at: int) -> None:
            value = event.value if read is None else read(event)
            if value is None or (passes is not None and not passes(event)):
                return
            level = states.get(key)
            if level is None:
                level = make(key)
            else:
                touch(key)
            level.judge(value, event, at)

        return judge
