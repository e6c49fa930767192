"""A disk that others filled: the log goes on in the room that it has, and nothing is lost where even that is gone."""

import os
import subprocess
from time import monotonic

import pytest

from tests.demand import demand
from tests.service import Service, Tail, wait_until

DISK_BYTES = 12 * 2**20
BACK_WITHIN_S = 5.0

YAML = """
gateway: {id: cramped}
devices:
  - id: lab
    driver: signal
    every: 10ms
    signals: {t: {quantity: temperature, sine: {min: 10, max: 30, period: 10s}}}
buffer: {path: disk/cramped.db, commit_within: 20ms}
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
    with (disk / "others").open("ab", buffering=0) as others:
        try:
            while True:
                others.write(bytes(4096))
        except OSError:
            return


@pytest.fixture
def service(tmp_path, disk):
    file = tmp_path / "cramped.yaml"
    file.write_text(YAML)
    service = Service(file, tmp_path)
    service.log_path = disk / "cramped.db"
    return service


def log(service):
    return service.status()["log"]


def grows(tail, by, what):
    shown = len(tail.seen)
    wait_until(lambda: len(tail.seen) > shown + by, 20, what)


def free(service, disk, tail):
    """Seconds from the return of the space to a log that is as it was."""
    (disk / "others").unlink()
    freed = monotonic()
    wait_until(lambda: log(service)["store"] == "ok" and (disk / "cramped.db.ballast").exists(), 20, "normal again")
    back_s = monotonic() - freed
    assert log(service)["held"] == 0
    grows(tail, 100, "events are recorded")
    return back_s


def judge(service, tail):
    service.stop()
    shown = tail.end()
    accepted = service.accepted()
    assert not set(shown) - set(accepted), "what was shown is in the log, also what was in memory only then"
    return accepted


@pytest.mark.rig
def test_a_full_disk_costs_the_ballast_and_the_log_goes_on(service, disk, capsys):
    service.start()
    tail = Tail(service, 1)
    grows(tail, 100, "events are recorded")
    fill(disk)
    wait_until(lambda: "the disk is full" in log(service)["store"], 60, "the log meets the full disk")
    grows(tail, 500, "events are recorded although the disk is full")
    during = log(service)
    back_s = free(service, disk, tail)
    accepted = judge(service, tail)
    with capsys.disabled():
        print(f"\n  full disk: recorded on, 0 lost of {len(accepted)}, normal {back_s:.2f} s after the space returned")
    assert (during["held"], during["bytes_max"] < 512_000_000) == (0, True)
    assert back_s <= BACK_WITHIN_S


@pytest.mark.rig
def test_others_take_even_what_the_ballast_gave_and_nothing_is_lost(service, disk, capsys):
    service.start()
    tail = Tail(service, 1)
    grows(tail, 100, "events are recorded")

    def filled_until_refused():
        fill(disk)
        return log(service)["held"] > 200

    wait_until(filled_until_refused, 120, "the disk refuses, and events are held in memory")
    grows(tail, 200, "events are shown although no disk takes them")
    back_s = free(service, disk, tail)
    accepted = judge(service, tail)
    with capsys.disabled():
        print(f"\n  disk filled to the last byte: 0 lost of {len(accepted)}, normal {back_s:.2f} s after the space")
    assert back_s <= BACK_WITHIN_S
