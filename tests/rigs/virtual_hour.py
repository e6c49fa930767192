"""An hour in the life of the spine, in virtual time: run as a program, it prints what it holds at each minute.

Recorder, log, normalizer, latest values and forwarder are real, on a real disk; the sink is played. One clock drives
everything: the event loop's timers, `mono_ns` and `wall_ns`. It jumps to the next timer when nobody has anything to do,
and stands still while one of SQLite's threads works, so the threads never notice. Drivers' threads are not part of it:
what 20 channels would have read is fed to their normalizer each second.
"""

from __future__ import annotations

import asyncio
import gc
import json
import selectors
import sys
import threading
from pathlib import Path
from random import Random

import aiosqlite

from gateway.config import parse_config
from gateway.deliver import Forwarder
from gateway.errors import LinkError
from gateway.event import Reading
from gateway.eventlog import EventLog
from gateway.normalize import Instant, Normalizer
from gateway.plugins import Plugins
from gateway.present import Latest
from gateway.record import Recorder
from gateway.sink import Session, Sink
from tests.clocks import ManualClock

MINUTES, CHANNELS = 60, 20
ACK_AFTER_S = 0.02
OUTAGE_EVERY_MINUTES, OUTAGE_S = 10, 30.0


class BusyThreads:
    """How many calls SQLite's threads have not answered yet."""

    def __init__(self) -> None:
        self.calls = 0
        inner = aiosqlite.Connection._execute

        async def counted(connection, *arguments, **named):
            self.calls += 1
            try:
                return await inner(connection, *arguments, **named)
            finally:
                self.calls -= 1

        aiosqlite.Connection._execute = counted


class JumpingSelector(selectors.DefaultSelector):
    """Waits for threads in real time, and for timers not at all: the clock jumps to them."""

    def __init__(self, clock: ManualClock, threads: BusyThreads) -> None:
        super().__init__()
        self._clock, self._threads = clock, threads

    def select(self, timeout=None):
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if self._threads.calls or timeout is None:
            return super().select(10.0)
        self._clock.pass_s(timeout + 1e-6)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self, clock: ManualClock, threads: BusyThreads) -> None:
        super().__init__(JumpingSelector(clock, threads))
        self._virtual = clock

    def time(self) -> float:
        return self._virtual.mono_ns() / 1e9


class Played(Sink):
    """A destination that acknowledges after a moment, and is away when told so."""

    name, summary = "played", "for the rig"

    def __init__(self) -> None:
        self.away = False
        self.arrived = self.connections = 0
        self.last = 0
        self.report = None

    @classmethod
    def create(cls, options, identity):
        return cls()

    async def connect(self, report):
        if self.away:
            raise LinkError("nobody there")
        self.connections += 1
        self.report = report
        return PlayedSession(self, report)

    def leave(self) -> None:
        self.away = True
        self.report.lost("gone")

    def come_back(self) -> None:
        self.away = False


class PlayedSession(Session):
    window_max = 100

    def __init__(self, sink, report) -> None:
        self._sink, self._report, self._alive = sink, report, True
        self._sent = []

    def send(self, outgoing) -> None:
        self._sent.append(outgoing.event.offset)

    def flush(self) -> None:
        sent, self._sent = self._sent, []
        asyncio.get_running_loop().call_later(ACK_AFTER_S, self._arrive, sent)

    def _arrive(self, offsets) -> None:
        if self._alive and not self._sink.away:
            for offset in offsets:
                self._sink.arrived += offset > self._sink.last
                self._sink.last = max(self._sink.last, offset)
                self._report.settled(offset, "accepted")

    async def close(self, timeout_s) -> None:
        self._alive = False

    def abort(self) -> None:
        self._alive = False


async def hour(folder: Path, clock: ManualClock) -> None:
    signals = ", ".join(f"c{n}: {{quantity: load, constant: 1}}" for n in range(CHANNELS))
    yaml = f"gateway: {{id: hour}}\ndevices: [{{id: d, driver: signal, signals: {{{signals}}}}}]\n"
    config = parse_config(f"{yaml}buffer: {{path: {folder}/hour.db}}\n", str(folder / "hour.yaml"), Plugins())
    normalize = Normalizer(config.devices[0], simulated=True)
    sink, random = Played(), Random(1)
    log = await EventLog.open(folder / "hour.db", clock)
    recorder = Recorder(log, clock, commit_within_s=1.0, protected=lambda: forwarder.cursor.next_offset)
    latest = Latest(dict)
    forwarder = Forwarder("home", sink, log, recorder, clock=clock, random=random)
    recorder.watch(latest.apply)
    recorder.watch(forwarder.wake)
    tasks = [asyncio.create_task(recorder.run()), asyncio.create_task(forwarder.run())]
    for minute in range(1, MINUTES + 1):
        if minute % OUTAGE_EVERY_MINUTES == OUTAGE_EVERY_MINUTES // 2:
            sink.leave()
            asyncio.get_running_loop().call_later(OUTAGE_S, sink.come_back)
        for _ in range(60):
            readings = [Reading(f"c{n}", random.gauss(20.0, 1.0)) for n in range(CHANNELS)]
            recorder.offer(normalize(readings, Instant(clock.wall_ns(), clock.mono_ns())))
            await asyncio.sleep(1.0)
        tell(minute, log, sink)
    await recorder.flush()
    await forwarder.drain(60.0)
    await recorder.stop()
    await asyncio.gather(*tasks)
    tell(MINUTES + 1, log, sink)
    await log.close()


def tell(minute: int, log: EventLog, sink: Played) -> None:
    gc.collect()
    status = Path("/proc/self/status").read_text()
    rss_kib = int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])
    row = {
        "minute": minute, "rss_kib": rss_kib, "tasks": len(asyncio.all_tasks()), "threads": threading.active_count(),
        "accepted": log.next_offset - 1, "arrived": sink.arrived, "connections": sink.connections,
    }  # fmt: skip
    print(json.dumps(row), flush=True)


def main(folder: Path) -> None:
    clock, threads = ManualClock(), BusyThreads()
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock, threads)) as runner:
        runner.run(hour(folder, clock))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
