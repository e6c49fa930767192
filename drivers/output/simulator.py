"""A relay that is not there: gpiozero's mock pin stands for lgpio's."""

from __future__ import annotations

from collections.abc import Sequence

from drivers._mockpins import DrivenBoard
from drivers.output.driver import Output, OutputOptions
from gateway.driver import World
from gateway.event import Reading, Value


class SimulatedOutput(Output):
    """The real driver and the real gpiozero, over a simulated pin."""

    def __init__(self, options: OutputOptions, world: World) -> None:
        self._board = DrivenBoard(world, "on")
        super().__init__(options, self._board.factory)

    def _go(self, value: Value) -> Sequence[Reading]:
        self._board.check()
        return super()._go(value)
