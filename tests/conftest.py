"""Fixtures for all tests: a real broker where one is installed."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.brokers import MOSQUITTO, Mosquitto


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("mosquitto") is not None and MOSQUITTO is None:
        if os.environ.get("REQUIRE_MOSQUITTO") == "1":
            pytest.fail("REQUIRE_MOSQUITTO=1, but mosquitto is not installed: apt install mosquitto")
        pytest.skip("needs Debian's mosquitto: apt install mosquitto")


@pytest.fixture(scope="session")
def mosquitto() -> Iterator[Mosquitto]:
    """A mosquitto that takes everybody, shared by the session's tests: use topics of your own."""
    with Mosquitto() as broker:
        yield broker
