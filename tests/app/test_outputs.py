"""Outputs and the death of the gateway: the real service, the real driver, and pins that outlive their process.

The kernel's part is played by a pin factory that keeps each level in a file: a pin stays as it is when its process
dies, as newer kernels leave it, until somebody claims it.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from textwrap import dedent

import pytest

from tests.service import Service, wait_until

YAML = """
gateway: {id: pi}
devices:
  - {id: pump, driver: output, pin: 23, initial: on, safe: off}
  - {id: valve, driver: output, pin: 24, active: low, initial: on, safe: off}
  - {id: siren, driver: buzzer, pin: 25}
sinks: []
buffer: {path: pi.db}
"""

FACTORY = """
import os
from pathlib import Path
from gpiozero.pins.mock import MockFactory, MockPWMPin

class FilePin(MockPWMPin):
    def note(self):
        with Path(os.environ["PINS"], str(self.info.name)).open("a") as file:
            file.write(f"{self._function} {float(self._state):g}\\n")
    def _set_function(self, value):
        super()._set_function(value)
        self.note()
    def _set_state(self, value):
        super()._set_state(value)
        self.note()

class FileFactory(MockFactory):
    def __init__(self):
        super().__init__("c03111", FilePin)
"""


class Board:
    """The pins as another program sees them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def history(self, pin: int) -> list[str]:
        file = self.folder / f"GPIO{pin}"
        return file.read_text().splitlines() if file.exists() else []

    def left(self, pin: int) -> tuple[str, str]:
        """The last level that it was driven to, and whether it is driven now."""
        driven = [line for line in self.history(pin) if line.startswith("output")]
        return driven[-1], self.now(pin).split()[0]

    def now(self, pin: int) -> str:
        return (self.history(pin) or ["nothing"])[-1]


@pytest.fixture
def board(tmp_path: Path) -> Board:
    (tmp_path / "pins").mkdir()
    return Board(tmp_path / "pins")


@pytest.fixture
def service(tmp_path: Path, board: Board) -> Service:
    packages = tmp_path / "packages"
    information = packages / "filepins-1.dist-info"
    information.mkdir(parents=True)
    (packages / "filepins.py").write_text(dedent(FACTORY))
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: filepins\nVersion: 1\n")
    (information / "entry_points.txt").write_text("[gpiozero_pin_factories]\nfile = filepins:FileFactory\n")
    file = tmp_path / "pi.yaml"
    file.write_text(YAML)
    service = Service(file, tmp_path)
    service.environ |= {"PYTHONPATH": str(packages), "GPIOZERO_PIN_FACTORY": "file", "PINS": str(board.folder)}
    return service


def outputs(service: Service, *words: str) -> subprocess.CompletedProcess[str]:
    command = service.command("outputs", *words, "--config", str(service.file))
    return subprocess.run(command, env=service.environ, capture_output=True, text=True, timeout=30)


def both_on(board: Board) -> bool:
    return (board.now(23), board.now(24)) == ("output 1", "output 0")


def test_what_kill_9_leaves_on_is_made_safe_and_never_passes_where_it_begins(service: Service, board: Board) -> None:
    service.start()
    wait_until(lambda: both_on(board), 10, "both are on")
    service.kill()
    assert both_on(board), "nobody was there to switch them off"
    lived = len(board.history(23))
    done = outputs(service, "safe")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split() for line in done.stdout.splitlines()[1:]] == [
        ["pump", "safe", "on", "off"],
        ["valve", "safe", "on", "off"],
        ["siren", "safe", "on", "off"],
    ]
    assert board.left(23) == ("output 0", "input")
    assert board.left(24) == ("output 1", "input")
    assert "output 1" not in board.history(23)[lived:], "safe, without passing `initial: on`"


def test_while_a_gateway_has_them_they_are_left_to_it(service: Service, board: Board) -> None:
    service.start()
    wait_until(lambda: both_on(board), 10, "both are on")
    done = outputs(service, "safe")
    assert done.returncode == 1
    assert f"process {service.process.pid}" in done.stderr
    assert both_on(board)
    service.stop()


def test_a_stop_makes_them_safe_and_once_more_does_no_harm(service: Service, board: Board) -> None:
    service.start()
    wait_until(lambda: both_on(board), 10, "both are on")
    service.stop()
    assert board.left(23) == ("output 0", "input")
    assert board.left(24) == ("output 1", "input")
    told = json.loads(outputs(service, "safe", "--json").stdout)
    assert told["outputs"][0] == {"id": "pump", "safe": True, "channels": {"on": False}, "reason": None}


def test_one_that_fails_is_named_and_keeps_no_other_from_being_safe(service: Service, board: Board) -> None:
    service.file.write_text(YAML.replace("pin: 23,", "pin: 24,").replace("pin: 24, active", "pin: 23, active"))
    (board.folder / "GPIO24").mkdir()  # a pin that takes nothing
    done = outputs(service, "safe")
    assert done.returncode == 1
    lines = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert "NOT SAFE" in lines["pump"]
    assert "Is a directory" in lines["pump"]
    assert "NOT SAFE" not in lines["valve"]
    assert board.left(23) == ("output 1", "input")


def test_the_list_names_what_acts(service: Service) -> None:
    lines = outputs(service).stdout.splitlines()
    assert [line.split() for line in lines] == [
        ["OUTPUT", "DRIVER", "HARDWARE", "CHANNELS"],
        ["pump", "output", "GPIO", "23", "on"],
        ["valve", "output", "GPIO", "24", "on"],
        ["siren", "buzzer", "GPIO", "25", "on"],
    ]
