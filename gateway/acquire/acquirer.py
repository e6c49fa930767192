"""All devices of one gateway, and the one inbox through which their threads reach the loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable, Collection, Sequence
from random import Random
from typing import Final

from gateway.acquire.bus import Bus
from gateway.acquire.commands import Order, Toggle
from gateway.acquire.device import Device, Surroundings
from gateway.acquire.questions import Answer
from gateway.acquire.reports import DeviceState
from gateway.acquire.worker import Outcome
from gateway.clock import NS_PER_S, Clock
from gateway.config.model import DeviceConfig
from gateway.errors import DeviceError
from gateway.event import Event, Value
from gateway.figures import LATENESS_S, Histogram

LATENESSES_KEPT: Final = 1000

Record = Callable[[list[Event]], None]
Posted = Sequence[tuple[Device, Outcome]]


class Acquirer:
    """All devices of one gateway. Every method belongs to the event loop's thread.

    A reload is `end` for what changed or went, then `begin` with what the configuration has now.

    `record` takes the events of one turn; it must not block. `simulate` runs the devices that have signals in a
    simulated world, which begins with `start`. `random` is the source of the back-off's jitter.
    """

    def __init__(
        self, devices: Sequence[DeviceConfig], *, clock: Clock, record: Record, simulate: bool, random: Random
    ) -> None:
        self._configs, self._clock, self._record = devices, clock, record
        self._simulate, self._random = simulate, random
        self._devices: dict[str, Device] = {}
        self._buses: dict[str, Bus] = {}
        self._ended: frozenset[str] = frozenset()
        self._made = 0
        self._around: Surroundings
        self._latenesses: deque[int] = deque(maxlen=LATENESSES_KEPT)
        self.lateness_s = Histogram(LATENESS_S)
        """How late scheduled reads began, all since the start."""
        self._inbox: _Inbox

    async def start(self) -> None:
        """Begin to open all devices. Returns before they answer."""
        self._inbox = inbox = _Inbox(asyncio.get_running_loop(), self._drain)
        self._around = Surroundings(
            self._clock,
            self._random,
            self._clock.mono_ns(),
            inbox.post,
            self._record_some,
            self._late,
            self._bus,
        )
        self.begin(self._configs)

    def begin(self, configs: Sequence[DeviceConfig]) -> None:
        """Have exactly these devices from now on: those that run go on, all others are opened.

        What is not among them any more must have been ended.
        """
        former, self._devices = self._devices, {}
        for config in configs:
            device = former.pop(config.id, None)
            self._devices[config.id] = device if device and config.id not in self._ended else self._new(config, device)
        for device in former.values():
            device.leave()
        self._ended = frozenset()

    def _new(self, config: DeviceConfig, former: Device | None) -> Device:
        device = Device(config, self._made, self._around, simulate=self._simulate)
        self._made += 1
        if former is not None:
            device.inherit(former)
        device.start()
        return device

    async def end(self, device_ids: Collection[str], timeout_s: float) -> None:
        """Close these devices side by side; the others do not notice. `begin` follows.

        Those that do not return within `timeout_s` are left to their threads.
        """
        ending = [device for device_id, device in self._devices.items() if device_id in device_ids]
        closed = [device.stop() for device in ending]
        if closed:
            await asyncio.wait(closed, timeout=timeout_s)
        for device in ending:
            device.finish()
        self._ended |= frozenset(device_ids)

    async def stop(self, timeout_s: float) -> None:
        """Close all devices, as `end` does."""
        await self.end(self._devices.keys() - self._ended, timeout_s)

    def states(self) -> list[DeviceState]:
        """Every device, in the order of the configuration."""
        return [device.status() for device in self._devices.values()]

    def latenesses_ns(self) -> list[int]:
        """How late the last scheduled reads of all devices began, oldest first (at most 1000)."""
        return list(self._latenesses)

    def enter(self, passed: Callable[[], None]) -> None:
        """The watchdog's token takes the way of a reading; `passed` is called when the loop has taken it."""
        self._inbox.post_token(passed)

    async def read_once(self, device_id: str, timeout_s: float) -> Answer:
        """What the device says now: raw readings, each with the event it would become. Nothing is recorded.

        A polled device is read between its scheduled reads. A device that pushes tells the levels it knows, or else
        what it says next.

        Raises:
            DeviceError: no such device, it is unavailable, or it did not answer in time.
        """
        device = self._devices.get(device_id)
        if device is None:
            raise DeviceError(f"no device {device_id!r}: expected one of {', '.join(self._devices) or '(none)'}")
        try:
            return await asyncio.wait_for(device.question(), timeout_s)
        except TimeoutError:
            raise DeviceError(f"device {device_id} said nothing within {timeout_s:g} s") from None

    async def command(
        self,
        device_id: str,
        channel: str,
        value: Value | Toggle,
        *,
        for_s: float | None = None,
        within_s: float = 5.0,
        cause: str = "",
    ) -> Value:
        """Have an output set a channel, and return its new value once it is set.

        `TOGGLE` is the other of on and off. After `for_s` the channel goes back to what it was before; told again
        meanwhile, that time begins anew, and what it goes back to stays; told without, it stays. A command that has
        not begun `within_s` is never begun. `cause` is the id of the event behind it.

        Raises:
            DeviceError: not done, and why. Where it had begun when its time was over, it may be done later.
        """
        device = self._devices.get(device_id)
        if device is None:
            raise DeviceError(f"no device {device_id!r}: expected one of {', '.join(self._devices) or '(none)'}")
        order = Order(channel, value, asyncio.get_running_loop().create_future(), for_s, cause)
        device.order(order)
        try:
            return await asyncio.wait_for(order.done, within_s)
        except TimeoutError:
            begun = "it began, and may be done later" if order.begun else "it will not be done"
            raise DeviceError(f"device {device_id} did not do it within {within_s:g} s: {begun}") from None

    def is_simulated(self, device_id: str) -> bool:
        """Whether nothing outside happens when that device acts."""
        device = self._devices.get(device_id)
        return device is not None and device.status().simulated

    def _bus(self, name: str) -> Bus:
        return self._buses.setdefault(name, Bus())

    def _late(self, ns: int) -> None:
        self._latenesses.append(ns)
        self.lateness_s.observe(ns / NS_PER_S)

    def _drain(self, posted: Posted) -> None:
        self._record_some([event for device, outcome in posted for event in device.heard(outcome)])

    def _record_some(self, events: list[Event]) -> None:
        if events:
            self._record(events)


class _Inbox:
    """Where all threads post. The loop is woken once for everything that waits.

    It stays small: a device has one task at a time, and one sign that readings wait in its emission.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, drain: Callable[[Posted], None]) -> None:
        self._loop, self._drain = loop, drain
        self._lock = threading.Lock()
        self._posted: list[tuple[Device, Outcome]] = []
        self._tokens: list[Callable[[], None]] = []

    def post(self, device: Device, outcome: Outcome) -> None:
        with self._lock:
            self._posted.append((device, outcome))
            wake = len(self._posted) + len(self._tokens) == 1
        if wake:
            self._wake()

    def post_token(self, passed: Callable[[], None]) -> None:
        with self._lock:
            self._tokens.append(passed)
            wake = len(self._posted) + len(self._tokens) == 1
        if wake:
            self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: a hung read outlived the gateway
            self._loop.call_soon_threadsafe(self._take)

    def _take(self) -> None:
        with self._lock:
            posted, self._posted = self._posted, []
            tokens, self._tokens = self._tokens, []
        try:
            self._drain(posted)
        finally:
            for passed in tokens:
                passed()
