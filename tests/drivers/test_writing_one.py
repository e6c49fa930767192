"""What drivers/README.md teaches works."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import pytest

import drivers
from gateway.testing.drivers import DriverContract
from tests.drivers import contract

README = Path(drivers.__path__[0]) / "README.md"


def blocks() -> dict[str, str]:
    """The code blocks that stand below a file name."""
    text = README.read_text(encoding="utf-8")
    return dict(re.findall(r"^`([\w./]+)`\n\n```\w+\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))


def test_the_driver_in_the_readme_keeps_the_contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = blocks()
    assert set(files) == {"battery/driver.py", "battery/simulator.py", "battery/sample.yaml", "test_battery.py"}
    (tmp_path / "battery").mkdir()
    for name, code in files.items():
        (tmp_path / name).write_text(code, encoding="utf-8")
    (tmp_path / "battery" / "README.md").write_text("options: `battery`, channels: `charge`", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        suite: type[DriverContract] = importlib.import_module("test_battery").TestBattery
        failed = {name: error for name, error in contract.run(suite, tmp_path / "runs").items() if error}
    finally:
        for name in ("battery", "battery.driver", "battery.simulator", "test_battery"):
            sys.modules.pop(name, None)
    assert failed == {}


def test_the_readme_lists_every_driver_folder() -> None:
    folders = {path.parent.name for path in README.parent.glob("*/driver.py")}
    assert set(re.findall(r"^\| \[(\w+)\]", README.read_text(encoding="utf-8"), re.MULTILINE)) == folders
