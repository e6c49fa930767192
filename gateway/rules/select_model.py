"""Which events a rule looks at, and which of them count: the keys that stand flat inside every operator."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from gateway.options import Identifier, Options
from gateway.rules.words import FieldName, Finite, SubjectPattern, TypeNames, Word


class Source(Options):
    """Which events an operator looks at."""

    channel: SubjectPattern | None = Field(
        None, description="a channel such as cellar/temperature, or a pattern such as */temperature"
    )
    device: Identifier | None = Field(None, description="every channel of this device")
    rule: Identifier | None = Field(None, description="what this other rule derives")
    type: TypeNames | None = Field(
        None,
        description="type of event, or a list; default: reading, state and input, of a rule raised, matched and window",
    )
    quality: Literal["good", "usable", "any"] = Field(
        "usable", description="usable is good and uncertain; any takes bad events too, which have no value"
    )
    field: FieldName = Field("value", description="what is judged: the value, or a key of the event's data")

    @model_validator(mode="after")
    def _somewhere(self) -> Source:
        self.check_place()
        return self

    def check_place(self) -> None:
        """Raises ValueError where it selects nothing, or too much."""
        places = [name for name in ("channel", "device", "rule") if getattr(self, name) is not None]
        if len(places) > 1:
            raise ValueError(f"found {' and '.join(places)}: expected one of channel, device and rule")
        if not places and self.type is None:
            raise ValueError("this selects nothing: expected `channel`, `device`, `rule` or `type`")


class Transition(Options):
    """`changed: {from, to}`: from which value to which."""

    from_: Word | None = Field(None, alias="from", description="the value before; default: any other")
    to: Word | None = Field(None, description="the value now; default: any other")

    @model_validator(mode="after")
    def _changes(self) -> Transition:
        if self.from_ is not None and (type(self.from_), self.from_) == (type(self.to), self.to):
            raise ValueError(f"from {self.from_} to {self.to} is no change")
        return self


class Predicates(Source):
    """Which of the selected events count."""

    above: Finite | None = Field(None, description="a number greater than this")
    below: Finite | None = Field(None, description="a number less than this")
    at_least: Finite | None = Field(None, description="a number of this or more")
    at_most: Finite | None = Field(None, description="a number of this or less")
    is_: Word | None = Field(None, alias="is", description="exactly this; on, open and pressed are true, too")
    not_: Word | None = Field(None, alias="not", description="anything but this")
    in_: Annotated[list[Word], Field(min_length=1, max_length=256)] | None = Field(
        None, alias="in", description="one of these"
    )
    expr: Annotated[str, Field(min_length=1, max_length=1000)] | None = Field(
        None, description="a condition in CEL; needs the extra `cel`"
    )

    @model_validator(mode="after")
    def _possible(self) -> Predicates:
        check_bounds(self.above, self.below, self.bound_below(), self.at_most)
        return self

    def bound_below(self) -> float | None:
        """What `at_least` asks of a value; some operator means something else by it."""
        return self.at_least


class Selector(Predicates):
    """Predicates, and `changed`."""

    changed: Literal[True] | Transition | None = Field(
        None, description="only where the value differs from the channel's previous one; or {from: .., to: ..}"
    )


def check_bounds(above: float | None, below: float | None, at_least: float | None, at_most: float | None) -> None:
    """Raises ValueError where no number lies within the bounds."""
    lows = [(word, limit) for word, limit in (("above", above), ("at_least", at_least)) if limit is not None]
    highs = [(word, limit) for word, limit in (("below", below), ("at_most", at_most)) if limit is not None]
    for low_word, low in lows:
        for high_word, high in highs:
            if low > high or (low == high and (low_word, high_word) != ("at_least", "at_most")):
                raise ValueError(
                    f"no number is both `{low_word}: {low:g}` and `{high_word}: {high:g}`: this can never hold; "
                    "for one or the other write two rules"
                )
