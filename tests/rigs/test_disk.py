"""A disk that others filled: nothing is lost, and the log goes on within 5 s of the space's return."""

import itertools
import json
import os
import subprocess
from time import monotonic

import pytest

from tests.demand import demand
from tests.service import Service, Tail, wait_until

DISK_BYTES = 3 * 2**20
BACK_WITHIN_S = 5.0

YAML = """
gateway: {id: cramped}
devices:
  - id: lab
    driver: signal
    every: 20ms
    signals: {t: {quantity: temperature, sine: {min: 10, max: 30, period: 10s}}}
buffer: {path: disk/cramped.db}
"""


@pytest.fixture
def disk(tmp_path):
    """A file system of our own, small enough to fill."""
    demand("" if os.geteuid() == 0 else "needs root to mount a tmpfs", "REQUIRE_ROOT")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(disk):
    with (disk / "others").open("wb", buffering=0) as others:
        try:
            while True:
                others.write(bytes(4096))
        except OSError:
            return


@pytest.mark.rig
def test_a_full_disk_loses_nothing_and_is_over_when_the_space_is_back(tmp_path, disk, capsys):
    file = tmp_path / "cramped.yaml"
    file.write_text(YAML)
    service = Service(file, tmp_path)
    service.log_path = disk / "cramped.db"
    service.start()
    tail = Tail(service, 1)
    wait_until(lambda: len(tail.seen) > 100, 20, "events are recorded")
    fill(disk)
    wait_until(lambda: service.status()["log"]["store"] != "ok", 20, "the disk refuses")
    wait_until(lambda: service.status()["log"]["pending"] > 200, 20, "events gather")
    shown = len(tail.seen)
    (disk / "others").unlink()
    freed = monotonic()
    wait_until(lambda: len(tail.seen) > shown, 20, "the log goes on")
    back_s = monotonic() - freed
    service.stop()
    tail.end()
    accepted = service.accepted()
    service.start()
    events = [json.loads(line) for line in everything(service, len(accepted))]
    service.stop()
    kinds = [event["type"].split(".")[-2] for event in events]
    with capsys.disabled():
        print(f"\n  disk full with 200 events waiting: 0 lost of {len(accepted)}, commits again after {back_s:.2f} s")
    assert {"degraded", "recovered"} <= set(kinds)
    assert "gap" not in kinds
    assert back_s <= BACK_WITHIN_S
    readings = [event["time"] for event in events if event["subject"] == "lab/t"]
    assert readings == sorted(readings)
    steps_ms = [_ms(later) - _ms(earlier) for earlier, later in itertools.pairwise(readings)]
    assert max(steps_ms) < 1000, "a reading every 20 ms, also while the disk was full"


def everything(service, count):
    command = service.command("tail", "--json", "--from", "1", "--gateway", service.id)
    with subprocess.Popen(command, env=service.environ, stdout=subprocess.PIPE, text=True) as process:
        lines = [process.stdout.readline() for _ in range(count)]
        process.terminate()
    return lines


def _ms(time):
    hours, minutes, seconds = time[11:26].split(":")
    return ((int(hours) * 60 + int(minutes)) * 60 + float(seconds)) * 1000
