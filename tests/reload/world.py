"""A gateway over drivers that count and sinks that remember, so that a test can say exactly what was lost."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from gateway.app import Gateway
from gateway.clock import SystemClock
from gateway.config import Config, load_config
from gateway.driver import Channel, Emit, PolledDriver, PushDriver
from gateway.errors import DeviceError, LinkError
from gateway.event import Event, Reading
from gateway.eventlog import EventLog
from gateway.options import Options, Pin
from gateway.plugins import Plugins
from gateway.sink import Session, Sink


class CounterOptions(Options):
    pin: Pin
    per_s: int = Field(50, ge=1, le=1000)
    note: str = ""


class GaugeOptions(Options):
    level: float = 20.0


class MemoryOptions(Options):
    to: str = "there"


@dataclass
class Bench:
    """What drivers and sinks did. `emitted` counts by driver object, which has a serial number of its own."""

    emitted: dict[int, int] = field(default_factory=dict)
    made: dict[int, tuple[str, int]] = field(default_factory=dict)  # serial -> (note of its options, thread)
    held: set[int] = field(default_factory=set)
    hang: threading.Event | None = None
    arrived: dict[str, list[Event]] = field(default_factory=dict)
    sessions: list[MemorySession] = field(default_factory=list)
    down: set[str] = field(default_factory=set)
    serials: Any = field(default_factory=lambda: itertools.count(1))

    def plugins(self) -> Plugins:
        ours = {"bench": self}
        counter, memory = type("OurCounter", (Counter,), ours), type("OurMemory", (Memory,), ours)
        return Plugins(drivers={"counter": counter, "gauge": Gauge}, sinks={"memory": memory})

    def serial_of(self, note: str) -> int:
        """The newest driver object whose options say so."""
        return max(serial for serial, (said, _) in self.made.items() if said == note)


class Counter(PushDriver):
    """Emits `<serial>-1`, `<serial>-2` .. from a thread of its own, and holds its pin alone."""

    name = "counter"
    summary = "counts"
    Options = CounterOptions
    bench: ClassVar[Bench]

    def __init__(self, options: CounterOptions) -> None:
        self.options, self.serial = options, next(self.bench.serials)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @classmethod
    def channels(cls, options: Any) -> tuple[Channel, ...]:
        return (Channel("count", "occurrence", "a number", kind="input", rest=""),)

    @classmethod
    def claims(cls, options: CounterOptions) -> tuple[str, ...]:
        return (f"GPIO {options.pin}",)

    @classmethod
    def create(cls, options: CounterOptions) -> Counter:
        return cls(options)

    @classmethod
    def simulate(cls, options: CounterOptions, world: Any) -> Counter:
        return cls(options)

    def open(self, emit: Emit) -> None:
        bench, pin = self.bench, self.options.pin
        if pin in bench.held:
            raise DeviceError(f"GPIO {pin} is in use")
        bench.held.add(pin)
        bench.made[self.serial] = (self.options.note, threading.get_ident())
        self._thread = threading.Thread(target=self._count, args=(emit,), daemon=True)
        self._thread.start()

    def _count(self, emit: Emit) -> None:
        for n in itertools.count(1):
            emit([Reading("count", f"{self.serial}-{n}")])
            self.bench.emitted[self.serial] = n
            if self._stop.wait(1 / self.options.per_s):
                return

    def close(self) -> None:
        if self.bench.hang is not None:
            self.bench.hang.wait(30)
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
            self.bench.held.discard(self.options.pin)


class Gauge(PolledDriver):
    """Two channels that never move."""

    name = "gauge"
    summary = "stands still"
    Options = GaugeOptions
    every_s = 0.02

    def __init__(self, options: GaugeOptions) -> None:
        self._options = options

    @classmethod
    def channels(cls, options: Any) -> tuple[Channel, ...]:
        return (Channel("one", "temperature", "one"), Channel("two", "temperature", "two"))

    @classmethod
    def create(cls, options: GaugeOptions) -> Gauge:
        return cls(options)

    @classmethod
    def simulate(cls, options: GaugeOptions, world: Any) -> Gauge:
        return cls(options)

    def read(self) -> Sequence[Reading]:
        return [Reading("one", self._options.level), Reading("two", self._options.level)]


class Memory(Sink):
    """Remembers what arrives, on its bench."""

    name = "memory"
    summary = "remembers"
    Options = MemoryOptions
    bench: ClassVar[Bench]

    def __init__(self, options: MemoryOptions, present: Any) -> None:
        self.options, self.present = options, present

    @classmethod
    def create(cls, options: MemoryOptions, identity: Any) -> Memory:
        return cls(options, identity.present)

    async def connect(self, report: Any) -> Session:
        if self.options.to in self.bench.down:
            raise LinkError(f"{self.options.to} is down")
        session = MemorySession(self.options.to, self.bench, report, self.present)
        self.bench.sessions.append(session)
        return session


class MemorySession(Session):
    """Takes events at once, and births as they change."""

    window_max = 50

    def __init__(self, to: str, bench: Bench, report: Any, present: Any) -> None:
        self.to, self.bench, self.report, self.present = to, bench, report, present
        self.births = [present.status()]
        self.ended = ""
        self._unwatch = present.watch(self._changed)

    def _changed(self, event: Event) -> None:
        if event.type == "config.loaded":
            self.births.append(self.present.status())

    def send(self, outgoing: Any) -> None:
        asyncio.get_running_loop().call_soon(self._take, outgoing.event)

    def _take(self, event: Event) -> None:
        if not self.ended:
            self.bench.arrived.setdefault(self.to, []).append(event)
            self.report.settled(event.offset, "accepted")

    async def close(self, timeout_s: float) -> None:
        self._unwatch()
        self.ended = "closed"

    def abort(self) -> None:
        self._unwatch()
        self.ended = self.ended or "aborted"


@dataclass
class World:
    """A configuration file, and gateways that run with it."""

    folder: Path
    bench: Bench = field(default_factory=Bench)
    told: list[str] = field(default_factory=list)
    _plugins: Plugins | None = None

    @property
    def file(self) -> Path:
        return self.folder / "gateway.yaml"

    def write(self, *entries: str, head: str = "gateway: {id: pi}", buffer: str = "commit_within: 20ms") -> None:
        """`entries` are of devices where they say `driver:`, of sinks where they say `sink:`."""
        devices = [f"  - {{{entry}}}" for entry in entries if "driver:" in entry]
        sinks = [f"  - {{{entry}}}" for entry in entries if "sink:" in entry]
        text = [head, "devices:", *devices, "sinks:", *sinks, f"buffer: {{path: events.db, {buffer}}}"]
        self.file.write_text("\n".join(text) + "\n", encoding="utf-8")

    def load(self) -> Config:
        self._plugins = self._plugins or self.bench.plugins()
        return load_config(self.file, self._plugins)

    def gateway(self, **more: Any) -> Gateway:
        return Gateway(self.load(), **{"load": self.load, "tell": self.told.append, **more})


async def logged(log: EventLog) -> list[Event]:
    """Everything in the log."""
    events: list[Event] = []
    offset = log.first_offset
    while (page := await log.read(offset)).events:
        events += page.events
        offset = page.next_offset
    return events


async def kept(world: World) -> list[Event]:
    """Everything in the log, after the gateway has stopped."""
    log = await EventLog.open(world.folder / "events.db", SystemClock())
    events = await logged(log)
    await log.close()
    return events


async def until(condition: Any, what: str = "", within_s: float = 10.0) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    while not condition():
        assert loop.time() < deadline, f"waited {within_s:g} s in vain: {what}"
        turn = loop.create_future()
        loop.call_later(0.002, turn.set_result, None)
        await turn


async def committed(gateway: Gateway) -> None:
    """Return when what has been offered so far is in the log."""
    target = gateway.log.next_offset + gateway.recorder.pending
    await until(lambda: gateway.log.next_offset >= target, "a commit")


def lost(bench: Bench, events: list[Event]) -> tuple[dict[int, int], dict[int, int]]:
    """What drivers emitted, held against the log. All must have ended.

    Driver object -> how many of its numbers are not in the log, each once and in order; and apart from these the
    objects of which nothing is there: they ended before anybody had heard that they were open.
    """
    recorded: dict[int, list[int]] = {}
    for event in events:
        if event.subject.endswith("/count") and event.value is not None:
            serial, n = map(int, str(event.value).split("-"))
            recorded.setdefault(serial, []).append(n)
    missing = {
        serial: count - len(recorded[serial])
        for serial, count in bench.emitted.items()
        if recorded.get(serial, []) != list(range(1, count + 1)) and serial in recorded
    }
    return missing, {serial: count for serial, count in bench.emitted.items() if serial not in recorded}
