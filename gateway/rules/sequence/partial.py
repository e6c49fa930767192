"""What a matcher holds and what it finds: attempts, partial matches, matches and timeouts. Pure."""

from __future__ import annotations

import msgspec

from gateway.rules.sequence.graph import FOREVER, Node
from gateway.rules.sequence.steps import Event

Steps = dict[str, tuple[Event, ...]]
"""Name of a condition -> the events that filled it, oldest first; names in the order of their first events."""


class Match(msgspec.Struct, frozen=True):
    """The steps are complete. `at` (ns): time of the completing event, or when a `not` had run its time."""

    at: int
    steps: Steps


class Timeout(msgspec.Struct, frozen=True):
    """`within` is over, at `at` (ns), for a start that matched nothing. `steps`: of its furthest partial match."""

    at: int
    steps: Steps


class Attempt:
    """What one start has led to: a partial match, or several where `any` forks."""

    __slots__ = ("deadline", "matched", "started")

    def __init__(self, started: int, deadline: int, *, matched: bool = False) -> None:
        self.started, self.deadline, self.matched = started, deadline, matched


class Kept:
    """An event that filled a step, and what came before it. Forks share their beginnings."""

    __slots__ = ("before", "event", "name")

    def __init__(self, before: Kept | None, name: str, event: Event) -> None:
        self.before, self.name, self.event = before, name, event


class Partial:
    """A partial match: where it stands since `at`, when something is `due`, and whether it `ends` in a match then."""

    __slots__ = ("at", "attempt", "count", "due", "ends", "filled", "kept", "node", "number")

    def __init__(self, attempt: Attempt, node: Node, at: int, number: int, kept: Kept | None) -> None:
        self.attempt, self.at, self.number, self.kept = attempt, at, number, kept
        self.count = 0  # events of the step that filled last
        self.filled = 0  # of an `all` group: the bits of its branches that are filled
        self.stand(node)

    def stand(self, node: Node) -> None:
        """Go to a node. Its timer counts from the last event."""
        self.node = node
        self.due, self.ends = self.attempt.deadline, False
        if node.end_after_ns is not None:
            end = self.at + node.end_after_ns
            self.ends = end <= self.due or node.end_after_ns >= FOREVER
            self.due = min(end, self.due)

    def copy(self, node: Node) -> Partial:
        """The same, but standing at another node."""
        copy = Partial(self.attempt, node, self.at, self.number, self.kept)
        copy.count, copy.filled = self.count, self.filled
        return copy

    def turn(self) -> tuple[int, int, bool]:
        """Whose timer fires first: by time, then by the event that set it; a match before the timeout of its start."""
        by_end = self.ends and self.due < self.attempt.deadline
        return self.due, self.number if by_end else self.attempt.started, not self.ends

    @property
    def progress(self) -> tuple[int, int]:
        return self.node.step, self.count

    def events(self) -> list[Kept]:
        """What is kept, oldest first."""
        kept, backwards = self.kept, []
        while kept is not None:
            backwards.append(kept)
            kept = kept.before
        return backwards[::-1]

    def steps(self) -> Steps:
        names: dict[str, list[Event]] = {}
        for one in self.events():
            names.setdefault(one.name, []).append(one.event)
        return {name: tuple(events) for name, events in names.items()}
