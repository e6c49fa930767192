"""Where a partial match can stand, and where it goes from there: the nodes that pattern.py builds. Pure.

A *node* says which step filled last, and whether that step still needs events (FILLING), may take more (OPEN) or is
full (FULL). It lists its *options*, the steps that the next event may fill, best first, and its *guards*, the `not`s
in force.

Two things can happen at a node without an event filling a step. Both lead to a *variant* of the node with fewer
options. An event that nothing took *interrupts*: options with `next` are gone. A violated `not` *blocks* the options
that lie behind it. A variant without options is no node but None: the attempt is broken.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from gateway.rules.sequence.steps import Where

FOREVER: Final = 1 << 62
"""Longer than any time in ns, 146 years: stands for "no limit" where a number saves a question."""

FILLING, OPEN, FULL = 0, 1, 2


class Fill(NamedTuple):
    """One condition of a step: its bit in the mask of an event."""

    bit: int
    name: str
    where: Where | None


class Takes(NamedTuple):
    """A step that takes events, in the numbers of the compiler. `place` is its index among all steps, for errors."""

    place: int
    fills: tuple[Fill, ...]
    bits: int
    link: str
    at_least: int
    at_most: int
    greedy: bool
    distinct: bool  # an `all` group: an event for each fill


class Option:
    """A step that an event may fill from a node, `after_ns` to `until_ns` (half-open) after the event before.

    `nodes` are those of the step while it is FILLING, OPEN and FULL; `repeats`: it is the step that filled last.
    """

    __slots__ = (
        "after_ns", "at_least", "at_most", "bits", "distinct", "fills",
        "forks", "leading", "nodes", "repeats", "strict", "until_ns",
    )  # fmt: skip

    def __init__(self, step: Takes, nodes: tuple[Node, Node, Node], *, repeats: bool) -> None:
        self.fills, self.bits, self.distinct = step.fills, step.bits, step.distinct
        self.strict, self.forks = step.link == "next", step.link == "any"
        self.at_least, self.at_most = step.at_least, step.at_most
        self.nodes, self.repeats = nodes, repeats
        self.after_ns, self.until_ns = 0, FOREVER
        self.leading: tuple[int, ...] = ()  # of a start: the leading `not`s that must have been quiet

    def node(self, count: int) -> Node:
        """Where a partial match stands when this step has `count` events."""
        return self.nodes[FILLING if count < self.at_least else OPEN if count < self.at_most else FULL]


class Guard:
    """A `not` that is in force at a node, and the node that its violation leads to."""

    __slots__ = ("bit", "for_ns", "violated", "where")

    def __init__(self, bit: int, where: Where | None, for_ns: int, violated: Node | None) -> None:
        self.bit, self.where, self.for_ns, self.violated = bit, where, for_ns, violated


class Node:
    """Where a partial match stands. `wanted` are the bits of the events that change anything; -1 is all.

    `complete`: whoever gets here has matched. `satisfied`: it could be called a match here, but may grow.
    `end_after_ns`: when it is one if nothing happens, counted from the last event; FOREVER: at the end of `within`.
    """

    __slots__ = ("complete", "end_after_ns", "guards", "index", "options", "satisfied", "skipped", "step", "wanted")

    def __init__(self, index: int, step: int) -> None:
        self.index, self.step = index, step
        self.options: tuple[Option, ...] = ()
        self.guards: tuple[Guard, ...] = ()
        self.skipped: Node | None = self  # after an event that nothing took
        self.complete = self.satisfied = False
        self.end_after_ns: int | None = None
        self.wanted = 0
