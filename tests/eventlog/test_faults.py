"""Faults of the store: a disk that others fill, one that takes no writes, damage, a card in another machine."""

import os
import sqlite3
from types import SimpleNamespace

import pytest

from gateway.errors import LogLocked, StoreUnavailable
from gateway.eventlog import Cursor, EventLog, Riders, ballast, opening, scrub, store
from gateway.eventlog.ballast import BALLAST_BYTES
from gateway.eventlog.damage import JUMP, Damage, gap_of
from gateway.upkeep import Upkeep
from tests.eventlog.disks import damage, everything, reading
from tests.spine.conftest import PlayedSink, Spine, until

MB = 1_000_000


# -- a disk that others fill ------------------------------------------------------------------------------------------


class Crowd:
    """Others on the disk. While they fill it, the file may not grow, and `statvfs` says so."""

    def __init__(self, log, monkeypatch):
        self.log, self.full = log, False
        real = os.statvfs

        def statvfs(path):
            return SimpleNamespace(f_bavail=0, f_frsize=4096) if self.full else real(path)

        monkeypatch.setattr(ballast.os, "statvfs", statvfs)

    async def come(self):
        """What there is room for is what the file has by now."""
        self.full = True
        await self.log._head.store.fold()
        pages, _ = await self.log._head.store.pages()
        await self.log._head.store._writer.execute_fetchall(f"PRAGMA max_page_count = {pages}")


def bulk(n=200):
    return [reading(subject=f"{os.urandom(40).hex()}/x") for _ in range(n)]


async def test_a_ballast_of_real_blocks_lies_beside_the_log(log, path):
    held = path.with_name("events.db.ballast").stat()
    assert held.st_size == BALLAST_BYTES
    assert held.st_blocks * 512 >= BALLAST_BYTES, "a sparse file would reserve nothing"


async def test_a_disk_that_is_nearly_full_gets_no_ballast_and_works(path, clock, monkeypatch):
    monkeypatch.setattr(ballast.os, "statvfs", lambda path: SimpleNamespace(f_bavail=600, f_frsize=4096))
    log = await EventLog.open(path, clock)
    await log.append(bulk())
    assert not path.with_name("events.db.ballast").exists()
    await log.close()


async def test_others_fill_the_disk_and_the_log_goes_on_in_the_room_it_has(log, path, monkeypatch):
    await log.append(bulk(2000))
    crowd = Crowd(log, monkeypatch)
    await crowd.come()
    for _ in range(100):
        await log.append(bulk())
    assert not path.with_name("events.db.ballast").exists()
    assert "the disk is full" in log.faults.shortage
    assert path.stat().st_size <= log.size_bytes_max < 512 * MB
    assert log.first_offset > 1, "the oldest made room"
    assert log.next_offset == 22_001
    assert (await log.bounds()).bytes_max == log.size_bytes_max


async def test_the_ballast_and_the_bound_return_with_the_room(log, path, monkeypatch):
    crowd = Crowd(log, monkeypatch)
    await log.append(bulk())
    await crowd.come()
    for _ in range(10):
        await log.append(bulk())
    await log.faults.mind()
    assert log.faults.shortage, "there is no room yet"
    crowd.full = False
    await log.faults.mind()
    assert log.faults.shortage is None
    assert log.size_bytes_max == 512_000_000
    assert path.with_name("events.db.ballast").stat().st_size == BALLAST_BYTES
    first = log.first_offset
    for _ in range(100):
        await log.append(bulk())
    assert log.first_offset == first, "nothing makes room any more"


async def test_a_reload_while_the_disk_is_full_does_not_lift_the_bound(log, monkeypatch):
    crowd = Crowd(log, monkeypatch)
    await log.append(bulk())
    await crowd.come()
    for _ in range(10):
        await log.append(bulk())
    lowered = log.size_bytes_max
    await log.keep(size_bytes_max=100 * MB, keep_for_s=60)
    assert log.size_bytes_max == lowered
    crowd.full = False
    await log.faults.mind()
    assert log.size_bytes_max == 100 * MB


async def test_a_start_on_a_full_disk_uses_the_ballast(path, clock, monkeypatch):
    log = await EventLog.open(path, clock)
    await log.append(bulk())
    await log.close()
    real, refusals = opening.open_store, iter(range(1))

    async def no_room(path, **more):
        if next(refusals, None) is not None:
            raise StoreUnavailable("database or disk is full (SQLITE_FULL)", full=True)
        return await real(path, **more)

    monkeypatch.setattr(opening, "open_store", no_room)
    monkeypatch.setattr(ballast.os, "statvfs", lambda path: SimpleNamespace(f_bavail=0, f_frsize=4096))
    log = await EventLog.open(path, clock)
    assert log.faults.shortage
    assert not path.with_name("events.db.ballast").exists()
    await log.append(bulk())
    await log.close()


async def test_the_shortage_is_an_event_and_so_is_its_end(log, clock, monkeypatch):
    spine = Spine(log, clock, PlayedSink())
    upkeep, crowd = Upkeep(log, spine.recorder), Crowd(log, monkeypatch)
    spine.recorder.offer(bulk())
    await until(lambda: log.next_offset == 201)
    await crowd.come()
    spine.recorder.offer(bulk(4000))
    await until(lambda: log.faults.shortage)
    await upkeep.look()
    await upkeep.look()
    crowd.full = False
    await upkeep.look()
    await until(lambda: "store.recovered" in [e.type for e in spine.sink.arrived])
    told = [e for e in spine.sink.arrived if e.type.startswith("store.")]
    assert [e.type for e in told] == ["store.degraded", "store.recovered"]
    assert "the disk is full" in told[0].reason
    await spine.stop()


# -- a disk that takes no writes --------------------------------------------------------------------------------------


async def test_a_quiet_disk_is_asked_by_a_real_write_once_a_minute_and_a_busy_one_is_not(log, clock, monkeypatch):
    asked = []
    monkeypatch.setattr(log._lock, "probe", lambda: asked.append(clock.mono_ns()))
    for _ in range(59):
        await log.faults.mind()
        clock.pass_s(1)
    assert asked == []
    await log.append([reading()])
    clock.pass_s(59)
    await log.faults.mind()
    assert asked == [], "a commit is a probe"
    clock.pass_s(1)
    await log.faults.mind()
    await log.faults.mind()
    assert len(asked) == 1


async def test_a_disk_that_does_not_take_the_probe_is_told_although_nothing_happens(log, clock, monkeypatch):
    spine = Spine(log, clock, PlayedSink())
    before = log.run
    refusals = iter(range(1))

    def refuses():
        if next(refusals, None) is not None:
            raise OSError(30, "Read-only file system")

    monkeypatch.setattr(log._lock, "probe", refuses)
    clock.pass_s(61)
    await Upkeep(log, spine.recorder).look()
    await until(lambda: log.run != before)
    await spine.stop()


async def test_after_a_failed_flush_nothing_rests_on_what_was_not_flushed(path, clock):
    """The frames of a failed commit may be readable and yet on no disk: opening anew brings them into the file."""
    log = await EventLog.open(path, clock)
    await log.append([reading()] * 100)
    log._head.store.broken = "disk I/O error (SQLITE_IOERR_FSYNC)"
    await log.append([reading()])
    with sqlite3.connect(f"file:{path}?immutable=1", uri=True) as raw:  # the file alone, without its write-ahead log
        (last,) = raw.execute("SELECT max(last_offset) FROM batch").fetchone()
    raw.close()
    assert last == 100
    await log.close()


# -- damage -----------------------------------------------------------------------------------------------------------


async def filled(path, clock, batches=300, events=10):
    log = await EventLog.open(path, clock)
    for n in range(batches):
        await log.append([reading(float(n), subject=f"{os.urandom(20).hex()}/x") for _ in range(events)])
    return log


SPOIL = "UPDATE batch SET records = zeroblob(length(records)) WHERE base_offset = ?"


async def test_delivery_goes_on_behind_a_damaged_batch_and_a_gap_names_it_once(path, clock):
    log = await filled(path, clock)
    damage(path, SPOIL, 101)
    log._head.tail.clear()
    spine = Spine(log, clock, PlayedSink())
    upkeep = Upkeep(log, spine.recorder)
    await until(lambda: len(spine.sink.arrived) == 2990)
    assert spine.sink.offsets == [*range(1, 101), *range(111, 3001)]
    for _ in range(3):
        await upkeep.look()
    await until(lambda: spine.sink.arrived[-1].type == "log.gap")
    gap = spine.sink.arrived[-1]
    assert gap.reason == "corrupt"
    assert (int(gap.data["first"]), int(gap.data["last"]), gap.data["count"]) == (101, 110, 10)
    assert log.tally.lost == {"corrupt": 10}
    await spine.stop()
    log = await EventLog.open(path, clock)
    assert log.faults.untold == []
    await everything(log)
    assert log.faults.untold == [], "it stands in the file that this was told"
    assert log.faults.missing(1, log.next_offset) == 10
    await log.close()


async def test_the_scrub_finds_what_nobody_reads_in_bounded_steps_and_rests_for_a_day(path, clock):
    log = await filled(path, clock)
    for base in (1, 1001, 1991):
        damage(path, SPOIL, base)
    fetched = []
    batches_from = log._head.store.batches_from

    async def counted(offset, limit):
        rows = await batches_from(offset, limit)
        fetched.append(sum(len(row.records) for row in rows))
        return rows

    log._head.store.batches_from = counted
    while not log.faults.scrubbed:
        await log.faults.scrub()
        assert len(fetched) < 300
    assert log.faults.untold == [(1, 10), (1001, 1010), (1991, 2000)]
    assert max(fetched) <= 2 * scrub.STEP_BYTES
    looks = len(fetched)
    await log.faults.scrub()
    assert len(fetched) == looks
    clock.pass_s(scrub.PASS_EVERY_S)
    await log.faults.scrub()
    assert len(fetched) == looks + 1
    await log.close()


async def test_evicting_a_damaged_batch_does_not_stop_the_log(path, clock):
    log = await EventLog.open(path, clock, size_bytes_max=MB)
    await log.append([reading()], Riders({"home": Cursor(1)}))
    for _ in range(10):
        await log.append(bulk())
    damage(path, SPOIL, 2)
    while log.first_offset == 1:
        await log.append(bulk())
    await log.close()


def spoil_page(path, number):
    with path.open("r+b") as file:
        file.seek((number - 1) * store.PAGE_BYTES)
        file.write(os.urandom(store.PAGE_BYTES))


def leaf_pages(path):
    """Numbers of the pages of `batch`, in the order of its tree."""
    raw = sqlite3.connect(path)
    try:
        sql = "SELECT pageno, pagetype FROM dbstat WHERE name = 'batch' ORDER BY path"
        return raw.execute(sql).fetchall()
    except sqlite3.OperationalError:
        pytest.skip("this SQLite has no dbstat")
    finally:
        raw.close()


async def test_reading_goes_on_behind_a_broken_tree_and_the_next_start_salvages(path, clock, caplog):
    log = await filled(path, clock, batches=600)
    await log.close()
    pages = [number for number, kind in leaf_pages(path) if kind == "leaf"]
    spoil_page(path, pages[100])
    log = await EventLog.open(path, clock)
    events, gaps = await everything(log)
    assert len(gaps) == 1
    first, last = gaps[0]
    assert [e.offset for e in events] == [*range(1, first), *range(last + 1, 6001)]
    assert last - first + 1 <= 10 * 10, "what one page led to"
    assert log.faults.untold == gaps
    assert log.faults.broken
    await log.faults.mind()
    await log.close()
    caplog.clear()
    log = await EventLog.open(path, clock)
    assert "was found to be broken" in caplog.text
    assert log.next_offset >= 6001 + JUMP - 1
    await log.close()


def test_what_was_told_is_known_and_found_again_it_is_not_told_again():
    it = Damage()
    it.note(5, 9)
    it.note(5, 9)
    assert it.untold == [(5, 9)]
    it.told([(5, 9)])
    it.note(5, 9)
    assert it.untold == []
    assert (it.between(1, 8), it.between(1, 100), it.between(10, 20)) == (3, 5, 0)
    it.overflowed([(20, 29)])
    assert [it.reason(offset) for offset in (4, 5, 9, 10, 20, 30)] == [
        "trimmed", "corrupt", "corrupt", "trimmed", "memory", "trimmed"
    ]  # fmt: skip
    assert it.forget_before(10) == [(5, 9)]
    assert it.between(1, 100) == 10
    assert it.forget_before(30) == [(20, 29)]
    assert it.between(1, 100) == 0


def test_nobody_counts_what_lies_behind_the_end_of_a_salvaged_log():
    assert gap_of(5, 9)["count"] == 5
    assert gap_of(5, 5 + JUMP - 2)["uncounted"]


# -- a card in another machine ----------------------------------------------------------------------------------------


async def test_a_log_of_another_machine_is_named_once(path, clock, caplog):
    for machine, cloned in (("one", False), ("one", False), ("two", True), ("two", False), ("", False)):
        caplog.clear()
        log = await EventLog.open(path, clock, machine=machine)
        await log.append([reading()])
        assert log.faults.cloned is cloned
        assert caplog.text.count("another machine wrote this log") == cloned
        await log.close()


async def test_what_nobody_found_in_time_is_not_lost_from_sight(log):
    """A reader that asks in the middle of nothing gets the gap, not silence."""
    await log.append([reading()])
    log._head.tail.clear()
    log._head.next_offset = 50
    page = await log.read(2)
    assert (page.events, page.gap, page.next_offset) == ([], (2, 49), 50)


async def test_after_a_fault_the_lock_is_held_where_the_log_is_now(log, path, clock):
    """The card was replaced under a gateway that runs: nobody else may write the new one."""
    await log.append([reading()])
    path.with_name("events.db.lock").unlink()
    log._head.store.broken = "disk I/O error"
    await log.append([reading()])
    with pytest.raises(LogLocked):
        await EventLog.open(path, clock)


async def test_a_stop_on_a_disk_that_takes_no_writes_ends_in_good_order(log, monkeypatch):
    def refuses(*_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("gateway.eventlog.lock.os.ftruncate", refuses)
    await log.close()
