"""A converter that is not there: a chip that is clocked bit by bit, behind gpiozero's own seam for SPI.

The seam is `Factory._get_spi_class`, which every pin factory of gpiozero provides and where lgpio's puts the kernel's
SPI. (gpiozero's bit-banged one will not run on a machine without pins: its bus asks for the machine's own factory.)
"""

from __future__ import annotations

import errno
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from gpiozero.pins import SPI
from gpiozero.pins.mock import MockFactory

from drivers._mockpins import BOARD
from drivers.adc.driver import CHIPS, Adc, AdcOptions, Chip
from gateway.driver import World


class McpChip:
    """The digital side of a chip, as Microchip DS21295, DS21298 and DS21697 describe serial communication with it.

    After `select` each `clock` takes the level of DIN and gives that of DOUT, None while the chip leaves DOUT alone. A
    start bit is followed by four bits of configuration (single-ended, then the number of the input), one clock to
    sample, the zeros, the code, and zeros for ever. (A real one repeats the code backwards first; nobody asks for it.)
    """

    def __init__(self, kind: Chip, vref: float, volts: Callable[[int], float]) -> None:
        """`volts` tells what is at an input just now, and raises OSError where the chip is unplugged."""
        self._kind, self._vref, self._volts = kind, vref, volts
        self.select()

    def select(self) -> None:
        """CS falls."""
        self._configuration: list[bool] | None = None
        self._out: list[bool | None] | None = None

    def clock(self, level: bool) -> bool | None:
        if self._out is not None:
            return self._out.pop(0) if self._out else False
        if self._configuration is None:
            self._configuration = [] if level else None  # the start bit
            return None
        self._configuration.append(level)
        if len(self._configuration) == 4:
            self._out = self._answer(*self._configuration)
        return None

    def _answer(self, single: bool, *number: bool) -> list[bool | None]:
        assert single, "pairs of inputs are not simulated"
        pin = sum(bit << place for place, bit in zip((2, 1, 0), number, strict=True))
        try:
            code = self.convert(self._volts(pin % self._kind.inputs))  # with four inputs the first bit does not count
        except OSError:
            return [None] * 32  # far more than anybody asks
        bits = self._kind.bits
        return [None, *[False] * self._kind.zeros, *(bool(code >> place & 1) for place in reversed(range(bits)))]

    def convert(self, volts: float) -> int:
        """The code: never beyond its ends, whatever is at the input. An input that is open reads as ground."""
        steps = 1 << self._kind.bits
        if math.isnan(volts):
            return 0
        return min(steps - 1, max(0, math.floor(min(1.0, max(0.0, volts / self._vref)) * steps)))


class ChipOnSpi(SPI):  # type: ignore[misc]  # gpiozero ships no types
    """SPI with one chip on it. MISO is pulled up, as README.md advises."""

    def __init__(self, chip: McpChip, *, pin_factory: Any, **pins: Any) -> None:
        del pins
        self._chip: McpChip | None = chip
        super().__init__(pin_factory=pin_factory)

    def close(self) -> None:
        self._chip = None
        super().close()

    @property
    def closed(self) -> bool:
        return self._chip is None

    def transfer(self, data: Sequence[int]) -> list[int]:
        chip = self._chip
        if chip is None:
            raise OSError(errno.EBADF, "simulated: this SPI is closed")
        chip.select()
        return [self._word(chip, word) for word in data]

    def _word(self, chip: McpChip, word: int) -> int:
        answer = 0
        for place in reversed(range(8)):
            answer = answer << 1 | (chip.clock(bool(word >> place & 1)) is not False)
        return answer

    def _get_clock_mode(self) -> int:
        return 0

    def _get_bits_per_word(self) -> int:
        return 8


class BoardWithChip(MockFactory):  # type: ignore[misc]  # gpiozero ships no types
    """A board on whose SPI, whatever its pins, there is this chip."""

    def __init__(self, chip: McpChip) -> None:
        super().__init__(BOARD)
        self._chip = chip

    def _get_spi_class(self, shared: bool, hardware: bool) -> Callable[..., ChipOnSpi]:
        del shared, hardware
        return partial(ChipOnSpi, self._chip)


class SimulatedAdc(Adc):
    """The real driver and gpiozero's real class, over a simulated chip."""

    def __init__(self, options: AdcOptions, world: World) -> None:
        names = {given.pin: name for name, given in options.inputs.items()}

        def volts(pin: int) -> float:
            given = options.inputs[names[pin]]
            value: Any = world.signals[names[pin]](world.now_s())
            return float((value - given.bias) / given.factor(options.vref))

        board = BoardWithChip(McpChip(CHIPS[options.chip], options.vref, volts))
        super().__init__(options, lambda: board)
