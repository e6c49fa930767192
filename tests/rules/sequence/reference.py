"""What a sequence means, said a second time and with no thought for speed: the matcher must agree.

Every start is followed on its own, through all that is yet to come, with its whole history at every turn. How starts
get in each other's way is decided afterwards, from what became of each. Nothing is compiled, and nothing is shared with
the matcher but the words of the steps.

A *moment* orders what happens: (index of the event, 0 before it or 1 with it, ...). The time after the last event has
the index behind it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from gateway.rules.sequence import AllOf, Not

NEVER = float("inf")
MATCH, BREAK, TIMEOUT, OPEN = "match", "break", "timeout", "open"


@dataclass(frozen=True)
class Taken:
    step: int  # among the steps that take events
    name: str
    event: int  # index in the stream


@dataclass(frozen=True)
class Path:
    """One way to read the stream: what was taken, and what happened since."""

    taken: tuple[Taken, ...]
    interrupted: bool = False
    blocked: frozenset = frozenset()  # steps that are no longer reachable, and END

    @property
    def last(self):
        return self.taken[-1]


@dataclass(frozen=True)
class Outcome:
    kind: str
    moment: tuple
    at: float
    path: Path


class Reference:
    def __init__(self, steps, *, within=None, mode="single", where=None):
        self.steps = [step for step in steps if not isinstance(step, Not)]
        self.end = len(self.steps)
        self.within, self.mode, self.where = within or NEVER, mode, where or {}
        self.nots = {gap: [] for gap in range(-1, self.end)}
        gap = -1
        for step in steps:
            if isinstance(step, Not):
                self.nots[gap].append(step)
            else:
                gap += 1

    # -- the words --------------------------------------------------------------------------------------------

    def low(self, step):
        it = self.steps[step]
        return len(it.conditions) if isinstance(it, AllOf) else it.at_least

    def high(self, step):
        it = self.steps[step]
        if isinstance(it, AllOf):
            return len(it.conditions)
        return NEVER if it.at_most is None else it.at_most

    def greedy(self, step):
        return not isinstance(self.steps[step], AllOf) and self.steps[step].greedy

    def strict(self):
        links = [step.link for n, step in enumerate(self.steps) if n or self.high(0) > 1]
        return bool(links) and set(links) == {"next"}

    def between(self, step, to):
        """The nots that are passed on the way from a step to another."""
        return [(gap, one) for gap in range(step, to) for one in self.nots[gap]]

    def fits(self, condition, event, path):
        if condition.name not in self.events[event][1]:
            return False
        if condition.where is None:
            return True
        matched = {}
        for taken in path.taken if path else ():
            matched[taken.name] = (*matched.get(taken.name, ()), self.events[taken.event][2])
        return condition.where(matched, self.events[event][2])

    # -- where a path can go ------------------------------------------------------------------------------------

    def count(self, path):
        return sum(taken.step == path.last.step for taken in path.taken)

    def reachable(self, step, count):
        """Every step that may be filled next, and the end; best first."""
        targets = []
        for to in range(step, self.end + 1):
            if to == step:
                if count == 0 or count >= self.high(step):
                    continue
            elif 0 < count < self.low(step) or any(self.low(s) > 0 for s in range(step + 1, to)):
                continue
            targets.append(to)
        return sorted(targets, key=lambda to: self.taste(step, to))

    def taste(self, step, to):
        """At each step on the way: is taking or leaving what it would rather do? Compared from the first on."""
        return [((to == s) != self.greedy(s)) for s in range(max(step, 0), min(to, self.end - 1) + 1)]

    def open_ways(self, path):
        """Where the path may go, best first, and whether it may end at once. What is worse than an end is not."""
        ways = []
        for to in self.reachable(path.last.step, self.count(path)):
            if to in path.blocked:
                continue
            if to == self.end:
                if not self.between(path.last.step, self.end):
                    return ways, True
                continue
            if not (path.interrupted and self.steps[to].link == "next"):
                ways.append(to)
        return ways, False

    def awaits_end(self, path):
        return self.end in self.reachable(path.last.step, self.count(path)) and self.end not in path.blocked

    def ends_at(self, path):
        """When the path is a match if nothing happens; None: never."""
        start, last = self.time(path.taken[0].event), self.time(path.last.event)
        if not self.awaits_end(path):
            return None
        nots = [one for _, one in self.between(path.last.step, self.end)]
        if not nots or any(one.for_ns is None for one in nots):
            return start + self.within
        end = last + max(one.for_ns for one in nots)
        return end if end <= start + self.within else None

    def time(self, event):
        return self.events[event][0]

    # -- one start, to the end of the stream --------------------------------------------------------------------

    def starts(self, event):
        """The path that the event starts, if any."""
        for to in self.reachable(-1, 0):
            if to == self.end:
                continue
            if all(self.quiet(one, event) for _, one in self.between(-1, to)):
                for condition in self.steps[to].conditions:
                    if self.fits(condition, event, None):
                        return Path((Taken(to, condition.name, event),))
        return None

    def quiet(self, one, event):
        disturbed = [self.begin]
        disturbed += [self.time(e) for e in range(event) if self.fits(one.condition, e, None)]
        return self.time(event) >= disturbed[-1] + one.for_ns

    def follow(self, path, event):
        """All that can become of the path from this event on."""
        start = path.taken[0].event
        if path.last.event == event - 1 and self.open_ways(path) == ([], True):  # an end, and nothing better
            return [Outcome(MATCH, (path.last.event, 1, start), self.time(path.last.event), path)]
        now = self.time(event) if event < len(self.events) else self.until
        deadline, ends = self.time(start) + self.within, self.ends_at(path)
        if ends is not None and ends <= now:
            armed = path.last.event if ends < deadline else start
            return [Outcome(MATCH, (event, 0, ends, armed, 0), ends, path)]
        if deadline <= now:
            return [Outcome(TIMEOUT, (event, 0, deadline, start, 1), deadline, path)]
        if event == len(self.events):
            return [Outcome(OPEN, (event + 1,), NEVER, path)]
        return [one for way in self.turn(path, event) for one in way]

    def turn(self, path, event):
        """The event meets the path."""
        now, start = self.time(event), path.taken[0].event
        since = now - self.time(path.last.event)
        ways, may_end = self.open_ways(path)
        broken = Outcome(BREAK, (event, 1, start), now, path)
        count = self.count(path)
        if count >= self.low(path.last.step):
            reach = max(set(self.reachable(path.last.step, count)) - path.blocked, default=path.last.step)
            for gap, one in self.between(path.last.step, reach):
                if since < (one.for_ns or NEVER) and self.fits(one.condition, event, path):
                    if gap == path.last.step:
                        yield [broken]
                        return
                    path = replace(path, blocked=path.blocked | set(range(gap + 1, self.end + 1)))
                    ways, may_end = self.open_ways(path)
                    break
        skipped = replace(path, interrupted=True)
        left = self.open_ways(skipped)[0] or (self.awaits_end(skipped) and not may_end)
        if (taken := self.take(path, ways, since, event)) is not None:
            yield self.follow(taken, event + 1)
            if self.steps[taken.last.step].link == "any" and left:
                yield self.follow(skipped, event + 1)
        elif left:
            yield self.follow(skipped, event + 1)
        elif may_end:
            yield [Outcome(MATCH, (event, 1, start, "broken"), now, path)]
        else:
            yield [broken]

    def take(self, path, ways, since, event):
        for to in ways:
            repeats = to == path.last.step
            times = [one.for_ns or 0 for _, one in self.between(path.last.step, to)]
            over = [one.for_ns for one in self.nots[to] if one.for_ns is not None] if repeats else []
            if since < max(times, default=0):
                continue
            if repeats and self.count(path) >= self.low(to) and over and since >= max(over):
                continue
            filled = {taken.name for taken in path.taken if taken.step == to}
            for condition in self.steps[to].conditions:
                if isinstance(self.steps[to], AllOf) and condition.name in filled:
                    continue
                if self.fits(condition, event, path):
                    return Path((*path.taken, Taken(to, condition.name, event)))
        return None

    def fate(self, start):
        """What becomes of a start: all outcomes in order. None where the event starts nothing."""
        path = self.starts(start)
        if path is None:
            return None
        if self.open_ways(path) == ([], True):
            return [Outcome(MATCH, (start, 1, start), self.time(start), path)]
        return sorted(self.follow(path, start + 1), key=lambda one: one.moment[:5])

    # -- how starts get in each other's way ----------------------------------------------------------------------

    def play(self, events, begin, until):
        """events: (at, names, value). Returns [(at, is_match, {name: values})]."""
        self.events, self.begin, self.until = events, begin, until
        fates = {s: fate for s in range(len(events)) if (fate := self.fate(s)) is not None}
        told = self.parallel(fates) if self.mode == "parallel" else self.one_at_a_time(fates)
        return [self.shown(one) for one in told]

    def shown(self, one):
        steps = {}
        for taken in one.path.taken:
            steps[taken.name] = (*steps.get(taken.name, ()), self.events[taken.event][2])
        return int(one.at), one.kind == MATCH, steps

    def timeout(self, fate):
        """The one timeout of a start that never matched."""
        late = [one for one in fate if one.kind == TIMEOUT]
        if not late or any(one.kind == MATCH for one in fate):
            return []
        best = max((one.path.last.step, self.count(one.path)) for one in late)
        return [next(one for one in late if (one.path.last.step, self.count(one.path)) == best)]

    def parallel(self, fates):
        told = [one for fate in fates.values() for one in fate if one.kind == MATCH]
        told += [one for fate in fates.values() for one in self.timeout(fate)]
        return sorted(told, key=lambda one: one.moment[:5])

    def one_at_a_time(self, fates):
        strict, told, first, last_told = self.strict(), [], 0, -1
        while True:
            mine = {s: self.cut(fate, fates) for s, fate in fates.items() if s >= first}
            if not strict:
                mine = dict(list(mine.items())[:1])
            if not mine:
                return told
            matches = [one for fate in mine.values() for one in fate if one.kind == MATCH]
            match = min(matches, key=lambda one: one.moment, default=None)
            for fate in sorted(mine.values(), key=lambda fate: fate[0].moment):
                for one in self.timeout([o for o in fate if match is None or o.moment < match.moment]):
                    if one.path.taken[0].event > last_told:
                        told.append(one)
                        last_told = one.path.last.event
            if match is not None:
                told.append(match)
                first = self.after(match)
            elif strict:
                return told
            else:
                first = max(self.after(one) for fate in mine.values() for one in fate)

    def after(self, one):
        """The first event that may start what comes after: not the one that completed a match."""
        event, phase, *more = one.moment if len(one.moment) > 1 else (*one.moment, 0)
        return event + 1 if one.kind == MATCH and phase == 1 and "broken" not in more else event

    def cut(self, fate, fates):
        """In `restart`, a start ends what it does not advance."""
        if self.mode != "restart":
            return fate
        start = fate[0].path.taken[0].event
        ended = min((one.moment for one in fate if one.kind == MATCH), default=(NEVER,))
        advanced = {taken.event for one in fate for taken in one.path.taken if (taken.event, 1) <= ended}
        for event in fates:
            moment = (event, 2, "broken")
            if event <= start or not any(one.moment[:2] > (event, 1) for one in fate):
                continue
            if not self.strict() and (event in advanced or ended < moment):
                continue
            if self.strict() and event in advanced:
                continue
            kept = [one for one in fate if one.moment < moment]
            paths = [until(one.path, event) for one in fate if one.moment > moment]
            satisfied = [path for path in paths if self.open_ways(path)[1]]
            kept += [Outcome(MATCH, moment, self.time(event), path) for path in satisfied[:1]]
            return [*kept, Outcome(BREAK, moment, self.time(event), fate[0].path)]
        return fate


def until(path, event):
    """The path as it was before the event."""
    return Path(tuple(taken for taken in path.taken if taken.event < event))
