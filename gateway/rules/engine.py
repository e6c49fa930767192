"""The rule engine: events and time in, derived events out. Pure.

Theory of operation. Every rule hands out one function (a *judge*) for each (type, subject) that it selects. The
engine keeps them by subject, then type: an event that nobody selects costs one look-up. Patterns are matched once per
new subject.

Time is *rule time*, ns, and never runs backwards (`RuleTime` makes it). For an event at `at`:

1. Timers due at `at` or before fire, in the order of their deadlines, equal ones in the order in which they were
   armed. What they derive has their deadline as its time, and other rules hear it before the next deadline.
2. The judges of the event run, in the order of the rules (each after those that it listens to).
3. What they derived is judged the same way, in the order in which it was derived: rules feed rules.

`advance` is step 1 alone. If nothing is derived it changes nothing that anyone can see; so it makes no difference how
often it is called, and derived events are the only ticks that have to be recorded.

A rule that raises is cut out: its state goes, `rule.failed` is derived, the other rules do not notice.

*Re-reading.* While `expected` is a list, the engine derives into it instead of feeding its rules: the recorded
derived events that follow do that (see fold.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from gateway.errors import GatewayError
from gateway.event import Event
from gateway.rules.context import SNAPSHOT_VERSION, Context
from gateway.rules.graph import in_order
from gateway.rules.guards import Guards
from gateway.rules.model import RuleConfig
from gateway.rules.operators import OPERATORS, Judge, Operator
from gateway.rules.operators.base import State
from gateway.rules.rule import Rule

ROUTES_MAX: Final = 4096
"""Subjects whose judges are remembered; beyond it all are worked out anew."""

FAILURE_CHARACTERS_MAX: Final = 200

Judges = tuple[Judge, ...]


class SnapshotUnfit(GatewayError):
    """A snapshot of another version, or that cannot be read. The records before it have to be read instead."""


class Part:
    """One rule with its operator, and whether it is in force. `failed` says what cut it out."""

    __slots__ = ("active", "failed", "operator", "rule")

    def __init__(self, config: RuleConfig, context: Context, subjects: Iterable[tuple[str, str]]) -> None:
        self.rule = Rule(config, context, Guards(config.only_if, context))
        self.operator: Operator[Any] = OPERATORS[config.when.operator](self.rule)
        self.operator.expected(subjects)
        self.active, self.failed = False, ""

    def judges(self, event_type: str, subject: str) -> tuple[list[Judge], list[Judge], list[Judge]]:
        """Who of this rule looks at such events: before all rules judge it, as its judge, and afterwards."""
        if not self.active:
            return [], [], []
        guards, judge = self.rule.guards, self.operator.judge(event_type, subject)
        return (
            guards.listeners(event_type, subject, before=True),
            [] if judge is None else [judge],
            guards.listeners(event_type, subject, before=False),
        )


class Engine:
    """The rules of one configuration. `subjects` are (type, subject) of its channels, for rules that wait for all of
    them.
    """

    def __init__(self, configs: Sequence[RuleConfig], subjects: Iterable[tuple[str, str]] = ()) -> None:
        self.context = Context()
        self.now = 0
        """Rule time (ns) of the newest event that was judged or derived."""
        self.late = self.derived = self.failures = 0
        """Events whose time lay before `now` (a detector has them judged at `now`); derived events; rules cut out."""
        self._configs, self._subjects = in_order(configs), tuple(subjects)
        self.parts = {config.id: self._part(config) for config in self._configs}
        self.routes: dict[str, dict[str, Judges]] = {}
        self._owners: dict[int, Part] = {}
        self.aside: list[State] = []  # timers that are due, but would change things silently
        self.expected: list[Event] | None = None
        """While records are read again: what was derived and waits to be found among them."""

    def _part(self, config: RuleConfig) -> Part:
        return Part(config, self.context, self._subjects)

    # -- events and time ----------------------------------------------------------------------------------------------

    def feed(self, event: Event, at: int) -> list[Event]:
        """What follows from an event at rule time `at`: the derived events, in order."""
        out: list[Event] = []
        self.judge(event, at, out)
        return [one for one in out if one is not event]

    def feed_all(self, events: Iterable[tuple[Event, int]]) -> list[Event]:
        """What follows from these events, each with its rule time."""
        return [derived for event, at in events for derived in self.feed(event, at)]

    def advance(self, at: int) -> list[Event]:
        """What follows from its being `at`: whatever is due by now. Deriving nothing changes nothing."""
        out: list[Event] = []
        if at >= self.context.timers.next_due:
            self.fire(at, out, ticking=True)
        return out

    @property
    def deadline(self) -> int | None:
        """The rule time (ns) at which `advance` may derive something next; None while only events can."""
        return self.context.timers.deadline()

    def judge(self, event: Event, at: int, out: list[Event]) -> None:
        """Append to `out` what timers derive until `at`, the event, and what follows from it."""
        here = self.context
        if at < self.now:
            self.late += 1
            out.append(event)
            here.number += 1
            return
        self.until(at, out)
        out.append(event)
        here.offset = here.number
        here.number += 1
        if judges := self.judges(event):
            self.now = at
            here.event = event
            self.run(judges, event, at)
            if here.fresh:
                self.settle(at, out)

    def until(self, at: int, out: list[Event]) -> None:
        """A record says that it is `at`: every timer that is due fires."""
        if self.aside:
            self._put_back()
        if at >= self.context.timers.next_due:
            self.fire(at, out)

    def fire(self, until: int, out: list[Event], *, ticking: bool = False) -> None:
        """Fire every timer that is due, and let rules hear what that derives.

        `ticking`: only the clock says so, and not a record. What would change a state silently then waits for a record,
        because re-reading the records knows nothing of the clock.
        """
        here, certain = self.context, 0
        while (found := here.timers.pop(until)) is not None:
            due, timer = found
            assert isinstance(timer, State)
            try:
                if ticking and due > certain:
                    if not timer.speaks(due):
                        timer.due = due
                        self.aside.append(timer)
                        continue
                    certain = due
                    if self.aside:  # a record will say that it is `due`: what was set aside comes first
                        timer.due = due
                        self.aside.append(timer)
                        self._put_back()
                        continue
                timer.fire(due)
            except Exception as error:  # noqa: BLE001 - a rule that breaks is cut out, whatever it broke on
                self._cut_out(self.parts[timer.rule.id], due, error)
            if here.fresh and ((coming := here.timers.deadline()) is None or coming > due):
                self.settle(due, out)
        if here.fresh:
            self.settle(until, out)

    def _put_back(self) -> None:
        for state in self.aside:
            self.context.timers.put_back(state)
        self.aside.clear()

    def judges(self, event: Event) -> Judges:
        """Who looks at such an event, in order: guards, the rules (each after those that it hears), guards again."""
        route = self.routes.get(event.subject)
        if route is None:
            if len(self.routes) >= ROUTES_MAX:
                self._forget_routes()
            route = self.routes[event.subject] = {}
        judges = route.get(event.type)
        if judges is None:
            judges = route[event.type] = self._judges(event.type, event.subject)
        return judges

    def _judges(self, event_type: str, subject: str) -> Judges:
        before: list[Judge] = []
        judging: list[Judge] = []
        after: list[Judge] = []
        for part in self.parts.values():
            for listed, found in zip((before, judging, after), part.judges(event_type, subject), strict=True):
                listed.extend(found)
                self._owners.update((id(judge), part) for judge in found)
        return (*before, *judging, *after)

    def run(self, judges: Judges, event: Event, at: int) -> None:
        """Let each of them judge. One that raises is cut out with its rule, and with what it derived just now."""
        judge, derived = None, len(self.context.fresh)
        try:
            for judge in judges:
                judge(event, at)
        except Exception as error:  # noqa: BLE001 - as in `fire`
            assert judge is not None, "only a judge can raise here"
            part, fresh = self._owners[id(judge)], self.context.fresh
            fresh[derived:] = [one for one in fresh[derived:] if one.subject != part.rule.subject]
            self._cut_out(part, at, error)
            self.run(judges[judges.index(judge) + 1 :], event, at)

    def settle(self, at: int, out: list[Event]) -> None:
        """Move what was derived to `out`, and let the rules hear it, in order."""
        here = self.context
        if self.expected is not None:
            self.expected += here.fresh
            here.fresh.clear()
            return
        heard = 0
        while heard < len(here.fresh):
            event = here.fresh[heard]
            heard += 1
            out.append(event)
            self.derived += 1
            self.hear(event, at)
        here.fresh.clear()

    def hear(self, event: Event, at: int, offset: int | None = None) -> None:
        """Let the rules judge a derived event, or another one that is going to have this offset."""
        self.now = max(self.now, at)
        self.context.offset = event.offset if offset is None else offset
        if judges := self.judges(event):
            self.run(judges, event, at)

    # -- rules come and go --------------------------------------------------------------------------------------------

    def begin(self, rule_id: str, rule_hash: str, at: int) -> None:
        """A `rule.started` says so: the rule begins anew, unless it is the same and goes on. Another hash ends it."""
        part = self.parts.get(rule_id)
        if part is None or (part.active and part.rule.hash == rule_hash):
            return
        part.operator.keys.clear()
        part = self.parts[rule_id] = self._part(part.rule.config)
        if part.rule.hash == rule_hash:
            part.active = True
            part.operator.start(at)
        self._forget_routes()

    def end(self, rule_id: str) -> None:
        """A `rule.stopped` or `rule.failed` says so: the rule is no longer in force."""
        part = self.parts.get(rule_id)
        if part is not None and part.active:
            part.active = False
            part.operator.keys.clear()
            self._forget_routes()

    def begin_all(self, at: int = 0) -> None:
        """Every rule begins at `at`: for trials and backtests, where no record says it."""
        self.now = at
        for part in list(self.parts.values()):
            self.begin(part.rule.id, part.rule.hash, at)

    def pause(self, gap_ns: int) -> None:
        """The gateway did not run for so long: what waits for silence or duration waits that much longer."""
        for part in self.parts.values():
            if part.active and part.operator.pauses:
                part.operator.pause(gap_ns)

    def _forget_routes(self) -> None:
        self.routes.clear()
        self._owners.clear()

    def _cut_out(self, part: Part, at: int, error: Exception) -> None:
        here = self.context
        part.active, part.failed = False, f"{type(error).__name__}: {error}"[:FAILURE_CHARACTERS_MAX]
        part.operator.keys.clear()
        self.failures += 1
        for (
            route
        ) in self.routes.values():  # `run` is reading one of them: its judges stay, those of this rule do nothing
            route.clear()
        data = {
            "rule": part.rule.id,
            "hash": part.rule.hash,
            "rulekey": f"{part.rule.id}:{part.rule.hash}::{at}:failed",
        }
        offset, here.number = here.number, here.number + 1
        here.fresh.append(
            Event(
                "rule.failed",
                part.rule.subject,
                at + here.wall_ns,
                at - here.mono_ns,
                reason=part.failed,
                data=data,
                synced=here.event.synced,
                simulated=here.event.simulated,
                urgent=True,
                offset=offset,
            )
        )

    # -- what is kept
    # ---------------------------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """All state, packable as MessagePack. Taken between events, when everything derived was handed out."""
        return {
            "version": SNAPSHOT_VERSION,
            "now": self.now,
            "counts": [self.late, self.derived, self.failures],
            "context": self.context.snapshot(),
            "rules": {
                part.rule.id: [
                    part.rule.hash,
                    part.rule.snapshot(),
                    part.rule.guards.snapshot(),
                    part.operator.snapshot(),
                ]
                for part in self.parts.values()
                if part.active
            },
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what an engine said of itself. Rules that are not the same by hash stay out of force.

        Raises:
            SnapshotUnfit: another version, or no snapshot at all. The engine is then as new.
        """
        try:
            self._restore(state)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            self.__init__(self._configs, self._subjects)  # type: ignore[misc]
            raise SnapshotUnfit(f"the snapshot of the rules cannot be read: {type(error).__name__}: {error}") from error

    def _restore(self, state: Mapping[str, Any]) -> None:
        if state["version"] != SNAPSHOT_VERSION:
            raise ValueError(f"version {state['version']}, this one reads {SNAPSHOT_VERSION}")
        self.now = state["now"]
        self.late, self.derived, self.failures = state["counts"]
        self.context.restore(state["context"])
        self.aside.clear()
        deadlines: list[tuple[int, int, State]] = []
        for config in self._configs:
            self.parts[config.id].operator.keys.clear()
            part = self.parts[config.id] = self._part(config)
            kept = state["rules"].get(config.id)
            if kept is not None and kept[0] == part.rule.hash:
                part.active = True
                part.rule.restore(kept[1])
                part.rule.guards.restore(kept[2])
                deadlines += part.operator.restore(kept[3])
        for _, due, timer in sorted(deadlines, key=lambda one: one[0]):
            self.context.timers.arm(timer, due)
        self._forget_routes()
