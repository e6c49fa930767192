"""Every driver's folder is complete, and what its README says is what its code does."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import drivers
from gateway.driver import Driver
from gateway.options import DURATION_UNITS_S, parse_duration_s
from gateway.plugins import Plugins
from gateway.simulate.shapes import Fault
from gateway.simulate.signals import SHAPES, SignalSpec

ROOT = Path(drivers.__path__[0])
FOLDERS = sorted(path.parent.name for path in ROOT.glob("*/driver.py"))
FILES = {"__init__.py", "driver.py", "simulator.py", "README.md", "sample.yaml"}
DEVICE_KEYS = {"id", "driver", "every", "timeout", "channels", "simulate"}


def driver_of(folder: str) -> type[Driver]:
    return Plugins().driver(folder)


def sample_options(driver: type[Driver]) -> Any:
    device = yaml.safe_load((ROOT / driver.name / "sample.yaml").read_text(encoding="utf-8"))["devices"][0]
    return driver.Options.model_validate({key: value for key, value in device.items() if key not in DEVICE_KEYS})


def table(folder: str, heading: str, first: str) -> list[list[str]]:
    """Rows of the table below a heading whose first column is called `first`, without backticks."""
    text = (ROOT / folder / "README.md").read_text(encoding="utf-8")
    section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    assert section, f"{folder}/README.md has no section {heading}"
    found = re.search(rf"^\| {first} \|.*\n\|[-| ]+\|\n((?:\|.*\n)+)", section[1], re.MULTILINE)
    assert found, f"{folder}/README.md: no table of {first} below {heading}"
    return [
        [cell.strip().replace("`", "") for cell in row.strip().strip("|").split("|")] for row in found[1].splitlines()
    ]


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_holds_exactly_the_files_of_a_driver(folder: str) -> None:
    assert {path.name for path in (ROOT / folder).iterdir() if path.name != "__pycache__"} == FILES


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_readme_lists_the_options_with_their_defaults(folder: str) -> None:
    fields = driver_of(folder).Options.model_fields
    rows = {row[0]: row[2] for row in table(folder, "Options", "option")}
    assert list(rows) == [info.alias or name for name, info in fields.items()]
    for name, info in fields.items():
        said = rows[info.alias or name]
        if info.is_required():
            assert not said
        elif name.endswith("_s"):
            assert parse_duration_s(said) == info.default
        elif info.default is not None:
            assert said == str(info.default)
        # what None means needs words, or none where another option decides


@pytest.mark.parametrize("folder", [folder for folder in FOLDERS if folder != "signal"])
def test_the_readme_lists_the_channels(folder: str) -> None:
    driver = driver_of(folder)
    rows = [row[:4] for row in table(folder, "Channels", "channel")]
    channels = driver.channels(sample_options(driver))
    assert rows == [[c.name, c.quantity, c.measures.unit or "", c.kind] for c in channels]


def test_the_readme_of_signal_lists_every_signal_and_what_it_needs() -> None:
    rows = {row[0]: (set(row[2].split()), set(row[3].split())) for row in table("signal", "Signals", "signal")}
    assert list(rows) == list(SHAPES)
    del rows["constant"]
    for shape, (needs, may_have) in rows.items():
        fields = SHAPES[shape].model_fields.items()
        assert needs == {info.alias or name for name, info in fields if info.is_required()}, shape
        assert may_have == {info.alias or name for name, info in fields if not info.is_required()}, shape


def test_the_readme_of_signal_lists_every_fault() -> None:
    rows = {row[0]: set(row[2].split()) for row in table("signal", "Signals", "fault")}
    keys = {info.alias or name for name, info in Fault.model_fields.items()}
    assert rows == dict.fromkeys([name for name in SignalSpec.model_fields if name not in SHAPES], keys)


@pytest.mark.parametrize("folder", FOLDERS)
def test_durations_in_the_samples_carry_units(folder: str) -> None:
    for device in yaml.safe_load((ROOT / folder / "sample.yaml").read_text(encoding="utf-8"))["devices"]:
        assert "every" not in device or device["every"][-1] in DURATION_UNITS_S


def test_importing_the_drivers_imports_no_hardware_library() -> None:
    imports = ", ".join(f"drivers.{folder}.driver" for folder in FOLDERS)
    code = f"import json, sys, {imports}; print(json.dumps(list(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    loaded = {name.split(".")[0] for name in json.loads(ran.stdout)}
    assert not loaded & {"gpiozero", "lgpio", "psutil", "asyncio"}
