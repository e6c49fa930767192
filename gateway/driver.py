"""The driver contract: how hardware becomes readings.

A driver is plain blocking Python. It never meets asyncio, never sees an event, knows nothing of the gateway but the
words on this page, and is written in one of three shapes:

* `PolledDriver`: the gateway calls `read()` on the device's schedule. One call is one bus transaction and returns
  every channel. Prefer this shape.
* `PushDriver`: the device speaks when it wants. `open(emit)` installs a callback; `emit(readings)` may be called from
  any thread, never blocks and never raises.
* `OutputDriver`: the device acts. `apply(command)` sets one channel, `safe()` all of them to where they harm nobody.

What the gateway guarantees: for one driver object `open`, `read`, `apply`, `safe` and `close` are never called at the
same time, nor after `close`; all run on one thread of the device's own (two devices never share one). `open` is called
again, on a *new* object, after a failure. Devices that name the same `bus` take turns: while one is in `open`, `read`
or `apply`, no other one is; `safe` and `close` do not wait for a turn, because a stuck bus must not keep a device from
being closed. What the driver guarantees: an `open` that raises has released what it claimed; `close` may be called
twice and after a failed `open`; after `close` returns nothing more is emitted. A device that fails raises
`DeviceError` or `OSError`, which means "try again later"; anything else is a bug in the driver and is logged with its
traceback.

`create` takes the hardware, `simulate` takes a simulated world: the same driver code over hardware that is not there.
Both import what they need when they are called, so that `gateway check` on a laptop needs no hardware library.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from gateway.event import Reading, Value
from gateway.options import Options
from gateway.units import QUANTITIES, Quantity

Kind = Literal["reading", "state", "input", "output"]
Emit = Callable[[Sequence[Reading]], None]
Signal = Callable[[float], Value]
"""A simulated quantity: seconds since the world began -> value, in the channel's canonical unit."""


@dataclass(frozen=True, slots=True)
class Channel:
    """One quantity or input of a device.

    `kind` is the type of its events: `reading` (measured), `state` (a level: contact, motion), `input` (an occurrence);
    an `output` is set, not measured, and its events are `output.changed`. `rest` is the simulated value where the YAML
    names no signal; of an output, where it begins.
    """

    name: str
    quantity: str
    summary: str
    kind: Kind = "reading"
    rest: Value = None

    @property
    def measures(self) -> Quantity:
        return QUANTITIES[self.quantity]

    @property
    def event_type(self) -> str:
        return "output.changed" if self.kind == "output" else self.kind


@dataclass(frozen=True, slots=True)
class Command:
    """What an output is told: one of its channels takes this value, in the channel's canonical unit.

    The gateway has checked both. Toggling, pulses and times are its own affair: a driver only ever sets.
    """

    channel: str
    value: Value


@dataclass(frozen=True, slots=True)
class World:
    """The simulated surroundings of one device.

    `signals` has one entry for every channel of the device; `now_s` tells seconds since the world began, and is the
    only clock a simulator may use.
    """

    signals: Mapping[str, Signal]
    now_s: Callable[[], float]


class Driver(ABC):
    """What all shapes share. `name` is what the YAML says after `driver:`; `summary` is one line for people."""

    name: ClassVar[str]
    summary: ClassVar[str]
    Options: ClassVar[type[Options]] = Options
    every_s: ClassVar[float | None] = None
    """Default poll interval; None for drivers that are not polled."""
    synthetic: ClassVar[bool] = False
    """True where there never is hardware: the gateway always uses `simulate`, and marks every event as simulated."""

    @classmethod
    @abstractmethod
    def channels(cls, options: Any) -> tuple[Channel, ...]:
        """The channels of a device with these options: known without touching hardware."""

    @classmethod
    def claims(cls, options: Any) -> tuple[str, ...]:
        """Hardware that no other device may use at the same time, such as `GPIO 17`. Same words, same hardware."""
        del options
        return ()

    @classmethod
    def bus(cls, options: Any) -> str | None:
        """The bus that a device with these options shares with others, such as `i2c-1`. Same word, same bus.

        Its devices are read one after the other. While one of them hangs, the others are not entered, and are
        unavailable: `bus blocked by ..`. None: the device disturbs nobody.
        """
        del options
        return None

    @classmethod
    @abstractmethod
    def create(cls, options: Any) -> Driver:
        """The driver over real hardware. Cheap: nothing is opened before `open`.

        Raises:
            PluginError: an optional package is not installed; says which, and how to install it.
        """

    @classmethod
    @abstractmethod
    def simulate(cls, options: Any, world: World) -> Driver:
        """The same driver code over simulated hardware that follows the world's signals."""

    def close(self) -> None:  # noqa: B027 - most devices hold nothing
        """Release everything. Called once more than needed is fine."""


class PolledDriver(Driver):
    """A device that is asked."""

    every_s: ClassVar[float | None] = 10.0

    def open(self) -> None:
        """Claim and initialise the hardware."""

    @abstractmethod
    def read(self) -> Sequence[Reading]:
        """One reading of every channel that has something to say now.

        Raises:
            DeviceError, OSError: the device did not answer; the whole read counts as failed.
        """


class PushDriver(Driver):
    """A device that speaks."""

    @abstractmethod
    def open(self, emit: Emit) -> None:
        """Claim the hardware and report through `emit` from now on; level channels report their level at once."""


class OutputDriver(Driver):
    """A device that acts. All its channels are of kind `output`.

    Each method returns how the channels it touched are now, one reading each. `safe` is called before every `close`,
    whatever the reason for that was.
    """

    @abstractmethod
    def open(self) -> Sequence[Reading]:
        """Claim the hardware and put every channel where it begins."""

    @abstractmethod
    def apply(self, command: Command) -> Sequence[Reading]:
        """Set one channel; on return it is set.

        Raises:
            DeviceError, OSError: the device did not take it. It is made safe, closed, and opened again later.
        """

    @abstractmethod
    def safe(self) -> Sequence[Reading]:
        """Put every channel where it harms nobody, always the same place.

        Also called without `open`, by `gateway outputs safe` after the gateway died: then it claims the hardware
        itself, and goes there straight, not past where a channel begins. `close` follows.
        """
