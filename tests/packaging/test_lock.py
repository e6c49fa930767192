"""What `make` installs is pinned: by version and by hash, from wherever this machine gets its packages."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCKS = {"requirements.lock": ["demo"], "requirements-dev.lock": ["demo", "test", "check"]}


def canonical(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


def locked(name: str) -> dict[str, str]:
    """Name of each distribution -> everything that the lock says about it."""
    text = (ROOT / name).read_text().replace("\\\n", " ")
    return {canonical(line): line for line in text.splitlines() if line and not line.startswith("#")}


@pytest.fixture(params=LOCKS)
def lock(request):
    return request.param


def test_every_distribution_has_one_version_and_a_hash(lock):
    for name, line in locked(lock).items():
        assert re.match(r"[\w.-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", line), name


def test_no_address_is_in_it(lock):
    text = (ROOT / lock).read_text()

    assert "://" not in text
    assert "-index-url" not in text
    assert "--find-links" not in text


def test_it_has_everything_that_the_project_asks_for(lock):
    extras = PROJECT["optional-dependencies"]
    wanted = [*PROJECT["dependencies"], *(r for extra in LOCKS[lock] for r in extras[extra]), "hatchling", "editables"]

    assert {canonical(requirement) for requirement in wanted} <= locked(lock).keys()


def test_the_demo_installs_no_test_tool():
    assert not {"pytest", "mypy", "ruff"} & locked("requirements.lock").keys()


def test_the_two_locks_agree():
    run, dev = (locked(name) for name in LOCKS)

    assert {name: dev[name] for name in run} == run
