"""What the driver contract suite stands on: worlds, a device's own thread, an ear, and a look at what is left."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from gateway.clock import NS_PER_S, SystemClock
from gateway.driver import Channel, Signal, World
from gateway.event import Reading, Value
from gateway.simulate.signals import parse_signal
from gateway.units import to_canonical

T = TypeVar("T")

DEADLINE_S: Final = 10.0
"""No single call, and no wait for something that was promised, takes longer than this."""

THREAD_ENDS_WITHIN_S: Final = 2.0
"""How long after `close` a driver's thread may still be there."""


class Plug:
    """Something to pull: while it is out, every signal of its world raises OSError."""

    def __init__(self, *, plugged: bool = True) -> None:
        self.plugged = plugged

    def guard(self, signal: Signal) -> Signal:
        def guarded(t_s: float) -> Value:
            if not self.plugged:
                raise OSError("the device is unplugged")
            return signal(t_s)

        return guarded


def world(signals: Mapping[str, Signal], plug: Plug | None = None) -> World:
    """A world that begins now."""
    clock = SystemClock()
    began_ns = clock.mono_ns()
    guard = (plug or Plug()).guard
    return World(
        {name: guard(signal) for name, signal in signals.items()},
        lambda: (clock.mono_ns() - began_ns) / NS_PER_S,
    )


def at_rest(channels: Sequence[Channel]) -> dict[str, Signal]:
    """Every channel as it is where the YAML names no signal."""
    return {channel.name: _always(channel.rest) for channel in channels}


def lively(channels: Sequence[Channel]) -> dict[str, Signal]:
    """Every channel changes several times a second."""
    return {channel.name: _moving(channel) for channel in channels}


def _always(value: Value) -> Signal:
    return lambda _: value


def _moving(channel: Channel) -> Signal:
    if channel.quantity == "contact":
        return parse_signal({"square": {"period": "200ms"}})
    if channel.measures.unit is None:
        return parse_signal({"steps": {"values": ["one", "two"], "each": "100ms"}})
    rest = float(channel.rest) if isinstance(channel.rest, (int, float)) else 1.0
    swing = abs(rest) / 100 or 0.01
    return parse_signal({"sine": {"min": rest - swing, "max": rest + swing, "period": "400ms"}})


class DeviceThread:
    """The one thread on which a device's `open`, `read` and `close` run, as in the gateway."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="device under test", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._calls.put(None)
        self._thread.join(DEADLINE_S)

    @property
    def ident(self) -> int | None:
        return self._thread.ident

    def run(self, call: Callable[[], T]) -> T:
        """What `call` returns or raises, on the device's thread."""
        answer: Future[T] = Future()
        self._calls.put((call, answer))
        try:
            return answer.result(DEADLINE_S)
        except TimeoutError:
            if answer.done():  # the driver's own
                raise
            raise AssertionError(f"{call} did not return within {DEADLINE_S:g} s") from None

    def _work(self) -> None:
        while (job := self._calls.get()) is not None:
            call, answer = job
            try:
                answer.set_result(call())
            except BaseException as error:  # noqa: BLE001 - the caller of `run` gets it
                answer.set_exception(error)


class Ear:
    """An `emit` that remembers what it was told, by which thread, and whether that was too late."""

    def __init__(self) -> None:
        self._heard = threading.Condition()
        self.readings: list[Reading] = []
        self.threads: set[int] = set()
        self.closed = False
        self.late = threading.Event()

    def __call__(self, readings: Sequence[Reading]) -> None:
        with self._heard:
            self.readings.extend(readings)
            self.threads.add(threading.get_ident())
            if self.closed:
                self.late.set()
            self._heard.notify_all()

    def heard(self, readings: int) -> bool:
        """Whether at least so many readings came in time."""
        with self._heard:
            return self._heard.wait_for(lambda: len(self.readings) >= readings, DEADLINE_S)

    def heard_from_other_than(self, thread: int | None) -> bool:
        """Whether a thread other than this one spoke in time."""
        with self._heard:
            return self._heard.wait_for(lambda: bool(self.threads - {thread}), DEADLINE_S)


class Leftovers:
    """What is there before a device is used, to compare with what is there afterwards."""

    def __init__(self, directories: Sequence[Path]) -> None:
        self._directories = directories
        self._threads = set(threading.enumerate())
        self._files = self._files_now()
        self._open = open_files()

    def threads(self) -> list[str]:
        """Names of new threads that do not end by themselves."""
        new = [thread for thread in threading.enumerate() if thread not in self._threads]
        for thread in new:
            thread.join(THREAD_ENDS_WITHIN_S)
        return [thread.name for thread in new if thread.is_alive()]

    def files(self) -> list[str]:
        return sorted(self._files_now() - self._files)

    def open_files(self) -> list[str]:
        return sorted(open_files() - self._open)

    def _files_now(self) -> set[str]:
        return {str(path) for directory in self._directories for path in directory.rglob("*")}


def open_files() -> set[str]:
    """What this process has open, where the system tells."""
    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        return set()
    found = set()
    for link in descriptors.iterdir():
        try:
            found.add(f"{link.name} -> {os.readlink(link)}")  # noqa: PTH115 - targets are no paths: pipe:[1], socket:[2]
        except OSError:  # the one that lists the directory
            continue
    return found


def check_reading(reading: object, channels: Mapping[str, Channel]) -> None:
    """Whether a driver may report this.

    Raises:
        AssertionError: says what is wrong.
    """
    assert isinstance(reading, Reading), f"{reading!r} is not a gateway.event.Reading"
    assert reading.channel in channels, f"{reading} is for a channel that `channels` does not declare: {list(channels)}"
    assert reading.quality in {"good", "uncertain", "bad"}, f"{reading} has an unknown quality"
    assert reading.quality == "good" or reading.reason, f"{reading} does not say why it is {reading.quality}"
    quantity = channels[reading.channel].measures
    if reading.value is None:
        assert reading.quality == "bad", f"{reading} has no value, so its quality is bad"
        return
    if quantity.unit is not None:
        is_number = isinstance(reading.value, (int, float)) and not isinstance(reading.value, bool)
        assert is_number, f"{reading}: {quantity.name} is a number"
        to_canonical(float(reading.value), reading.unit or quantity.unit, quantity)
        return
    wanted = bool if quantity.name == "contact" else str
    assert isinstance(reading.value, wanted), f"{reading}: {quantity.name} is a {wanted.__name__}"
    assert reading.unit is None, f"{reading}: {quantity.name} has no unit"


def is_near(reading: Reading, channel: Channel) -> bool:
    """Whether a reading says what the simulated world says: a chip's steps and a formula's rounding are forgiven."""
    rest = channel.rest
    if not isinstance(rest, (int, float)) or isinstance(rest, bool):
        return rest is None or reading.value == rest
    unit = reading.unit or channel.measures.unit
    assert unit is not None
    value = to_canonical(float(reading.value or 0.0), unit, channel.measures)
    return math.isclose(value, rest, rel_tol=0.02, abs_tol=0.01)


def settings(channel: Channel) -> Sequence[Value]:
    """Values that an output of that quantity must take."""
    quantity = channel.measures
    if quantity.name == "contact":
        return (True, False, True)
    if quantity.unit is None:
        return ("one", "two")
    low, high = quantity.plausible or (0.0, 100.0)
    return (high, (low + high) / 2, low)


def is_like(found: Value, wanted: Value) -> bool:
    """Whether an output became what it was told: its steps are forgiven."""
    if isinstance(wanted, float) and isinstance(found, (int, float)) and not isinstance(found, bool):
        return math.isclose(found, wanted, rel_tol=0.02, abs_tol=0.01)
    return found == wanted
