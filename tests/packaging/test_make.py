"""The Makefile is the first thing that a newcomer meets."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAKEFILE = ROOT / "Makefile"

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def make(folder, *arguments, **variables):
    given = [f"{name}={value}" for name, value in variables.items()]
    command = ["make", "--no-print-directory", *arguments, *given]
    # `make test` hands its own flags and variables down; this make is a new one.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


@pytest.fixture
def elsewhere(tmp_path):
    """A folder with the Makefile and what it depends on, and no virtual environment."""
    for name in ("Makefile", "pyproject.toml", "requirements.lock", "requirements-dev.lock"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def fake_python(folder: Path, script: str) -> Path:
    python = folder / "python-that-is-not-right"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    return python


def test_make_alone_lists_every_target():
    said = make(ROOT)
    targets = re.search(r"^\.PHONY: (.*)$", MAKEFILE.read_text(), re.MULTILINE)[1].split()

    assert said.returncode == 0
    assert re.findall(r"^  make (\w+) +\S", said.stdout, re.MULTILINE) == targets


def test_an_old_python_is_named_and_so_is_the_way_out(elsewhere):
    python = fake_python(elsewhere, '[ "$1" = --version ] && echo "Python 3.9.2" && exit 0; exit 1')

    said = make(elsewhere, "demo", PYTHON=python)

    assert said.returncode != 0
    assert "needs Python 3.11 or newer" in said.stdout
    assert "Python 3.9.2" in said.stdout
    assert "make PYTHON=python3.13" in said.stdout
    assert not (elsewhere / ".venv").exists()


def test_a_python_without_venv_names_the_package_to_install(elsewhere):
    python = fake_python(elsewhere, 'case "$2" in *ensurepip*) exit 1;; esac; exit 0')

    said = make(elsewhere, "demo", PYTHON=python)

    assert said.returncode != 0
    assert "sudo apt install python3-venv" in said.stdout


def test_the_demo_does_not_wait_for_the_tools_of_the_tests():
    planned = make(ROOT, "--dry-run", "--always-make", "demo").stdout

    assert "requirements.lock" in planned
    assert "requirements-dev.lock" not in planned


def test_the_script_of_the_continuous_integration_is_sound_shell():
    script = ROOT / ".ci" / "run"

    assert subprocess.run(["bash", "-n", script]).returncode == 0
    assert script.stat().st_mode & 0o111
