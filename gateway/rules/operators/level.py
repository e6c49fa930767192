"""A level: what lasts, with hysteresis and delays both ways. `hold` judges values by it, `rate` judges slopes. Pure.

            on, for: 0                                          on
    idle ───────────────────────> raised <──────────────────── clearing
      │ ^                          ^  │ off, clear_for > 0        ^ │
      │ │ off                  for │  └───────────────────────────┘ │ clear_for: `cleared`, idle
      └─┴─────> pending ───────────┘   off, clear_for: 0: `cleared`, idle
        on, for > 0

    pending, raised, clearing ── nothing heard for max_gap: `unknown` ──> unknown ── on: as from idle; off: `cleared`

`on` and `off` need not be opposites (`off` None: they are): between them lies the band of the hysteresis, in which
everything stays as it is. After `unknown`, `cleared` is said only of what had been raised. A raise that a guard
forbids happens silently: nothing is said of it, nor of its end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from gateway.clock import NS_PER_S
from gateway.event import Event, Value
from gateway.rules.context import Context
from gateway.rules.operators.base import State, ns
from gateway.rules.rule import Rule
from gateway.rules.select import all_of, bounds
from gateway.rules.timers import NEVER
from gateway.rules.told import Told

IDLE, PENDING, RAISED, CLEARING, UNKNOWN = range(5)
STATES: Final = ("idle", "pending", "raised", "clearing", "unknown")

Judged = Callable[[Value, Event], bool]


class Terms(NamedTuple):
    """What one rule means by its level. Times are ns, 0 for at once or never; `limits` go into every event."""

    on: Judged
    off: Judged | None
    for_ns: int
    clear_for_ns: int
    max_gap_ns: int
    limits: Mapping[str, Any]


def terms(config: Any, on: Judged) -> Terms:
    """The terms of a hold or a rate whose condition is `on`."""
    off = all_of(bounds(config.clear_above, config.clear_below))
    named = ("above", "below", "at_least", "at_most")
    given = [getattr(config, name) for name in named if getattr(config, name) is not None]
    limits = {"limit": given[0]} if len(given) == 1 else {}
    return Terms(on, off, ns(config.for_s), ns(config.clear_for_s), ns(config.max_gap_s), limits)


class Level(State):
    """One key's level. `since` is when the condition began to hold, `turned` the offset of the event that began it."""

    __slots__ = ("_context", "_terms", "change", "muted", "raised", "seen", "since", "state", "turned", "unit",
                 "value")  # fmt: skip

    measured = True
    """Whether what is judged is in the unit of the events."""

    def __init__(self, key: str, rule: Rule, terms: Terms) -> None:
        super().__init__(key, rule)
        self._context: Context = rule.context
        self._terms = terms
        self.state = IDLE
        self.since = self.turned = self.seen = 0
        self.change = NEVER  # when pending becomes raised, or clearing cleared
        self.value: Value = None
        self.unit: str | None = None
        self.raised = self.muted = False

    def judge(self, value: Value, event: Event, at: int) -> None:
        """A value of this key at `at`."""
        terms, state = self._terms, self.state
        if terms.on(value, event):
            self.value, self.unit = value, event.unit
            if state != RAISED:
                self._on(at)
        elif state == IDLE:
            return
        else:
            self.value, self.unit = value, event.unit
            if terms.off is None or terms.off(value, event):
                self._off(at)
        self.seen = at
        if terms.max_gap_ns and self.state not in {IDLE, UNKNOWN}:
            self._arm()

    def speaks(self, at: int) -> bool:
        if at < self.change:
            return self.state == PENDING or not self.muted
        return self.rule.may_speak(self.key, at) if self.state == PENDING else self.raised

    def fire(self, at: int) -> None:
        if at < self.change:
            self._lost(at)
        elif self.state == PENDING:
            self._raise(at, 0)
            self._arm()
        else:
            self._clear(at, 0)

    def pause(self, gap_ns: int) -> None:
        """Nothing was observed for so long: what lasts, lasted that much less."""
        self.since += gap_ns
        self.seen += gap_ns
        if self.change < NEVER:
            self.change += gap_ns
        if self.state not in {IDLE, UNKNOWN}:
            self._arm()

    def _on(self, at: int) -> None:
        if self.state == CLEARING:
            self.state, self.change = RAISED, NEVER
            self._arm()
        elif self.state != PENDING:
            self.since, self.turned = at, self._context.offset
            if self._terms.for_ns:
                self.state, self.change = PENDING, at + self._terms.for_ns
                self._arm()
            else:
                self._raise(at, self.turned)

    def _off(self, at: int) -> None:
        if self.state == RAISED:
            self.turned = self._context.offset
            if self._terms.clear_for_ns:
                self.state, self.change = CLEARING, at + self._terms.clear_for_ns
                self._arm()
            else:
                self._clear(at, self.turned)
        elif self.state in {PENDING, UNKNOWN}:
            if self.raised:
                self._clear(at, self._context.offset)
            else:
                self._rest()

    def _raise(self, at: int, cause: int) -> None:
        self.state, self.change = RAISED, NEVER
        self.muted = not self._say("raised", at, cause or self.turned, self.since)
        self.raised = not self.muted

    def _clear(self, at: int, cause: int) -> None:
        if self.raised:
            self._say("cleared", at, cause or self.turned, self.since)
        self._rest()

    def _lost(self, at: int) -> None:
        """Nothing was heard for max_gap."""
        if self.state == PENDING or not self.muted:
            self._say("unknown", at, 0, self.seen)
        self.state, self.change = UNKNOWN, NEVER

    def _rest(self) -> None:
        self.state, self.change = IDLE, NEVER
        self.raised = self.muted = False
        self._context.timers.disarm(self)

    def _say(self, kind: Any, at: int, cause: int, since: int) -> bool:
        told = {"since": self._context.told(since), "held_s": (at - since) / NS_PER_S, **self._terms.limits}
        return self.rule.speak(kind, self.key, at, told, value=self.value, unit=self._unit, cause=cause)

    @property
    def _unit(self) -> str | None:
        return self.unit if self.measured else None

    def _arm(self) -> None:
        gap = self._terms.max_gap_ns
        due = min(self.change, self.seen_until(gap)) if gap else self.change
        if due < NEVER:
            self._context.timers.arm(self, due)
        else:
            self._context.timers.disarm(self)

    def seen_until(self, gap_ns: int) -> int:
        return max(self.seen, self.since) + gap_ns

    def told(self, at: int) -> Told:
        del at
        if self.state == IDLE:
            return Told("idle", quiet=True)
        since = {CLEARING: self.change - self._terms.clear_for_ns, UNKNOWN: self.seen}.get(self.state, self.since)
        state = STATES[self.state]
        if self.muted and self.state == RAISED:
            state = "raised, unsaid"
        return Told(state, since, value=self.value, unit=self._unit, then=self._then())

    def _then(self) -> str:
        if self.due >= NEVER:
            return ""
        return "unknown" if self.due < self.change else "raised" if self.state == PENDING else "cleared"

    def dump(self) -> list[Any]:
        return [
            self.state, self.since, self.turned, self.seen, self.change, self.value, self.unit, self.raised, self.muted,
        ]  # fmt: skip

    def load(self, kept: list[Any]) -> None:
        (
            self.state, self.since, self.turned, self.seen, self.change, self.value, self.unit, self.raised, self.muted,
        ) = kept  # fmt: skip
