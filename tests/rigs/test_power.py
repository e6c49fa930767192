"""Power cuts: a file system that forgets whatever was not flushed, under a gateway that writes.

ext4 is shut down by ioctl in the middle of the work (as xfstests' godown does), without flushing its journal: what no
fsync had brought to the disk is gone. The same cut under SQLite with `synchronous=NORMAL` loses committed rows, which
shows that the rig bites. What the cut cannot show is a card that acknowledges flushes it did not do.
"""

import fcntl
import os
import sqlite3
import struct
import subprocess
import sys

import pytest

from tests.brokers import free_port
from tests.service import Service, Tail, configuration, wait_until

EXT4_IOC_SHUTDOWN = 0x8004587D
NO_LOG_FLUSH = 2
CUTS = 10
DISK_BYTES = 64 * 2**20

CARELESS = """
import sqlite3, sys
log = sqlite3.connect(sys.argv[1], isolation_level=None)
log.execute("PRAGMA journal_mode=WAL"), log.execute("PRAGMA synchronous=NORMAL")
log.execute("CREATE TABLE IF NOT EXISTS t(n INTEGER PRIMARY KEY, x TEXT)")
while True:
    print(log.execute("INSERT INTO t(x) VALUES (?)", ("x" * 100,)).lastrowid, flush=True)
"""


class Disk:
    """An ext4 in a file, on a loop device."""

    def __init__(self, folder):
        self.image, self.path = folder / "disk.img", folder / "disk"
        self.path.mkdir()
        with self.image.open("wb") as image:
            image.truncate(DISK_BYTES)
        subprocess.run(["mkfs.ext4", "-q", self.image], check=True)

    def mount(self):
        subprocess.run(["mount", "-o", "loop", self.image, self.path], check=True)

    def unmount(self):
        subprocess.run(["umount", self.path], check=True)

    def cut(self):
        """From this instant on nothing more reaches the disk."""
        fd = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, EXT4_IOC_SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(fd)


@pytest.fixture
def disk(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a loop device")
    disk = Disk(tmp_path)
    disk.mount()
    yield disk
    subprocess.run(["umount", "-l", disk.path], check=False, capture_output=True)


@pytest.mark.rig
def test_no_event_seen_on_tail_is_lost_by_power_cuts(tmp_path, disk, capsys):
    file = configuration(tmp_path, "cut", f"mqtt://127.0.0.1:{free_port()}", 200)
    file.write_text(file.read_text().replace("path: cut.db", "path: disk/cut.db"))
    service = Service(file, tmp_path)
    service.log_path = disk.path / "cut.db"
    seen = []
    for _ in range(CUTS):
        service.start()
        tail = Tail(service, len(seen) + 1)
        wait_until(lambda tail=tail: len(tail.seen) > 150, 20, "events are recorded")
        shown = list(tail.seen)
        disk.cut()
        service.kill()
        tail.end()
        disk.unmount()
        disk.mount()
        accepted = service.accepted()
        assert not set(shown) - set(accepted), "what tail showed before the cut is on the disk"
        seen = accepted
    with capsys.disabled():
        print(f"\n  {CUTS} power cuts: {len(seen)} events in the log, 0 that tail had shown are lost, integrity ok")


@pytest.mark.rig
def test_the_same_cut_takes_committed_rows_where_they_are_not_flushed(disk, capsys):
    path = str(disk.path / "careless.db")
    with subprocess.Popen([sys.executable, "-c", CARELESS, path], stdout=subprocess.PIPE, text=True) as writer:
        committed = [int(writer.stdout.readline()) for _ in range(2000)][-1]
        disk.cut()
        writer.kill()
    disk.unmount()
    disk.mount()
    raw = sqlite3.connect(path)
    try:
        kept = raw.execute("SELECT count(*) FROM t").fetchone()[0]
    except sqlite3.DatabaseError:  # not even the table reached the disk
        kept = 0
    raw.close()
    with capsys.disabled():
        print(f"\n  control: of {committed} rows committed with synchronous=NORMAL the cut took {committed - kept}")
    assert kept < committed
