"""Steps compiled to the graph that `Matcher` walks. Pure, immutable, shared by all keys of a rule.

The order in which a node lists its options is the semantics of `times` and `greedy`, one recursion over the steps:

    FILLING   repeat
    OPEN      what lies ahead, repeat         (greedy: repeat, what lies ahead)
    FULL      what lies ahead

    ahead(j)  the end, behind the last step
              enter j                         where j needs an event
              ahead(j + 1), enter j           where j may be left out: times 0..   (greedy: enter j, ahead(j + 1))

The end takes no event. An end that may be reached at once and comes first completes the match on entry. If it comes
later, the match could be had but may grow. Behind a `not`, the end is reached when that has run its time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from gateway.rules.sequence.graph import FILLING, FOREVER, FULL, OPEN, Fill, Guard, Node, Option, Takes
from gateway.rules.sequence.steps import PARTIALS_MAX, AllOf, Condition, Mode, Not, PatternError, Step, Where, check

KEPT_MAX: Final = 256
"""Events kept of one step that repeats. Beyond, the newest replaces the one before; the first 255 stay."""
_MASKS_MAX: Final = 4096


class _Guarded(NamedTuple):
    """A `not`, in the numbers of the compiler. `place` is its index among all steps, for errors."""

    place: int
    bit: int
    where: Where | None
    for_ns: int | None


class _Way(NamedTuple):
    """From a node to step `to` (the number of steps: the end)."""

    to: int
    repeats: bool = False


class Pattern:
    """A compiled sequence.

    `steps` in order; `within_ns` bounds the whole, half-open, from its first event; `partials_max` bounds the open
    partial matches of one key. Raises `PatternError`.
    """

    def __init__(
        self,
        steps: Sequence[Step | AllOf | Not],
        *,
        within_ns: int | None = None,
        mode: Mode = "single",
        partials_max: int = PARTIALS_MAX,
    ) -> None:
        steps = tuple(steps)
        check(steps, within_ns, mode, partials_max)
        graph = _Graph(steps, within_ns)
        self.mode: Final = mode
        self.within_ns: Final = FOREVER if within_ns is None else within_ns
        self.nodes: Final = tuple(graph.nodes)
        self.starts: Final = graph.starts
        self.length: Final = graph.end
        """Steps that events fill."""
        self.start_bits: Final = _union(option.bits for option in graph.starts)
        self.leading: Final = tuple(graph.leading)
        self.leading_bits: Final = _union(guard.bit for guard in graph.leading)
        self.strict: Final = _is_strict(graph.positives)
        """Every event of a match follows the one before directly: overlapping candidates are tracked."""
        lengths = [min(step.at_most, KEPT_MAX) for step in graph.positives]
        self.events_max: Final = sum(lengths)
        """Events that one partial match keeps at most."""
        finite = sum(length for step, length in zip(graph.positives, lengths, strict=True) if step.at_most < FOREVER)
        self.partials_max: Final = max(partials_max, finite) if self.strict and mode != "parallel" else partials_max
        """Open partial matches of one key. A strict sequence has room for a candidate at each of its events."""
        self.masks: Final = _Masks(graph.bits)


class _Masks(dict[tuple[str, ...] | frozenset[str], int]):
    """The names that an event fits -> their bits. Few combinations occur; they are worked out once."""

    def __init__(self, bits: dict[str, int]) -> None:
        super().__init__()
        self._bits = bits

    def __missing__(self, fits: tuple[str, ...] | frozenset[str]) -> int:
        mask = _union(self._bits[name] for name in fits)
        if len(self) < _MASKS_MAX:
            self[fits] = mask
        return mask


def _union(bits: Iterable[int]) -> int:
    whole = 0
    for bit in bits:
        whole |= bit
    return whole


def _is_strict(positives: list[Takes]) -> bool:
    links = [step.link for n, step in enumerate(positives) if n > 0 or step.at_most > 1]
    return bool(links) and all(link == "next" for link in links)


@dataclass(frozen=True, slots=True)
class _Key:
    """What tells one node from another."""

    step: int
    phase: int
    interrupted: bool
    open_to: int  # the last step that no violated `not` blocks; the number of steps: all, and the end


class _Graph:
    """The compiler. Gap g lies behind step g; gap -1 stands before the first."""

    def __init__(self, steps: tuple[Step | AllOf | Not, ...], within_ns: int | None) -> None:
        self.bits: dict[str, int] = {}
        self.positives: list[Takes] = []
        self.gaps: dict[int, list[_Guarded]] = {-1: []}
        self._within_ns = within_ns
        for place, step in enumerate(steps):
            self._read(place, step)
        self.end = len(self.positives)
        self.nodes: list[Node] = []
        self._known: dict[_Key, Node | None] = {}
        self.leading: list[_Guarded] = []
        self.starts = self._starts()

    def _read(self, place: int, step: Step | AllOf | Not) -> None:
        here = len(self.positives) - 1
        if isinstance(step, Not):
            guard = _Guarded(place, self._bit(step.condition), step.condition.where, step.for_ns)
            self.gaps[here].append(guard)
            return
        fills = tuple(Fill(self._bit(condition), condition.name, condition.where) for condition in step.conditions)
        bits = _union(fill.bit for fill in fills)
        if isinstance(step, AllOf):
            numbers = (len(fills), len(fills), False, True)
        else:
            numbers = (step.at_least, FOREVER if step.at_most is None else step.at_most, step.greedy, False)
        self.positives.append(Takes(place, fills, bits, step.link, *numbers))
        self.gaps[here + 1] = []

    def _bit(self, condition: Condition) -> int:
        return self.bits.setdefault(condition.name, 1 << len(self.bits))

    def _starts(self) -> tuple[Option, ...]:
        ways = self._ahead(0)
        if any(way.to == self.end for way in ways):
            raise PatternError("no step needs an event: at least one step must; `absent` is for nothing at all")
        crossed = {guard for way in ways for guard in self._crossed(-1, way.to)}
        self.leading = sorted(crossed)
        for guard in self.leading:
            if guard.for_ns is None:
                raise PatternError("a `not` that may stand first needs `for:`, there is no step before it", guard.place)
        starts = []
        for way in ways:
            option = self._option(way)
            option.leading = tuple(n for n, guard in enumerate(self.leading) if guard in self._crossed(-1, way.to))
            starts.append(option)
        return tuple(starts)

    def _ahead(self, step: int) -> list[_Way]:
        """The ways on when `step` is awaited, best first."""
        if step == self.end:
            return [_Way(step)]
        if self.positives[step].at_least > 0:
            return [_Way(step)]
        onward = self._ahead(step + 1)
        return [_Way(step), *onward] if self.positives[step].greedy else [*onward, _Way(step)]

    def _ways(self, step: int, phase: int) -> list[_Way]:
        """The ways on from a step that an event has filled, best first; none behind an end that is reached at once."""
        again, onward = [_Way(step, repeats=True)], self._ahead(step + 1)
        if phase == FILLING:
            return again
        ways = onward if phase == FULL else [*again, *onward] if self.positives[step].greedy else [*onward, *again]
        for n, way in enumerate(ways):
            if way.to == self.end and not self._crossed(step, self.end):
                return ways[: n + 1]
        return ways

    def _crossed(self, step: int, to: int) -> list[_Guarded]:
        return [guard for gap in range(step, to) for guard in self.gaps[gap]]

    def _option(self, way: _Way) -> Option:
        step = self.positives[way.to]
        last = FULL if step.at_most < FOREVER else OPEN
        return Option(
            step,
            (
                self._entry(way.to, FILLING if step.at_least > 1 else last),
                self._entry(way.to, OPEN if step.at_most > max(step.at_least, 1) else last),
                self._entry(way.to, last),
            ),
            repeats=way.repeats,
        )

    def _entry(self, step: int, phase: int) -> Node:
        node = self._node(_Key(step, phase, interrupted=False, open_to=self.end))
        assert node is not None, "a step that was just filled goes on, or is the end"
        return node

    def _node(self, key: _Key) -> Node | None:
        if key not in self._known:
            ways = [way for way in self._ways(key.step, key.phase) if self._is_open(way, key)]
            at_once = [way for way in ways if way.to == self.end and not self._crossed(key.step, self.end)]
            fresh = not key.interrupted and key.open_to == self.end
            if not ways or (ways == at_once and not fresh):
                self._known[key] = None
            else:
                node = self._known[key] = Node(len(self.nodes), key.step)
                self.nodes.append(node)
                self._fill_in(node, key, ways, complete=fresh and ways[:1] == at_once, satisfied=bool(at_once))
        return self._known[key]

    def _is_open(self, way: _Way, key: _Key) -> bool:
        if way.to == self.end:
            return key.open_to == self.end
        return way.to <= key.open_to and not (key.interrupted and self.positives[way.to].link == "next")

    def _fill_in(self, node: Node, key: _Key, ways: list[_Way], *, complete: bool, satisfied: bool) -> None:
        """The known node becomes whole. It is known first: a node that repeats leads to itself."""
        node.complete, node.satisfied = complete, satisfied
        if complete:
            return
        node.options = tuple(self._timed(way, key) for way in ways if way.to != self.end)
        if any(way.to == self.end for way in ways):
            node.end_after_ns = self._end_after(key.step, waits=any(not option.strict for option in node.options))
        if key.phase != FILLING:
            node.guards = tuple(self._guards(key))
        if any(option.strict for option in node.options):
            node.skipped = self._node(_Key(key.step, key.phase, interrupted=True, open_to=key.open_to))
        node.wanted = _union(option.bits for option in node.options) | _union(guard.bit for guard in node.guards)
        if node.skipped is not node:
            node.wanted = -1

    def _timed(self, way: _Way, key: _Key) -> Option:
        """A step opens when the `not`s before it have run their time, and may repeat until those behind it have."""
        option = self._option(way)
        if not way.repeats:
            option.after_ns = max((guard.for_ns or 0 for guard in self._crossed(key.step, way.to)), default=0)
        elif key.phase == OPEN:
            times = [guard.for_ns for guard in self.gaps[key.step] if guard.for_ns is not None]
            option.until_ns = max(times, default=FOREVER)
        return option

    def _end_after(self, step: int, *, waits: bool) -> int:
        """From the last event to the end, in ns; FOREVER: the end of `within`. `waits`: events do not break it."""
        guards = self._crossed(step, self.end)
        open_ended = [guard.place for guard in guards if guard.for_ns is None]
        if self._within_ns is None and open_ended:
            raise PatternError("a `not` that ends the sequence needs `for:`, or the sequence `within:`", open_ended[0])
        if self._within_ns is None and not guards and waits:
            greedy = next(takes.place for takes in self.positives[step:] if takes.greedy)
            raise PatternError("greedy at the end takes events until `within:` is over: give it", greedy)
        return FOREVER if open_ended or not guards else max(guard.for_ns or 0 for guard in guards)

    def _guards(self, key: _Key) -> Iterable[Guard]:
        """The `not`s in force: on every way that none of them blocks, interrupted or not."""
        reach = max(way.to for way in self._ways(key.step, key.phase) if way.to <= key.open_to)
        for gap in range(key.step, reach):
            for guard in self.gaps[gap]:
                violated = None
                if gap > key.step:
                    violated = self._node(_Key(key.step, key.phase, key.interrupted, open_to=gap))
                yield Guard(guard.bit, guard.where, guard.for_ns or FOREVER, violated)
