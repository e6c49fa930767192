"""All forwarders of one gateway: which sinks there are, where each goes on, and what the log must keep for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from gateway.config import Config, SinkConfig
from gateway.deliver import Forwarder
from gateway.eventlog import HELD_AT_START, Cursor, EventLog
from gateway.ledger import Ledger
from gateway.plugins import Plugins
from gateway.record import Recorder
from gateway.riding import CURSOR_AFTER_ACKS
from gateway.sink import Sink

SETTLE_WITHIN_S: Final = 1.0
"""How long a sink that a reload ends goes on, so that what is on its way is not sent twice."""

Begin = Callable[[str, Coroutine[Any, Any, None]], asyncio.Task[None]]
Make = Callable[[SinkConfig, Sink], Forwarder]


class _Running(NamedTuple):
    forwarder: Forwarder
    task: asyncio.Task[None]
    unwatch: Callable[[], None]


class Forwarders(Mapping[str, Forwarder]):
    """The forwarders by the ids of their sinks, in the order of the configuration.

    A sink that is new to the log begins at its end, so in a fresh log at its first event. Where it begins is committed
    with the next events: whatever happens to the link, from there on it misses nothing.
    """

    def __init__(self, log: EventLog, recorder: Recorder, *, make: Make, begin: Begin) -> None:
        """`make` gives the forwarder of a sink, `begin` runs it."""
        self._log, self._recorder, self._make, self._run = log, recorder, make, begin
        self._running: dict[str, _Running] = {}
        log.hold(self._held)

    def __getitem__(self, sink_id: str) -> Forwarder:
        return self._running[sink_id].forwarder

    def __iter__(self) -> Iterator[str]:
        return iter(self._running)

    def __len__(self) -> int:
        return len(self._running)

    def begin(self, sinks: Sequence[tuple[SinkConfig, Sink | None]]) -> None:
        """Have exactly these from now on: those with a new `Sink` are started, those without one go on."""
        former, self._running = self._running, {}
        for config, sink in sinks:
            self._running[config.id] = former[config.id] if sink is None else self._start(config, sink)
        self._log.consumers = frozenset(self._running)

    def _start(self, config: SinkConfig, sink: Sink) -> _Running:
        if config.id not in self._log.cursors:
            self._log.cursors[config.id] = start = Cursor(self._log.next_offset, None, Ledger(self._log.next_offset))
            self._recorder.ride(config.id, start, CURSOR_AFTER_ACKS)
        forwarder = self._make(config, sink)
        unwatch = self._recorder.watch(forwarder.wake)
        return _Running(forwarder, self._run(f"deliver {config.id}", forwarder.run()), unwatch)

    async def end(self, sink_ids: Collection[str], timeout_s: float) -> None:
        """End these side by side; the others do not notice. `begin` follows."""
        ending = [self._running[sink_id] for sink_id in self._running if sink_id in sink_ids]
        await asyncio.gather(*(self._end(running, timeout_s) for running in ending))

    async def _end(self, running: _Running, timeout_s: float) -> None:
        """Let what is on its way settle where there is a connection, and remember how far the sink has read."""
        forwarder, task, unwatch = running
        if forwarder.delivery.connected:
            settled = asyncio.ensure_future(forwarder.drain(SETTLE_WITHIN_S))
            await asyncio.wait({settled, task}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            settled.cancel()
        task.cancel()
        await asyncio.wait({task})
        unwatch()
        self._log.cursors[forwarder.sink_id] = forwarder.cursor
        self._recorder.ride(forwarder.sink_id, forwarder.cursor, 0)

    async def drain(self, timeout_s: float) -> None:
        """Deliver what is in the log as far as that is possible in this time, and end."""
        await asyncio.gather(*(forwarder.drain(timeout_s) for forwarder in self.values()))

    def _held(self) -> Iterator[tuple[int, int]]:
        """What the sinks have in their hands, from the committed cursor of each on; absent ones may have had a part."""
        for sink_id, cursor in self._log.cursors.items():
            begin = cursor.next_offset
            yield begin, self[sink_id].handed_out if sink_id in self else begin + HELD_AT_START

    def protected(self) -> int:
        """The lowest offset that is still to be read: by a sink, or by one that may come back."""
        absent = self._log.cursors.keys() - self._running.keys()
        offsets = [forwarder.cursor.next_offset for forwarder in self.values()]
        return min([*offsets, *(self._log.cursors[name].next_offset for name in absent)], default=self._log.next_offset)


def as_it_is(config: Config) -> Config:
    return config


def console_only(config: Config) -> Config:
    """The configuration with one console instead of its sinks: a simulation must not disturb production."""
    console = Plugins().sink("console")
    return replace(config, sinks=(SinkConfig("console", console, console.Options()),))
