"""The story: how the parts become a gateway. Detail is one hop down.

    devices ── acquire ──> detect + record ──> event log ──> deliver ──> sinks
                                  │               └────────> actions     ▲
                                  └── latest values ─────────────────────┘ (what sinks show as present)

Parts start from the log outward, so that nothing arrives where nobody listens, and stop in the opposite order:
devices first, then everything is committed, then the sinks get a few seconds, and what they did not take stays in
the log. A reload stops what changed, then starts it anew; everything else does not notice.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Self

from gateway.acquire import Acquirer
from gateway.acting import Acting
from gateway.announce import birth, lasting, note_config, note_rules, note_start
from gateway.answers import Answers
from gateway.clock import Clock, JudgedClock, SystemClock, read_together
from gateway.config import Config, SinkConfig
from gateway.config.host import Host
from gateway.consumers import Consumers
from gateway.control import ControlServer
from gateway.deliver import Forwarder
from gateway.detection import Detection
from gateway.errors import ConfigError
from gateway.eventlog import EventLog
from gateway.folds import Folds, recover
from gateway.forwarders import Forwarders, as_it_is, console_only
from gateway.present import Latest, chosen
from gateway.pulse import Route, through
from gateway.record import Recorder
from gateway.reload import ReloadPlan, plan_reload
from gateway.reloads import Load, Reloads, Tell
from gateway.sink import Identity, Sink
from gateway.tasks import Tasks
from gateway.upkeep import Upkeep
from gateway.wearing import Wearing

if TYPE_CHECKING:
    from gateway.http import HttpServer

DEVICES_STOP_WITHIN_S = 2.0
SINKS_DRAIN_WITHIN_S = 4.0
RELOAD_STOP_WITHIN_S = 3.0
RULES_CHANGE_WITHIN_S = 1.0
"""How long a reload waits for a moment without pending events, so that each is judged by the rules of its time."""


class Gateway:
    """A whole gateway, running inside its `async with`.

    `simulate` runs the devices in a simulated world. It also replaces every sink by the console, unless `live_sinks`:
    trying the production YAML must not disturb production. So do actions of rules then only say what they would do
    outside, and with `rehearse` in any case. `socket` is where commands find it, None for nowhere.
    `load` reads the configuration anew for a reload, `tell` takes what systemd wants to know of one.
    """

    def __init__(
        self,
        config: Config,
        *,
        clock: Clock | None = None,
        random: Random | None = None,
        simulate: bool = False,
        live_sinks: bool = False,
        rehearse: bool = False,
        socket: Path | None = None,
        load: Load | None = None,
        tell: Tell = lambda _: None,
    ) -> None:
        self.simulated = simulate
        self._in_force = console_only if simulate and not live_sinks else as_it_is
        self.config = self._in_force(config)
        self.clock = JudgedClock(clock or SystemClock())
        self.reloads = Reloads(load, self._reload, tell)
        self.answers = Answers(self)
        self._control = ControlServer(socket, self.answers.calls, self.answers.streams) if socket else None
        self._rehearsal = rehearse or (simulate and not live_sinks)
        self._http: HttpServer | None = None
        self._random = random or Random()
        self._tasks = Tasks()
        self._stopping = asyncio.Event()
        self.started_ns = self.started_mono_ns = 0

    async def __aenter__(self) -> Self:
        config, clock = self.config, self.clock
        self.started_ns, self.started_mono_ns = read_together(clock)
        self.log = await EventLog.open(
            config.buffer.path, clock, machine=Host.here().machine(), **config.buffer.keep.arguments
        )
        self.clock.has_seen(self.log.newest_ns)
        self.latest = Latest(lambda: birth(self), lambda: lasting(self.config.devices), self.log.dated)
        self.detection = Detection(config.rules, config.devices)
        folds: Folds = {"latest": self.latest, "rules": self.detection}
        folded_from = await recover(self.log, folds)
        self.latest.recovered()
        self.recorder = Recorder(
            self.log,
            clock,
            commit_within_s=config.buffer.commit_within_s,
            protected=self._protected,
            simulated=self.simulated,
            folds=folds,
            folded_from=folded_from,
            detection=self.detection,
        )
        self.recorder.resume(self.detection.recovered(self.log.end))
        self.wearing = Wearing(self.recorder, clock, config.buffer)
        self.consumers = Consumers(self.log, self.recorder, clock, subjects=self._valued)
        await self.consumers.load()
        self.forwarders = Forwarders(self.log, self.recorder, make=self._forwarder, begin=self._tasks.begin)
        self._tasks.begin("record", self.recorder.run())
        self.acquirer = Acquirer(
            config.devices, clock=clock, record=self.recorder.offer, simulate=self.simulated, random=self._random
        )
        self.acting = Acting(self, self._tasks.begin, self._random, rehearsal=self._rehearsal)
        try:
            self.forwarders.begin([(sink, self._sink(sink)) for sink in config.sinks])
            note_start(self)
            self._tasks.begin("clock", self.recorder.watch_clock())
            self._tasks.begin("wear", self.wearing.run())
            self._tasks.begin("consumers", self.consumers.run(self._stopping))
            self._tasks.begin("upkeep", Upkeep(self.log, self.recorder).run())
            if self._control is not None:
                await self._control.start()
            await self.acquirer.start()
            await self.acting.begin()
            await self._serve_http()
        except BaseException:
            await self._stop()
            raise
        self.reloads.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.reloads.close()
        await self.acquirer.stop(DEVICES_STOP_WITHIN_S)
        await self._stop()

    async def run_until(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set. A part that fails for good ends the wait with its error."""
        await self._tasks.until(stop)

    async def _reload(self, config: Config) -> ReloadPlan:
        """Stop what changed, then start it anew. Whatever can fail comes first, while nothing has changed."""
        new, keep = self._in_force(config), config.buffer.keep
        plan = plan_reload(self.config, new)
        if plan.problems:
            raise ConfigError(plan.problems)
        sinks = [(sink, None if sink.id in plan.sinks.untouched else self._sink(sink)) for sink in new.sinks]
        if keep != self.config.buffer.keep:
            await self.log.keep(**keep.arguments)
            self.recorder.trim_soon()
        await asyncio.gather(
            self.acquirer.end(plan.devices.stopping, RELOAD_STOP_WITHIN_S),
            self.forwarders.end(plan.sinks.stopping, RELOAD_STOP_WITHIN_S),
        )
        self.config = new
        self.wearing.retune(new.buffer)
        self.forwarders.begin(sinks)
        self.acquirer.begin(new.devices)
        await self.recorder.quiet(RULES_CHANGE_WITHIN_S)
        self.detection.configure(new.rules, new.devices)
        note_rules(self)
        await self.acting.begin()
        if plan.http:
            await self._serve_http()
        note_config(self, plan)
        return plan

    def route(self) -> Route:
        """The way of the watchdog's token: that of an event."""
        return (
            ("acquire", self.acquirer.enter),
            ("record", self.recorder.stage.enter),
            ("the log's writer", through(self.log.touch)),
            *((f"deliver {sink_id}", forwarder.stage.enter) for sink_id, forwarder in self.forwarders.items()),
            *((f"act {name}", consumer.stage.enter) for name, consumer in self.acting.consumers.items()),
        )

    async def _serve_http(self) -> None:
        """Serve what the configuration names under `http:`; nothing where it names nothing."""
        if self._http is not None:
            await self._http.close()
            self._http = None
        if self.config.http is not None:
            from gateway.pages import http_server  # noqa: PLC0415 - who shows no pages does not pay for them

            self._http = http_server(self, self.config.http, rehearsal=self._rehearsal)
            await self._http.start()

    async def _stop(self) -> None:
        """Commit everything, let the sinks drain, close the log."""
        self._stopping.set()
        self.recorder.note("gateway.stopped", {})
        await self.recorder.flush()
        await asyncio.gather(self.forwarders.drain(SINKS_DRAIN_WITHIN_S), self.acting.drain(SINKS_DRAIN_WITHIN_S))
        if self._control is not None:
            await self._control.close()
        if self._http is not None:
            await self._http.close()
        await self.recorder.stop()
        self.wearing.stop()
        await self._tasks.end()
        await self.log.close()

    def _valued(self) -> list[str]:
        """Every subject that has a lasting value."""
        return [
            f"{device}/{channel}" for device, channels in lasting(self.config.devices).items() for channel in channels
        ]

    def _protected(self) -> int:
        return self.forwarders.protected()

    def _sink(self, config: SinkConfig) -> Sink:
        present = chosen(self.latest, config.events.selection)
        identity = Identity(self.config.gateway.id, self.log.run, present, simulated=self.simulated)
        return config.sink.create(config.options, identity)

    def _forwarder(self, config: SinkConfig, sink: Sink) -> Forwarder:
        selection = config.events.selection
        return Forwarder(
            config.id,
            sink,
            self.log,
            self.recorder,
            clock=self.clock,
            random=self._random,
            selection=selection,
            readings_wait=lambda: self.clock.readings_wait(time_known=self.log.time_known),
        )
