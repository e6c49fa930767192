"""Steps of the wall clock under a running gateway: nothing lost, order kept, times marked or corrected.

libfaketime stands between the gateway and the wall clock, and leaves the boot clock alone, as the kernel does. The rig
itself sees the true time.
"""

import asyncio
import itertools
import json
import sys
import threading
import time
from collections import Counter
from datetime import datetime
from pathlib import Path

import pytest

from gateway.clock import NS_PER_S, SystemClock
from gateway.eventlog import EventLog
from tests.brokers import Mosquitto
from tests.demand import demand
from tests.service import Service, Subscriber, subscribed, wait_until

YEAR_S = 365 * 86400
NEAR_S = 0.5
LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)

# The gateway as it is, except for where systemd-timesyncd leaves its word.
LAUNCH = """
import pathlib, sys
import gateway.sync
gateway.sync.TIMESYNCD = pathlib.Path(sys.argv.pop(1))
from gateway.cli import main
main()
"""


@pytest.fixture
def faked(tmp_path):
    if LIBRARY is None:
        demand("needs Debian's libfaketime: apt install libfaketime", "REQUIRE_FAKETIME")
    faked = Faked(tmp_path)
    yield faked
    for service in faked.services:
        if service.process is not None and service.process.poll() is None:
            service.kill()


class Faked:
    """A gateway whose wall clock the rig sets, and whose timesyncd it plays."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._offset = folder, folder / "faketime"
        self.services: list[Service] = []
        self._timesync = folder / "timesync"

    def service(self, port: int, *, timesyncd: bool) -> Service:
        file = self.folder / "stepped.yaml"
        file.write_text(
            "gateway: {id: stepped}\n"
            "devices:\n"
            "  - id: air\n"
            "    driver: signal\n"
            "    every: 10ms\n"
            "    signals: {t: {quantity: load, sine: {min: 0, max: 9, period: 7s}}}\n"
            "  - id: bell\n"
            "    driver: signal\n"
            "    every: 100ms\n"
            "    signals: {ring: {quantity: occurrence, steps: {values: [ding, dong], each: 100ms}}}\n"
            f"sinks:\n  - {{id: home, sink: mqtt, url: 'mqtt://127.0.0.1:{port}'}}\n"
            "buffer: {path: stepped.db, commit_within: 100ms, keep: {for: 30d}}\n",
            encoding="utf-8",
        )
        if timesyncd:
            self._timesync.mkdir()
        service = Service(file, self.folder)
        service.program = [sys.executable, "-c", LAUNCH, str(self._timesync)]
        service.environ |= {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self._offset),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",  # the fix, for old C libraries, starves threads that wait for the GIL
        }
        self.services.append(service)
        return service

    def be_wrong_by(self, seconds: float) -> None:
        new = self._offset.with_suffix(".new")
        new.write_text(f"{seconds:+.6f}\n")
        new.rename(self._offset)

    def synchronise(self) -> None:
        """What an NTP answer does: set the clock, then say so."""
        self.be_wrong_by(0)
        (self._timesync / "synchronized").touch()


def more(subscriber: Subscriber, count: int, what: str) -> None:
    """Wait for that many more arrivals of the kind that never waits."""
    reached = rings(subscriber) + count
    wait_until(lambda: rings(subscriber) >= reached, 20, what)


def rings(subscriber: Subscriber) -> int:
    return sum(b"/ring" in arrival.payload for arrival in tuple(subscriber.arrivals))


def logged(path: Path):
    """The events as a reader of the log gets them, and as they were written."""

    async def read():
        log = await EventLog.open(path, SystemClock())
        both = (await log.read(1, 10**6)).events, (await log.read(1, 10**6, as_told=True)).events
        await log.close()
        return both

    return asyncio.run(read())


def off_s(event, anchor_ns: int) -> float:
    """How far an event's time lies from when it happened."""
    return (event.time - event.mono - anchor_ns) / NS_PER_S


def arrived_off_s(arrival, events, anchor_ns: int) -> float:
    envelope = json.loads(arrival.payload)
    told = datetime.fromisoformat(envelope["time"]).timestamp()
    return told - (events[arrival.sequence].mono + anchor_ns) / NS_PER_S


def in_order_by_lane(subscriber: Subscriber) -> dict[str, int]:
    """Inversions among first arrivals: over all, and within readings and within everything else."""
    first = {arrival.id: arrival for arrival in reversed(subscriber.arrivals)}
    arrivals = [a for a in subscriber.arrivals if first.get(a.id) is a]
    lanes = {"all": arrivals}
    lanes["readings"] = [a for a in arrivals if b".reading.v1" in a.payload]
    lanes["others"] = [a for a in arrivals if b".reading.v1" not in a.payload]
    return {
        name: sum(later.sequence < earlier.sequence for earlier, later in itertools.pairwise(lane))
        for name, lane in lanes.items()
    }


def judge(name, service, subscriber, capsys):
    accepted = service.accepted()
    wait_until(lambda: subscriber.has(accepted), 10, "everything accepted arrives")
    verdict, inversions = subscriber.judge(accepted), in_order_by_lane(subscriber)
    anchor_ns = time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    events, told = logged(service.log_path)
    by_offset = {event.offset: event for event in told}
    wrong = [a for a in subscriber.arrivals if abs(arrived_off_s(a, by_offset, anchor_ns)) > NEAR_S]
    unmarked = [a for a in wrong if json.loads(a.payload).get("clocksync", True)]
    figures = {
        "accepted": verdict.accepted,
        "lost": len(verdict.lost),
        "inversions": inversions,
        "chain breaks": verdict.chain_breaks,
        "steps": [round(e.data["step_ns"] / NS_PER_S, 1) for e in events if e.type == "clock.step"],
        "written wrong": sum(abs(off_s(e, anchor_ns)) > NEAR_S for e in told),
        "read wrong": sum(abs(off_s(e, anchor_ns)) > NEAR_S for e in events),
        "forwarded wrong": dict(Counter(json.loads(a.payload)["subject"] for a in wrong)),
        "of these unmarked": len(unmarked),
    }
    with capsys.disabled():
        print(f"\n  {name}: " + "  ".join(f"{key} {value}" for key, value in figures.items()))
    assert [verdict.lost, verdict.foreign, verdict.chain_breaks] == [[], [], 0]
    assert inversions["readings"] == inversions["others"] == 0
    return figures


@pytest.mark.rig
@pytest.mark.mosquitto
@pytest.mark.parametrize(("step", "step_s"), [("+50 years", 50 * YEAR_S), ("-1 h", -3600), ("+3 ms", 0.003)])
def test_ntp_puts_a_running_gateway_right(tmp_path, mosquitto: Mosquitto, capsys, faked, step, step_s):
    """A boot that begins with a wrong clock, and an NTP answer three seconds later."""
    faked.be_wrong_by(-step_s)
    service = faked.service(mosquitto.port, timesyncd=True)
    with subscribed(mosquitto.port, "stepped") as subscriber:
        service.start()
        more(subscriber, 30, "bells go at once, whatever the clock says")
        readings_before = sum(b".reading.v1" in a.payload for a in tuple(subscriber.arrivals))
        faked.synchronise()
        more(subscriber, 30, "bells after the step")
        wait_until(lambda: b".reading.v1" in subscriber.arrivals[-1].payload, 10, "readings flow")
        service.stop()
        figures = judge(f"NTP step of {step}", service, subscriber, capsys)
    waited = abs(step_s) > YEAR_S
    assert (readings_before == 0) is waited, "readings wait for a plausible clock only"
    assert figures["read wrong"] == 0
    assert figures["of these unmarked"] == 0
    assert (figures["written wrong"] > 200) is (abs(step_s) > NEAR_S)
    assert "air/t" not in figures["forwarded wrong"] or not waited
    assert figures["inversions"]["all"] == 0 or waited
    assert figures["steps"][0] == round(step_s, 1)
    assert figures["steps"][1:] in ([], [0.0]), "NTP sets the clock, and may say so a moment after the step was seen"


@pytest.mark.rig
@pytest.mark.mosquitto
def test_a_clock_that_runs_away_and_returns_where_nobody_keeps_it(tmp_path, mosquitto: Mosquitto, capsys, faked):
    """50 years ahead for some seconds, on a machine that cannot say whether its clock is synchronised."""
    faked.be_wrong_by(0)
    service = faked.service(mosquitto.port, timesyncd=False)
    with subscribed(mosquitto.port, "stepped") as subscriber:
        service.start()
        for wrong_s in (0, 50 * YEAR_S, 0):
            faked.be_wrong_by(wrong_s)
            more(subscriber, 20, "bells go at once")
            threading.Event().wait(0.5)
        wait_until(lambda: b".reading.v1" in subscriber.arrivals[-1].payload, 10, "readings flow")
        service.stop()
        figures = judge("+50 years and back", service, subscriber, capsys)
    assert figures["steps"] == [50 * YEAR_S, -50 * YEAR_S]
    assert figures["of these unmarked"] <= 1, "the clock may step between two looks at it"
    assert figures["read wrong"] <= 1
    assert figures["written wrong"] > 100
