"""The unit file under a real systemd: what hangs or dies is started again, says why, and loses nothing.

The watchdog's time is shortened to 3 s by a drop-in, as `systemctl edit` would write it; all else is the unit as it is
installed. The machine has no broker: a sink whose broker refuses is there all the time, and no reason to restart.
"""

import json
import os
import re
import signal
import subprocess
from time import monotonic

import pytest

from tests.rigs import machine, stuck
from tests.service import Tail, wait_until

WATCHDOG_S = 3
RESTART_WITHIN_S = WATCHDOG_S + 10 + 5
"""A process that does not even die of SIGABRT is killed 10 s later (TimeoutStopSec); the rest is a busy machine's."""

DROP_IN = f"""
[Service]
WatchdogSec={WATCHDOG_S}
[Unit]
StartLimitIntervalSec=0
"""

DEVICE = """
  - id: {id}
    driver: signal
    every: 10ms
    signals: {{a: {{quantity: load, sine: {{min: 0, max: 1, period: 7s}}}}}}
"""

YAML = """
gateway: {id: confined}
sinks: [{id: away, sink: mqtt, url: 'mqtt://127.0.0.1:1883'}]
buffer: {commit_within: 100ms}
devices:
"""


class Installed:
    """The gateway of the machine, asked the way its user would ask."""

    id, environ = "confined", None

    def __init__(self, machine):
        self.machine, self.run = machine, machine.run

    def command(self, *words):
        return self.machine.inside("/opt/gateway/bin/gateway", *words)

    def configure(self, *devices):
        text = YAML + "".join(DEVICE.format(id=device) for device in devices)
        (self.machine.root / "tmp/gateway.yaml").write_text(text)
        self.run("install", "-D", "-m", "640", "-g", "gateway", "/tmp/gateway.yaml", "/etc/gateway/gateway.yaml")

    def shows(self, name):
        return self.run("systemctl", "show", "--value", "-p", name, "gateway").strip()

    @property
    def pid(self):
        """The service's main process, as it is called out here."""
        return self.machine.outer_pid(int(self.shows("MainPID")))

    @property
    def restarts(self):
        return int(self.shows("NRestarts"))

    def status(self):
        return json.loads(self.run("/opt/gateway/bin/gateway", "status", "--json"))

    def devices(self):
        return [device["id"] for device in self.status()["devices"]]

    def now(self):
        """This place in the journal."""
        return self.run("journalctl", "-n", "0", "--show-cursor").split("-- cursor: ")[1].strip()

    def journal(self, since):
        """What systemd and the service have said since that place."""
        return self.run("journalctl", "-o", "cat", "--after-cursor", since, "-u", "gateway")

    def recorded(self, count):
        """The first `count` events that the log holds."""
        with subprocess.Popen(self.command("tail", "--json", "--from", "1"), stdout=subprocess.PIPE, text=True) as tail:
            events = [json.loads(tail.stdout.readline()) for _ in range(count)]
            tail.stdout.close()  # ends the command with the next event that it would show
        return events


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    with machine.booted(tmp_path_factory.mktemp("machine")) as its:
        service = Installed(its)
        folder = its.root / "etc/systemd/system/gateway.service.d"
        folder.mkdir()
        (folder / "override.conf").write_text(DROP_IN)
        service.configure("lab")
        service.run("systemctl", "daemon-reload")
        service.run("systemctl", "enable", "--now", "gateway")
        yield service


@pytest.fixture
def loses_nothing(installed):
    """Afterwards the log has all that `gateway tail` showed until the process was gone, in a row from the first."""
    tail = Tail(installed, 1)
    wait_until(lambda: len(tail.seen) > 300, 20, "events are recorded")
    yield
    seen = tail.end()
    events = installed.recorded(len(seen) + 1)
    assert [event["id"] for event in events[: len(seen)]] == seen
    assert [int(event["sequence"]) for event in events] == list(range(1, len(events) + 1))
    assert not [event for event in events if event["type"].endswith("log.gap.v1")]


def the_loop(pid):
    """The thread that a Python process begins with."""
    return pid


@pytest.fixture
def restarted(installed, capsys):
    """Waits until systemd has started the service once more; returns what the journal says of it."""
    since, before, began = installed.now(), installed.restarts, monotonic()

    def wait(what):
        wait_until(lambda: installed.restarts == before + 1, RESTART_WITHIN_S, "systemd starts the service again")
        wait_until(lambda: installed.shows("ActiveState") == "active", 20, "the service says that it is ready")
        with capsys.disabled():
            print(f"\n  {what}: ready again after {monotonic() - began:.1f} s (WatchdogSec={WATCHDOG_S})")
        return installed.journal(since)

    return wait


@pytest.mark.rig
def test_a_broker_that_refuses_is_no_reason_to_restart(installed):
    since, began = installed.now(), int(installed.shows("ActiveEnterTimestampMonotonic"))
    wait_until(lambda: monotonic() > began / 1e6 + 3 * WATCHDOG_S, 4 * WATCHDOG_S, "it ran for longer than it may hang")
    (sink,) = installed.status()["sinks"]
    assert (sink["connected"], installed.shows("ActiveEnterTimestampMonotonic")) == (False, str(began))
    assert installed.restarts == 0
    assert "Watchdog" not in installed.journal(since)


@pytest.mark.rig
@pytest.mark.parametrize(
    ("what", "part", "stack", "named"),
    [
        ("the event loop", the_loop, r"asyncio/\w+\.py", None),
        (
            "the writer's thread",
            stuck.writer_of,
            r"aiosqlite/\w+\.py",
            r"(record|the log's writer) has not stepped for \d+ s",
        ),
    ],
    ids=["loop", "writer"],
)
@pytest.mark.usefixtures("loses_nothing")
def test_a_thread_that_stands_still_is_restarted_and_shows_where_it_stood(
    installed, restarted, what, part, stack, named
):
    stuck.stand_until_killed(part(installed.pid), RESTART_WITHIN_S)
    said = restarted(what)
    assert f"Watchdog timeout (limit {WATCHDOG_S}s)!" in said
    assert re.search(r"Fatal Python error: Aborted", said)
    assert re.search(stack, said)
    assert named is None or re.search(named, said)


@pytest.mark.rig
@pytest.mark.usefixtures("loses_nothing")
def test_a_process_that_is_stopped_is_restarted(installed, restarted):
    os.kill(installed.pid, signal.SIGSTOP)
    said = restarted("the whole process")
    assert f"Watchdog timeout (limit {WATCHDOG_S}s)!" in said


@pytest.mark.rig
@pytest.mark.usefixtures("loses_nothing")
def test_a_process_that_is_killed_is_started_again(installed, restarted):
    os.kill(installed.pid, signal.SIGKILL)
    said = restarted("kill -9")
    assert "code=killed, status=9/KILL" in said


@pytest.mark.rig
def test_a_reload_takes_the_new_yaml_into_the_same_process(installed):
    pid, before, since = installed.pid, installed.restarts, installed.now()
    installed.configure("lab", "annex")
    installed.run("systemctl", "reload", "gateway")
    wait_until(lambda: "annex" in installed.devices(), 20, "the new device is there")
    assert installed.pid == pid
    assert "reloaded: devices" in installed.journal(since)
    (installed.machine.root / "etc/gateway/gateway.yaml").write_text("gateway: {id: confined}\ndevises: []\n")
    installed.run("systemctl", "reload", "gateway")
    wait_until(lambda: "not reloaded" in installed.journal(since), 20, "the journal says what is wrong")
    assert "annex" in installed.devices()
    installed.configure("lab", "annex")
    assert (installed.pid, installed.restarts) == (pid, before)


@pytest.mark.rig
@pytest.mark.usefixtures("loses_nothing")
def test_a_stop_is_clean_and_a_start_goes_on_from_there(installed):
    since, began = installed.now(), monotonic()
    installed.run("systemctl", "stop", "gateway")
    took_s = monotonic() - began
    assert took_s < 9, "the sinks get 4 s; at 10 s systemd kills"
    assert (installed.shows("Result"), installed.shows("ExecMainStatus")) == ("success", "0")
    assert "Deactivated successfully" in installed.journal(since)
    installed.run("systemctl", "start", "gateway")
    assert installed.restarts == 0, "who starts by hand counts anew"
