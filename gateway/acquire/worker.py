"""The thread of one device: the only place where drivers run.

Blocking Python stays on this side. The loop's side puts tasks into a queue and gets outcomes through `post`; what a
device pushes waits in an `Emission` until the loop takes it. It is a plain daemon thread: a driver that never returns
costs this one thread, and nothing waits for it when the gateway ends (the exit hook of `ThreadPoolExecutor` would).
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, cast

from gateway.clock import Clock
from gateway.driver import Command, Driver, OutputDriver, PolledDriver, PushDriver
from gateway.errors import GatewayError
from gateway.event import Reading
from gateway.supervise import Fact, Task

READINGS_MAX: Final = 1000
"""Readings of one device that may wait for the loop; beyond that the oldest are dropped and counted."""

_REASON_CHARACTERS_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a task. `error` is the exception behind FAILED and BROKEN, `started_ns` when the thread began it.

    `fact` None says only that an emission waits.
    """

    fact: Fact | None
    readings: Sequence[Reading] = ()
    dropped: int = 0
    error: BaseException | None = None
    started_ns: int = 0

    @property
    def ends_task(self) -> bool:
        """Whether the thread is free again. What an emission posts says nothing of that."""
        return self.started_ns != 0


class Emission:
    """The `emit` of one driver object: takes readings from any thread, holds a bounded number for the loop.

    `wake` is called, on the emitting thread, when there is something to take, and not again until it was taken.
    `broken` is called once if the driver emits what is no reading; then the emission is closed.
    """

    def __init__(self, clock: Clock, wake: Callable[[], None], broken: Callable[[Exception], None]) -> None:
        self._clock = clock
        self._wake, self._broken = wake, broken
        self._lock = threading.Lock()
        self._waiting: deque[Reading] = deque(maxlen=READINGS_MAX)
        self._dropped = 0
        self._woken = False
        self._closed = False

    def __call__(self, readings: Sequence[Reading]) -> None:
        try:
            stamped = _stamped(readings, self._clock.mono_ns())
        except Exception as error:  # noqa: BLE001 - the edge of a driver: `emit` never raises, whatever it is given
            if self.close():
                self._broken(error)
            return
        with self._lock:
            if self._closed or not stamped:
                return
            self._dropped += max(0, len(self._waiting) + len(stamped) - READINGS_MAX)
            self._waiting.extend(stamped)
            wake, self._woken = not self._woken, True
        if wake:
            self._wake()

    def take(self) -> tuple[Sequence[Reading], int]:
        """What waits, oldest first, and how many were dropped since the last call."""
        with self._lock:
            taken, dropped = list(self._waiting), self._dropped
            self._waiting.clear()
            self._dropped, self._woken = 0, False
        return taken, dropped

    def close(self) -> bool:
        """Hear nothing more; what waits can still be taken. False if that was so already."""
        with self._lock:
            was_open, self._closed = not self._closed, True
        return was_open


class Worker:
    """A named daemon thread that runs one driver object at a time, one task at a time.

    `make` builds the driver (on the thread: it may import and probe), `post` takes outcomes on any thread.
    """

    def __init__(
        self, device_id: str, make: Callable[[], Driver], *, clock: Clock, post: Callable[[Outcome], None]
    ) -> None:
        self._make, self._clock, self._post = make, clock, post
        self._tasks: queue.SimpleQueue[tuple[Task, Command | None]] = queue.SimpleQueue()
        self._driver: Driver | None = None
        self._emission: Emission | None = None
        self._thread = threading.Thread(target=self._run, name=f"device {device_id}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def ask(self, task: Task, command: Command | None = None) -> None:
        """Queue a task. Its outcome is posted, unless it never ends. `command` is what is to be applied."""
        self._tasks.put((task, command))

    def take(self) -> tuple[Sequence[Reading], int]:
        """What the device pushed since the last call, and how many readings were dropped."""
        return self._emission.take() if self._emission else ((), 0)

    def _run(self) -> None:
        task = None
        while task is not Task.END:
            task, command = self._tasks.get()
            started_ns = self._clock.mono_ns()
            try:
                outcome = self._do(task, command, started_ns)
            except (GatewayError, OSError) as error:
                outcome = Outcome(Fact.FAILED, error=error, started_ns=started_ns)
            except BaseException as error:  # noqa: BLE001 - the edge of a driver: its bugs, even sys.exit(), end here
                outcome = Outcome(Fact.BROKEN, error=error, started_ns=started_ns)
            if task in {Task.CLOSE, Task.END}:  # closed is closed, however badly it went
                outcome = Outcome(Fact.CLOSED, outcome.readings, error=outcome.error, started_ns=started_ns)
            self._post(outcome)

    def _do(self, task: Task, command: Command | None, started_ns: int) -> Outcome:
        if task is Task.OPEN:
            return Outcome(Fact.OPENED, self._open(), started_ns=started_ns)
        if task is Task.APPLY:
            applied = cast("OutputDriver", self._driver).apply(cast("Command", command))
            return Outcome(Fact.APPLIED, _stamped(applied, self._clock.mono_ns()), started_ns=started_ns)
        if task is Task.READ:
            stamped = _stamped(cast("PolledDriver", self._driver).read(), self._clock.mono_ns())
            kept = stamped[-READINGS_MAX:]
            return Outcome(Fact.ANSWERED, kept, len(stamped) - len(kept), started_ns=started_ns)
        return Outcome(Fact.CLOSED, self._close(), started_ns=started_ns)

    def _open(self) -> Sequence[Reading]:
        """What an output says of its channels; the other shapes say nothing yet."""
        self._driver = driver = self._make()
        if isinstance(driver, PushDriver):
            self._emission = emission = Emission(
                self._clock,
                wake=lambda: self._post(Outcome(None)),
                broken=lambda error: self._post(Outcome(Fact.BROKEN, error=error)),
            )
            driver.open(emission)
        elif isinstance(driver, OutputDriver):
            return _stamped(driver.open(), self._clock.mono_ns())
        else:
            cast("PolledDriver", driver).open()
        return ()

    def _close(self) -> Sequence[Reading]:
        """What an output says of its channels once it is safe."""
        driver, self._driver = self._driver, None
        try:
            if isinstance(driver, OutputDriver):
                return self._make_safe(driver)
            if driver is not None:
                driver.close()
            return ()
        finally:
            if self._emission:
                self._emission.close()

    def _make_safe(self, driver: OutputDriver) -> Sequence[Reading]:
        try:
            return _stamped(driver.safe(), self._clock.mono_ns())
        finally:
            driver.close()


def is_bug(error: BaseException) -> bool:
    """Whether a driver raised what it should not: anything but "the device did not answer"."""
    return not isinstance(error, (GatewayError, OSError))


def sentence(error: BaseException) -> str:
    """An exception as a short reason that a person can read."""
    text = " ".join(str(error).split()) or type(error).__name__
    if is_bug(error):
        text = f"the driver has a bug: {type(error).__name__}: {text}"
    return text.encode(errors="replace").decode()[:_REASON_CHARACTERS_MAX]


def _stamped(readings: Iterable[Reading], mono_ns: int) -> list[Reading]:
    """The readings, those without an instant given this one.

    Raises:
        TypeError: not readings; says what was found.
    """
    return [_stamp(reading, mono_ns) for reading in readings]


def _stamp(reading: object, mono_ns: int) -> Reading:
    if not isinstance(reading, Reading):
        raise TypeError(f"expected a sequence of Reading, found {reading!r:.80} of type {type(reading).__name__}")
    fields: tuple[object, ...] = (reading.channel, reading.reason, reading.unit or "", reading.mono_ns)
    if not all(map(isinstance, fields, (str, str, str, int))):
        raise TypeError(f"channel, reason and unit of a Reading are texts, mono_ns an integer; found {reading!r:.200}")
    if reading.mono_ns:
        return reading
    return Reading(reading.channel, reading.value, reading.unit, reading.quality, reading.reason, mono_ns)
