"""The operators under `when:` as models, each with its own keys beside those of the selector."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from gateway.options import Duration, Options, did_you_mean
from gateway.rules.select_model import Predicates, Selector, Source, check_bounds
from gateway.rules.sequence_model import SequenceConfig
from gateway.rules.words import (
    AGGREGATES,
    OPERATORS,
    PANES_MAX,
    RESERVED_KEYS,
    SAMPLES_MAX,
    FieldName,
    Finite,
    Positive,
)


class EventConfig(Selector):
    """`event:` every event that fits."""


class _Clearing(Options):
    """What a level shares: how it is left, and how long both ways take."""

    clear_above: Finite | None = Field(
        None, description="cleared only above this; in between everything stays as it is"
    )
    clear_below: Finite | None = Field(
        None, description="cleared only below this; in between everything stays as it is"
    )
    for_s: Positive | None = Field(None, alias="for", description="raised only once it holds for so long")
    clear_for_s: Positive | None = Field(
        None, alias="clear_for", description="cleared only once that holds for so long"
    )
    max_gap_s: Positive | None = Field(
        None, alias="max_gap", description="nothing heard for so long: unknown, and what was pending is dropped"
    )


class HoldConfig(Predicates, _Clearing):
    """`hold:` a condition that lasts."""

    @model_validator(mode="after")
    def _condition(self) -> HoldConfig:
        _needs_condition(self, ("above", "below", "at_least", "at_most", "is_", "not_", "in_", "expr"))
        _hysteresis_fits(self)
        return self


class CountConfig(Selector):
    """`count:` so many events within a time."""

    at_least: Annotated[int, Field(ge=1, le=10_000)] = Field(description="so many events")
    within_s: Positive = Field(alias="within", description="in any time of this length, its end not included")
    consume: Literal["all", "oldest"] = Field(
        "all", description="after a match counting starts anew, or only the oldest event is forgotten"
    )

    def bound_below(self) -> float | None:
        return None


class Hopping(Options):
    """`hopping:` overlapping windows."""

    size_s: Positive = Field(alias="size", description="how long each window is")
    every_s: Positive = Field(alias="every", description="how often one begins")

    @model_validator(mode="after")
    def _bounded(self) -> Hopping:
        if self.size_s / self.every_s > PANES_MAX:
            raise ValueError(f"at most {PANES_MAX} windows may be open at once: expected a longer `every`")
        return self


class Session(Options):
    """`session:` a window that ends with silence."""

    gap_s: Positive = Field(alias="gap", description="the silence that ends it")
    max_s: Positive | None = Field(None, alias="max", description="it ends after so long in any case")


class Quantile(Options):
    """`{quantile: 0.9}` as an aggregate."""

    quantile: Annotated[float, Field(ge=0, le=1)] = Field(description="0 is the lowest, 0.5 the median, 1 the highest")


def _aggregate(written: object) -> object:
    if isinstance(written, str) and written not in AGGREGATES:
        known = ", ".join(AGGREGATES)
        raise ValueError(f"expected one of {known} or {{quantile: 0.9}}{did_you_mean(written, AGGREGATES)}")
    return written


Aggregate = Annotated[
    str | Quantile,
    BeforeValidator(_aggregate),
    WithJsonSchema({"anyOf": [{"enum": list(AGGREGATES)}, {"type": "object"}]}),
]


class WindowConfig(Selector):
    """`window:` aggregates over a stretch of time or a number of events."""

    tumbling_s: Positive | None = Field(None, alias="tumbling", description="one window after the other, each so long")
    hopping: Hopping | None = Field(None, description="windows that overlap: {size: 10m, every: 1m}")
    sliding_s: Positive | None = Field(None, alias="sliding", description="at each event, the time before it")
    session: Session | None = Field(None, description="until there is silence: {gap: 5m, max: 1h}")
    count: Annotated[int, Field(ge=1, le=10_000)] | None = Field(None, description="so many events")
    every: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        None, description="with `count`: one window for each so many events; default: the count"
    )
    of: dict[FieldName, Aggregate] = Field(
        description="name -> aggregate: count, sum, min, max, avg, stddev, median, {quantile: q}, first, last or twa",
        min_length=1,
        max_length=16,
    )
    align: Literal["epoch", "first"] = Field(
        "epoch", description="windows begin at multiples of their length since 1970, or with the first event"
    )
    offset_s: Duration = Field(0.0, alias="offset", description="windows begin so much later")
    empty: Literal["skip", "emit"] = Field("skip", description="whether windows without events are told")
    samples_max: Annotated[int, Field(ge=2, le=10_000)] = Field(
        SAMPLES_MAX, description="samples that are kept for median, quantile, sliding and count windows"
    )

    @model_validator(mode="after")
    def _one_kind(self) -> WindowConfig:
        kinds: dict[str, object] = {"tumbling": self.tumbling_s, "hopping": self.hopping, "sliding": self.sliding_s}
        kinds |= {"session": self.session, "count": self.count}
        named = [name for name, value in kinds.items() if value is not None]
        if len(named) != 1:
            raise ValueError(f"found {' and '.join(named) or 'none'}: expected exactly one of {', '.join(kinds)}")
        if self.every is not None and self.count is None:
            raise ValueError("`every` belongs to `count`; for time write {hopping: {size: .., every: ..}}")
        if self.empty == "emit" and named[0] not in {"tumbling", "hopping"}:
            raise ValueError("`empty: emit` is for tumbling and hopping windows")
        if reserved := RESERVED_KEYS & self.of.keys():
            raise ValueError(f"{min(reserved)!r} is a word of the gateway's own: choose another name")
        if self.count is not None and self.count > self.samples_max:
            raise ValueError(f"a window of {self.count} events needs `samples_max: {self.count}`")
        return self


class RateConfig(Source, _Clearing):
    """`rate:` how fast a value changes."""

    over_s: Positive = Field(alias="over", description="over the samples of so long; one exactly so old is outside")
    per_s: Positive = Field(alias="per", description="the rate is the change per this time")
    above: Finite | None = Field(None, description="raised while the rate is greater than this")
    below: Finite | None = Field(None, description="raised while the rate is less than this")
    at_least: Finite | None = Field(None, description="raised while the rate is this or more")
    at_most: Finite | None = Field(None, description="raised while the rate is this or less")
    min_span_s: Positive | None = Field(
        None, alias="min_span", description="judged only once the samples span so much; default: any two samples"
    )
    method: Literal["endpoint", "lsq"] = Field(
        "endpoint", description="from the oldest sample to the newest, or the slope of the line of least squares"
    )
    counter: bool = Field(False, description="a meter that only grows: a smaller value is a reset to zero")
    samples_max: Annotated[int, Field(ge=2, le=10_000)] = Field(
        SAMPLES_MAX, description="samples that are kept; beyond it every second one is forgotten, and counted"
    )

    @model_validator(mode="after")
    def _condition(self) -> RateConfig:
        _needs_condition(self, ("above", "below", "at_least", "at_most"))
        check_bounds(self.above, self.below, self.at_least, self.at_most)
        _hysteresis_fits(self)
        if self.min_span_s is not None and self.min_span_s >= self.over_s:
            raise ValueError("samples of the last `over` never span `min_span`: expected a shorter one")
        return self


class AbsentConfig(Selector):
    """`absent:` something that should happen does not."""

    for_s: Positive = Field(alias="for", description="silent for so long; a channel never heard counts from the start")
    repeat_s: Positive | None = Field(None, alias="repeat", description="said again each time this has passed")


class When(Options):
    """`when:` exactly one operator."""

    event: EventConfig | None = Field(None, description="every event that fits")
    hold: HoldConfig | None = Field(None, description="a condition that lasts")
    count: CountConfig | None = Field(None, description="so many events within a time")
    window: WindowConfig | None = Field(None, description="aggregates over a stretch of time")
    rate: RateConfig | None = Field(None, description="how fast a value changes")
    absent: AbsentConfig | None = Field(None, description="something that should happen does not")
    sequence: SequenceConfig | None = Field(None, description="one thing after another")

    @model_validator(mode="after")
    def _one(self) -> When:
        named = [name for name in OPERATORS if getattr(self, name) is not None]
        if len(named) != 1:
            found = " and ".join(named) or "none"
            raise ValueError(f"found {found}: expected exactly one of {', '.join(OPERATORS)}")
        return self

    @property
    def operator(self) -> str:
        return next(name for name in OPERATORS if getattr(self, name) is not None)


def _needs_condition(model: Options, names: tuple[str, ...]) -> None:
    if all(getattr(model, name) is None for name in names):
        known = ", ".join(name.rstrip("_") for name in names)
        raise ValueError(f"there is no condition: expected one of {known}")


def _hysteresis_fits(model: Any) -> None:
    if model.clear_above is not None and model.clear_below is not None:
        raise ValueError("found clear_above and clear_below: expected one of them")
    high = model.above if model.above is not None else model.at_least
    low = model.below if model.below is not None else model.at_most
    if model.clear_below is not None and (high is None or model.clear_below > high):
        raise ValueError("`clear_below` goes with `above` or `at_least`, and lies at or below it")
    if model.clear_above is not None and (low is None or model.clear_above < low):
        raise ValueError("`clear_above` goes with `below` or `at_most`, and lies at or above it")
