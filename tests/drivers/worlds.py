"""Simulated worlds for the tests of drivers, with a clock that only the test moves."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from gateway.driver import Driver, Signal, World
from gateway.event import Reading, Value
from gateway.simulate.signals import parse_signal

DEADLINE_S = 5.0


class Stage:
    """A world whose values the test sets. Its time stands until the test moves it; with `tick_s` each look moves it."""

    def __init__(self, driver: type[Driver], options: Any, *, tick_s: float = 0.0, **values: Any) -> None:
        self.now_s, self._tick_s = 0.0, tick_s
        self.values: dict[str, Any] = {channel.name: channel.rest for channel in driver.channels(options)}
        self.values.update(values)
        self.world = World({name: self._signal(name) for name in self.values}, self._look)

    def _look(self) -> float:
        self.now_s += self._tick_s
        return self.now_s

    def _signal(self, name: str) -> Signal:
        def signal(t_s: float) -> Value:
            value = self.values[name]
            if isinstance(value, Exception):
                raise value
            return parse_signal(value)(t_s) if isinstance(value, dict) else value

        return signal


class Ear:
    """An `emit` that remembers (channel, value) and who said it."""

    def __init__(self) -> None:
        self._heard = threading.Condition()
        self.said: list[tuple[str, Value]] = []
        self.threads: list[str] = []

    def __call__(self, readings: Sequence[Reading]) -> None:
        with self._heard:
            self.said.extend((reading.channel, reading.value) for reading in readings)
            self.threads.append(threading.current_thread().name)
            self._heard.notify_all()

    def hears(self, *said: tuple[str, Value]) -> bool:
        """Whether exactly this is said, from the beginning, within the deadline."""
        with self._heard:
            return self._heard.wait_for(lambda: tuple(self.said[: len(said)]) == said, DEADLINE_S)


def elsewhere(call: Callable[[], None]) -> None:
    """Call on the thread on which lgpio would."""
    thread = threading.Thread(target=call, name="lgpio")
    thread.start()
    thread.join(DEADLINE_S)
    assert not thread.is_alive()
