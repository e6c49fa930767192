"""What the drivers of output pins share: one pin that is claimed at the level where it shall be, and given back.

It is no driver and knows none. Sources: gpiozero 2.0, `OutputDevice` and `pins/lgpio.py`; lgpio 0.2.2.

gpiozero claims a pin as an output at low and sets its level right after that. Where low means on, the pin is on for
those few microseconds: too short for a relay, long enough for a logic input. `close` makes the pin an input again, so
that nothing drives it any more; the kernel may do the same when a process dies, or leave the pin as it was.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

from drivers._gpio import PinFactory, pin_errors
from gateway.driver import Command, OutputDriver
from gateway.event import Reading, Value

Level = Literal["high", "low"]


class OnePin(OutputDriver):
    """An output with one channel, on one pin. `begins` and `rests` are what the channel is at open, and when safe."""

    def __init__(self, pin: int, channel: str, pin_factory: PinFactory, *, begins: Value, rests: Value) -> None:
        self._number, self._channel, self._pin_factory = pin, channel, pin_factory
        self._begins, self._rests = begins, rests
        self._pin: Any = None

    @abstractmethod
    def claim(self, value: Value, pin_factory: Any) -> Any:
        """The device of gpiozero, claimed with that value."""

    @abstractmethod
    def put(self, pin: Any, value: Value) -> None:
        """Give the claimed pin that value."""

    def found(self, pin: Any, value: Value) -> Value:
        """What the channel is, after it was set to that value."""
        del pin
        return value

    def open(self) -> Sequence[Reading]:
        return self._go(self._begins)

    def apply(self, command: Command) -> Sequence[Reading]:
        return self._go(command.value)

    def safe(self) -> Sequence[Reading]:
        return self._go(self._rests)

    def close(self) -> None:
        pin, self._pin = self._pin, None
        if pin is None:
            return
        with pin_errors(f"GPIO {self._number}"):
            pin.close()

    def _go(self, value: Value) -> Sequence[Reading]:
        factory = self._pin_factory()
        with pin_errors(f"GPIO {self._number}"):
            if self._pin is None:
                self._pin = self.claim(value, factory)
            else:
                self.put(self._pin, value)
            return (Reading(self._channel, self.found(self._pin, value)),)
