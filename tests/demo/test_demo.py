"""`gateway demo` from outside, over the brokers that a user may have."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.demo.test_broker import BROKERS

DEMO = [sys.executable, "-m", "gateway", "demo"]
WITHIN_S = 40


def figures(said: str) -> dict[str, int]:
    found = re.findall(r"^  (accepted|delivered|duplicates|out of order|lost) +(\d[\d ]*)", said, re.MULTILINE)
    return {name: int(number.replace(" ", "")) for name, number in found}


@pytest.mark.parametrize("kind", BROKERS)
def test_it_ends_by_itself_and_nothing_is_lost(kind, tmp_path):
    command = [*DEMO, "--for", "4s", "--broker", kind]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=WITHIN_S)

    account = figures(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert account["lost"] == account["out of order"] == account["duplicates"] == 0
    assert account["accepted"] == account["delivered"] >= 10
    assert re.search(r"^Simulated: .*Real: pi\.", done.stdout, re.MULTILINE)
    assert re.search(r"^\d\d:\d\d:\d\d\.\d{3}  pi/load +\d+\.\d\d +good", done.stdout, re.MULTILINE)
    # A start that takes most of a second misses the first time that the door opens, and not the second.
    assert re.search(r"rule/(forced-door|entry) +access\.(forced|ok) +matched  (door|after)", done.stdout)
    assert re.search(r"^  rules +9 in force, fired \d+ times?: .*(forced-door|entry) 1", done.stdout, re.MULTILINE)
    assert "cellar-hot (lasting 5 min)" in done.stdout
    assert "stopped in good order" in done.stdout
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.mosquitto
def test_on_a_terminal_it_draws_a_table_until_ctrl_c_and_sums_up():
    ours, theirs = pty.openpty()
    environment = os.environ | {"COLUMNS": "100", "LINES": "40", "TERM": "xterm"}
    running = subprocess.Popen(DEMO, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    try:
        said = read_until(ours, r"pi/load .*Ctrl-C stops")
        running.send_signal(signal.SIGINT)
        said += read_until(ours, r"lost .*README")
        status = running.wait(WITHIN_S)
    finally:
        running.kill()
        running.wait()
        os.close(ours)

    assert status == 0
    assert figures(plain(said))["lost"] == 0
    assert said.rindex(b"\x1b[?25h") > said.rindex(b"\x1b[?25l")


DEAF_ONCE = """
import sys
from gateway import demo
from gateway.cli import main

demo.ARRIVE_WITHIN_S = 0.2
add = demo.Ledger.add
demo.Ledger.add = lambda ledger, offset: offset != 3 and add(ledger, offset)
sys.argv[1:] = ["demo", "--for", "1s", "--broker", "mosquitto"]
main()
"""


@pytest.mark.mosquitto
def test_one_event_that_does_not_arrive_fails_the_demo():
    done = subprocess.run([sys.executable, "-c", DEAF_ONCE], capture_output=True, text=True, timeout=WITHIN_S)

    account = figures(done.stdout)
    assert done.returncode == 1
    assert account["lost"] == 1
    assert account["delivered"] == account["accepted"] - 1


def plain(said: bytes) -> str:
    return re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", said.decode(errors="replace")).replace("\r\n", "\n")


def read_until(terminal: int, wanted: str) -> bytes:
    """What the terminal shows until it shows `wanted`."""
    said = b""
    while not re.search(wanted, plain(said), re.DOTALL):
        ready, _, _ = select.select([terminal], [], [], WITHIN_S)
        assert ready, plain(said)
        try:
            said += os.read(terminal, 65536)
        except OSError:  # EIO: the other end is closed
            pytest.fail(plain(said))
    return said


def test_a_duration_without_a_unit_is_refused_with_the_way_out():
    done = subprocess.run([*DEMO, "--for", "10"], capture_output=True, text=True, timeout=WITHIN_S)

    assert done.returncode == 2
    assert "10s" in done.stderr


def test_nothing_is_left_in_the_temporary_directory_when_the_configuration_is_wrong(tmp_path):
    file = tmp_path / "wrong.yaml"
    file.write_text("gateway: {id: pi}\ndevices: 7\n")
    environment = os.environ | {"TMPDIR": str(tmp_path)}

    command = [*DEMO, "--config", str(file)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=WITHIN_S)

    assert done.returncode == 2
    assert "wrong.yaml:2" in done.stderr
    assert [path.name for path in Path(tmp_path).iterdir()] == ["wrong.yaml"]
