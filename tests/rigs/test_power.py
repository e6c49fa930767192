"""Power cuts under a gateway that writes, on two disks that lose in different ways what was not flushed.

The oracle: what `gateway tail` had shown before the cut was accepted, so it must be in the log after it. The same
gateway with SQLite's `synchronous=NORMAL` loses such events on both disks, which shows that the rigs bite. What they
cannot show is a card that acknowledges flushes it did not do.
"""

import os
import shutil
import sqlite3
import sys
from random import Random

import pytest

from tests.brokers import free_port
from tests.demand import demand
from tests.rigs.disks import ShutDown, Volatile
from tests.service import Service, Tail, wait_until

YAML = f"""
gateway: {{id: cut}}
devices:
  - {{id: a, driver: signal, every: 10ms, signals: {{t: {{quantity: load, sine: {{min: 0, max: 1, period: 7s}}}}}}}}
  - {{id: b, driver: signal, every: 10ms, signals: {{t: {{quantity: load, sine: {{min: 0, max: 1, period: 9s}}}}}}}}
sinks: [{{id: away, sink: mqtt, url: 'mqtt://127.0.0.1:{free_port()}'}}]
buffer: {{path: disk/cut.db, commit_within: 20ms}}
"""
"""200 events a second, one at a time, and 50 commits."""

CUTS = {ShutDown: 20, Volatile: 15}
CONTROL_CUTS = 3
SHOWN_MIN, SHOWN_MORE = 50, 150
"""A cut comes once so many events more were shown than the first of the run, give or take."""

CARELESS = """
import sqlite3

class Careless(sqlite3.Connection):
    def execute(self, sql, *parameters):
        return super().execute(sql.replace("synchronous = FULL", "synchronous = NORMAL"), *parameters)

connect = sqlite3.connect
sqlite3.connect = lambda *given, **named: connect(*given, **{"factory": Careless, **named})

from gateway.cli import main
main()
"""


@pytest.fixture(params=CUTS, ids=lambda disk: disk.__name__)
def disk(tmp_path, request):
    demand(_unmet(), "REQUIRE_ROOT")
    disk = request.param(tmp_path)
    disk.mount()
    yield disk
    disk.close()


def _unmet():
    if os.geteuid() != 0:
        return "needs root to mount a loop device"
    return "" if shutil.which("mkfs.ext4") else "needs an ext4 of its own: apt install e2fsprogs"


@pytest.fixture
def service(tmp_path, disk):
    """Commits every few events, so that most cuts come in the middle of a commit."""
    file = tmp_path / "cut.yaml"
    file.write_text(YAML)
    service = Service(file, tmp_path)
    service.log_path = disk.path / "cut.db"
    return service


def shown_before_a_cut(service, disk, since, more):
    """Start the gateway, cut the power; returns what `gateway tail` had shown by then, and what the cut did."""
    service.start()
    tail = Tail(service, since)
    wait_until(lambda: len(tail.seen) > SHOWN_MIN + more, 20, "events are recorded")
    shown = list(tail.seen)
    told = disk.cut()
    service.kill()
    tail.end()
    disk.unmount()
    disk.mount()
    return shown, told


@pytest.mark.rig
def test_no_event_seen_on_tail_is_lost_by_power_cuts(disk, service, capsys):
    random, accepted, cuts = Random(20261123), [], CUTS[type(disk)]
    for cut in range(cuts):
        shown, told = shown_before_a_cut(service, disk, len(accepted) + 1, random.randrange(SHOWN_MORE))
        accepted = service.accepted()
        lost = set(shown) - set(accepted)
        assert not lost, f"cut {cut}: {len(lost)} events that tail showed before it are not on the disk"
        if told:
            with capsys.disabled():
                print(f"\n  cut {cut + 1:2}: {told}", end="")
    with capsys.disabled():
        print(f"\n  {cuts} power cuts: {len(accepted)} events in the log, 0 that tail had shown are lost, integrity ok")


@pytest.mark.rig
def test_the_same_cuts_take_accepted_events_from_a_gateway_that_does_not_flush(disk, service, capsys):
    service.program = [sys.executable, "-c", CARELESS]
    lost = seen = 0
    for _ in range(CONTROL_CUTS):
        kept = set(_accepted(service))
        shown, _ = shown_before_a_cut(service, disk, len(kept) + 1, SHOWN_MORE)
        seen += len(shown)
        lost += len({*kept, *shown} - set(_accepted(service)))
        service.log_path.unlink(missing_ok=True)
    with capsys.disabled():
        print(
            f"\n  control: with synchronous=NORMAL {CONTROL_CUTS} cuts took {lost} of {seen} events that tail had shown"
        )
    assert lost


def _accepted(service):
    """As `accepted`, but of a log that the cut may have left without a single table."""
    try:
        return service.accepted() if service.log_path.exists() else []
    except sqlite3.DatabaseError:
        return []
