"""`gateway budget`: the page, the JSON, and what is said of wrong words."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest
from click import unstyle
from click.testing import CliRunner

from gateway.budget import Assumptions
from gateway.cli.budget import Disk, budget, disk_of, document, page
from gateway.cli.look import width
from gateway.config import load_config
from gateway.config.host import Host
from gateway.plugins import Plugins

YAML = """\
gateway: {id: greenhouse-pi}
devices:
  - {id: pi, driver: thermal, every: 30s}
  - id: air
    driver: signal
    every: 10s
    signals: {t: {quantity: temperature, constant: 20}, h: {quantity: humidity, constant: 50}}
    channels: {t: {deadband: 0.2}, h: {deadband: 1, heartbeat: 15m}}
  - {id: door, driver: button, pin: 17}
sinks: [{id: home, sink: console}]
buffer: {path: events.db, keep: {for: 30d, size: 512MB}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "gateway.yaml"
    file.write_text(YAML, encoding="utf-8")
    return file


def shown(file: Path, *, free: int = 20_000_000_000, columns: int | None = None, wear: str = "") -> str:
    file.write_text(YAML.replace("size: 512MB}", f"size: 512MB}}{wear}"), encoding="utf-8")
    config = load_config(file, Plugins(), host=Host({}, "pi", ""))
    told = document(Path("gateway.yaml"), config, Assumptions(), Disk(29_500_000_000, free), 32_000_000_000)
    return unstyle(page(told, columns))


def test_the_page_shows_both_cases_the_devices_and_every_assumption(file: Path) -> None:
    lines = shown(file).splitlines()
    assert lines[0] == "greenhouse-pi  gateway.yaml, an estimate"
    assert "  disk  20.0 GB free of 29.5 GB" in lines
    words = {line[:15].strip(): line[15:].split() for line in lines[4:12]}
    assert words["events"][:2] == ["136/h", "0.24/s"]
    assert words["commits"][:2] == ["136/h", "0.14/s"]
    assert {"readings wait", "written", "outage", "history", "card lasts"} <= words.keys()
    assert [line.split() for line in lines if line.startswith("  door")] == [["door", "on", "change", "0", "40/h"]]
    for assumed in ("32.0 GB, overwritten 500 times", "10 bytes of flash", "(--changes)", "heartbeat", "not counted"):
        assert assumed in "\n".join(lines)
    assert "warning" not in "\n".join(lines)


def test_nothing_is_wider_than_the_terminal_and_no_line_ends_in_blanks(file: Path) -> None:
    lines = shown(file, columns=80, wear=", wear: 10MB/day").splitlines()
    assert [line for line in lines if width(line) > 80 and not line.startswith("  log ")] == []
    assert [line for line in lines if line != line.rstrip()] == []


def test_a_log_that_may_outgrow_the_disk_is_warned_of(file: Path) -> None:
    assert "warning: the disk has 100 MB free, and the log may grow to 512 MB" in shown(file, free=100_000_000)


def test_wear_shows_how_long_readings_will_wait_and_warns_where_that_is_not_enough(file: Path) -> None:
    (line,) = [line for line in shown(file, wear=", wear: 30MB/day").splitlines() if "readings wait" in line]
    assert line.endswith("for their commit, so that buffer.wear (30.0 MB/day) is kept")
    assert "warning: busy: more than buffer.wear (10.0 MB/day)" in shown(file, wear=", wear: 10MB/day")


@pytest.mark.parametrize(("mode", "words"), [("evict", "loses"), ("refuse", "refused"), ("thin", "thinned")])
def test_what_happens_at_the_end_of_an_outage_is_what_was_chosen(file: Path, mode: str, words: str) -> None:
    file.write_text(YAML.replace("size: 512MB", f"size: 512MB, when_full: {mode}"), encoding="utf-8")
    (line,) = [line for line in CliRunner().invoke(budget, [str(file)]).stdout.splitlines() if "outage" in line]
    assert words in line


def test_the_json_has_the_same_figures_and_null_for_what_never_ends(file: Path) -> None:
    done = CliRunner().invoke(budget, [str(file), "--json", "--card", "32GB", "--changes", "0"])
    told = json.loads(done.stdout)
    assert done.exit_code == 0
    assert told["busy"]["events_per_s"] == pytest.approx(1 / 30 + 0.2)
    assert told["busy"]["met"] is True
    assert told["assumed"] == {
        "card_bytes": 32_000_000_000, "changes_per_hour": 0.0, "overwrites": 500.0, "amplification": 10.0,
    }  # fmt: skip
    file.write_text("{}", encoding="utf-8")
    told = json.loads(CliRunner().invoke(budget, [str(file), "--json"]).stdout)
    assert (told["quiet"]["card_s"], told["quiet"]["outage_s"], told["devices"]) == (None, None, [])
    assert "> 100 years" in CliRunner().invoke(budget, [str(file)]).stdout


def test_the_defaults_of_the_command_are_those_of_the_model() -> None:
    defaults = {param.name: param.default for param in budget.params}
    assumed = inspect.signature(Assumptions).parameters
    assert defaults["overwrites"] == assumed["overwrites"].default
    assert defaults["amplification"] == assumed["amplification"].default
    assert defaults["changes"] == assumed["changes_per_hour"].default


def test_a_wrong_file_or_size_is_said_as_everywhere(file: Path) -> None:
    file.write_text("devices: [{id: a, driver: butto}]", encoding="utf-8")
    done = CliRunner().invoke(budget, [str(file)])
    assert (done.exit_code, "1 problem" in done.stdout) == (2, True)
    done = CliRunner().invoke(budget, [str(file), "--card", "32"])
    assert done.exit_code == 2
    assert "found '32', a size needs a unit" in done.stderr or "expected a size" in done.stderr


def test_the_disk_is_that_of_the_nearest_folder_that_exists(tmp_path: Path) -> None:
    assert disk_of(tmp_path / "not/yet/events.db").size_bytes == disk_of(tmp_path).size_bytes
