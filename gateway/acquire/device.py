"""One device on the loop's side: feeds facts to `supervise.decide` and does what it says."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from gateway.acquire.bus import Bus
from gateway.acquire.worker import Outcome, Worker, is_bug, sentence
from gateway.clock import NS_PER_S, Clock
from gateway.config.model import DeviceConfig
from gateway.driver import Channel, Driver, PolledDriver, Signal, World
from gateway.errors import DeviceError
from gateway.event import Event, Reading
from gateway.normalize import Instant, Normalizer
from gateway.supervise import Fact, Gap, Moment, Phase, Plan, Task, begin, decide, spread_ns

EVERY_NS_MIN: Final = NS_PER_S // 1000

REMOVED: Final = "removed from the configuration"

Answer = list[tuple[Reading, Event | None]]
"""Raw readings, each with the event it would become; None where the driver did not declare the channel."""

_log = logging.getLogger("gateway.acquire")


@dataclass(frozen=True, slots=True)
class DeviceState:
    """What `gateway status` tells of a device.

    `available` is None until it answered or failed, and `reason` says why it is unavailable. `since_ns` (UTC) is when
    that changed last, `last_ns` (UTC) when its last reading came. `readings` and `failures` count since the start.
    """

    id: str
    driver: str
    available: bool | None
    since_ns: int
    reason: str
    readings: int
    failures: int
    last_ns: int | None
    simulated: bool


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all devices of a gateway share. `post` may be called on any thread, the rest on the loop's.

    `bus` finds the bus of a name, always the same one.
    """

    clock: Clock
    random: Random
    begun_ns: int
    post: Callable[[Device, Outcome], None]
    record: Callable[[list[Event]], None]
    late: Callable[[int], None]
    bus: Callable[[str], Bus]

    def now(self) -> Instant:
        return Instant(self.clock.wall_ns(), self.clock.mono_ns(), self.clock.synced())


class Device:
    """A configured device at work. All methods belong to the event loop's thread."""

    def __init__(self, config: DeviceConfig, index: int, around: Surroundings, *, simulate: bool) -> None:
        self._config, self._around = config, around
        self._simulated = config.driver.synthetic or (simulate and config.simulate is not None)
        self._pushes = not issubclass(config.driver, PolledDriver)
        self._plan = _plan(config, index, around.begun_ns, pushes=self._pushes)
        self._state = begin(self._plan)
        self._normalizer = Normalizer(config, simulated=self._simulated)
        self._worker = Worker(config.id, self._driver, clock=around.clock, post=self._post)
        self._loop = asyncio.get_running_loop()
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._slot_ns: int | None = None
        self._bus = around.bus(config.bus) if config.bus is not None else None
        self._gap = Gap()
        self._questions = _Questions(config, simulated=self._simulated)
        self._extra = False  # the read under way is not of the schedule: somebody asked
        self._level_names = {channel.name for channel in config.declared if self._pushes and channel.kind == "state"}
        self._levels: dict[str, Reading] = {}
        self._since_ns = around.clock.wall_ns()
        self._last_ns: int | None = None
        self._readings = self._failures = 0
        self._said_bug = self._said_rejected = self._finished = False

    @property
    def id(self) -> str:
        return self._config.id

    def start(self) -> None:
        self._worker.start()
        self._arm(self._around.now())
        if self._bus is not None:
            self._bus.join(self)

    def stop(self) -> asyncio.Future[None]:
        """Close the device; done when it is closed, and at once where it hangs: nobody waits for that."""
        now, hung = self._around.now(), self._state.phase is Phase.HUNG
        self._questions.fail("the gateway stops")
        self._advance(Fact.STOP, now)
        if self._bus is not None:
            self._bus.part(self)
        if hung and not self._closed.done():
            self._closed.set_result(None)
        return self._closed

    def finish(self) -> None:
        """The last words, after `stop`: what was dropped and not yet said. Whatever it pushes later is not heard."""
        self._finished = True
        self._around.record(self._gaps(self._around.now(), last=True))
        if self._bus is not None and not self._closed.done():
            self._bus.block(self)  # its task did not return in time, and no time limit watches it any more

    def leave(self) -> None:
        """After `finish`: the configuration has lost this device, and who listens must learn that it is gone."""
        if self._state.available:
            self._state = replace(self._state, available=False, reason=REMOVED)
            _log.info("device %s is removed", self._config.id)
            self._around.record([self._event("device.unavailable", self._config.id, self._around.now(), REMOVED)])

    def inherit(self, former: Device) -> None:
        """Go on with the filters of the device that had this id before, where both look at the same thing."""
        old, new = former._config, self._config
        if (old.driver, old.options, old.simulate) == (new.driver, new.options, new.simulate):
            self._normalizer.inherit(former._normalizer)

    def status(self) -> DeviceState:
        state = self._state
        return DeviceState(
            self._config.id,
            self._config.driver.name,
            state.available,
            self._since_ns,
            state.reason,
            self._readings,
            self._failures,
            self._last_ns,
            self._simulated,
        )

    def question(self) -> asyncio.Future[Answer]:
        """Somebody wants to know what the device says now. Fails with a `DeviceError`."""
        asked: asyncio.Future[Answer] = self._loop.create_future()
        phase = self._state.phase
        sick = self._state.blocked or (phase is Phase.WAITING and self._state.failures)
        if sick or phase in {Phase.STOPPED, Phase.HUNG, Phase.CLOSING}:
            why = f"unavailable: {self._state.reason}" if self._state.reason else "stopped"
            asked.set_exception(DeviceError(f"device {self._config.id} is {why}"))
            return asked
        self._questions.add(asked)
        now = self._around.now()
        if self._levels:
            self._questions.answer(list(self._levels.values()), now)
        elif phase is Phase.IDLE and not self._pushes:
            self._extra = True
            self._around.record(self._advance(Fact.ASKED, now))
        return asked

    def entered(self) -> None:
        """The bus is this device's."""
        self._advance(Fact.ENTERED, self._around.now())

    def blocked(self, by: str) -> None:
        """Another device hangs in the bus."""
        reason = f"bus blocked by {by}"
        self._around.record(self._advance(Fact.BLOCKED, self._around.now(), reason))
        if self._state.blocked:
            self._extra, self._slot_ns = False, None
            self._questions.fail(reason)

    def freed(self) -> None:
        """The bus is blocked no more."""
        self._advance(Fact.FREED, self._around.now())

    def heard(self, outcome: Outcome) -> list[Event]:
        """The events that follow from what the device's thread posted."""
        if self._bus is not None and outcome.ends_task:
            self._bus.leave(self)
        phase, fact = self._state.phase, outcome.fact
        if fact is None:
            heard = self._state.available and not self._finished  # while it opens, its readings wait for that
            return self._pushed() if heard else []
        if phase is Phase.STOPPED:
            self._ended(fact)
            return []
        now = self._around.now()
        if fact is Fact.OPENED:
            announced = self._advance(fact, now, since_ns=outcome.started_ns)
            return [*announced, *(self._pushed() if phase is Phase.OPENING else [])]
        if fact is Fact.ANSWERED and phase is Phase.READING:
            return self._answered(outcome, now)
        if outcome.error is not None and phase is not Phase.HUNG:
            return self._failed(fact, outcome.error, now)
        return self._advance(fact, now)

    def _ended(self, fact: Fact) -> None:
        if fact is Fact.CLOSED and not self._closed.done():
            self._closed.set_result(None)

    def _answered(self, outcome: Outcome, now: Instant) -> list[Event]:
        if self._slot_ns is not None:
            self._around.late(max(0, outcome.started_ns - self._slot_ns))
        extra, self._extra, self._slot_ns = self._extra, False, None
        self._questions.answer(outcome.readings, now)
        announced = self._advance(Fact.ANSWERED, now, since_ns=outcome.started_ns)
        if extra and not announced:
            return []  # somebody else's question; the schedule records. But what ends an outage is recorded
        return [*announced, *self._events(outcome.readings, outcome.dropped, now)]

    def _failed(self, fact: Fact, error: BaseException, now: Instant) -> list[Event]:
        reason = sentence(error)
        if is_bug(error) and not self._said_bug:
            self._said_bug = True
            _log.error("device %s: driver %s has a bug", self._config.id, self._config.driver.name, exc_info=error)
        announced = self._advance(fact, now, reason)
        self._gave_up(reason)
        return announced

    def _due(self) -> None:
        """The timer: a read, a retry, a time limit, a heartbeat or a late word on a gap."""
        now, before = self._around.now(), self._state
        events = self._advance(Fact.DUE, now)
        phase = self._state.phase
        hangs = phase is Phase.HUNG and before.phase is not Phase.HUNG
        if hangs:
            self._gave_up(self._state.reason)
        if phase is Phase.READING and before.phase is Phase.IDLE:
            self._slot_ns = before.due_ns
        if self._pushes:
            events += self._normalizer.heartbeats(now)
        self._around.record([*events, *self._gaps(now)])
        self._arm(now)
        if hangs and self._bus is not None:
            self._bus.block(self)

    def _gave_up(self, reason: str) -> None:
        self._failures += 1
        self._extra, self._slot_ns = False, None
        self._questions.fail(reason)

    def _advance(self, fact: Fact, now: Instant, reason: str = "", since_ns: int = 0) -> list[Event]:
        """Take the next step. A device is available `since_ns`: when the task began that proved it, so that no reading
        of that task is older than the announcement.
        """
        moment = Moment(now.mono_ns, reason, self._around.random.random())
        self._state, task, available = decide(self._plan, self._state, fact, moment)
        self._arm(now)
        if task is Task.ENTER:
            assert self._bus is not None, "only a device that shares a bus waits for its turn"
            self._bus.enter(self)
        elif task is not None:
            self._worker.ask(task)
        return [] if available is None else [self._announced(_back(now, since_ns), available=available)]

    def _arm(self, now: Instant) -> None:
        """Set the one timer to whatever comes next."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._state.phase is Phase.STOPPED:
            return
        heartbeat_ns = self._normalizer.heartbeat_due_ns() if self._pushes else None
        dues_ns = [ns for ns in (self._state.due_ns, heartbeat_ns, self._gap.due_ns) if ns is not None]
        if dues_ns:
            self._timer = self._loop.call_later(max(0, min(dues_ns) - now.mono_ns) / NS_PER_S, self._due)

    def _pushed(self) -> list[Event]:
        readings, dropped = self._worker.take()
        if not readings:
            return []
        now = self._around.now()
        self._levels |= {reading.channel: reading for reading in readings if reading.channel in self._level_names}
        self._questions.answer(readings, now)
        events = self._events(readings, dropped, now)
        self._arm(now)
        return events

    def _events(self, readings: Sequence[Reading], dropped: int, now: Instant) -> list[Event]:
        self._readings += len(readings)
        self._last_ns = now.wall_ns if readings else self._last_ns
        normalized = self._normalizer(readings, now)
        self._gap.add(dropped + self._normalizer.take_dropped())
        events = [*self._gaps(now), *normalized]
        if self._normalizer.rejected and not self._said_rejected:
            self._said_rejected = True
            _log.warning(
                "device %s: driver %s reports channel %r, which it did not declare; such readings are left out",
                self._config.id,
                self._config.driver.name,
                self._normalizer.rejected_channel,
            )
        return events

    def _gaps(self, now: Instant, *, last: bool = False) -> list[Event]:
        count = self._gap.take(now.mono_ns, last=last)
        if not count:
            return []
        data = {"device": self._config.id, "count": count}
        return [self._event("log.gap", "gateway", now, "overload", data)]

    def _announced(self, now: Instant, *, available: bool) -> Event:
        self._since_ns = now.wall_ns
        if available:
            self._said_bug = False
            _log.info("device %s is available", self._config.id)
            return self._event("device.available", self._config.id, now)
        self._normalizer.forget()
        self._levels.clear()
        _log.warning("device %s is unavailable: %s", self._config.id, self._state.reason)
        return self._event("device.unavailable", self._config.id, now, self._state.reason)

    def _event(
        self, kind: str, subject: str, now: Instant, reason: str = "", data: dict[str, object] | None = None
    ) -> Event:
        return Event(
            kind,
            subject,
            now.wall_ns,
            now.mono_ns,
            reason=reason,
            data=data or {},
            synced=now.synced,
            simulated=self._simulated,
        )

    def _post(self, outcome: Outcome) -> None:
        self._around.post(self, outcome)

    def _driver(self) -> Driver:
        """A new driver object. Runs on the device's thread."""
        config, around = self._config, self._around
        if not self._simulated:
            return config.driver.create(config.options)
        given = config.simulate or {}
        signals = {channel.name: given.get(channel.name) or _at_rest(channel) for channel in config.declared}
        world = World(signals, lambda: (around.clock.mono_ns() - around.begun_ns) / NS_PER_S)
        return config.driver.simulate(config.options, world)


class _Questions:
    """Those who wait for what a device says next."""

    def __init__(self, config: DeviceConfig, *, simulated: bool) -> None:
        self._config, self._simulated = config, simulated
        self._asking: list[asyncio.Future[Answer]] = []

    def add(self, asked: asyncio.Future[Answer]) -> None:
        self._asking.append(asked)
        asked.add_done_callback(self._asking.remove)

    def answer(self, readings: Sequence[Reading], now: Instant) -> None:
        """Tell everybody. Events come from a normalizer that remembers nothing: no deadband hides them."""
        if not self._asking:
            return
        normalize = Normalizer(self._config, simulated=self._simulated, at_once=True)
        answer: Answer = []
        for reading in readings:
            events = normalize([reading], now)
            answer.append((reading, events[0] if events else None))
        for asked in self._asking:
            if not asked.done():
                asked.set_result(answer)

    def fail(self, reason: str) -> None:
        for asked in self._asking:
            if not asked.done():
                asked.set_exception(DeviceError(f"device {self._config.id}: {reason}"))


def _back(now: Instant, mono_ns: int) -> Instant:
    """The same clocks at an earlier instant; 0 for now."""
    return now._replace(wall_ns=now.wall_ns - (now.mono_ns - mono_ns), mono_ns=mono_ns) if mono_ns else now


def _plan(config: DeviceConfig, index: int, begun_ns: int, *, pushes: bool) -> Plan:
    timeout_ns = round(config.timeout_s * NS_PER_S)
    if pushes or config.every_s is None:
        return Plan(begun_ns, None, timeout_ns, config.bus is not None)
    every_ns = max(EVERY_NS_MIN, round(config.every_s * NS_PER_S))
    return Plan(begun_ns + spread_ns(index, every_ns), every_ns, timeout_ns, config.bus is not None)


def _at_rest(channel: Channel) -> Signal:
    return lambda _seconds: channel.rest
