"""The systemd unit: least privilege is a figure, so it can be a test."""

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

SYSTEMD = Path(__file__).parents[2] / "systemd"
UNIT = SYSTEMD / "gateway.service"
EXPOSURE_MAX = 1.5

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def analyze(*arguments) -> str:
    command = ["systemd-analyze", "--no-pager", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def service():
    """The [Service] section; of a key that is given twice, the last."""
    unit = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    unit.optionxform = str
    unit.read(UNIT)
    return unit["Service"]


def test_a_reload_needs_nothing_that_a_minimal_debian_lacks(service):
    """Everything that systemd runs, beside the gateway itself, comes with packages that Debian calls essential."""
    programs = {service[key].split()[0] for key in service if key.startswith("Exec")}
    assert programs == {"/opt/gateway/bin/gateway", "/bin/sh"}
    received = subprocess.run(
        ["/bin/sh", "-c", "trap 'echo reloaded' HUP; MAINPID=$$ " + service["ExecReload"].replace("$$", "$")],
        capture_output=True, text=True, timeout=10,
    )  # fmt: skip
    assert (received.stdout, received.stderr) == ("reloaded\n", "")


@needs_systemd
def test_the_exposure_is_low():
    said = analyze("security", "--offline=true", UNIT)
    overall = re.search(r"Overall exposure level for gateway\.service: ([\d.]+)", said)

    assert overall, said
    assert float(overall[1]) <= EXPOSURE_MAX


@needs_systemd
def test_systemd_understands_every_line():
    problems = [
        line
        for line in analyze("verify", UNIT).splitlines()
        if "gateway.service" in line and "is not executable" not in line  # the program is not installed in /opt here
    ]

    assert problems == []


def test_every_group_that_the_unit_wants_is_made(service):
    lines = [line.split() for line in (SYSTEMD / "gateway.sysusers.conf").read_text().splitlines()]
    made = {words[1] for words in lines if words and words[0] in {"u", "g"}}
    everywhere = {"dialout"}  # Debian's base-passwd

    assert {*service["SupplementaryGroups"].split(), service["User"], service["Group"]} <= made | everywhere


def test_lgpio_can_make_its_fifo_in_the_working_directory(service):
    assert service["WorkingDirectory"] == f"%t/{service['RuntimeDirectory']}"


def test_a_stop_waits_longer_than_the_sinks_are_given(service):
    assert float(service["TimeoutStopSec"]) > 4 + 2


def test_a_wrong_configuration_is_not_started_again(service):
    from gateway.errors import ConfigError

    assert service["RestartPreventExitStatus"] == str(ConfigError.exit_code)


def test_the_watchdog_is_on_and_what_it_kills_leaves_no_secrets_behind(service):
    assert float(service["WatchdogSec"]) == 60
    assert service["Restart"] == "on-failure"  # which a watchdog's timeout is
    assert service["LimitCORE"] == "0"


def test_a_slow_disk_is_no_hang(service):
    """One fsync of 20 s is a state. A part is missed only after it held the token for the whole time."""
    assert float(service["WatchdogSec"]) > 20 + 20
