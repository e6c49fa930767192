"""Logs that older versions wrote open for ever."""

import shutil
import sqlite3
from pathlib import Path

import pytest

from gateway.errors import StoreUnavailable
from gateway.eventlog import Cursor, EventLog, opening
from tests.clocks import ManualClock

FIXTURES = Path(__file__).parent / "fixtures"
TABLES = "SELECT name, sql FROM sqlite_schema ORDER BY name"


def schema(path):
    with sqlite3.connect(path) as raw:
        return raw.execute(TABLES).fetchall(), raw.execute("PRAGMA user_version").fetchone()[0]


def test_every_older_version_is_a_fixture():
    kept = {path.name for path in FIXTURES.glob("log_v*.db")}
    assert kept == {f"log_v{version}.db" for version in range(1, opening.VERSION)}


@pytest.mark.parametrize("version", range(1, opening.VERSION))
async def test_a_log_of_an_older_version_opens_with_all_it_held(tmp_path, version):
    """Written by that version: two runs of 13 events, a cursor, a dead letter."""
    path = tmp_path / "events.db"
    shutil.copy(FIXTURES / f"log_v{version}.db", path)
    log = await EventLog.open(path, ManualClock())
    try:
        page = await log.read(1)
        assert [event.offset for event in page.events] == list(range(1, 27))
        assert {event.type for event in page.events} == {"gateway.started", "reading"}
        assert log.cursors == {"home": Cursor(25, 24)}
        assert await log.dead_letters("home") == 1
        assert log.next_offset == 27
    finally:
        await log.close()
    new = tmp_path / "new.db"
    await (await EventLog.open(new, ManualClock())).close()
    assert schema(path) == schema(new), "a migrated log is as a new one"


async def test_a_migration_that_fails_leaves_the_old_version(tmp_path, monkeypatch):
    path = tmp_path / "events.db"
    shutil.copy(FIXTURES / "log_v1.db", path)
    with sqlite3.connect(path) as raw:
        raw.execute("CREATE TABLE consumer(x)")  # in the way of the last statement of version 2
    before = schema(path)
    with pytest.raises(StoreUnavailable):
        await EventLog.open(path, ManualClock())
    assert schema(path) == before
