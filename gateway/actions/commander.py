"""Tells an output what a rule says: at most once, or for as long as the rule says so.

*At most once.* A command that was carried out twice can do harm, a late one too. So the cursor is committed *before*
the output is told. A crash in between loses the command and repeats none. What is older than `max_age`, or was recorded
before the machine started, is not carried out either. Whatever is not done becomes a `command.failed`.

*Ensured.* A level that follows its rule needs no memory of commands: whenever the rule speaks, at the start, and when
the device returns, the output is set to what the rule says then. Told twice it is what it was, and lateness cures
itself. Where several keys raise one rule, the output is on until the last of them is cleared.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from gateway.acquire import TOGGLE, Toggle
from gateway.action import Duty, Target
from gateway.clock import NS_PER_S, Clock
from gateway.deliver import PASSED_OVER_NOTED, Delivery
from gateway.errors import DeviceError, LogError
from gateway.event import Event, Value
from gateway.eventlog import Cursor, EventLog
from gateway.record import Recorder
from gateway.watchdog import Stage

logger = logging.getLogger("gateway.actions")

READ_EVENTS: Final = 500

AGAIN_S: Final = 5.0
"""An ensured output that could not be told is told again after this time, or when its device returns."""

Raised = Callable[[str], bool | None]
"""Whether any key of a rule is raised now, by its id; None where the rule has no state yet."""


class Command(Protocol):
    """`Acquirer.command`."""

    def __call__(
        self,
        device_id: str,
        channel: str,
        value: Value | Toggle,
        *,
        for_s: float | None = None,
        within_s: float = 5.0,
        cause: str = "",
    ) -> Awaitable[Value]: ...


class Commander:
    """The consumer of one output action. Looks like a `Forwarder` to whoever runs and shows it."""

    def __init__(
        self,
        duty: Duty,
        target: Target,
        log: EventLog,
        recorder: Recorder,
        *,
        clock: Clock,
        command: Command,
        raised: Raised,
        may_act: Callable[[], bool] = lambda: True,
    ) -> None:
        """`may_act` says whether the device may be told; where not, what it would be told is only logged."""
        self.sink_id, self.sink_name = duty.name, "output"
        self.delivery = Delivery(connected=True, since_ns=clock.wall_ns())
        self.stage = Stage()
        self._duty, self._target, self._log, self._recorder, self._clock = duty, target, log, recorder, clock
        self._command, self._raised, self._may_act = command, raised, may_act
        self._cursor = log.cursors.setdefault(duty.name, Cursor(log.next_offset))
        self._noted = self._cursor
        self._due = duty.action.ensure
        self._cause = ""
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._closing = False
        self._ended = asyncio.Event()

    @property
    def cursor(self) -> Cursor:
        """The first event that was not looked at."""
        return self._cursor

    def wake(self, events: list[Event]) -> None:
        """Something was committed."""
        if self._duty.action.ensure and any(self._is_back(event) for event in events):
            self._due = True
        self._wake.set()

    def _is_back(self, event: Event) -> bool:
        return event.type == "device.available" and event.subject == self._target.device

    async def run(self) -> None:
        """Act until `drain`."""
        self._task = asyncio.current_task()
        try:
            while not self._closing:
                self._wake.clear()
                try:
                    await self._turn()
                except LogError as error:
                    self._trouble(f"the log cannot be read: {error}")
                    self._wake_in(AGAIN_S)
                await self.stage.idle(self._wake.wait())
        finally:
            if self._timer is not None:
                self._timer.cancel()
            self._note_cursor(0)
            self.stage.end()
            self._ended.set()

    async def drain(self, timeout_s: float) -> None:
        """End. Whoever stops has closed the devices before: what was not begun yet waits for the next start."""
        self._closing = True
        self._wake.set()
        try:
            async with asyncio.timeout(timeout_s):
                await self._ended.wait()
        except TimeoutError:  # the disk refuses the cursor, or a device takes its time
            if self._task is not None:
                self._task.cancel()
            await self._ended.wait()

    async def _turn(self) -> None:
        while self._cursor.next_offset < self._log.next_offset and not self._closing:
            page = await self._log.read(self._cursor.next_offset, READ_EVENTS)
            for event in page.events:
                if self._closing:
                    return
                await self._look_at(event)
            self._cursor = self._cursor._replace(next_offset=max(self._cursor.next_offset, page.next_offset))
            self._note_cursor(PASSED_OVER_NOTED)
        if self._due:
            await self._follow()

    async def _look_at(self, event: Event) -> None:
        after = Cursor(event.offset + 1, event.offset)
        if not self._duty.wants(event):
            self._cursor = self._cursor._replace(next_offset=after.next_offset)
        elif self._duty.action.ensure:
            self._cursor, self._due, self._cause = after, True, event.id
        else:
            self._cursor = self._noted = after
            await self.stage.idle(self._recorder.keep(self.sink_id, after))
            await self._once(event)

    async def _once(self, event: Event) -> None:
        """The cursor is behind this event: now or never."""
        max_age_s = self._duty.action.max_age_s
        # Rule time never goes back, so that it may be ahead of the clock for a while: that is no age.
        age_s = max(0.0, (self._clock.mono_ns() - event.mono) / NS_PER_S)
        if event.boot != self._clock.boot_id:
            self._failed(event.id, "it was recorded before the machine started")
        elif age_s >= max_age_s:
            self._failed(event.id, f"it was {age_s:.1f} s old, and max_age is {max_age_s:g} s")
        else:
            value = TOGGLE if self._target.value is None else self._target.value
            try:
                await self._tell(value, event.id, max_age_s - age_s)
            except DeviceError as error:
                self._failed(event.id, str(error))

    async def _follow(self) -> None:
        """Set the output to what the rule says now, if that is what this action is for."""
        raised = self._raised(self._duty.rule)
        self._due = False
        if raised is None and not self._cause:
            return  # it never spoke
        if raised is not None and raised != (self._duty.phase == "do"):
            return
        try:
            await self._tell(self._target.value, self._cause, self._duty.action.max_age_s)
        except DeviceError as error:
            self._trouble(str(error))
            self._due = True
            self._wake_in(AGAIN_S)

    async def _tell(self, value: Value | Toggle, cause: str, within_s: float) -> None:
        target = self._target
        if not self._may_act():
            logger.info("rule/%s: would tell %s/%s: %s", self._duty.rule, target.device, target.channel, _words(value))
            return
        command = self._command(
            target.device, target.channel, value, for_s=target.for_s, within_s=within_s, cause=cause
        )
        await self.stage.idle(command)
        self.delivery.delivered += 1
        self.delivery.last_error = None

    def _failed(self, cause: str, reason: str) -> None:
        self.delivery.refused += 1
        self._trouble(reason)
        target = self._target
        data = {"output": f"{target.device}/{target.channel}", "value": _words(target.value)}
        self._recorder.note("command.failed", data, about=f"rule/{self._duty.rule}", reason=reason, cause=cause)

    def _trouble(self, reason: str) -> None:
        if self.delivery.last_error != reason:
            logger.warning("%s: %s", self.sink_id, reason)
        self.delivery.last_error = reason

    def _note_cursor(self, after: int) -> None:
        if self._cursor.next_offset - self._noted.next_offset > after:
            self._noted = self._cursor
            self._recorder.ride(self.sink_id, self._cursor, 0)

    def _wake_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._wake.set)


def _words(value: Value | Toggle) -> Value:
    return "toggle" if value is None or isinstance(value, Toggle) else value
