"""The matcher of one key: events and time in, matches and timeouts out. Pure.

Where a partial match stands is its node (see pattern.py); here is what happens to it. An event is offered to every open
partial match, oldest start first, then it may start one of its own:

    a `not` in force that it fits       the partial goes to the variant behind the violation; None: broken
    else an option that it fits         the partial advances; `any` leaves a copy behind that did not take the event
    else                                the partial goes to the variant that was interrupted; None: broken

    may it start an attempt?            single                       restart              parallel
    no attempt was open                 yes                          yes                  yes
    it completed a match                no                           no                   yes
    it advanced an attempt              no (strict: yes)             no (strict: yes)     yes
    it did nothing to an open one       no (strict: yes)             yes, discarding it   yes
    it broke the last open one          yes                          yes                  yes

In `single` and `restart` a match ends everything that is open, so matches never overlap; of those that an event
completes, the one that started first is reported. In `parallel` every start stands for itself.

Most events change nothing, so the matcher knows two numbers: the bits of the events that would change anything now, and
the time before which nothing is due. An event that misses both costs a look-up and two comparisons.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from gateway.rules.sequence.graph import FOREVER, Fill, Node, Option
from gateway.rules.sequence.partial import Attempt, Kept, Match, Partial, Timeout
from gateway.rules.sequence.pattern import KEPT_MAX, Pattern
from gateway.rules.sequence.steps import Event

Found = Sequence[Match | Timeout]
_NOTHING: Final[Found] = ()
_NOT_TAKEN, _ADVANCED, _COMPLETED = 0, 1, 2


class Matcher:
    """The open partial matches of one key. Times are ns and never decrease; the caller's rule time sees to that."""

    def __init__(self, pattern: Pattern, at: int | None = None) -> None:
        """`at` (ns): from when on the key is observed, which leading `not`s count from; None: from the first call."""
        self._pattern = pattern
        self._masks = pattern.masks
        self._partials: list[Partial] = []
        self._number = 0  # of the newest event that could change anything
        self._told = 0  # the number of the last event in a timeout that was told
        self._quiet_since: list[int] | None = None  # for each leading `not`
        self.partials_dropped = 0
        """Partial matches given up because `partials_max` were open."""
        self.repetitions_dropped = 0
        """Events of a repetition that were counted but not kept."""
        self._due = -FOREVER
        if at is not None or not pattern.leading:
            self._observe(at or 0)
        self._settle()

    @property
    def partials(self) -> int:
        """How many partial matches are open."""
        return len(self._partials)

    @property
    def furthest(self) -> Partial | None:
        """The open partial match that has filled most steps; of several, the one that started first."""
        return max(self._partials, key=lambda partial: partial.progress, default=None)

    @property
    def ends_next(self) -> bool:
        """Whether the next deadline completes a match, if nothing happens until then; else it ends an attempt."""
        return min(self._partials, key=lambda partial: partial.turn()).ends if self._partials else False

    @property
    def idle(self) -> bool:
        """Nothing would be lost with this matcher: a new one would do the same from here on."""
        return not self._partials and not self._pattern.leading

    @property
    def deadline(self) -> int | None:
        """When `advance` finds something next, in ns; None: only an event can change anything."""
        return self._due if -FOREVER < self._due < FOREVER else None

    def feed(self, at: int, fits: tuple[str, ...] | frozenset[str], event: Event) -> Found:
        """An event at `at` (ns) that fits the named conditions. Timers due at `at` or before fire first."""
        mask = self._masks[fits]
        if at < self._due and not mask & self._wanted:
            return _NOTHING
        return self._feed(at, mask, event)

    def advance(self, at: int) -> Found:
        """It is `at` (ns): what is due by now, in order of time, equal times in the order in which timers were set."""
        if at < self._due:
            return _NOTHING
        self._observe(at)
        found = self._fire(at)
        self._settle()
        return found

    def snapshot(self) -> list[Any]:
        """All state, packable as MessagePack if the events are."""
        attempts = list(dict.fromkeys(partial.attempt for partial in self._partials))
        return [
            self._number,
            self._told,
            None if self._quiet_since is None else list(self._quiet_since),
            self.partials_dropped,
            self.repetitions_dropped,
            [[attempt.started, attempt.deadline, attempt.matched] for attempt in attempts],
            [
                [
                    attempts.index(p.attempt),
                    p.node.index,
                    p.at,
                    p.number,
                    p.count,
                    p.filled,
                    [[one.name, one.event] for one in p.events()],
                ]
                for p in self._partials
            ],
        ]

    def restore(self, state: Sequence[Any]) -> None:
        """Take over what a matcher of an equal pattern said of itself."""
        self._number, self._told, quiet_since, self.partials_dropped, self.repetitions_dropped, *rest = state
        self._quiet_since = None if quiet_since is None else list(quiet_since)
        attempts = [Attempt(started, deadline, matched=matched) for started, deadline, matched in rest[0]]
        self._partials = []
        for attempt, node, at, number, count, filled, events in rest[1]:
            kept = None
            for name, event in events:
                kept = Kept(kept, name, event)
            partial = Partial(attempts[attempt], self._pattern.nodes[node], at, number, kept)
            partial.count, partial.filled = count, filled
            self._partials.append(partial)
        self._settle()

    # -- one event ----------------------------------------------------------------------------------------------

    def _feed(self, at: int, mask: int, event: Event) -> Found:
        self._observe(at)
        found = self._fire(at) if at >= self._due else []
        self._number += 1
        fate = self._offer(at, mask, event, found) if self._partials else _NOT_TAKEN
        if mask & self._pattern.start_bits and self._may_start(fate):
            self._start(at, mask, event, found)
        if mask & self._pattern.leading_bits:
            self._disturb(at, mask, event)
        self._settle()
        return found

    def _observe(self, at: int) -> None:
        if self._quiet_since is None:
            self._quiet_since = [at] * len(self._pattern.leading)

    def _disturb(self, at: int, mask: int, event: Event) -> None:
        """Events that a leading `not` waits out: its time begins anew behind them."""
        assert self._quiet_since is not None
        for n, guard in enumerate(self._pattern.leading):
            if mask & guard.bit and (guard.where is None or guard.where({}, event)):
                self._quiet_since[n] = at

    def _settle(self) -> None:
        """Work out what the next event must be, or fit, to change anything."""
        pattern = self._pattern
        wanted, due = pattern.leading_bits, FOREVER
        for partial in self._partials:
            wanted |= partial.node.wanted
            if partial.due < due:  # noqa: PLR1730 - a call of min() costs more than the rest of the turn
                due = partial.due
        if not self._partials or pattern.strict or pattern.mode != "single":
            wanted |= pattern.start_bits
        self._wanted = wanted
        self._due = -FOREVER if self._quiet_since is None else due

    def _offer(self, at: int, mask: int, event: Event, found: list[Match | Timeout]) -> int:
        """Offer the event to what is open, oldest start first."""
        fate, still_open = _NOT_TAKEN, []
        for partial in self._partials:
            if not mask & partial.node.wanted:
                still_open.append(partial)
                continue
            left, hit = self._choose(partial, at, mask, event)
            if hit is not None:
                fork = partial.copy(left) if left is not None and hit[0].forks else None
                self._advance(partial, *hit, at, event)
                complete, fate = partial.node.complete, _ADVANCED
                if not complete:
                    still_open.append(partial)
                if fork is not None:
                    still_open.append(fork)
            elif left is not None:
                complete = False
                partial.stand(left)
                still_open.append(partial)
            else:
                complete = partial.node.satisfied
            if complete:
                self._complete(partial, at, found)
                if self._pattern.mode != "parallel":
                    self._partials = []
                    return _NOT_TAKEN if hit is None else _COMPLETED
        self._partials = still_open
        self._bound()
        return fate

    def _choose(
        self, partial: Partial, at: int, mask: int, event: Event
    ) -> tuple[Node | None, tuple[Option, Fill] | None]:
        """What fills, if anything, and where the partial match stands if this does not."""
        node = partial.node
        for guard in node.guards:
            if mask & guard.bit and at < partial.at + guard.for_ns:
                if guard.where is not None and not guard.where(partial.steps(), event):
                    continue
                if guard.violated is None:
                    return None, None
                node = guard.violated
                break
        since = at - partial.at
        for option in node.options:
            if mask & option.bits and option.after_ns <= since < option.until_ns:
                filled = partial.filled if option.distinct and option.repeats else 0
                for fill in option.fills:
                    if mask & fill.bit & ~filled and (fill.where is None or fill.where(partial.steps(), event)):
                        return node.skipped, (option, fill)
        return node.skipped, None

    def _advance(self, partial: Partial, option: Option, fill: Fill, at: int, event: Event) -> None:
        if option.repeats:
            partial.count += 1
            partial.filled |= fill.bit
        else:
            partial.count, partial.filled = 1, fill.bit
        before = partial.kept
        if partial.count > KEPT_MAX and before is not None:
            self.repetitions_dropped += 1
            before = before.before
        partial.kept = Kept(before, fill.name, event)
        partial.at, partial.number = at, self._number
        partial.stand(option.node(partial.count))

    def _may_start(self, fate: int) -> bool:
        mode, strict = self._pattern.mode, self._pattern.strict
        if mode == "parallel":
            return True
        if fate == _COMPLETED:
            return False
        return strict or not self._partials or (mode == "restart" and fate == _NOT_TAKEN)

    def _start(self, at: int, mask: int, event: Event, found: list[Match | Timeout]) -> None:
        for option in self._pattern.starts:
            if mask & option.bits and (not option.leading or self._was_quiet(option, at)):
                for fill in option.fills:
                    if mask & fill.bit and (fill.where is None or fill.where({}, event)):
                        self._begin(at, option, fill, event, found)
                        return

    def _was_quiet(self, option: Option, at: int) -> bool:
        since, leading = self._quiet_since, self._pattern.leading
        assert since is not None
        return all(at >= since[n] + (leading[n].for_ns or 0) for n in option.leading)

    def _begin(self, at: int, option: Option, fill: Fill, event: Event, found: list[Match | Timeout]) -> None:
        """The event starts an attempt."""
        if self._pattern.mode == "restart":
            self._discard(at, found)
        attempt = Attempt(self._number, min(at + self._pattern.within_ns, FOREVER))
        node = option.node(1)
        partial = Partial(attempt, node, at, self._number, Kept(None, fill.name, event))
        partial.count, partial.filled = 1, fill.bit
        if node.complete:
            self._complete(partial, at, found)
        else:
            self._partials.append(partial)
            self._bound()

    def _discard(self, at: int, found: list[Match | Timeout]) -> None:
        """A restart ends what its event did not advance. What could have been a match by then is one."""
        for partial in self._partials:
            if partial.number != self._number and partial.node.satisfied:
                self._complete(partial, at, found)
                self._partials = []
                return
        self._partials = [partial for partial in self._partials if partial.number == self._number]

    def _bound(self) -> None:
        """Too many: the oldest start goes; of candidates that overlap the newest, the leftmost match is the better."""
        excess = len(self._partials) - self._pattern.partials_max
        if excess <= 0:
            return
        self.partials_dropped += excess
        if self._pattern.strict and self._pattern.mode != "parallel":
            del self._partials[-excess:]
        else:
            del self._partials[:excess]

    def _complete(self, partial: Partial, at: int, found: list[Match | Timeout]) -> None:
        partial.attempt.matched = True
        found.append(Match(at, partial.steps()))

    # -- time ---------------------------------------------------------------------------------------------------

    def _fire(self, at: int) -> list[Match | Timeout]:
        """Everything due by `at`, in order."""
        found: list[Match | Timeout] = []
        while due := [partial for partial in self._partials if partial.due <= at]:
            first = due[0] if len(due) == 1 else min(due, key=Partial.turn)
            if first.ends:
                self._complete(first, first.due, found)
                self._partials.remove(first)
                if self._pattern.mode != "parallel":
                    self._partials = []
            else:
                self._time_out(first.attempt, found)
        return found

    def _time_out(self, attempt: Attempt, found: list[Match | Timeout]) -> None:
        """The `within` of a start is over. In `single` and `restart`, overlapping candidates time out once."""
        mine = [partial for partial in self._partials if partial.attempt is attempt]
        self._partials = [partial for partial in self._partials if partial.attempt is not attempt]
        alone = self._pattern.mode == "parallel" or attempt.started > self._told
        if alone and not attempt.matched:
            furthest = max(mine, key=lambda partial: partial.progress)
            self._told = furthest.number
            found.append(Timeout(attempt.deadline, furthest.steps()))
