"""Five million events that wait: the start is no slower for them, and memory stays what it is."""

import asyncio
from pathlib import Path
from time import monotonic

import pytest

from gateway.clock import SystemClock
from gateway.event import Event
from gateway.eventlog import MAX_BATCH_EVENTS, Cursor, EventLog, Riders
from tests.brokers import Mosquitto, free_port
from tests.service import Service, configuration, measure, subscribed, wait_until

EVENTS = 5_000_000
SLOWER_S_MAX = 0.3
MORE_KIB_MAX = 12 * 1024


async def write(path: Path, events: int) -> None:
    log = await EventLog.open(path, SystemClock())
    await log.append([], Riders({"home": Cursor(1)}))
    clock = SystemClock()
    for batch in range(-(-events // MAX_BATCH_EVENTS)):
        now, mono = clock.wall_ns(), clock.mono_ns()
        await log.append(
            [
                Event("reading", f"d{n % 20}/c{n % 7}", now + n, mono + n, (batch * 37 + n) % 1000 / 10, "Cel", "good")
                for n in range(MAX_BATCH_EVENTS)
            ]
        )
    await log.close()


def gateway(folder, port):
    folder.mkdir()
    return Service(configuration(folder, "laden", f"mqtt://127.0.0.1:{port}", 20), folder)


def start_s(service):
    began = monotonic()
    service.start()
    took_s = monotonic() - began
    service.stop()
    return took_s


def rss_kib_while_delivering(service, seen):
    """The most that the process had while it moved what waits."""
    most = 0

    def look():
        nonlocal most
        most = max(most, measure(service.process.pid).rss_kib)
        return seen()

    wait_until(look, 60, "events are delivered")
    return most


@pytest.mark.rig
@pytest.mark.mosquitto
def test_a_backlog_of_five_million_events_slows_no_start_and_takes_no_memory(tmp_path, capsys):
    port = free_port()
    empty, laden = gateway(tmp_path / "empty", port), gateway(tmp_path / "laden", port)
    began = monotonic()
    asyncio.run(write(laden.log_path, EVENTS))
    wrote_s = monotonic() - began
    start_s(empty), start_s(laden)
    pairs = [(start_s(empty), start_s(laden)) for _ in range(5)]
    slower_s = min(with_it for _, with_it in pairs) - min(without for without, _ in pairs)
    empty.start()
    wait_until(lambda: empty.status()["log"]["recorded"] > 50, 20, "events are recorded")
    bare_kib = measure(empty.process.pid).rss_kib
    empty.stop()
    with Mosquitto(port=port), subscribed(port, "laden") as subscriber:
        laden.start()
        kib = rss_kib_while_delivering(laden, lambda: len(subscriber.arrivals) > 100_000)
        laden.kill()
    with capsys.disabled():
        size_mb = laden.log_path.stat().st_size / 1e6
        print(
            f"\n  backlog of {EVENTS:,} events, {size_mb:.0f} MB, written in {wrote_s:.0f} s: start {slower_s:+.2f} s,"
        )
        print(f"  memory while delivering it {kib / 1024:.1f} MiB, of an idle gateway {bare_kib / 1024:.1f} MiB")
    assert slower_s <= SLOWER_S_MAX
    assert kib - bare_kib <= MORE_KIB_MAX
