"""Runs the driver contract suite outside of pytest's collection, to judge drivers that are not installed."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from gateway.testing.drivers import DriverContract


def run(suite: type[DriverContract], directory: Path) -> dict[str, BaseException | None]:
    """What each test of the suite raises."""
    return {name: run_one(suite, name, directory / name) for name in dir(suite) if name.startswith("test_")}


def run_one(suite: type[DriverContract], name: str, directory: Path) -> BaseException | None:
    directory.mkdir(parents=True)
    test = getattr(suite(), name)
    with pytest.MonkeyPatch.context() as monkeypatch:
        fixtures = {"tmp_path": directory, "monkeypatch": monkeypatch}
        try:
            test(**{parameter: fixtures[parameter] for parameter in inspect.signature(test).parameters})
        except BaseException as error:  # noqa: BLE001 - the caller judges it; pytest.raises fails with a BaseException
            return error
    return None
