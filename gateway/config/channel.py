"""`channels:` of a device: how one channel is corrected, smoothed and recorded.

The models hold what the YAML says. `gateway.normalize` does it, always in the order of the fields of `ChannelConfig`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Final, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from gateway.driver import Channel
from gateway.expression import CHARACTERS_MAX, compile_expression
from gateway.options import Duration, Options, did_you_mean
from gateway.units import QUANTITIES, Quantity

HEARTBEAT_S: Final = 300.0
"""Heartbeat of a channel that has a deadband and names none: silence is told from death at least this often."""

SAMPLES_MAX: Final = 1000
"""Readings that one filter of one channel may remember, and rows of a table."""

COEFFICIENTS_MAX: Final = 10

_MEASURED = [quantity.name for quantity in QUANTITIES.values() if quantity.unit is not None]
_PERCENT = re.compile(r"(\d+(?:\.\d+)?) ?%")
_DEADBAND = "expected a number of at least 0, a part such as 2%, or a list of both"
_PAIR = {"minItems": 2, "maxItems": 2}


@dataclass(frozen=True, slots=True)
class Deadband:
    """The least change worth a record: at least `absolute` and at least `percent` of the last recorded value."""

    absolute: float = 0.0
    percent: float = 0.0

    def __str__(self) -> str:
        """As the YAML writes it."""
        if not self.percent:
            return f"{self.absolute}"
        return f"[{self.absolute}, {self.percent:g}%]" if self.absolute else f"{self.percent:g}%"


def parse_deadband(written: object) -> Deadband:
    """`0.2`, `2%`, or `[0.2, 2%]` for the larger of both.

    Raises:
        ValueError: anything else.
    """
    if isinstance(written, Deadband):
        return written
    parts = written if isinstance(written, (list, tuple)) else [written]
    absolute = [float(part) for part in parts if isinstance(part, (int, float)) and not isinstance(part, bool)]
    percent = [float(found[1]) for part in parts if isinstance(part, str) and (found := _PERCENT.fullmatch(part))]
    understood = len(absolute) + len(percent) == len(parts) > 0 and max(len(absolute), len(percent)) == 1
    if not understood or not all(0 <= number < float("inf") for number in absolute):
        raise ValueError(_DEADBAND)
    return Deadband(*(absolute or [0.0]), *(percent or [0.0]))


def _quantity(name: str) -> str:
    if name not in _MEASURED:
        raise ValueError(f"expected one of {', '.join(_MEASURED)}{did_you_mean(name, _MEASURED)}")
    return name


def _expression(text: str) -> str:
    compile_expression(text)
    return text


def _pair(numbers: tuple[float, ...]) -> tuple[float, ...]:
    if len(numbers) != 2:
        raise ValueError(f"expected a list of two numbers, found {len(numbers)}")
    return numbers


def _rising(pair: tuple[float, ...]) -> tuple[float, ...]:
    if pair[0] >= pair[1]:
        raise ValueError(f"expected the lower bound first: found {pair[0]:g}, then {pair[1]:g}")
    return pair


def _coefficients(coefficients: tuple[float, ...]) -> tuple[float, ...]:
    if len(coefficients) < 2:
        raise ValueError("expected at least two coefficients")
    return coefficients


def _table(rows: tuple[tuple[float, ...], ...]) -> tuple[tuple[float, ...], ...]:
    if len(rows) < 2:
        raise ValueError("expected at least two rows of [raw, true]")
    for number, (row, below) in enumerate(pairwise(rows), 2):
        if row[0] >= below[0]:
            raise ValueError(
                f"raw values must rise from row to row: found {below[0]:g} after {row[0]:g} in row {number}"
            )
    return rows


Finite = Annotated[float, Field(allow_inf_nan=False)]
Samples = Annotated[int, Field(ge=2, le=SAMPLES_MAX)]
Pair = Annotated[tuple[Finite, ...], Field(strict=False, json_schema_extra=_PAIR), AfterValidator(_pair)]
Bounds = Annotated[Pair, AfterValidator(_rising)]
Table = Annotated[tuple[Pair, ...], Field(strict=False, max_length=SAMPLES_MAX), AfterValidator(_table)]
Coefficients = Annotated[
    tuple[Finite, ...], Field(strict=False, max_length=COEFFICIENTS_MAX), AfterValidator(_coefficients)
]
QuantityName = Annotated[str, AfterValidator(_quantity), WithJsonSchema({"type": "string", "enum": _MEASURED})]
Expression = Annotated[
    str, AfterValidator(_expression), WithJsonSchema({"type": "string", "maxLength": CHARACTERS_MAX})
]
LeastChange = Annotated[
    Deadband,
    BeforeValidator(parse_deadband),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 0},
                {"type": "string", "pattern": r"^\d+(\.\d+)? ?%$"},
                {"type": "array", "minItems": 1, "maxItems": 2},
            ]
        }
    ),
]


class CalibrationConfig(Options):
    """`calibration:` what the value really is, by comparison with a better instrument."""

    table: Table | None = Field(None, description="rows of [raw, true], raw rising; straight lines between them")
    polynomial: Coefficients | None = Field(None, description="[c0, c1, c2, ...] for c0 + c1·x + c2·x² + ...")

    @model_validator(mode="after")
    def _one(self) -> CalibrationConfig:
        _exactly_one(self, "table", "polynomial")
        return self


class SpikeConfig(Options):
    """`spike:` a jump is held back until it is confirmed."""

    jump: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        description="further than this from the median is a jump"
    )
    of: Annotated[int, Field(ge=1, le=SAMPLES_MAX)] = Field(5, description="the median of so many believed readings")
    confirm: Annotated[int, Field(ge=2, le=SAMPLES_MAX)] = Field(
        2, description="so many jumps in a row are believed: the last of them is recorded"
    )


class FilterConfig(Options):
    """`filter:` each reading is replaced by what the last few have in common."""

    median: Samples | None = Field(None, description="the median of so many readings")
    mean: Samples | None = Field(None, description="the mean of so many readings")
    quantile: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="0 is the lowest, 0.5 the median, 1 the highest of the last `of` readings"
    )
    of: Samples | None = Field(None, description="how many readings; for `quantile` only")

    @model_validator(mode="after")
    def _one(self) -> FilterConfig:
        _exactly_one(self, "median", "mean", "quantile")
        if (self.quantile is None) != (self.of is None):
            raise ValueError("`quantile` and `of` belong together: write {quantile: 0.9, of: 20}")
        return self


class RateConfig(Options):
    """`rate_limit:` so many records in so much time."""

    events: Annotated[int, Field(ge=1, le=SAMPLES_MAX)] = Field(description="at most so many records")
    per_s: Annotated[Duration, Field(gt=0, le=86400)] = Field(alias="per", description="in any time of this length")


class ChannelConfig(Options):
    """One entry of a device's `channels:`."""

    quantity: QuantityName | None = Field(
        None, description="what the corrected value is, where the driver measures something that stands for it"
    )
    unit: str | None = Field(
        None, description="the unit of the numbers in this entry; default: the quantity's own, in which events are"
    )
    expression: Expression | None = Field(None, description="arithmetic with `value`", examples=["value * 0.1 + 3"])
    scale: Finite | None = Field(None, description="the value is multiplied by this")
    bias: Finite | None = Field(None, description="then this is added")
    calibration: CalibrationConfig | None = Field(None, description="then a table or a polynomial is applied")
    spike: SpikeConfig | None = Field(None, description="jumps are held back until they are confirmed")
    filter: FilterConfig | None = Field(None, description="median, mean or quantile of the last readings")
    average_s: Annotated[Duration, Field(gt=0, le=86400)] | None = Field(
        None, alias="average", description="one mean for each time of this length, in place of the single values"
    )
    range: Bounds | None = Field(None, description="[lowest, highest]: what lies outside is recorded as uncertain")
    deadband: LeastChange | None = Field(
        None, description="record only changes of at least this much: `0.2`, `2%` of the last, or both in a list"
    )
    heartbeat_s: Annotated[Duration, Field(gt=0)] | None = Field(
        None,
        alias="heartbeat",
        description=f"record at least this often although nothing changed; {HEARTBEAT_S / 60:g}m with a deadband",
    )
    min_interval_s: Annotated[Duration, Field(gt=0, le=86400)] | None = Field(
        None, alias="min_interval", description="record no more often than this; the newest waits for its time"
    )
    rate_limit: RateConfig | None = Field(None, description="record no more than this; what occurs beyond is counted")
    urgent: bool | None = Field(
        None, description="commit at once instead of with the next batch; default: yes for states and inputs"
    )

    @property
    def corrects(self) -> bool:
        """Whether the value becomes another one."""
        return any(part is not None for part in (self.expression, self.scale, self.bias, self.calibration))


def _exactly_one(model: Options, *names: str) -> None:
    named = [name for name in names if getattr(model, name) is not None]
    if len(named) != 1:
        found = " and ".join(named) if named else "none"
        raise ValueError(f"found {found}: expected exactly one of {', '.join(names)}")


def quantity_of(channel: Channel, config: ChannelConfig) -> Quantity:
    """What the events of the channel measure."""
    return channel.measures if config.quantity is None else QUANTITIES[config.quantity]


def heartbeat_of(config: ChannelConfig) -> float | None:
    """Seconds after which an unchanged value is recorded again, None for never. No limit of the entry forbids it."""
    if config.heartbeat_s is not None or config.deadband is None:
        return config.heartbeat_s
    return max([HEARTBEAT_S, *(seconds for _, seconds in paces(config))])


class Silence(NamedTuple):
    """How long a channel may be silent while all is well, and the key of its entry that says so."""

    key: str
    seconds: float


def silence_of(config: ChannelConfig) -> Silence | None:
    """None: the entry does not say; then every reading is recorded, or every change of a level.

    An unchanged value waits for the heartbeat, a changed one for what bounds how often the channel is recorded.
    """
    known = [Silence(key, seconds) for key, seconds in paces(config)]
    if (heartbeat_s := heartbeat_of(config)) is not None:
        known.append(Silence("heartbeat", heartbeat_s))
    return max(known, key=lambda one: one.seconds, default=None)


def paces(config: ChannelConfig) -> Iterator[tuple[str, float]]:
    """What bounds how often the channel is recorded: key, and seconds from one record to the next."""
    if config.average_s is not None:
        yield "average", config.average_s
    if config.min_interval_s is not None:
        yield "min_interval", config.min_interval_s
    if config.rate_limit is not None:
        yield "rate_limit", config.rate_limit.per_s / config.rate_limit.events
