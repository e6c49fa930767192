"""What the event log promises: offsets, durability, order, bounds, one writer."""

import asyncio
import errno
import os
import signal
import sqlite3
import subprocess
import sys

import pytest

from gateway.errors import LogCorrupt, LogLocked, LogTooNew, StoreUnavailable
from gateway.event import Event
from gateway.eventlog import (
    MAX_BATCH_EVENTS,
    TELL_EVERY_S,
    Cursor,
    DeadLetter,
    EventLog,
    Riders,
    opening,
    store,
    writes,
)
from gateway.eventlog.tail import Tail
from tests.eventlog.disks import all_events

MB = 1_000_000


def reading(value=21.5, subject="air/temperature", **more):
    return Event("reading", subject, 1_000, 10, value, "Cel", "good", **more)


async def test_offsets_count_from_one_without_holes(log):
    await log.append([reading(1.0), reading(2.0)])
    await log.append([reading(3.0)])
    assert [(e.offset, e.value) for e in await all_events(log)] == [(1, 1.0), (2, 2.0), (3, 3.0)]


async def test_an_event_reads_back_as_it_was_appended(path, clock):
    given = [
        reading(),
        Event("state", "door/contact", 5, 6, value=True, quality="good", urgent=True, simulated=True),
        Event("reading", "a/b", 7, 8, None, "Pa", "bad", "sensor"),
        Event("log.gap", "gateway", -3, 9, data={"count": 2**40, "subjects": {"ü/x": 1}}, synced=False, cause="x-1"),
        Event("input", "pad/key", 2**62, 2**61, value="snow ☃"),
    ]
    log = await EventLog.open(path, clock)
    stamped = await log.append(given)
    await log.close()
    log = await EventLog.open(path, clock)
    read = (await log.read(1)).events
    await log.close()
    assert [e.id for e in read] == [e.id for e in stamped]
    for event, original in zip(read, stamped, strict=True):
        for name in (*event.__struct_fields__,):
            if name != "urgent":  # a matter of the commit, not of what happened
                assert getattr(event, name) == getattr(original, name), name


async def test_offsets_go_on_and_the_run_changes_after_a_restart(path, clock):
    first = await EventLog.open(path, clock)
    await first.append([reading()] * 3)
    await first.close()
    second = await EventLog.open(path, clock)
    (event,) = await second.append([reading()])
    await second.close()
    assert event.offset == 4
    assert second.run != first.run


async def test_a_second_writer_is_refused_and_told_the_process(log, path, clock):
    with pytest.raises(LogLocked) as refused:
        await EventLog.open(path, clock)
    assert refused.value.pid == os.getpid()
    assert str(os.getpid()) in str(refused.value)


async def test_the_lock_is_free_after_close(path, clock):
    for _ in range(2):
        log = await EventLog.open(path, clock)
        await log.close()
        await log.close()  # once more than needed


async def test_a_reader_that_asks_for_what_is_gone_gets_the_gap_named(path, clock):
    log = await EventLog.open(path, clock, size_bytes_max=1 * MB)
    while log.first_offset == 1:
        await log.append([reading(subject=f"{os.urandom(40).hex()}/x") for _ in range(200)])
    page = await log.read(1)
    assert page.gap == (1, log.first_offset - 1)
    assert page.events[0].offset == log.first_offset
    await log.close()


async def test_the_file_never_grows_beyond_its_bound_and_unread_losses_are_counted(path, clock):
    log = await EventLog.open(path, clock, size_bytes_max=1 * MB)
    await log.append([reading()], Riders({"home": Cursor(1)}))
    for _ in range(200):
        await log.append([reading(subject=f"{os.urandom(40).hex()}/x") for _ in range(200)])
    clock.pass_s(TELL_EVERY_S)
    assert log.owes
    await log.prepare([])
    events = await all_events(log)
    gaps = [e for e in events if e.type == "log.gap"]
    await log.close()
    assert path.stat().st_size <= 1 * MB
    assert gaps, "evicting what a sink had not read must leave a log.gap"
    for event in gaps:
        named = int(event.data["last"]) - int(event.data["first"]) + 1
        assert event.data["count"] == named
        assert event.data["count"] == sum(event.data["subjects"].values()) + event.data["rest"]
    assert int(gaps[-1].data["last"]) == log.first_offset - 1
    assert log.events_trimmed_unread == log.first_offset - 1, "the sink had read nothing: every loss is counted"


async def test_what_every_sink_has_read_is_trimmed_by_age_without_a_gap(path, clock):
    log = await EventLog.open(path, clock, keep_for_s=60)
    await log.append([reading()] * 5)
    clock.pass_s(120)
    await log.append([reading()] * 5, Riders({"home": Cursor(6)}))
    await log.trim(protected=6)
    assert log.first_offset == 6
    assert {e.type for e in await all_events(log)} == {"reading"}
    await log.close()


async def test_age_never_trims_what_a_sink_has_not_read(path, clock):
    log = await EventLog.open(path, clock, keep_for_s=60)
    await log.append([reading()] * 5)
    clock.pass_s(120)
    await log.trim(protected=1)
    assert log.first_offset == 1
    await log.close()


async def test_a_log_trimmed_empty_never_gives_an_offset_twice(path, clock):
    log = await EventLog.open(path, clock, keep_for_s=60)
    await log.append([reading()] * 5)
    clock.pass_s(120)
    await log.trim(protected=6)
    assert (log.first_offset, log.next_offset) == (6, 6)
    await log.close()
    log = await EventLog.open(path, clock)
    (event,) = await log.append([reading()])
    assert event.offset == 6
    await log.close()


async def test_cursors_and_dead_letters_survive_in_the_transaction_they_rode_in(path, clock):
    log = await EventLog.open(path, clock)
    (event,) = await log.append([reading()])
    await log.append([], Riders({"home": Cursor(2, 1)}, (DeadLetter("home", event, "too large"),)))
    await log.close()
    log = await EventLog.open(path, clock)
    assert log.cursors == {"home": Cursor(2, 1)}
    assert await log.dead_letters("home") == 1
    await log.close()


async def test_dead_letters_are_bounded(path, clock, monkeypatch):
    monkeypatch.setattr(writes, "DEAD_LETTERS_MAX", 10)
    log = await EventLog.open(path, clock)
    events = await log.append([reading()] * 30)
    await log.append([], Riders(dead_letters=[DeadLetter("home", e, "x") for e in events]))
    assert await log.dead_letters("home") == 10
    await log.close()


async def test_a_cancelled_append_is_whole(log):
    task = asyncio.create_task(log.append([reading()] * 100))
    await asyncio.wait([task], timeout=0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await log.append([reading(7.0)])
    values = [e.value for e in await all_events(log)]
    assert values in ([7.0], [21.5] * 100 + [7.0])


async def test_appends_from_many_tasks_do_not_mix(log):
    await asyncio.gather(*(log.append([reading(float(n))] * 20) for n in range(20)))
    values = [e.value for e in await all_events(log)]
    assert len(values) == 400
    assert all(len(set(values[i : i + 20])) == 1 for i in range(0, 400, 20))


async def test_a_waiting_reader_wakes_with_the_commit(log):
    waiting = asyncio.create_task(log.wait(2))
    await log.append([reading()])
    assert not waiting.done()
    await log.append([reading()])
    async with asyncio.timeout(5):
        await waiting


async def test_memory_and_disk_tell_the_same(log):
    log._head.tail = Tail(events_max=50)
    for n in range(30):
        await log.append([reading(float(n * 10 + k)) for k in range(10)])
    assert not log._head.tail.holds(1)
    events = await all_events(log)
    assert [e.offset for e in events] == list(range(1, 301))
    assert [e.value for e in events] == [float(n) for n in range(300)]
    for offset in (1, 5, 240, 249, 250, 251, 260, 299, 300):
        assert (await log.read(offset)).events[0].offset == offset


async def test_too_large_a_batch_is_a_programming_error(log):
    with pytest.raises(ValueError, match="at most"):
        await log.append([reading()] * (MAX_BATCH_EVENTS + 1))


async def test_offset_at_finds_the_first_event_recorded_then_or_later(path, clock):
    starts = []
    for _ in range(3):
        log = await EventLog.open(path, clock)
        for _ in range(10):
            starts.append((clock.wall_ns(), log.next_offset))
            await log.append([reading()] * 3)
            clock.pass_s(10)
        await log.close()
        clock.reboot()
    log = await EventLog.open(path, clock)
    for time_ns, offset in starts:
        assert await log.offset_at(time_ns) == offset
        assert await log.offset_at(time_ns - 1) == offset
        assert await log.offset_at(time_ns + 1) == offset + 3
    assert await log.offset_at(clock.wall_ns() + 10**12) == log.next_offset
    await log.close()


async def test_a_full_disk_refuses_and_the_same_batch_fits_later(path, clock):
    log = await EventLog.open(path, clock, size_bytes_max=1 * MB)
    await log.append([reading()])
    path.with_name("events.db.ballast").unlink()  # with it there would be room
    await log._head.store._writer.execute_fetchall("PRAGMA max_page_count = 1")  # what a full disk looks like to SQLite
    big = [reading(subject=f"{os.urandom(100).hex()}/x") for _ in range(500)]
    with pytest.raises(StoreUnavailable, match="SQLITE_FULL"):
        await log.append(big)
    assert [e.value for e in await all_events(log)] == [21.5]
    await log._head.store._writer.execute_fetchall("PRAGMA max_page_count = 100000")
    stamped = await log.append(big)
    assert stamped[0].offset == 2
    await log.close()


class Faulty:
    """A connection whose next transaction fails: before it took effect, or after. `then` is called when it does."""

    def __init__(self, inner, *, after, then=lambda: None):
        self._inner, self._after, self._then, self._armed = inner, after, then, True

    def __getattr__(self, name):
        return getattr(self._inner, name)

    async def transaction(self, statements):
        if not self._armed:
            return await self._inner.transaction(statements)
        self._armed = False
        if self._after:
            await self._inner.transaction(statements)
        self._then()
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorname = "SQLITE_IOERR_FSYNC"
        raise error


@pytest.mark.parametrize("after", [False, True], ids=["nothing reached the disk", "everything reached the disk"])
async def test_a_failed_fsync_is_not_retried_on_its_handle_and_nothing_doubles(path, clock, after):
    log = await EventLog.open(path, clock)
    await log.append([reading(1.0)])
    before, run = log._head.store, log.run
    log._head.store._writer = Faulty(log._head.store._writer, after=after)
    batch, riders = [reading(2.0), reading(3.0)], Riders({"home": Cursor(2, 1)})
    with pytest.raises(StoreUnavailable, match="SQLITE_IOERR_FSYNC"):
        await log.append(batch, riders)
    stamped = await log.append(batch, riders)
    assert log._head.store is not before
    assert log.run != run
    assert [(e.offset, e.value) for e in await all_events(log)] == [(1, 1.0), (2, 2.0), (3, 3.0)]
    assert [e.id for e in stamped] == [e.id for e in await all_events(log)][1:]
    assert log.cursors["home"] == Cursor(2, 1)
    await log.close()
    log = await EventLog.open(path, clock)
    assert [e.id for e in stamped] == [e.id for e in await all_events(log)][1:]
    await log.close()


async def test_a_damaged_batch_is_named_and_never_read_as_events(path, clock):
    log = await EventLog.open(path, clock)
    await log.append([reading()] * 10)
    await log.append([reading()] * 10)
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE batch SET records = zeroblob(length(records)) WHERE base_offset = 1")
    raw.close()
    log._head.tail.clear()
    page = await log.read(1)
    assert page.gap == (1, 10)
    assert [event.offset for event in page.events] == list(range(11, 21))
    assert log.faults.untold == [(1, 10)]
    await log.close()


@pytest.mark.parametrize(
    ("content", "error", "says"),
    [
        (b"this is not a database, it is a letter" * 100, LogCorrupt, "no event log"),
        ("other", LogCorrupt, "SQLite file but no event log"),
        ("newer", LogTooNew, "schema version 99"),
    ],
)
async def test_a_foreign_file_is_refused_and_left_alone(path, clock, content, error, says):
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        raw = sqlite3.connect(path)
        if content == "newer":
            raw.execute(f"PRAGMA application_id = {opening.APPLICATION_ID}")
            raw.execute("PRAGMA user_version = 99")
        raw.execute("CREATE TABLE precious(x)")
        raw.commit()
        raw.close()
    before = path.read_bytes()
    with pytest.raises(error, match=says):
        await EventLog.open(path, clock)
    assert path.read_bytes() == before


async def test_a_folder_that_cannot_be_made_gets_a_sentence(tmp_path, clock):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreUnavailable, match="folder cannot be made"):
        await EventLog.open(tmp_path / "file" / "events.db", clock)


async def test_one_connection_writes_and_checkpoints_and_others_only_read(log):
    """SQLite's WAL-reset bug (3.7.0 to 3.51.2) needs a second connection that writes or checkpoints."""
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        await log._head.store._reader.execute("INSERT INTO meta VALUES ('x', 1)")
    ((synchronous,),) = await log._head.store._writer.execute_fetchall("PRAGMA synchronous")
    ((journal,),) = await log._head.store._writer.execute_fetchall("PRAGMA journal_mode")
    assert (synchronous, journal) == (2, "wal")


WRITER = """
import asyncio, sys
from pathlib import Path
from gateway.clock import SystemClock
from gateway.event import Event
from gateway.eventlog import EventLog

async def main():
    log = await EventLog.open(Path(sys.argv[1]), SystemClock())
    while True:
        stamped = await log.append([Event("reading", "a/b", 1, 1, 1.0)] * 7)
        print(stamped[-1].offset, stamped[-1].run, flush=True)

asyncio.run(main())
"""


def write_and_kill(path):
    """The last offset that a writer announced before it was killed."""
    child = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    lines = [child.stdout.readline() for _ in range(20)]
    child.send_signal(signal.SIGKILL)
    rest, _ = child.communicate(timeout=10)
    lines += [line for line in rest.splitlines() if len(line.split()) == 2]
    return int(lines[-1].split()[0])


async def test_what_was_accepted_survives_kill_9(path, clock):
    for _ in range(5):
        accepted = write_and_kill(path)
        log = await EventLog.open(path, clock)
        events = await all_events(log)
        await log.close()
        assert [e.offset for e in events] == list(range(1, len(events) + 1))
        assert events[-1].offset >= accepted
    raw = sqlite3.connect(path)
    assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    raw.close()


async def test_a_cursor_that_is_further_on_than_its_commit_stays(log):
    """A reload hands it on while an older one is still on its way to the disk."""
    log.cursors["home"] = Cursor(9, 8)
    await log.append([reading()], Riders({"home": Cursor(5, 4)}))
    assert log.cursors["home"] == Cursor(9, 8)


# -- cursors that nobody uses -----------------------------------------------------------------------------------------

DAY_S = 86_400


@pytest.fixture
async def opened(path, clock):
    """Opens the log, again and again, for the consumers that are given."""
    logs = []

    async def open_for(*consumers, **more):
        for log in logs:
            await log.close()
        logs.append(await EventLog.open(path, clock, **more))
        logs[-1].consumers = frozenset(consumers) or None
        return logs[-1]

    yield open_for
    for log in logs:
        await log.close()


async def test_the_cursor_of_a_consumer_that_is_gone_is_kept_for_seven_days_and_then_dropped(opened, clock):
    log = await opened()
    await log.append([reading()], Riders({"home": Cursor(2, 1), "far": Cursor(1)}))
    log.consumers = frozenset({"home"})
    await log.trim(1)
    clock.pass_s(4 * DAY_S)
    log = await opened("home")
    await log.trim(1)
    clock.pass_s(3 * DAY_S)
    await log.trim(1)
    assert log.cursors == {"home": Cursor(2, 1), "far": Cursor(1)}
    clock.pass_s(1)
    await log.trim(1)
    log = await opened("home")
    assert log.cursors == {"home": Cursor(2, 1)}


async def test_a_consumer_that_returned_has_another_seven_days(opened, clock):
    log = await opened()
    await log.append([reading()], Riders({"far": Cursor(1)}))
    for consumers, days in (((), 6), (("far",), 6), ((), 6)):
        log.consumers = frozenset(consumers)
        await log.trim(1)
        clock.pass_s(days * DAY_S)
    await log.trim(1)
    assert log.cursors == {"far": Cursor(1)}


async def test_a_clock_that_is_known_to_be_wrong_drops_no_cursor(opened, clock):
    log = await opened()
    await log.append([reading()], Riders({"far": Cursor(1)}))
    log.consumers, clock.is_synced = frozenset(), False
    await log.trim(1)
    clock.pass_s(30 * DAY_S)
    await log.trim(1)
    clock.is_synced = True
    await log.trim(1)
    assert "far" in log.cursors, "the seven days begin when the clock is right"
    clock.pass_s(7 * DAY_S + 1)
    await log.trim(1)
    assert log.cursors == {}


async def test_nobody_has_said_who_reads_so_every_cursor_stays(opened, clock):
    log = await opened()
    await log.append([reading()], Riders({"far": Cursor(1)}))
    await log.trim(1)
    clock.pass_s(30 * DAY_S)
    await log.trim(1)
    assert log.cursors == {"far": Cursor(1)}


async def test_a_smaller_size_is_reached_in_steps_and_what_went_unread_is_named(opened):
    log = await opened(size_bytes_max=8 * MB)
    for n in range(60):
        await log.append([Event("input", "a/b", n, n, os.urandom(1000).hex(), quality="good") for _ in range(50)])
    assert (await log.bounds()).bytes > 3 * MB
    await log.append([], Riders({"far": Cursor(1)}))
    await log.keep(size_bytes_max=MB, keep_for_s=30 * DAY_S)
    steps = 1
    while await log.trim(log.next_offset):
        steps += 1
        assert steps < 100
    _, used = await log._head.store.pages()
    assert used * store.PAGE_BYTES <= MB
    gap = [event for event in await all_events(log) if event.type == "log.gap"]
    assert sum(event.data["count"] for event in gap) == log.first_offset - 1


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.EROFS, "`dmesg` says why the disk is read-only"),
        (errno.EACCES, "let the user that the gateway runs as write there"),
        (errno.EIO, "choose another `buffer.path`"),
    ],
)
async def test_a_disk_that_takes_no_file_is_named_with_what_to_do(path, clock, monkeypatch, number, advice):
    opened = os.open

    def refuse(file, *args, **more):
        if str(file).endswith(".lock"):
            raise OSError(number, os.strerror(number))
        return opened(file, *args, **more)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StoreUnavailable) as refused:
        await EventLog.open(path, clock)
    assert str(refused.value).startswith(f"{path}.lock: cannot be opened for writing ({os.strerror(number)}): ")
    assert advice in str(refused.value)
