"""What one output device is still to do, and what its channels are. On the loop's side; no clock, no thread.

Orders are carried out one after the other, in the order of their arrival, and at most once: one that fails is not tried
again, and with it go all that wait. An order whose `done` is cancelled before it began is never done.

A channel that was set *for* some time goes back by itself. Whatever ends the driver object ends that too: an output is
made safe before it is closed, and begins anew when it is opened.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

from gateway.clock import NS_PER_S
from gateway.driver import Channel, Command
from gateway.errors import DeviceError
from gateway.event import Reading, Value

WAITING_MAX: Final = 16
"""Orders of one device that may wait. More than that at once is a storm, and its orders are refused."""


class Toggle(Enum):
    """The type of `TOGGLE`: the other one of on and off."""

    TOGGLE = "toggle"


TOGGLE: Final = Toggle.TOGGLE


@dataclass(slots=True)
class Order:
    """One command on its way. `for_s` None: the channel stays as it is set. `begun` once a thread has it."""

    channel: str
    value: Value | Toggle
    done: asyncio.Future[Value]
    for_s: float | None = None
    cause: str = ""
    begun: bool = False


class _Back(NamedTuple):
    """When a channel goes back, and to what."""

    due_ns: int
    value: Value
    cause: str


class Commands:
    """The orders of one device. `applied` follows each command that `next` gave, or else `fail`."""

    def __init__(self, device_id: str, channels: Sequence[Channel]) -> None:
        self._device_id = device_id
        self._channels = {channel.name: channel for channel in channels}
        self._waiting: deque[Order] = deque()
        self._returns: deque[Order] = deque()  # they come first: a pulse must not last until a storm is over
        self._current: Order | None = None
        self._levels: dict[str, Value] = {}
        self._backs: dict[str, _Back] = {}

    @property
    def waiting(self) -> bool:
        return bool(self._waiting or self._returns)

    @property
    def due_ns(self) -> int | None:
        """When the next channel goes back by itself, None for never."""
        return min((back.due_ns for back in self._backs.values()), default=None)

    def add(self, order: Order) -> None:
        """Take an order in.

        Raises:
            DeviceError: there is no such channel, it cannot have that value, or too many wait.
        """
        channel = self._channels.get(order.channel)
        if channel is None:
            names = ", ".join(self._channels)
            raise DeviceError(f"device {self._device_id} has no channel {order.channel!r}: expected one of {names}")
        wrong = unfit(order.value, channel)
        if wrong:
            raise DeviceError(f"{self._device_id}/{order.channel}: {wrong}")
        if len(self._waiting) >= WAITING_MAX:  # those that nobody waits for any more do not count
            self._waiting = deque(one for one in self._waiting if not one.done.done())
        if len(self._waiting) >= WAITING_MAX:
            raise DeviceError(f"device {self._device_id} is busy: {WAITING_MAX} commands wait already")
        self._waiting.append(order)

    def next(self) -> Command | None:
        """The next command; None where nobody waits any more."""
        while self._current is None and self.waiting:
            order = (self._returns or self._waiting).popleft()
            if not order.done.done():
                self._current, order.begun = order, True
                return Command(order.channel, self._value(order))
        return None

    def applied(self, readings: Sequence[Reading], now_ns: int) -> str:
        """What the channels are now, after a command or after opening; returns the cause of it."""
        before = dict(self._levels)
        self._levels |= {reading.channel: reading.value for reading in readings}
        order, self._current = self._current, None
        if order is None:
            return ""
        former = self._backs.pop(order.channel, None)
        if order.for_s is not None:
            back_to = former.value if former else before.get(order.channel)
            self._backs[order.channel] = _Back(now_ns + round(order.for_s * NS_PER_S), back_to, order.cause)
        if not order.done.done():
            order.done.set_result(self._levels.get(order.channel))
        return order.cause

    def due(self, now_ns: int) -> None:
        """Order back what has been set for long enough."""
        for name, back in list(self._backs.items()):
            if now_ns >= back.due_ns:
                del self._backs[name]
                done: asyncio.Future[Value] = asyncio.get_running_loop().create_future()
                done.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # nobody waits for it
                self._returns.append(Order(name, back.value, done, cause=back.cause))

    def fail(self, why: str) -> None:
        """The driver object is of no more use: nothing of this will be done. `why` goes on after the device's name."""
        orders = [*([self._current] if self._current else []), *self._waiting]
        self._waiting.clear()
        self._returns.clear()
        self._backs.clear()
        self._levels.clear()
        self._current = None
        for order in orders:
            if not order.done.done():
                order.done.set_exception(DeviceError(f"device {self._device_id} {why}"))

    def _value(self, order: Order) -> Value:
        return not self._levels.get(order.channel) if isinstance(order.value, Toggle) else order.value


def unfit(value: Value | Toggle, channel: Channel) -> str:
    """What is wrong with setting the channel to that; empty where nothing is."""
    quantity = channel.measures
    if quantity.name == "contact":
        return "" if isinstance(value, (bool, Toggle)) else f"found {value!r}, expected on, off or toggle"
    if quantity.unit is None:
        return "" if isinstance(value, str) else f"found {value!r}, expected a text"
    low, high = quantity.plausible or (-math.inf, math.inf)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not low <= float(value) <= high:  # type: ignore[arg-type]  # the line above looked
        shown = "toggle" if isinstance(value, Toggle) else repr(value)
        return f"found {shown}, expected a number from {low:g} to {high:g} ({quantity.name}, {quantity.unit})"
    return ""
