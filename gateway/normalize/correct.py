"""What a reading really is: `expression`, `scale` and `bias`, `calibration`, in this order.

They see the number that people see: the driver's own units (millidegrees, counts) are converted before. So it is in
the channel's canonical unit or, where the entry names a `unit`, in that; and so is what they make of it. Where
`quantity` says that the channel stands for something else (a voltage for a temperature), the number arrives in the
canonical unit of what the driver measures, and leaves in that of the new quantity, or in `unit`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence

from gateway.config.channel import ChannelConfig, quantity_of
from gateway.driver import Channel
from gateway.expression import Formula, compile_expression

Correct = Callable[[float], tuple[float, str]]
"""A number in the canonical unit of what the driver measures -> the true one in that of the channel's quantity, doubt.

`doubt` is a reason for `uncertain`, or empty. The number may be NaN or infinite.

Raises:
    ArithmeticError, ValueError: there is no result.
"""


def correction(channel: Channel, config: ChannelConfig) -> Correct | None:
    """What makes the channel's readings true; None where there is nothing to do.

    Raises:
        UnknownUnit: `unit` is none of the quantity's.
    """
    if not config.corrects:
        return None
    quantity = quantity_of(channel, config)
    factor, addend = quantity.conversion(config.unit or quantity.unit or "")
    steps = list(_steps(config))
    if quantity is channel.measures and (factor, addend) != (1.0, 0.0):
        steps.insert(0, lambda number: (number - addend) / factor)
    rows = config.calibration.table if config.calibration else None
    table = Table(rows) if rows else None

    def correct(number: float) -> tuple[float, str]:
        for step in steps:
            number = step(number)
        doubt = ""
        if table is not None:
            doubt = "" if table.covers(number) else "calibration"
            number = table(number)
        return number * factor + addend, doubt

    return correct


def _steps(config: ChannelConfig) -> list[Formula]:
    steps: list[Formula] = []
    if config.expression is not None:
        steps.append(compile_expression(config.expression))
    if config.scale is not None or config.bias is not None:
        scale, bias = 1.0 if config.scale is None else config.scale, config.bias or 0.0
        steps.append(lambda number: number * scale + bias)
    if config.calibration is not None and config.calibration.polynomial is not None:
        steps.append(polynomial(config.calibration.polynomial))
    return steps


def polynomial(coefficients: Sequence[float]) -> Formula:
    """c0 + c1·x + c2·x² + ..., by Horner's rule."""
    highest, *others = reversed(coefficients)

    def result(number: float) -> float:
        total = highest
        for coefficient in others:
            total = total * number + coefficient
        return total

    return result


class Table:
    """Straight lines through rows of (raw, true), raw rising. Beyond the ends the last line goes on."""

    def __init__(self, rows: Sequence[Sequence[float]]) -> None:
        self._raw = [row[0] for row in rows]
        self._true = [row[1] for row in rows]

    def covers(self, raw: float) -> bool:
        return self._raw[0] <= raw <= self._raw[-1]

    def __call__(self, raw: float) -> float:
        right = min(max(bisect_right(self._raw, raw), 1), len(self._raw) - 1)
        x0, x1, y0, y1 = self._raw[right - 1], self._raw[right], self._true[right - 1], self._true[right]
        if raw == x1:  # where the sum below may be a little off
            return y1
        return y0 + (y1 - y0) * ((raw - x0) / (x1 - x0))
