"""`gateway drivers`: the list, one driver's page, and other people's broken drivers."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pytest
from click import unstyle
from click.testing import CliRunner
from pydantic import Field

from gateway.cli.drivers import Entry, channels_of, drivers, find, installed, page
from gateway.cli.look import width
from gateway.cli.options import described, duration_text, size_text
from gateway.driver import Channel, PolledDriver
from gateway.options import Duration, Identifier, Options, Pin, Size
from gateway.plugins import DRIVERS, Plugins


class Inner(Options):
    deadband: float | None = Field(None, ge=0, description="how much")


class ChipOptions(Options):
    pin: Pin = Field(description="GPIO number")
    bus: int = Field(1, ge=0, description="which bus\n  it is on")
    bounce_s: Annotated[Duration, Field(le=1)] = Field(0.02, alias="bounce", description="stable for this long")
    wait_s: Duration | None = Field(None, alias="wait", description="how long to wait")
    room: Size = Field(512_000_000, description="how much to keep")
    pull: Literal["up", "down"] = Field("up", description="the resistor")
    fast: bool = Field(False, description="read twice as often")
    channels_: dict[Identifier, Inner] = Field({}, alias="inputs", description="one for each input")
    names: list[str] = Field([], description="what they are called")


class Chip(PolledDriver):
    name = "chip"
    summary = "a chip for tests"
    Options = ChipOptions
    every_s: ClassVar[float | None] = 300.0

    @classmethod
    def channels(cls, options: Any) -> tuple[Channel, ...]:
        return (Channel(f"t{options.pin}", "temperature", "how warm it is"),)

    @classmethod
    def create(cls, options: Any) -> Chip:
        raise NotImplementedError

    @classmethod
    def simulate(cls, options: Any, world: Any) -> Chip:
        raise NotImplementedError

    def read(self) -> list[Any]:
        raise NotImplementedError


PAGE = """\
chip  a chip for tests
  kind  polled: it is read every 5m, or as `every` says
  from  some-chips 1.2

Options
  OPTION                TYPE                  DEFAULT   MEANING
  pin                   whole number 0 to 27  required  GPIO number
  bus                   whole number from 0   1         which bus it is on
  bounce                duration              20ms      stable for this long
  wait                  duration              –         how long to wait
  room                  size                  512MB     how much to keep
  pull                  up | down             up        the resistor
  fast                  true/false            false     read twice as often
  inputs                mapping               –         one for each input
  inputs.NAME.deadband  number from 0         –         how much
  names                 list of text          –         what they are called
"""


def test_the_page_of_a_driver_tells_types_units_defaults_and_meanings() -> None:
    shown = unstyle(page(Entry("chip", "some-chips 1.2", Chip), Chip, None))
    assert shown.startswith(PAGE + "\nOptions of every device\n")
    assert any(line.split()[:3] == ["every", "duration", "5m"] for line in shown.splitlines())
    assert shown.endswith("Channels\n  as its options say")


def test_the_page_fits_a_terminal() -> None:
    shown = unstyle(page(Entry("chip", "some-chips 1.2", Chip), Chip, 80))
    assert max(map(width, shown.splitlines())) <= 80


@pytest.mark.parametrize(
    "sample",
    [
        "- id: it\n  driver: other\n- id: it\n  driver: chip\n  every: 10s\n  pin: 4\n",
        "devices:\n  - {id: it, driver: chip, pin: 4, timeout: 1s}\n",
    ],
)
def test_channels_that_depend_on_options_are_those_of_the_example(sample: str) -> None:
    assert [channel.name for channel in channels_of(Chip, sample)] == ["t4"]


@pytest.mark.parametrize("sample", [None, "", "just words", "- [\n", "- {driver: chip, pin: four}\n"])
def test_channels_that_nobody_can_know_are_none(sample: str | None) -> None:
    assert channels_of(Chip, sample) == ()


def test_every_installed_driver_of_ours_has_a_page_with_all_its_options() -> None:
    for entry in installed(Plugins()):
        if not entry.origin.startswith("sensor-event-gateway "):
            continue
        assert entry.driver is not None, entry.error
        shown = unstyle(page(entry, entry.driver, None))
        rows = {line.split()[0] for line in shown.splitlines() if line.startswith("  ")}
        assert {option.name for option in described(entry.driver.Options)} <= rows


def test_a_broken_driver_is_listed_with_its_error_and_the_others_too(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = entry_points(group=DRIVERS)
    broken = [
        EntryPoint(name, value, DRIVERS) for name, value in (("gone", "no_such_thing:X"), ("wrong", "json:loads"))
    ]
    plugins = Plugins()
    plugins._points[DRIVERS] |= {point.name: point for point in broken}
    found = {entry.name: entry for entry in installed(plugins)}
    assert {"gone", "wrong", *(point.name for point in ours)} <= set(found)
    assert "no_such_thing" in found["gone"].error
    assert "does not derive from" in found["wrong"].error
    assert found["thermal"].driver is not None


def test_a_driver_whose_import_fails_in_any_way_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "explosive_driver.py").write_text("raise ValueError('boom')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    plugins = Plugins()
    plugins._points[DRIVERS]["boom"] = EntryPoint("boom", "explosive_driver:X", DRIVERS)
    assert "boom" in find(plugins, "boom").error


def test_the_list_is_one_line_a_driver() -> None:
    done = subprocess.run([sys.executable, "-m", "gateway", "drivers"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    header, *rows = [line.split() for line in done.stdout.splitlines()]
    assert header == ["DRIVER", "KIND", "FROM", "SUMMARY"]
    kinds = {row[0]: row[1] for row in rows}
    assert {"button": "push", "signal": "polled", "system": "polled", "thermal": "polled"}.items() <= kinds.items()


def test_json_has_the_list_and_the_page() -> None:
    listed = json.loads(CliRunner().invoke(drivers, ["--json"]).stdout)
    assert {"name", "kind", "from", "summary", "error"} == set(listed[0])
    button = json.loads(CliRunner().invoke(drivers, ["button", "--json"]).stdout)
    assert button["options"]["properties"]["pin"]["maximum"] == 27
    assert button["every_s"] is None


def test_an_unknown_driver_is_answered_with_the_nearest() -> None:
    done = subprocess.run([sys.executable, "-m", "gateway", "drivers", "buton"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("unknown driver 'buton' (did you mean 'button'?); installed are: adc, button, ")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.02, "20ms"),
        (1, "1s"),
        (90, "90s"),
        (300, "5m"),
        (5400, "90m"),
        (30 * 86400, "30d"),
        (0.0005, "0.5ms"),
    ],
)
def test_durations_are_written_as_the_yaml_wants_them(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize(("bytes_", "text"), [(512_000_000, "512MB"), (2**21, "2MiB"), (1001, "1001B"), (10**9, "1GB")])
def test_sizes_are_written_as_the_yaml_wants_them(bytes_: int, text: str) -> None:
    assert size_text(bytes_) == text
