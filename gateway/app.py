"""The story: how the parts become a gateway. Detail is one hop down.

    devices ── acquire ──> record ──> event log ──> deliver ──> sinks
                             │                         ▲
                             └── latest values ────────┘ (what sinks show as present)

Parts start from the log outward, so that nothing arrives where nobody listens, and stop in the opposite order:
devices first, then everything is committed, then the sinks get a few seconds, and what they did not take stays in
the log.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Coroutine
from pathlib import Path
from random import Random
from typing import Any, Self

from gateway import __version__
from gateway.acquire import Acquirer
from gateway.answers import Answers
from gateway.clock import NS_PER_S, Clock, SystemClock
from gateway.config import Config, SinkConfig
from gateway.control import ControlServer
from gateway.deliver import Forwarder
from gateway.event import rfc3339
from gateway.eventlog import EventLog
from gateway.pages import http_server
from gateway.plugins import Plugins
from gateway.present import Latest
from gateway.pulse import Route, through
from gateway.record import Recorder
from gateway.sink import Identity

logger = logging.getLogger("gateway.app")

DEVICES_STOP_WITHIN_S = 2.0
SINKS_DRAIN_WITHIN_S = 4.0


class Gateway:
    """A whole gateway, running inside its `async with`.

    `simulate` runs the devices in a simulated world. It also replaces every sink by the console, unless `live_sinks`:
    trying the production YAML must not disturb production. `socket` is where commands find it, None for nowhere.
    """

    def __init__(
        self,
        config: Config,
        *,
        clock: Clock | None = None,
        random: Random | None = None,
        simulate: bool = False,
        live_sinks: bool = False,
        socket: Path | None = None,
    ) -> None:
        self.config, self.simulated = config, simulate
        self.clock: Clock = clock or SystemClock()
        self.answers = Answers(self)
        self._control = ControlServer(socket, self.answers.calls, self.answers.streams) if socket else None
        self._http = http_server(self, rehearsal=simulate and not live_sinks)
        self._random = random or Random()
        self._sinks = config.sinks if live_sinks or not simulate else (_console(),)
        self._tasks: list[asyncio.Task[None]] = []
        self._failed: asyncio.Future[None] | None = None
        self.log: EventLog
        self.recorder: Recorder
        self.acquirer: Acquirer
        self.forwarders: dict[str, Forwarder] = {}
        self.started_ns = 0

    async def __aenter__(self) -> Self:
        config, keep = self.config, self.config.buffer.keep
        self._failed = asyncio.get_running_loop().create_future()
        self.started_ns = self.clock.wall_ns()
        self.log = await EventLog.open(
            config.buffer.path, self.clock, size_bytes_max=keep.size_bytes_max, keep_for_s=keep.for_s
        )
        self.recorder = Recorder(
            self.log,
            self.clock,
            commit_within_s=config.buffer.commit_within_s,
            protected=self._protected,
            simulated=self.simulated,
        )
        self.latest = Latest(self._birth)
        self.recorder.watch(self.latest.apply)
        self._begin("record", self.recorder.run())
        self._note_start()
        for sink in self._sinks:
            self._add_sink(sink)
        self.acquirer = Acquirer(
            config.devices, clock=self.clock, record=self.recorder.offer, simulate=self.simulated, random=self._random
        )
        try:
            if self._control is not None:
                await self._control.start()
            await self.acquirer.start()
            if self._http is not None:
                await self._http.start()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.acquirer.stop(DEVICES_STOP_WITHIN_S)
        await self._stop()

    async def run_until(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set. A part that fails for good ends the wait with its error."""
        assert self._failed is not None, "run_until belongs inside `async with`"
        stopped = asyncio.create_task(stop.wait())
        until: set[asyncio.Future[Any]] = {stopped, self._failed}
        await asyncio.wait(until, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if self._failed.done():
            self._failed.result()

    def route(self) -> Route:
        """The way of the watchdog's token: that of an event."""
        return (
            ("acquire", self.acquirer.enter),
            ("record", self.recorder.stage.enter),
            ("the log's writer", through(self.log.touch)),
            *((f"deliver {sink_id}", forwarder.stage.enter) for sink_id, forwarder in self.forwarders.items()),
        )

    async def _stop(self) -> None:
        """Commit everything, let the sinks drain, close the log."""
        self.recorder.note("gateway.stopped", {})
        await self.recorder.flush()
        await asyncio.gather(*(forwarder.drain(SINKS_DRAIN_WITHIN_S) for forwarder in self.forwarders.values()))
        if self._control is not None:
            await self._control.close()
        if self._http is not None:
            await self._http.close()
        await self.recorder.stop()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.log.close()

    def _add_sink(self, config: SinkConfig) -> None:
        identity = Identity(self.config.gateway.id, self.log.run, self.latest)
        sink = config.sink.create(config.options, identity)
        forwarder = Forwarder(config.id, sink, self.log, self.recorder, clock=self.clock, random=self._random)
        self.recorder.watch(forwarder.wake)
        self.forwarders[config.id] = forwarder
        self._begin(f"deliver {config.id}", forwarder.run())

    def _begin(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.append(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception() is None:
            return
        error = task.exception()
        logger.critical("%s failed and cannot go on: %r", task.get_name(), error, exc_info=error)
        if self._failed is not None and not self._failed.done() and error is not None:
            self._failed.set_exception(error)

    def _protected(self) -> int:
        """The lowest offset that a sink has still to read."""
        return min(
            (forwarder.cursor.next_offset for forwarder in self.forwarders.values()), default=self.log.next_offset
        )

    def _note_start(self) -> None:
        """The first words of a run: how the last one ended, and what is in force now."""
        last = self.log.last_event
        gap_ns = None
        if last is not None and last.boot == self.clock.boot_id:
            gap_ns = self.clock.mono_ns() - last.mono
        clean = last is None or last.type == "gateway.stopped"
        self.recorder.note("gateway.started", {"version": __version__, "clean": clean, "gap_ns": gap_ns})
        self.recorder.note(
            "config.loaded",
            {"hash": self.config.hash, "devices": len(self.config.devices), "sinks": len(self._sinks)},
        )

    def _birth(self) -> dict[str, Any]:
        """The retained status document: what this gateway is."""
        return {
            "version": __version__,
            "config": self.config.hash,
            "started": rfc3339(self.started_ns),
            "clocksync": self.clock.synced(),
            "simulated": self.simulated,
            "labels": dict(self.config.gateway.labels),
            "devices": {device.id: device.driver.name for device in self.config.devices},
        }

    @property
    def uptime_s(self) -> float:
        return (self.clock.wall_ns() - self.started_ns) / NS_PER_S

    @property
    def pid(self) -> int:
        return os.getpid()


def _console() -> SinkConfig:
    sink = Plugins().sink("console")
    return SinkConfig("console", sink, sink.Options())
