"""`sequence:` as a model."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from gateway.options import Identifier, Options
from gateway.rules.select_model import Selector
from gateway.rules.words import PARTIALS_MAX, STEPS_MAX, Positive, Times, Word


class NotStep(Selector):
    """`not:` what must not happen."""


class BranchConfig(Selector):
    """One branch of an `all` or `any` group."""

    as_: Identifier | None = Field(None, alias="as", description="name of the branch")


class StepConfig(Selector):
    """One step of a sequence: a selector, or a `not`, or a group."""

    as_: Identifier | None = Field(None, alias="as", description="name of the step; default: step1, step2, ..")
    link: Literal["then", "next", "any"] = Field(
        "then",
        description="then: the first event that fits; next: the very next selected one; any: each one that fits",
    )
    times: Times = Field((1, 1), description="how often, such as 3, 2..4 or 2..; 0.. may be left out")
    greedy: bool = Field(False, description="an event that fits this step and a later one stays with this step")
    not_: Word | NotStep | None = Field(  # type: ignore[assignment]
        None, alias="not", description="a value: anything but this; a selector: what must not happen"
    )
    for_s: Positive | None = Field(None, alias="for", description="how long a `not` must hold")
    all: Annotated[list[BranchConfig], Field(min_length=1, max_length=8)] | None = Field(
        None, description="one event for each of these, in any order"
    )
    any: Annotated[list[BranchConfig], Field(min_length=1, max_length=8)] | None = Field(
        None, description="one event for one of these"
    )

    @property
    def kind(self) -> Literal["event", "not", "all", "any"]:
        if isinstance(self.not_, NotStep):
            return "not"
        return "all" if self.all is not None else "any" if self.any is not None else "event"

    @model_validator(mode="after")
    def _somewhere(self) -> StepConfig:
        if self.kind == "event":
            self.check_place()
        elif own := self.model_fields_set - _ALLOWED[self.kind]:
            raise ValueError(f"`{min(own).rstrip('_')}` does not go with `{self.kind}`")
        if self.for_s is not None and self.kind != "not":
            raise ValueError("`for` goes with `not`; a value that must last is a rule of its own, with `hold`")
        return self


_ALLOWED: Final = {
    "not": {"not_", "for_s", "as_"},
    "all": {"all", "as_", "link"},
    "any": {"any", "as_", "link", "times", "greedy"},
}


class Comparison(Options):
    """`where:` what events of two steps have to do with each other."""

    left: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*\.[A-Za-z_]\w*$")] | None = Field(
        None, description="a field of a step, such as door.device"
    )
    is_: Word | None = Field(None, alias="is", description="equal to a value, or to the field of a step: badge.device")
    not_: Word | None = Field(None, alias="not", description="different from it")
    above: Word | None = Field(None, description="greater than it")
    below: Word | None = Field(None, description="less than it")
    at_least: Word | None = Field(None, description="it or more")
    at_most: Word | None = Field(None, description="it or less")
    expr: Annotated[str, Field(min_length=1, max_length=1000)] | None = Field(
        None, description="a condition in CEL over the steps; needs the extra `cel`"
    )

    @model_validator(mode="after")
    def _one(self) -> Comparison:
        named = [name for name in COMPARISONS if getattr(self, name) is not None]
        if self.expr is not None:
            if named or self.left is not None:
                raise ValueError("`expr` stands alone")
        elif self.left is None or len(named) != 1:
            raise ValueError("expected `left` and one of is, not, above, below, at_least, at_most")
        return self


COMPARISONS: Final = ("is_", "not_", "above", "below", "at_least", "at_most")


class SequenceConfig(Options):
    """`sequence:` one thing after another."""

    steps: Annotated[list[StepConfig], Field(min_length=1, max_length=STEPS_MAX)] = Field(description="in this order")
    within_s: Positive | None = Field(None, alias="within", description="from the first event, its end not included")
    mode: Literal["single", "restart", "parallel"] = Field(
        "single",
        description="single: one attempt at a time; restart: a new start replaces it; parallel: each start counts",
    )
    max: Annotated[int, Field(ge=1, le=1000)] = Field(
        PARTIALS_MAX, description="open attempts of a key; beyond it the oldest is dropped, and counted"
    )
    where: list[Comparison] = Field([], max_length=16, description="what the events of the steps have in common")

    @model_validator(mode="after")
    def _in_time(self) -> SequenceConfig:
        needed = [step.kind != "not" and step.times[0] > 0 for step in self.steps]
        for n, step in enumerate(self.steps):
            if self.within_s is None or step.for_s is None or not any(needed[:n]):
                continue
            if step.for_s > self.within_s or (step.for_s == self.within_s and any(needed[n:])):
                raise ValueError(f"the `for` of step {n + 1} is as long as `within`, which is for all: expected less")
        return self
