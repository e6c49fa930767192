"""The words of a sequence: what its steps are, before they are compiled. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

Link = Literal["then", "next", "any"]
Mode = Literal["single", "restart", "parallel"]

Event = Any
"""Opaque here: kept, handed to `where`, returned. What packs as MessagePack can be part of a snapshot."""

Where = Callable[[Mapping[str, tuple[Event, ...]], Event], bool]
"""`where(matched, event)`: whether the event fits, given the events matched so far under the names they filled."""

CONDITIONS_MAX: Final = 64
"""Conditions in one pattern: steps, branches and `not`s together."""
PARTIALS_MAX: Final = 10
"""Open partial matches of one key, where the pattern does not say."""


class PatternError(ValueError):
    """The steps make no sequence. `step` is the index of the one to blame, None where it is the whole.

    The message says what was found and what to do; where in the file it stands is known to the caller.
    """

    def __init__(self, message: str, step: int | None = None) -> None:
        super().__init__(message)
        self.step = step


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that an event may fit. The caller tells by `name` which ones it does; `where` is asked only then."""

    name: str
    where: Where | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """`at_least` to `at_most` (None: no upper number) events that each fit one of the conditions.

    More than one condition make it an `any` group: an event fills the first listed that fits.
    """

    conditions: tuple[Condition, ...]
    link: Link = "then"
    at_least: int = 1
    at_most: int | None = 1
    greedy: bool = False


@dataclass(frozen=True, slots=True)
class AllOf:
    """An `all` group: one event for each condition, in any order; an event fills the first open one that fits."""

    conditions: tuple[Condition, ...]
    link: Link = "then"


@dataclass(frozen=True, slots=True)
class Not:
    """No event that fits, for `for_ns` from the step before; without it until the next step, or until `within`."""

    condition: Condition
    for_ns: int | None = None


def check(steps: tuple[Step | AllOf | Not, ...], within_ns: int | None, mode: str, partials_max: int) -> None:
    """Refuse what can be judged step by step; raises `PatternError`."""
    if mode not in {"single", "restart", "parallel"}:
        raise PatternError(f"mode {mode!r}: one of single, restart, parallel is expected")
    if within_ns is not None and within_ns <= 0:
        raise PatternError("`within` must be longer than nothing")
    if partials_max < 1:
        raise PatternError(f"`max` is {partials_max}: at least one partial match must be allowed")
    seen: set[str] = set()
    for index, step in enumerate(steps):
        conditions = (step.condition,) if isinstance(step, Not) else step.conditions
        for condition in conditions:
            if condition.name in seen:
                raise PatternError(f"the name {condition.name!r} stands for two things: give each its own", index)
            seen.add(condition.name)
        _check_step(step, within_ns, index)
    if len(seen) > CONDITIONS_MAX:
        raise PatternError(f"{len(seen)} conditions: at most {CONDITIONS_MAX} can stand in one sequence")


def _check_step(step: Step | AllOf | Not, within_ns: int | None, index: int) -> None:
    if isinstance(step, Not):
        if step.for_ns is not None and step.for_ns <= 0:
            raise PatternError("`for` must be longer than nothing", index)
        return
    if not step.conditions:
        raise PatternError("a group without branches: list at least one", index)
    if step.link not in {"then", "next", "any"}:
        raise PatternError(f"link {step.link!r}: one of then, next, any is expected", index)
    if isinstance(step, AllOf):
        return
    if step.at_least < 0 or (step.at_most is not None and step.at_most < max(step.at_least, 1)):
        raise PatternError(
            f"times {step.at_least}..{step.at_most}: the upper number must be 1 or more, and not below the lower", index
        )
    if step.at_most is None and within_ns is None:
        raise PatternError(f"times {step.at_least}.. has no end: give an upper number, or the sequence `within`", index)
