"""The seven operators, each in a file of its own; `base` has what they share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from gateway.rules.operators.absent import AbsentOperator
from gateway.rules.operators.base import Judge, Operator
from gateway.rules.operators.count import CountOperator
from gateway.rules.operators.event import EventOperator
from gateway.rules.operators.following import SequenceOperator
from gateway.rules.operators.hold import HoldOperator
from gateway.rules.operators.rate import RateOperator
from gateway.rules.operators.window import WindowOperator
from gateway.rules.rule import Rule

__all__ = ["OPERATORS", "Judge", "Operator"]

OPERATORS: Final[Mapping[str, Callable[[Rule], Operator[Any]]]] = {
    "event": EventOperator,
    "hold": HoldOperator,
    "count": CountOperator,
    "window": WindowOperator,
    "rate": RateOperator,
    "absent": AbsentOperator,
    "sequence": SequenceOperator,
}
