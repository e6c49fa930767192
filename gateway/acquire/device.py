"""One device on the loop's side: feeds facts to `supervise.decide` and does what it says.

Facts come from the device's thread (`worker`), its bus, the one timer, and those who ask or order something. What is to
be done is a task for the thread. What is to be said `reports` knows, who wants to hear it `questions`, what an output
is still to do `commands`; here they are brought together, in the order that readers of the log rely on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from gateway.acquire.bus import Bus
from gateway.acquire.commands import Commands, Order
from gateway.acquire.questions import Answer, Questions
from gateway.acquire.reports import REMOVED, DeviceState, Reports
from gateway.acquire.worker import Outcome, Worker, is_bug, sentence
from gateway.clock import NS_PER_S, Clock
from gateway.config.model import DeviceConfig
from gateway.driver import Channel, Driver, OutputDriver, PolledDriver, Signal, World
from gateway.errors import DeviceError
from gateway.event import Event
from gateway.normalize import Instant
from gateway.supervise import Fact, Moment, Phase, Plan, Task, begin, decide, spread_ns

EVERY_NS_MIN: Final = NS_PER_S // 1000


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
        since_ns = around.clock.wall_ns()
        self._reports = Reports(config, simulated=self._simulated, heartbeats=self._pushes, since_ns=since_ns)
        self._worker = Worker(config.id, self._driver, clock=around.clock, post=self._post)
        self._loop = asyncio.get_running_loop()
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._slot_ns: int | None = None
        self._bus = around.bus(config.bus) if config.bus is not None else None
        self._questions = Questions(config, simulated=self._simulated, keeps_levels=self._pushes)
        self._extra = False  # the read under way is not of the schedule: somebody asked
        self._commands = Commands(config.id, config.declared) if issubclass(config.driver, OutputDriver) else None
        self._failures = 0
        self._finished = False

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
        self._around.record(self._reports.gaps(self._around.now(), last=True))
        if self._bus is not None and not self._closed.done():
            self._bus.block(self)  # its task did not return in time, and no time limit watches it any more

    def leave(self) -> None:
        """After `finish`: the configuration has lost this device, and who listens must learn that it is gone."""
        if self._state.available:
            self._state = replace(self._state, available=False, reason=REMOVED)
            self._around.record([self._reports.removed(self._around.now())])

    def inherit(self, former: Device) -> None:
        """Go on with the filters of the device that had this id before, where both look at the same thing."""
        self._reports.inherit(former._reports)

    def status(self) -> DeviceState:
        state = self._state
        return DeviceState(
            self._config.id,
            self._config.driver.name,
            state.available,
            self._reports.since_ns,
            state.reason,
            self._reports.readings,
            self._failures,
            self._reports.last_ns,
            self._simulated,
        )

    # -- what others want of it ---------------------------------------------------------------------------------------

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
        known = self._questions.answer_from_levels(now)
        if not known and phase is Phase.IDLE and not self._pushes:
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

    # -- what its thread says -----------------------------------------------------------------------------------------

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
        return self._reports.events(outcome.readings, 0, self._around.now(), reason=reason)

    def _acted(self, outcome: Outcome, now: Instant) -> list[Event]:
        """An output is open, or did what it was told."""
        assert self._commands is not None, "only an output acts"
        cause = self._commands.applied(outcome.readings, now.mono_ns)
        self._questions.answer(outcome.readings, now)
        announced = self._advance(outcome.fact or Fact.APPLIED, now, since_ns=outcome.started_ns)
        changed = self._reports.events(outcome.readings, 0, now, cause=cause)
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
        return [*announced, *self._reports.events(outcome.readings, outcome.dropped, now)]

    def _pushed(self) -> list[Event]:
        readings, dropped = self._worker.take()
        if not readings:
            return []
        now = self._around.now()
        self._questions.answer(readings, now)
        events = self._reports.events(readings, dropped, now)
        self._arm(now)
        return events

    def _failed(self, fact: Fact, error: BaseException, now: Instant) -> list[Event]:
        reason = sentence(error)
        if is_bug(error):
            self._reports.bug(error)
        announced = self._advance(fact, now, reason)
        self._gave_up(reason)
        return announced

    # -- the next step ------------------------------------------------------------------------------------------------

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
        events += self._reports.heartbeats(now)
        if self._commands is not None:
            self._commands.due(now.mono_ns)
            events += self._go_on(now)
        self._around.record([*events, *self._reports.gaps(now)])
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

    def _announced(self, now: Instant, *, available: bool) -> Event:
        if available:
            return self._reports.available(now)
        self._questions.forget_levels()
        return self._reports.unavailable(now, self._state.reason)

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
        back_ns = self._commands.due_ns if self._commands is not None else None
        dues_ns = [ns for ns in (self._state.due_ns, self._reports.due_ns, back_ns) if ns is not None]
        if dues_ns:
            self._timer = self._loop.call_later(max(0, min(dues_ns) - now.mono_ns) / NS_PER_S, self._due)

    # -- on its thread ------------------------------------------------------------------------------------------------

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
