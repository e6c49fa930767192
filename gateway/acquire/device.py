"""One device on the loop's side: feeds facts to `supervise.decide` and does what it says."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Final

import msgspec

from gateway.acquire.bus import Bus
from gateway.acquire.commands import Commands, Order
from gateway.acquire.questions import Answer, Questions
from gateway.acquire.worker import Outcome, Worker, is_bug, sentence
from gateway.clock import NS_PER_S, Clock
from gateway.config.model import DeviceConfig
from gateway.driver import Channel, Driver, OutputDriver, PolledDriver, Signal, World
from gateway.errors import DeviceError
from gateway.event import Event, Reading
from gateway.normalize import Instant, Normalizer
from gateway.supervise import Fact, Gap, Moment, Phase, Plan, Task, begin, decide, spread_ns

EVERY_NS_MIN: Final = NS_PER_S // 1000

REMOVED: Final = "removed from the configuration"

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
        self._questions = Questions(config, simulated=self._simulated)
        self._extra = False  # the read under way is not of the schedule: somebody asked
        self._commands = Commands(config.id, config.declared) if issubclass(config.driver, OutputDriver) else None
        self._level_names = {c.name for c in config.declared if self._pushes and c.kind in {"state", "output"}}
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
        if self._commands is not None:
            self._commands.fail("is stopped")
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

    def order(self, order: Order) -> None:
        """Somebody wants an output to do something; `order.done` tells what came of it.

        Raises:
            DeviceError: it cannot, and why.
        """
        if self._commands is None:
            raise DeviceError(f"device {self._config.id} is no output: {self._config.driver.summary}")
        if self._state.available is False or self._state.phase is Phase.STOPPED:
            raise DeviceError(f"device {self._config.id} is unavailable: {self._state.reason or 'it is stopped'}")
        self._commands.add(order)
        self._around.record(self._go_on(self._around.now()))

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
            return self._ended(outcome)
        now = self._around.now()
        if phase is Phase.HUNG:
            return self._advance(fact, now)
        if outcome.error is not None:
            return self._failed(fact, outcome.error, now)
        did = {Fact.OPENED: self._opened, Fact.APPLIED: self._acted, Fact.ANSWERED: self._answered}.get(fact)
        return self._advance(fact, now) if did is None else did(outcome, now)

    def _opened(self, outcome: Outcome, now: Instant) -> list[Event]:
        if self._commands is not None:
            return self._acted(outcome, now)
        announced = self._advance(Fact.OPENED, now, since_ns=outcome.started_ns)
        return [*announced, *self._pushed()]

    def _ended(self, outcome: Outcome) -> list[Event]:
        if outcome.fact is Fact.CLOSED and not self._closed.done():
            self._closed.set_result(None)
        if self._finished or not outcome.readings:
            return []
        reason = "stop" if outcome.fact is Fact.CLOSED else ""
        return self._events(outcome.readings, 0, self._around.now(), reason=reason)

    def _acted(self, outcome: Outcome, now: Instant) -> list[Event]:
        """An output is open, or did what it was told."""
        assert self._commands is not None, "only an output acts"
        cause = self._commands.applied(outcome.readings, now.mono_ns)
        self._levels |= {
            reading.channel: reading for reading in outcome.readings if reading.channel in self._level_names
        }
        self._questions.answer(outcome.readings, now)
        announced = self._advance(outcome.fact or Fact.APPLIED, now, since_ns=outcome.started_ns)
        changed = self._events(outcome.readings, 0, now, cause=cause)
        return [*announced, *changed, *self._go_on(now)]

    def _go_on(self, now: Instant) -> list[Event]:
        """The next command, as soon as the thread is free."""
        waits = self._commands is not None and self._commands.waiting
        return self._advance(Fact.COMMANDED, now) if waits and self._state.phase is Phase.IDLE else []

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
        if self._commands is not None:
            self._commands.due(now.mono_ns)
            events += self._go_on(now)
        self._around.record([*events, *self._gaps(now)])
        self._arm(now)
        if hangs and self._bus is not None:
            self._bus.block(self)

    def _gave_up(self, reason: str) -> None:
        self._failures += 1
        self._extra, self._slot_ns = False, None
        self._questions.fail(reason)
        if self._commands is not None:
            self._commands.fail(f"failed: {reason}")

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
        elif task is Task.APPLY:
            assert self._commands is not None, "only an output applies"
            command = self._commands.next()
            if command is None:  # nobody waits any more
                self._withdraw(now)
            else:
                self._worker.ask(task, command)
        elif task is not None:
            self._worker.ask(task)
        return [] if available is None else [self._announced(_back(now, since_ns), available=available)]

    def _withdraw(self, now: Instant) -> None:
        self._advance(Fact.WITHDRAWN, now)
        if self._bus is not None:
            self._bus.leave(self)

    def _arm(self, now: Instant) -> None:
        """Set the one timer to whatever comes next."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._state.phase is Phase.STOPPED:
            return
        heartbeat_ns = self._normalizer.heartbeat_due_ns() if self._pushes else None
        back_ns = self._commands.due_ns if self._commands is not None else None
        dues_ns = [ns for ns in (self._state.due_ns, heartbeat_ns, self._gap.due_ns, back_ns) if ns is not None]
        if dues_ns:
            self._timer = self._loop.call_later(max(0, min(dues_ns) - now.mono_ns) / NS_PER_S, self._due)

    def _pushed(self) -> list[Event]:
        readings, dropped = self._worker.take()
        if not readings:
            return []
        now = self._around.now()
        self._note_levels(readings)
        self._questions.answer(readings, now)
        events = self._events(readings, dropped, now)
        self._arm(now)
        return events

    def _note_levels(self, readings: Sequence[Reading]) -> None:
        self._levels |= {reading.channel: reading for reading in readings if reading.channel in self._level_names}

    def _events(
        self, readings: Sequence[Reading], dropped: int, now: Instant, *, cause: str = "", reason: str = ""
    ) -> list[Event]:
        self._readings += len(readings)
        self._last_ns = now.wall_ns if readings else self._last_ns
        normalized = self._normalizer(readings, now)
        if cause or reason:
            normalized = [msgspec.structs.replace(e, cause=cause, reason=reason or e.reason) for e in normalized]
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
