"""A rig for supervision with real threads: drivers made of functions, and a recorder that one can wait for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest

from gateway.acquire import Acquirer
from gateway.clock import Clock, SystemClock
from gateway.config.model import ChannelConfig, DeviceConfig
from gateway.driver import Channel, Driver, Emit, PolledDriver, PushDriver, Signal, World
from gateway.event import Event, Reading
from gateway.options import Options

DECLARED = (
    Channel("temperature", "temperature", "degrees", rest=20.0),
    Channel("open", "contact", "a level", kind="state", rest=False),
    Channel("click", "occurrence", "something that happens", kind="input", rest=0),
)


class NoJitter(Random):
    """Always the shortest back-off."""

    def random(self) -> float:
        return 0.0


@dataclass
class Bench:
    """What a driver under test did, and on which threads."""

    made: list[Driver] = field(default_factory=list)
    calls: list[tuple[str, Driver, int]] = field(default_factory=list)
    worlds: list[World] = field(default_factory=list)

    def count(self, call: str) -> int:
        return sum(name == call for name, _, _ in self.calls)

    def note(self, call: str, driver: Driver) -> None:
        self.calls.append((call, driver, threading.get_ident()))


def driver_of(
    read: Callable[[], Sequence[Reading]] | None = None,
    push: Callable[[Emit], None] | None = None,
    close: Callable[[], None] = lambda: None,
    bench: Bench | None = None,
    is_synthetic: bool = False,
) -> type[Driver]:
    """A driver class whose `read` (or `open`, for one that pushes) is the given function."""
    seen = bench or Bench()

    class Common:
        name = "rig"
        summary = "made of functions"
        synthetic = is_synthetic

        @classmethod
        def channels(cls, options: Any) -> tuple[Channel, ...]:
            return DECLARED

        @classmethod
        def create(cls, options: Any) -> Driver:
            seen.made.append(cls())
            return seen.made[-1]

        @classmethod
        def simulate(cls, options: Any, world: World) -> Driver:
            seen.worlds.append(world)
            return cls.create(options)

        def close(self) -> None:
            seen.note("close", self)
            close()

    class Polled(Common, PolledDriver):
        def open(self) -> None:
            seen.note("open", self)

        def read(self) -> Sequence[Reading]:
            seen.note("read", self)
            return read()

    class Pushing(Common, PushDriver):
        def open(self, emit: Emit) -> None:
            seen.note("open", self)
            push(emit)

    return Polled if read else Pushing


def device(
    device_id: str,
    driver: type[Driver],
    every_s: float | None = 0.02,
    timeout_s: float = 5.0,
    simulate: Mapping[str, Signal] | None = None,
    bus: str | None = None,
    **channels: ChannelConfig,
) -> DeviceConfig:
    rules = {channel.name: channels.get(channel.name, ChannelConfig()) for channel in DECLARED}
    every_s = every_s if issubclass(driver, PolledDriver) else None
    return DeviceConfig(device_id, driver, Options(), every_s, timeout_s, DECLARED, rules, simulate, bus)


async def until(condition: Callable[[], object], what: str = "", within_s: float = 5.0) -> None:
    """Wait for the condition, fail after the deadline. It is judged whenever the loop has nothing left to do.

    So whatever makes it true must go through the loop, as all that devices say does; `until_gone` is for threads.
    """
    loop = asyncio.get_running_loop()
    selector = loop._selector
    met: asyncio.Future[None] = loop.create_future()

    def select(timeout: float | None = None) -> Any:
        """In the place of the selector's own, which the loop calls before it waits."""
        try:
            if not met.done() and condition():
                met.set_result(None)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the test's
            met.set_exception(error)
        return type(selector).select(selector, 0 if met.done() else timeout)

    selector.select = select
    try:
        async with asyncio.timeout(within_s):
            await met
    except TimeoutError:
        raise AssertionError(f"not within {within_s} s: {what or condition}") from None
    finally:
        del selector.select


async def until_gone(prefix: str, within_s: float = 5.0) -> None:
    """Wait until every thread whose name begins so has ended."""
    for thread in threading.enumerate():
        if thread.name.startswith(prefix):
            await asyncio.to_thread(thread.join, within_s)
            assert not thread.is_alive(), f"thread {thread.name} is there after {within_s} s"


@dataclass
class Rig:
    """An acquirer at work, and all it recorded."""

    acquirer: Acquirer
    batches: list[list[Event]]

    @property
    def events(self) -> list[Event]:
        return [event for batch in self.batches for event in batch]

    def types(self, device_id: str) -> list[str]:
        return [event.type for event in self.of(device_id)]

    def of(self, device_id: str, kind: str = "") -> list[Event]:
        """The events of a device, in order; of one type if `kind` names it."""
        mine = [event for event in self.events if event.subject.split("/")[0] == device_id]
        return [event for event in mine if kind in {"", event.type}]

    def availability(self, device_id: str) -> list[bool]:
        return [event.type == "device.available" for event in self.of(device_id) if event.type.startswith("device.")]


@asynccontextmanager
async def running(
    *devices: DeviceConfig, clock: Clock | None = None, simulate: bool = False, stop_within_s: float = 2.0
) -> AsyncIterator[Rig]:
    batches: list[list[Event]] = []
    acquirer = Acquirer(
        devices, clock=clock or SystemClock(), record=batches.append, simulate=simulate, random=NoJitter()
    )
    await acquirer.start()
    try:
        yield Rig(acquirer, batches)
    finally:
        await acquirer.stop(stop_within_s)


class Kit:
    """What the tests of this folder share."""

    bench = Bench
    driver_of = staticmethod(driver_of)
    device = staticmethod(device)
    until = staticmethod(until)
    until_gone = staticmethod(until_gone)
    running = staticmethod(running)


@pytest.fixture
def kit() -> Kit:
    return Kit()
