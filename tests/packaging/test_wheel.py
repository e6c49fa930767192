"""What a user gets from `pip install`, without a checkout."""

import subprocess
import sys
import zipfile
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    pytest.importorskip("hatchling", reason="hatchling builds the wheel and is not installed: use `make test`")
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert built.returncode == 0, built.stderr
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        yield archive


def read(archive, name):
    return archive.read(next(found for found in archive.namelist() if found.endswith(name))).decode()


@pytest.mark.parametrize(
    "name",
    [
        "config/gateway.yaml",
        "config/rules.yaml",
        "config/rules.cases.yaml",
        "systemd/gateway.service",
        "systemd/gateway.sysusers.conf",
    ],
)
def test_it_carries_the_data_that_the_commands_need(wheel, name):
    assert wheel.read(f"gateway/_data/{name}") == (ROOT / name).read_bytes()


def test_it_carries_every_file_of_the_packages(wheel):
    ignored = {"__pycache__"}
    wanted = {
        path.relative_to(ROOT).as_posix()
        for package in ("gateway", "drivers")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and not ignored & set(path.parts)
    }

    assert wanted <= set(wheel.namelist())


def test_each_driver_comes_with_its_readme_and_sample(wheel):
    folders = {Path(name).parent for name in wheel.namelist() if name.startswith("drivers/") and name.count("/") == 2}

    assert folders
    for folder in folders:
        assert f"{folder}/README.md" in wheel.namelist()
        assert f"{folder}/sample.yaml" in wheel.namelist()


def test_it_carries_nothing_of_the_tests(wheel):
    assert not [name for name in wheel.namelist() if name.startswith("tests") or "__pycache__" in name]


def test_the_licence_is_in_it(wheel):
    assert read(wheel, "licenses/LICENSE") == (ROOT / "LICENSE").read_text()
    assert "License-Expression: Apache-2.0" in read(wheel, "METADATA")


@pytest.mark.parametrize("group", ["gateway.drivers", "gateway.sinks", "console_scripts"])
def test_every_entry_point_of_ours_imports(group):
    ours = [point for point in entry_points(group=group) if point.dist.name == "sensor-event-gateway"]

    assert ours
    for point in ours:
        assert callable(point.load()), point.name
