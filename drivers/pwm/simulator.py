"""A dimmed lamp that is not there: gpiozero's mock pin stands for lgpio's."""

from __future__ import annotations

from collections.abc import Sequence

from drivers._mockpins import DrivenBoard
from drivers.pwm.driver import Pwm, PwmOptions
from gateway.driver import World
from gateway.event import Reading, Value


class SimulatedPwm(Pwm):
    """The real driver and the real gpiozero, over a simulated pin."""

    def __init__(self, options: PwmOptions, world: World) -> None:
        self._board = DrivenBoard(world, "duty")
        super().__init__(options, self._board.factory)

    def _go(self, value: Value) -> Sequence[Reading]:
        self._board.check()
        return super()._go(value)
