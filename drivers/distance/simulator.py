"""A distance sensor that is not there: each trigger is answered by an echo as long as the sound would be on its way."""

from __future__ import annotations

import queue
import threading
from typing import Any, Final

from gpiozero.pins.mock import MockFactory, MockPin

from drivers._mockpins import BOARD
from drivers.distance.driver import SOUND_M_PER_S, Distance, DistanceOptions
from gateway.driver import World

BURST_S: Final = 0.0005

RANGE_M: Final = 4.5
"""A little more than the manual promises, as with real ones."""

NOTHING_S: Final = 0.038
"""Length of the echo where nothing reflects."""


class TriggerPin(MockPin):  # type: ignore[misc]  # gpiozero ships no types
    """An output that tells the sensor about the end of each pulse."""

    _state: bool

    def __init__(self, factory: Any, info: Any, pulses: queue.SimpleQueue[bool]) -> None:
        self._pulses = pulses
        super().__init__(factory, info)

    def _set_state(self, value: float) -> None:
        ends = self._state and not value
        super()._set_state(value)
        self.clear_states()  # gpiozero's mock pin remembers every change for ever
        if ends:
            self._pulses.put(True)


class EchoPin(MockPin):  # type: ignore[misc]  # gpiozero ships no types
    """An input whose edges carry the time at which they happened, as lgpio's do, and not that of their arrival."""

    def report(self, *, level: bool, ticks: float) -> None:
        with self._when_changed_lock:  # who closes the pin on another thread takes its callback away
            self._state, self._last_change = level, ticks
            if self._when_changed is not None:
                self._call_when_changed()


class Sonar:
    """The sensor: waits for pulses and answers them, on a thread of its own."""

    def __init__(self, options: DistanceOptions, world: World) -> None:
        self._world, self._signal = world, world.signals["distance"]
        self._pins = MockFactory(BOARD)
        self._pulses: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._pins.pin(options.trigger, pin_class=TriggerPin, pulses=self._pulses)
        self._echo = self._pins.pin(options.echo, pin_class=EchoPin)
        self._stop = threading.Event()
        name = f"simulated distance sensor on GPIO {options.echo}"
        self._thread = threading.Thread(target=self._answer, name=name, daemon=True)

    def factory(self) -> Any:
        """The pin factory of the board that it is connected to."""
        return self._pins

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Return when it is silent. Without `start`, or twice, is fine."""
        self._stop.set()
        self._pulses.put(False)
        if self._thread.ident is not None:
            self._thread.join()

    def _answer(self) -> None:
        while self._pulses.get() and not self._stop.wait(BURST_S):
            try:
                pulse_s = echo_s(self._signal(self._world.now_s()))
            except OSError:  # unplugged: nobody answers
                continue
            rose = self._pins.ticks()
            self._echo.report(level=True, ticks=rose)
            self._stop.wait(pulse_s)
            self._echo.report(level=False, ticks=rose + pulse_s)


def echo_s(distance_m: Any) -> float:
    """How long the echo pin is high for a thing at this distance; what is not a number reflects nothing."""
    return 2 * max(0.0, distance_m) / SOUND_M_PER_S if distance_m <= RANGE_M else NOTHING_S


class SimulatedDistance(Distance):
    """The real driver and the real gpiozero, over a simulated sensor."""

    def __init__(self, options: DistanceOptions, world: World) -> None:
        self._sonar = Sonar(options, world)
        super().__init__(options, self._sonar.factory)

    def open(self) -> None:
        super().open()
        self._sonar.start()

    def close(self) -> None:
        super().close()
        self._sonar.stop()
