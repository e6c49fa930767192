"""Fixtures for all tests: a real broker where one is installed, and an eye on every log record."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from functools import partial

import aiosqlite.core
import pytest
from hypothesis import settings

from tests.brokers import MOSQUITTO, Mosquitto
from tests.demand import demand

settings.register_profile("ours", deadline=None)  # how long an example takes says more of the machine than of the code
settings.load_profile("ours")


def pytest_configure() -> None:
    """A log that a failing test leaves open must not keep pytest from ending: its threads are no reason to wait."""
    aiosqlite.core.Thread = partial(threading.Thread, daemon=True)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("mosquitto") is not None and MOSQUITTO is None:
        demand("needs Debian's mosquitto: apt install mosquitto", "REQUIRE_MOSQUITTO")


@pytest.fixture(scope="session")
def mosquitto() -> Iterator[Mosquitto]:
    """A mosquitto that takes everybody, shared by the session's tests: use topics of your own."""
    with Mosquitto() as broker:
        yield broker


class _Formatted(logging.Handler):
    """Formats each record, as the gateway's own handler would, and keeps what cannot be."""

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.wrong: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
        except Exception as error:  # noqa: BLE001 - whatever its arguments raise
            self.wrong.append(f"{record.pathname}:{record.lineno}: {record.msg!r} with {record.args!r}: {error}")
        else:
            if not text or "\n" in text:
                self.wrong.append(f"{record.pathname}:{record.lineno}: a message is one line, found {text!r}")


@pytest.fixture(autouse=True)
def every_log_record_is_well_formed() -> Iterator[None]:
    """Every record of the gateway, of any level, has its arguments and is one line."""
    logger, handler = logging.getLogger("gateway"), _Formatted()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield
    logger.removeHandler(handler)
    logger.setLevel(level)
    assert handler.wrong == []
