"""Actions over real parts: a real log on a real disk, a real recorder, and a rule's events written by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from gateway.acquire import Toggle
from gateway.action import ActionConfig, NotifierConfig, Phase, duties
from gateway.actions import Actions, Surroundings
from gateway.clock import Clock, SystemClock
from gateway.driver import Channel
from gateway.errors import DeviceError
from gateway.event import Event, Value
from gateway.eventlog import EventLog
from gateway.record import Recorder
from gateway.sink import Publisher
from tests.spine.conftest import until

OUTPUTS = {
    "fan": (Channel("on", "contact", "whether it is on", kind="output"),),
    "lamp": (Channel("duty", "ratio", "how bright", kind="output"),),
}


class Quick(Random):
    """The shortest back-off there is."""

    def uniform(self, a: float, b: float) -> float:
        return 0.01


class Devices:
    """Outputs in memory: what they were told, and whether they take it."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, Any, float | None, str]] = []
        self.trouble: str | None = None
        self.before: Callable[[], None] = lambda: None
        self.simulated = False

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
        assert within_s > 0
        self.before()
        if self.trouble is not None:
            raise DeviceError(self.trouble)
        self.told.append((device_id, channel, "toggle" if isinstance(value, Toggle) else value, for_s, cause))
        return True


class World:
    """Log, recorder and actions, wired as the app does it. `kill` ends without a word, `reopen` starts again."""

    def __init__(self, path: Path, clock: Clock, *, rehearsal: bool = False) -> None:
        self.path, self.clock, self.rehearsal = path, clock, rehearsal
        self.devices = Devices()
        self.raised: dict[str, bool] = {}
        self.publisher: Publisher | None = None
        self.committed: list[Event] = []
        self.wanted: tuple[Any, ...] = ([], None)

    async def open(self) -> None:
        self.log = await EventLog.open(self.path, self.clock)
        self.recorder = Recorder(self.log, self.clock, commit_within_s=0.01, protected=lambda: self.log.next_offset)
        self.recorder.watch(self.committed.extend)
        around = Surroundings(
            self.log,
            self.recorder,
            self.clock,
            Quick(),
            "pi",
            lambda _: self.publisher,
            self.devices.command,
            lambda _: self.devices.simulated,
            self.raised.get,
            self.rehearsal,
        )
        self.tasks: list[asyncio.Task[None]] = [asyncio.create_task(self.recorder.run())]
        self.actions = Actions(around, self._begin)
        await self.actions.have(*self.wanted[:1], OUTPUTS, self.wanted[1])

    def _begin(self, name: str, work: Any) -> asyncio.Task[None]:
        self.tasks.append(asyncio.create_task(work, name=name))
        return self.tasks[-1]

    async def have(
        self, actions: Mapping[Phase, Sequence[dict[str, Any]]], *, rule: str = "hot", notify: str | None = None
    ) -> None:
        parsed = {phase: [ActionConfig.model_validate(one) for one in ones] for phase, ones in actions.items()}
        self.wanted = (duties(rule, parsed), NotifierConfig(url=notify) if notify else None)
        await self.actions.have(self.wanted[0], OUTPUTS, self.wanted[1])

    async def speak(self, *kinds: str, rule: str = "hot", age_s: float = 0.0, **data: Any) -> list[Event]:
        """The rule speaks; returns the events as they were recorded."""
        before = len(self.committed)
        now, mono = self.clock.wall_ns(), self.clock.mono_ns() - round(age_s * 1e9)
        words = {"name": "cellar.hot", "severity": "warning", "key": "cellar/temp", "held_s": 300.0, **data}
        self.recorder.offer(
            [Event(f"rule.{kind}", f"rule/{rule}", now, mono, 31.5, "Cel", data=words, urgent=True) for kind in kinds]
        )
        await self.recorder.flush()
        spoken = [event for event in self.committed[before:] if event.type.startswith("rule.")]
        assert len(spoken) == len(kinds)
        return spoken

    def of(self, event_type: str) -> list[Event]:
        return [event for event in self.committed if event.type == event_type]

    async def stop(self) -> None:
        await self.actions.drain(2.0)
        await self.recorder.stop()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.log.close()

    async def kill(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.log.close()


@pytest.fixture
def clock() -> Clock:
    return SystemClock()


@pytest.fixture
async def world(tmp_path, clock):
    made = World(tmp_path / "events.db", clock)
    await made.open()
    yield made
    if not all(task.done() for task in made.tasks):
        await made.stop()


@pytest.fixture
def eventually():
    return until
