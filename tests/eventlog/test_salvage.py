"""A damaged log is moved aside, what can be read goes into a fresh one, and the rest is named."""

import contextlib
import os
import shutil
import sqlite3
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.errors import LogForeign, LogTooNew
from gateway.eventlog import Cursor, DeadLetter, EventLog, Riders, carve, salvage, store
from gateway.eventlog.carve import Pages
from gateway.eventlog.damage import JUMP, finish
from tests.eventlog.disks import damage, everything, reading
from tests.eventlog.test_faults import leaf_pages, spoil_page

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture
async def path(tmp_path, clock):
    """A log of two runs, with a cursor, a dead letter and batches of many sizes."""
    path = tmp_path / "events.db"
    for _ in range(2):
        log = await EventLog.open(path, clock, machine="one")
        for n in range(100):
            events = [reading(float(n), subject=f"{os.urandom(20).hex()}/x") for _ in range(1 + 17 * n % 61)]
            stamped = await log.append(events)
        await log.append([], Riders({"home": Cursor(700, 699)}, (DeadLetter("home", stamped[0], "too large"),)))
        await log.close()
    return path


async def opened(path, clock):
    log = await EventLog.open(path, clock)
    try:
        events, gaps = await everything(log)
        return events, gaps, log.faults.untold, log.next_offset, dict(log.cursors), await log.dead_letters("home")
    finally:
        await log.close()


def ids(path):
    """offset -> id of every event that the file has."""
    raw = sqlite3.connect(path)
    rows = raw.execute("SELECT nonce, base_offset, last_offset FROM batch JOIN run ON run.id = batch.run").fetchall()
    raw.close()
    return {offset: f"{nonce}-{offset}" for nonce, base, last in rows for offset in range(base, last + 1)}


def kept(path):
    return [file for file in path.parent.glob("events.db.corrupt-*") if not file.name.endswith("-wal")]


async def judge(path, clock, before, *, at_least):
    """Open, and hold everything against what was there: nothing wrong, nothing silent. Returns the events."""
    damaged = path.read_bytes()
    events, _, untold, next_offset, cursors, letters = await opened(path, clock)
    highest = max([*(e.offset for e in events), 699])
    assert {e.offset: e.id for e in events}.items() <= before.items(), "an id never changes"
    assert len(events) >= at_least
    named = [(first, last) for first, last in untold if last - first < JUMP - 2]
    missing = before.keys() - {e.offset for e in events}
    covered = {o for o in missing if any(first <= o <= last for first, last in untold)}
    assert covered == missing, "whatever is gone is named"
    assert not {o for first, last in named for o in range(first, last + 1)} & {e.offset for e in events}
    assert next_offset > max(before) + JUMP // 2
    assert next_offset >= highest + JUMP
    (aside,) = kept(path)
    assert aside.read_bytes() == damaged, "the damaged file is kept as it was"
    assert "20270115T" in aside.name
    return events, cursors, letters


async def test_a_log_whose_first_page_is_gone_is_carved_out_of_the_others(path, clock):
    before = ids(path)
    spoil_page(path, 1)
    events, cursors, letters = await judge(path, clock, before, at_least=len(before))
    assert len(events) == len(before)
    assert cursors == {"home": Cursor(700, 699)}
    assert letters == 2


@pytest.mark.parametrize("part", [0.9, 0.5, 0.1])
async def test_a_truncated_log_keeps_all_that_is_left(path, clock, part):
    before = ids(path)
    size = path.stat().st_size
    os.truncate(path, int(size * part) // 1024 * 1024 + 300)
    _, cursors, _ = await judge(path, clock, before, at_least=int(len(before) * (part - 0.1) * 0.9))
    assert cursors == {"home": Cursor(700, 699)}


async def test_a_damaged_batch_among_the_newest_makes_the_log_go_on_in_a_fresh_file(path, clock, caplog):
    before = ids(path)
    base = max(before) - 5
    damage(path, "UPDATE batch SET crc = crc + 1 WHERE base_offset <= ? AND last_offset >= ?", base, base)
    _, cursors, letters = await judge(path, clock, before, at_least=len(before) - 60)
    assert (cursors, letters) == ({"home": Cursor(700, 699)}, 2)
    assert "kept as events.db.corrupt-2027" in caplog.text


@pytest.mark.parametrize("kind", ["leaf", "internal"])
async def test_a_broken_tree_loses_what_the_page_held_and_no_more(path, clock, kind):
    before = ids(path)
    pages = [number for number, what in leaf_pages(path) if what == kind]
    spoil_page(path, pages[len(pages) // 2])
    damage(path, "INSERT INTO meta VALUES ('broken', 'found by a reader')")
    lost = 60 if kind == "leaf" else 0
    await judge(path, clock, before, at_least=len(before) - lost)


async def test_the_runs_are_gone_so_their_events_get_ids_that_nobody_has_had(path, clock):
    before = ids(path)
    raw = sqlite3.connect(path)
    (root,) = raw.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'run'").fetchone()
    raw.close()
    spoil_page(path, root)
    events, gaps, *_ = await opened(path, clock)
    assert {e.offset for e in events} == before.keys()
    assert not {e.id for e in events} & set(before.values())
    assert [first for first, _ in gaps] == [max(before) + 1]


async def test_what_is_only_in_the_write_ahead_log_is_salvaged_too(path, clock):
    log = await EventLog.open(path, clock)
    stamped = await log.append([reading(7.0)] * 5)
    copy = path.with_name("copy.db")
    for suffix in ("", "-wal"):
        shutil.copy(path.with_name(path.name + suffix), copy.with_name(copy.name + suffix))
    await log.close()
    with copy.open("r+b") as file:
        file.write(os.urandom(1024))
    assert carve.committed(copy.with_name("copy.db-wal")), "the test has something to find"
    before = ids(path)
    copy.replace(path)
    copy.with_name("copy.db-wal").replace(path.with_name("events.db-wal"))
    events, *_ = await opened(path, clock)
    assert {e.offset: e.id for e in events} == before
    assert [e.id for e in events[-5:]] == [e.id for e in stamped]


async def test_a_salvaged_log_is_a_log_like_any_other_and_is_not_salvaged_again(path, clock):
    spoil_page(path, 1)
    log = await EventLog.open(path, clock)
    first = log.next_offset
    await log.append([reading()] * 10)
    lost = log.faults.untold
    await log.faults.told(lost)
    await log.close()
    log = await EventLog.open(path, clock)
    events, gaps = await everything(log)
    assert (gaps[-1][1], events[-10].offset) == (first - 1, first)
    assert log.faults.untold == []
    assert log.next_offset - log.first_offset - log.faults.missing(log.first_offset, log.next_offset) == len(events)
    assert len(kept(path)) == 1
    await log.close()
    shutil.copy(path, path.with_name("again.db"))
    spoil_page(path, 1)
    events_again, _, untold, *_ = await opened(path, clock)
    assert [e.id for e in events_again] == [e.id for e in events]
    assert all(last - low < 10 or last - low >= JUMP - 2 for low, last in untold), "the first jump is no loss"


async def test_a_migrated_log_is_salvaged_into_the_version_of_today(tmp_path, clock):
    path = tmp_path / "events.db"
    shutil.copy(FIXTURES / "log_v1.db", path)
    before = ids(path)
    spoil_page(path, 1)
    events, _, _, _, cursors, letters = await opened(path, clock)
    assert {e.offset: e.id for e in events} == before
    assert cursors == {"home": Cursor(25, 24)}
    assert letters == 1


async def test_a_file_of_zeros_and_one_that_was_emptied_start_anew_and_say_so(path, clock):
    for content in (bytes(8192), b""):
        path.write_bytes(content)
        events, _, untold, next_offset, *_ = await opened(path, clock)
        assert events == []
        assert next_offset >= JUMP
        assert untold[-1][1] == next_offset - 1
        for file in kept(path):
            file.unlink()


async def test_somebody_elses_file_is_refused_and_left_alone(tmp_path, clock):
    path = tmp_path / "events.db"
    path.write_bytes(b"Dear Sir, this is a letter. " * 1000)
    for _ in range(2):  # the lock beside it is no reason to take it for ours
        with pytest.raises(LogForeign):
            await EventLog.open(path, clock)
    assert path.read_bytes().startswith(b"Dear Sir")
    assert kept(path) == []


async def test_a_log_of_a_newer_version_is_refused_and_not_salvaged(path, clock):
    damage(path, "PRAGMA user_version = 99")
    with pytest.raises(LogTooNew, match="install the newer version again"):
        await EventLog.open(path, clock)
    assert kept(path) == []


async def test_a_crash_between_the_renames_is_finished_by_the_next_start(path, clock, monkeypatch):
    before = ids(path)
    spoil_page(path, 1)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", cut_off(1))
        with pytest.raises(KeyboardInterrupt):
            await EventLog.open(path, clock)
    assert not path.exists()
    events, *_ = await opened(path, clock)
    assert {e.offset: e.id for e in events} == before


@pytest.mark.parametrize("renames", range(4))
def test_a_write_ahead_log_stays_with_its_file_wherever_the_change_is_cut_off(tmp_path, clock, monkeypatch, renames):
    """A damaged file without it might pass for a whole one, and SQLite would take it for that of the fresh file."""
    path, held = tmp_path / "events.db", {"": "damaged", "-wal": "its log", "-shm": "its index", ".salvage": "fresh"}
    for suffix, text in held.items():
        path.with_name(path.name + suffix).write_text(text)
    with monkeypatch.context() as patched, contextlib.suppress(KeyboardInterrupt):
        patched.setattr(Path, "rename", cut_off(renames))
        salvage._swap(path, clock)
    if not renames:
        assert [path.with_name(path.name + suffix).read_text() for suffix in held] == [*held.values()], "as it was"
        return
    assert not path.exists() or path.read_text() == "fresh"
    finish(path)
    (damaged,) = kept(path)
    texts = [path, damaged, damaged.with_name(damaged.name + "-wal")]
    assert [file.read_text() for file in texts] == ["fresh", "damaged", "its log"]
    assert len(list(tmp_path.iterdir())) == 3


def cut_off(renames):
    """`Path.rename` until it was called so often; then a crash."""
    rename, done = Path.rename, []

    def maybe(self, target):
        if len(done) == renames:
            raise KeyboardInterrupt
        done.append(target)
        return rename(self, target)

    return maybe


async def test_a_half_made_fresh_log_is_made_again(path, clock):
    before = ids(path)
    spoil_page(path, 1)
    path.with_name("events.db.salvage").write_bytes(b"half of something")
    events, *_ = await opened(path, clock)
    assert {e.offset: e.id for e in events} == before


async def test_only_the_newest_damaged_files_are_kept(path, clock):
    for _ in range(4):
        spoil_page(path, 1)
        clock.pass_s(60)
        await opened(path, clock)
    assert len(kept(path)) == salvage.KEPT_FILES


async def test_a_file_that_breaks_while_it_is_written_is_salvaged_without_a_restart(path, clock):
    log = await EventLog.open(path, clock)
    before, run = log.next_offset, log.run
    log._head.store.broken = "database disk image is malformed"
    spoil_page(path, 1)
    (event,) = await log.append([reading()])
    assert event.offset >= before + JUMP - 1
    assert log.run != run
    assert len(kept(path)) == 1
    await log.close()


# -- carving ----------------------------------------------------------------------------------------------------------


async def test_carving_finds_exactly_the_rows_that_sqlite_finds(path):
    raw = sqlite3.connect(path)
    names = ("batch", "run", "cursor", "dead_letter", "meta")
    tables = {name: raw.execute(f"SELECT * FROM {name}").fetchall() for name in names}
    raw.close()
    pages = Pages(path)
    found = {}
    for row in carve.rows(pages):
        if row is not None:
            found.setdefault(row.kind, []).append(row.values)
    pages.close()
    assert max(len(row[9]) for row in tables["batch"]) > 1024, "some run on over other pages"
    for table, rows in tables.items():
        assert sorted(found[table], key=repr) == sorted(rows, key=repr), table


async def test_carving_takes_the_newest_pages_from_the_write_ahead_log(path, clock):
    log = await EventLog.open(path, clock)
    stamped = await log.append([reading()] * 5)
    pages = Pages(path)
    found = {row.values[0]: row.values for row in carve.rows(pages) if row is not None and row.kind == "batch"}
    pages.close()
    await log.close()
    assert found[stamped[0].offset][1] == stamped[-1].offset


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 10**6), st.binary(min_size=1, max_size=50)), min_size=1, max_size=20))
async def test_whatever_is_written_over_a_file_carving_ends_and_finds_nothing_wrong(path, spoils):
    copy = path.with_name("spoilt.db")
    shutil.copy(path, copy)
    raw = sqlite3.connect(path)
    sound = {row[0]: row for row in raw.execute("SELECT * FROM batch")}
    raw.close()
    with copy.open("r+b") as file:
        size = copy.stat().st_size
        for at, spoil in spoils:
            file.seek(at % size)
            file.write(spoil)
    pages = Pages(copy)
    batches = [row.values for row in carve.rows(pages) if row is not None and row.kind == "batch"]
    pages.close()
    taken = [row for row in batches if salvage._sound(row)]
    assert all(row[9] == sound[row[0]][9] for row in taken if row[0] in sound)
    assert len(taken) >= len(sound) - 60 * len(spoils)


def test_a_write_ahead_log_counts_up_to_its_last_commit(tmp_path):
    path = tmp_path / "a.db"
    raw = sqlite3.connect(path)
    raw.execute(f"PRAGMA page_size = {store.PAGE_BYTES}")
    raw.execute("PRAGMA journal_mode = WAL")
    raw.execute("CREATE TABLE t(x)")
    raw.commit()
    for n in range(5):
        raw.execute("INSERT INTO t VALUES (?)", (n,))
        raw.commit()
    wal = path.with_name("a.db-wal").read_bytes()
    before = carve.committed(path.with_name("a.db-wal"))
    raw.execute("INSERT INTO t VALUES (?)", ("many pages in one commit " * 500,))
    raw.commit()
    more = path.with_name("a.db-wal").read_bytes()
    raw.close()
    torn = tmp_path / "torn-wal"
    torn.write_bytes(more)
    assert len(carve.committed(torn)) > len(before) + 5
    torn.write_bytes(more[:-1])
    assert carve.committed(torn) == before, "nothing of a commit that is not whole"
    sizes = []
    for cut in (len(wal), len(wal) - 1, len(wal) - 2000, 40, 10, 0):
        torn.write_bytes(wal[:cut])
        sizes.append(carve.committed(torn))
    assert sizes[0][2] != sizes[1][2], "the last commit is torn off"
    assert sizes[3:] == [{}, {}, {}]


async def test_sums_of_a_thinned_log_are_salvaged_and_damage_does_not_stop_thinning(tmp_path, clock):
    path = tmp_path / "events.db"
    log = await EventLog.open(path, clock, size_bytes_max=1_000_000, when_full="thin")
    for n in range(400):
        events = [reading(float(os.urandom(1)[0]), subject=f"a/{os.urandom(1)[0] % 4}") for _ in range(100)]
        if n == 20:
            damage(path, "UPDATE batch SET records = zeroblob(length(records)) WHERE base_offset = 501")
        await log.append(events)
        if n >= 100:
            await log._retention.make_room()
        clock.pass_s(1)
    assert log.tally.thinned > 1000
    before = [e.id for e in (await everything(log))[0]]
    await log.close()
    spoil_page(path, 1)
    log = await EventLog.open(path, clock, size_bytes_max=1_000_000, when_full="thin")
    after = [e.id for e in (await everything(log))[0]]
    assert any("~" in i for i in after)
    assert after == before
    await log.close()


def test_a_row_that_ends_within_a_number_is_no_row():
    """A header of two bytes that promises one floating-point number, and four of its eight bytes."""
    assert carve._row(b"\x02\x07" + bytes(4), 1) is None
