"""An ultrasonic distance sensor with a trigger and an echo pin: HC-SR04 and its relatives.

A pulse on the trigger sends a burst of ultrasound; the echo pin is then high for as long as the sound was on its way.
Sources: HC-SR04 user's manual (10 us of trigger, 2 cm to 4 m, 60 ms from one measurement to the next, 38 ms of echo
where nothing reflects); gpiozero 2.0, `DistanceSensor`; lgpio 0.2.2, whose edges carry the kernel's time stamps: a busy
machine delays a measurement, and does not falsify it.

The parts of gpiozero's `DistanceSensor` rather than the whole. That one sends bursts for ever from a thread of its own,
whatever the schedule says, tells the median of the last nine, calls everything far away the same, and its first answer
never comes where there is no echo.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final, NamedTuple

from pydantic import Field, model_validator

from drivers._gpio import PinFactory, check_pull, pi_pin_factory, pin_errors
from gateway.driver import Channel, PolledDriver, World
from gateway.errors import DeviceError
from gateway.event import Reading
from gateway.options import Options, Pin

SOUND_M_PER_S: Final = 343.0
"""In dry air of 20 degrees Celsius; 0.18 % more for each degree."""

NEAREST_M: Final = 0.02
"""The sensor hears nothing while it still speaks."""

TRIGGER_S: Final = 10e-6

CYCLE_S: Final = 0.06
"""From one burst to the next: until the sound of the last one has died away."""

RISE_S_MAX: Final = 0.5
"""The burst takes about half a millisecond; the rest is for a machine that is busy when the edge arrives."""

FALL_S_MAX: Final = 0.5
"""Where nothing reflects, the echo ends after 38 ms, and with some copies of the sensor after 200 ms."""

TURN_S_MAX: Final = 2.0
EDGES_MAX: Final = 4


class DistanceOptions(Options):
    trigger: Pin
    echo: Pin
    max_m: Annotated[float, Field(gt=NEAREST_M, le=6, allow_inf_nan=False)] = Field(
        4.0, alias="max", description="in metres: what is farther away is reported as at least this far"
    )

    @model_validator(mode="after")
    def _pins_fit(self) -> DistanceOptions:
        if self.trigger == self.echo:
            raise ValueError(f"trigger and echo are both on GPIO {self.echo}: give each a pin of its own")
        check_pull(self.echo, "down")
        return self


class Edge(NamedTuple):
    """A change of the echo pin. `ticks` is in the pin factory's own unit."""

    ticks: Any
    is_high: bool


class Distance(PolledDriver):
    name = "distance"
    summary = "an ultrasonic distance sensor (HC-SR04) on two GPIO pins"
    Options = DistanceOptions
    every_s = 1.0

    def __init__(self, options: DistanceOptions, pin_factory: PinFactory) -> None:
        self._options, self._pin_factory = options, pin_factory
        self._trigger: Any = None
        self._echo: Any = None
        self._listens = False
        self._edges: queue.Queue[Edge | None] = queue.Queue(EDGES_MAX)
        self._closing = threading.Event()

    @classmethod
    def channels(cls, options: Any) -> tuple[Channel, ...]:
        del options
        return (Channel("distance", "distance", "to the nearest thing ahead", rest=1.0),)

    @classmethod
    def claims(cls, options: DistanceOptions) -> tuple[str, ...]:
        return (f"GPIO {options.trigger}", f"GPIO {options.echo}")

    @classmethod
    def create(cls, options: DistanceOptions) -> Distance:
        return cls(options, pi_pin_factory)

    @classmethod
    def simulate(cls, options: DistanceOptions, world: World) -> Distance:
        from drivers.distance.simulator import SimulatedDistance  # noqa: PLC0415 - only where something is simulated

        return SimulatedDistance(options, world)

    def open(self) -> None:
        from gpiozero import InputDevice, OutputDevice  # noqa: PLC0415 - only where a pin is used

        factory = self._pin_factory()
        try:
            with self._pin_errors():
                self._trigger = OutputDevice(self._options.trigger, pin_factory=factory)
                self._echo = InputDevice(self._options.echo, pull_up=False, pin_factory=factory)
                self._echo.pin.bounce = None
                self._echo.pin.edges = "both"
                self._echo.pin.when_changed = self._changed
        except DeviceError:
            self.close()
            raise

    def read(self) -> Sequence[Reading]:
        with self._turn(), self._pin_errors():
            pulse_s = self._measure()
            self._closing.wait(max(0.0, CYCLE_S - pulse_s))
        return (judge(pulse_s, self._options.max_m),)

    def close(self) -> None:
        """Release the pins. A measurement that is under way on another thread ends at once, with a DeviceError."""
        self._closing.set()
        with contextlib.suppress(queue.Full):
            self._edges.put_nowait(None)
        # The pin keeps its `when_changed`: gpiozero would raise on lgpio's one thread if it were taken away just now.
        for pin in (self._echo, self._trigger):
            if pin is not None:
                pin.close()
        self._echo = self._trigger = None

    def _measure(self) -> float:
        """Seconds for which the echo pin was high.

        Raises:
            DeviceError: it did not rise and fall once, as it should.
        """
        trigger, echo = self._trigger, self._echo
        if echo is None:
            raise DeviceError("the sensor is not open")
        if echo.is_active:
            raise DeviceError(f"echo (GPIO {self._options.echo}) is high before the measurement: {self._advice}")
        self._forget_edges()
        self._listens = True
        try:
            trigger.on()
            self._closing.wait(TRIGGER_S)
            trigger.off()
            rose = self._edge(is_high=True, within_s=RISE_S_MAX)
            fell = self._edge(is_high=False, within_s=FALL_S_MAX)
        finally:
            self._listens = False
        return float(echo.pin_factory.ticks_diff(fell.ticks, rose.ticks))

    def _forget_edges(self) -> None:
        with contextlib.suppress(queue.Empty):
            for _ in range(EDGES_MAX):
                self._edges.get_nowait()

    def _edge(self, *, is_high: bool, within_s: float) -> Edge:
        try:
            edge = None if self._closing.is_set() else self._edges.get(timeout=within_s)
        except queue.Empty:
            stays = "low, nothing answers" if is_high else "high, the measurement does not end"
            raise DeviceError(f"echo (GPIO {self._options.echo}) stays {stays}: {self._advice}") from None
        if edge is None:
            raise DeviceError("closed during a measurement")
        if edge.is_high != is_high:
            raise DeviceError(f"echo (GPIO {self._options.echo}): an edge was missed, or there is noise on the line")
        return edge

    def _changed(self, ticks: Any, state: int) -> None:
        """The echo pin changed. Runs on lgpio's thread."""
        if self._listens:
            with contextlib.suppress(queue.Full):  # more edges than a measurement has are noise
                self._edges.put_nowait(Edge(ticks, bool(state)))

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """One sensor after the other, so that none hears another's sound. gpiozero has a lock for that."""
        from gpiozero import DistanceSensor  # noqa: PLC0415 - only where a pin is used

        lock: threading.Lock = DistanceSensor.ECHO_LOCK
        if not lock.acquire(timeout=TURN_S_MAX):
            raise DeviceError(f"other distance sensors took turns for {TURN_S_MAX:g} s: read them less often")
        try:
            yield
        finally:
            lock.release()

    def _pin_errors(self) -> contextlib.AbstractContextManager[None]:
        return pin_errors(f"GPIO {self._options.trigger} and {self._options.echo}")

    @property
    def _advice(self) -> str:
        return f"are VCC (5 V), GND, trigger (GPIO {self._options.trigger}) and echo connected?"


def judge(pulse_s: float, max_m: float) -> Reading:
    """The distance that an echo of this length means: there and back. What lies outside of the range is `limit`."""
    metres = pulse_s * SOUND_M_PER_S / 2
    within = min(max(metres, NEAREST_M), max_m)
    if metres != within:
        return Reading("distance", within, quality="uncertain", reason="limit")
    return Reading("distance", metres)
