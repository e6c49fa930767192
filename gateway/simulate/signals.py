"""Simulated quantities: pure functions of time, written in YAML.

    21.5                                                   constant (also true, false, or a word)
    {constant: 21.5}                                       the same
    {sine: {min: 18, max: 26, period: 1h, noise: 0.1}}     rises first, from the middle
    {ramp: {from: 20, to: 80, period: 10m}}                once, then stays
    {saw: {from: 0, to: 100, period: 1m}}                  again and again
    {square: {low: 0, high: 5, period: 10s, duty: 0.2}}    low first; without values: false and true
    {steps: {values: [open, closed], each: 30s}}           one after the other, again and again
    {walk: {start: 50, step: 0.5, min: 30, max: 70}}       random, never more than `step` a second (or `each`)
    {presses: {every: 10s, hold: 150ms, jitter: 2s}}       a finger on a button

A signal may have faults, each in the last `for` of every `every`: `unplugged` (reading it raises OSError), `stuck` (the
value does not move), `nan` (the value is not a number). The same specification gives the same values at the same times,
on any machine, for ever: what is random is drawn from `seed` and the time.
"""

from __future__ import annotations

import errno
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from pydantic import ConfigDict, Field, ValidationError, model_validator

from gateway.driver import Signal
from gateway.event import Value
from gateway.options import Options, did_you_mean
from gateway.simulate.shapes import (
    Constant,
    Fault,
    Presses,
    Ramp,
    Saw,
    Scalar,
    Shape,
    Sine,
    Square,
    Steps,
    Walk,
    scalar,
)
from gateway.units import Quantity

SHAPES: Final[dict[str, type[Shape]]] = {
    "constant": Constant,
    "sine": Sine,
    "ramp": Ramp,
    "saw": Saw,
    "square": Square,
    "steps": Steps,
    "walk": Walk,
    "presses": Presses,
}


class SignalSpec(Options):
    """What may stand where YAML wants a signal: exactly one shape, and faults."""

    model_config = ConfigDict(defer_build=True)

    constant: Scalar | None = Field(None, description="always this value")
    sine: Sine | None = Field(None, description="swings between min and max")
    ramp: Ramp | None = Field(None, description="goes from one value to another, once")
    saw: Saw | None = Field(None, description="goes from one value to another, again and again")
    square: Square | None = Field(None, description="two values by turns")
    steps: Steps | None = Field(None, description="one value after the other")
    walk: Walk | None = Field(None, description="a random walk between bounds")
    presses: Presses | None = Field(None, description="a finger on a button")
    unplugged: Fault | None = Field(None, description="the device does not answer")
    stuck: Fault | None = Field(None, description="the value does not move")
    nan: Fault | None = Field(None, description="the value is not a number")

    @model_validator(mode="after")
    def _one_shape(self) -> SignalSpec:
        named = [name for name in SHAPES if getattr(self, name) is not None]
        if len(named) != 1:
            found = f"found {' and '.join(named)}" if named else "found none"
            raise ValueError(f"{found}: expected exactly one of {', '.join(SHAPES)}")
        if self.nan is not None and not all(map(_is_number, self.shape.extremes)):
            raise ValueError(f"nan suits numbers only, {named[0]} gives {_word(self.shape.extremes)}")
        return self

    @property
    def shape(self) -> Shape:
        if self.constant is not None:
            return Constant(value=self.constant)
        return next(shape for name in SHAPES if isinstance(shape := getattr(self, name), Shape))

    def signal(self, quantity: Quantity | None = None) -> Signal:
        """The function of time. With a quantity, whether the values suit it is checked.

        Raises:
            ValueError: numbers for a contact, a word for a temperature.
        """
        if quantity is not None:
            _check_suits(self.shape.extremes, quantity)
        return SignalOf(self.shape, self.unplugged, self.stuck, self.nan)


@dataclass(frozen=True, slots=True)
class SignalOf:
    """A shape with its faults, as a function of seconds.

    Raises:
        OSError: while the signal is unplugged.
    """

    shape: Shape
    unplugged: Fault | None = None
    stuck: Fault | None = None
    nan: Fault | None = None

    def __call__(self, t_s: float) -> Value:
        if self.unplugged and self.unplugged.began_s(t_s) is not None:
            raise OSError(errno.ENODEV, "simulated: the device is unplugged")
        if self.nan and self.nan.began_s(t_s) is not None:
            return math.nan
        stuck_s = self.stuck.began_s(t_s) if self.stuck else None
        return self.shape.at(t_s if stuck_s is None else stuck_s)


def parse_signal(spec: object, quantity: Quantity | None = None) -> Signal:
    """The signal that `spec` (YAML, already read) describes. With a quantity, its values must suit it.

    Raises:
        ValueError: one sentence that says where, what was found and what was expected.
    """
    try:
        read = SignalSpec.model_validate(spec if isinstance(spec, dict) else {"constant": scalar(spec)})
    except ValidationError as error:
        raise ValueError(_sentence(error)) from None
    return read.signal(quantity)


def _is_number(value: Value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _word(values: Iterable[Value]) -> str:
    """What kind of values these are, for people."""
    names = {"numbers" if _is_number(v) else "true and false" if isinstance(v, bool) else "words" for v in values}
    return " and ".join(sorted(names))


def _check_suits(values: Sequence[Value], quantity: Quantity) -> None:
    wanted = "numbers" if quantity.unit else "true and false" if quantity.name == "contact" else "words"
    if (found := _word(values)) != wanted:
        raise ValueError(f"a signal for {quantity.name} must give {wanted}, this one gives {found}")


def _sentence(error: ValidationError) -> str:
    """The first thing that is wrong; a misspelt key comes before the key that is therefore missing."""
    problems = sorted(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    problem = problems[0]
    where = [str(part) for part in problem["loc"]]
    path = ".".join(where)
    if problem["type"] == "extra_forbidden":
        known = _keys(where[:-1])
        return f"{path} is not known here{did_you_mean(where[-1], known)}; expected {', '.join(known)}"
    if problem["type"] == "missing":
        return f"{path} is missing"
    if problem["type"] == "model_type":
        return f"{path}: expected a mapping with {', '.join(_keys(where))}"
    said = problem["msg"].removeprefix("Value error, ")
    return f"{path}: {said}" if path else said


def _keys(where: Sequence[str]) -> list[str]:
    """The keys that a mapping at this place may have."""
    model: type[Options] = SignalSpec
    if where:
        model = SHAPES.get(where[0], Fault)
    return [info.alias or name for name, info in model.model_fields.items()]


def _self_contained(node: Any, definitions: dict[str, Any]) -> Any:
    """A JSON schema without references, so that it can stand inside another one, and without null for "absent"."""
    if isinstance(node, list):
        return [_self_contained(part, definitions) for part in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        node = definitions[node["$ref"].rpartition("/")[2]] | {k: v for k, v in node.items() if k != "$ref"}
    if "anyOf" in node:
        node = node | next(choice for choice in node["anyOf"] if choice != {"type": "null"})
        return _self_contained({k: v for k, v in node.items() if k != "anyOf"}, definitions)
    kept = {k: v for k, v in node.items() if k not in {"$defs", "title"} and (k, v) != ("default", None)}
    return {key: _self_contained(part, definitions) for key, part in kept.items()}


def signal_schema() -> dict[str, Any]:
    """JSON Schema (2020-12, also valid as draft 7) of what `parse_signal` takes; it holds no references."""
    schema = SignalSpec.model_json_schema(by_alias=True)
    mapping = cast("dict[str, Any]", _self_contained(schema, schema["$defs"]))
    mapping["oneOf"] = [{"required": [shape]} for shape in SHAPES]
    return {"description": "a simulated quantity", "anyOf": [{"type": ["number", "boolean", "string"]}, mapping]}
