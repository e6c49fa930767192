"""`gateway run` under a watchdog: a sink plug-in of somebody else's blocks the loop, and nobody pings any more."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.service import configuration, wait_until

WATCHDOG_S = 1.5

PLUGIN = """
import asyncio, pathlib, threading
from gateway.sink import Session, Sink

class Blocking(Sink):
    name, summary = "blocking", "takes events until a file appears, then never returns"

    @classmethod
    def create(cls, options, identity):
        return cls()

    async def connect(self, report):
        return Taking(report)

class Taking(Session):
    window_max = 10

    def __init__(self, report):
        self.report = report

    def send(self, outgoing):
        if pathlib.Path("block").exists():
            threading.Event().wait()
        asyncio.get_running_loop().call_soon(self.report.settled, outgoing.event.offset, "accepted")

    async def close(self, timeout_s):
        pass

    def abort(self):
        pass
"""


def installed(folder: Path) -> None:
    """The plug-in as pip would leave it: a file, and what tells of its entry point."""
    about = folder / "blocking_sink-1.dist-info"
    about.mkdir()
    (folder / "blocking_sink.py").write_text(PLUGIN)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: blocking-sink\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[gateway.sinks]\nblocking = blocking_sink:Blocking\n")


@pytest.fixture
def manager(tmp_path):
    """Where systemd would listen."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        yield manager


def hears(manager, word, within_s):
    manager.settimeout(within_s)
    try:
        while manager.recv(100) != word:
            pass
    except TimeoutError:
        return False
    return True


def test_a_loop_that_is_stuck_is_not_told_of_and_the_kill_shows_where_it_stood(tmp_path, manager):
    installed(tmp_path)
    file = configuration(tmp_path, "watched", "mqtt://127.0.0.1", 50)
    file.write_text(file.read_text().replace("sink: mqtt, url: 'mqtt://127.0.0.1'", "sink: blocking"))
    stderr = tmp_path / "stderr"
    environ = {
        **os.environ,
        "PYTHONPATH": str(tmp_path),
        "XDG_RUNTIME_DIR": str(tmp_path),
        "NOTIFY_SOCKET": str(tmp_path / "notify"),
        "WATCHDOG_USEC": str(round(WATCHDOG_S * 1e6)),
    }
    with (
        stderr.open("wb") as errors,
        subprocess.Popen(
            [sys.executable, "-m", "gateway", "run", "--config", str(file)], cwd=tmp_path, env=environ, stderr=errors
        ) as process,
    ):
        try:
            assert hears(manager, b"READY=1", 20), stderr.read_text()
            for _ in range(10):
                assert hears(manager, b"WATCHDOG=1", WATCHDOG_S), stderr.read_text()
            (tmp_path / "block").touch()
            wait_until(lambda: not hears(manager, b"WATCHDOG=1", WATCHDOG_S), 10, "the pings end")
            assert process.poll() is None
            process.send_signal(signal.SIGABRT)  # what systemd does now
            assert process.wait(10) == -signal.SIGABRT
        finally:
            process.kill()
    assert 'blocking_sink.py", line ' in stderr.read_text()
    assert "in send" in stderr.read_text()
