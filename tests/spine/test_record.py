"""What the recorder promises: nothing let go of silently, urgent things at once, few bytes."""

import asyncio

from gateway import gathering, outage, riding
from gateway.clock import SystemClock
from gateway.errors import StoreUnavailable
from gateway.event import Event
from gateway.eventlog import Cursor, EventLog
from gateway.record import Recorder
from tests.clocks import ManualClock
from tests.spine.conftest import until


def event(value=1.0, *, urgent=False, subject="a/b"):
    return Event("reading", subject, 1, 1, value, urgent=urgent)


class Watched:
    """A recorder that runs, and what it committed."""

    def __init__(self, log, clock, commit_within_s):
        self.recorder = Recorder(log, clock, commit_within_s=commit_within_s, protected=lambda: log.next_offset)
        self.batches = []
        self.recorder.watch(self.batches.append)
        self.task = asyncio.create_task(self.recorder.run())

    async def stop(self):
        await self.recorder.stop()
        await self.task


async def opened(tmp_path, clock=None):
    return await EventLog.open(tmp_path / "events.db", clock or ManualClock())


async def test_an_urgent_event_commits_everything_pending_at_once(tmp_path):
    log = await opened(tmp_path)
    it = Watched(log, ManualClock(), commit_within_s=3600)
    it.recorder.offer([event(1.0), event(2.0)])
    it.recorder.offer([event(3.0, urgent=True)])
    await until(lambda: it.batches)
    assert [[e.value for e in batch] for batch in it.batches] == [[1.0, 2.0, 3.0]]
    await it.stop()
    await log.close()


async def test_periodic_readings_share_a_commit(tmp_path):
    log = await opened(tmp_path)
    it = Watched(log, ManualClock(), commit_within_s=0.1)
    for n in range(20):
        it.recorder.offer([event(float(n))])
    assert not it.batches
    await until(lambda: it.batches)
    assert [len(batch) for batch in it.batches] == [20]
    await it.stop()
    await log.close()


async def test_a_stop_commits_everything(tmp_path):
    log = await opened(tmp_path)
    it = Watched(log, ManualClock(), commit_within_s=3600)
    it.recorder.offer([event()] * 9000)
    await it.stop()
    assert sum(map(len, it.batches)) == 9000
    assert log.next_offset == 9001
    await log.close()


async def test_a_refusing_disk_keeps_the_batch_in_order_and_says_so_once(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(outage, "RETRY_FIRST_S", 0.005)
    log = await opened(tmp_path)
    append, refusals = log.append, iter(range(4))

    async def refusing(events, riders=None, *, at=None):
        if next(refusals, None) is not None:
            raise StoreUnavailable("database or disk is full (SQLITE_FULL)")
        return await append(events, riders, at=at)

    log.append = refusing
    it = Watched(log, ManualClock(), commit_within_s=0.001)
    it.recorder.offer([event(1.0)])
    await until(lambda: it.recorder.trouble)
    it.recorder.offer([event(2.0)])
    await until(lambda: sum(map(len, it.batches)) == 4)
    events = [e for batch in it.batches for e in batch]
    assert [e.type for e in events if e.type == "reading"] == ["reading"] * 2
    assert [e.value for e in events if e.type == "reading"] == [1.0, 2.0]
    assert {"store.degraded", "store.recovered"} <= {e.type for e in events}
    assert [e.offset for e in events] == [1, 2, 3, 4]
    assert caplog.text.count("the disk refuses events") == 1
    await it.stop()
    await log.close()


async def test_what_overflows_while_the_disk_refuses_is_counted_exactly_in_a_gap(tmp_path, monkeypatch):
    monkeypatch.setattr(gathering, "PENDING_EVENTS_MAX", 100)
    log = await opened(tmp_path)
    recorder = Recorder(log, ManualClock(), commit_within_s=0.001, protected=lambda: 1)
    for n in range(250):
        recorder.offer([event(float(n), subject=f"a/{n % 2}")])
    batches = []
    recorder.watch(batches.append)
    task = asyncio.create_task(recorder.run())
    await recorder.stop()
    await task
    (gap, *kept), *_ = batches
    assert (gap.type, gap.reason) == ("log.gap", "overload")
    assert gap.data == {"count": 150, "subjects": {"a/0": 75, "a/1": 75}, "rest": 0}
    assert [e.value for e in kept] == [float(n) for n in range(150, 250)], "the newest are kept"
    assert recorder.dropped_total == 150
    await log.close()


async def test_a_cursor_rides_with_events_and_not_in_every_commit(tmp_path):
    clock = ManualClock()
    log = await opened(tmp_path, clock)
    it = Watched(log, clock, commit_within_s=0.001)
    saved = []
    append = log.append

    async def spied(events, riders=None, *, at=None):
        saved.append(dict(riders.cursors))
        return await append(events, riders, at=at)

    log.append = spied
    for n in range(1, 6):
        it.recorder.ride("home", Cursor(n), 1)
        it.recorder.offer([event(urgent=True)])
        await until(lambda n=n: len(it.batches) == n)
    assert not any(saved), "five acknowledgements in no time are not worth a page"
    clock.pass_s(riding.CURSOR_AFTER_S)
    it.recorder.offer([event(urgent=True)])
    await until(lambda: len(it.batches) == 6)
    assert saved[-1] == {"home": Cursor(5)}
    it.recorder.ride("home", Cursor(30), riding.CURSOR_AFTER_ACKS)
    it.recorder.offer([event(urgent=True)])
    await until(lambda: len(it.batches) == 7)
    assert saved[-1] == {"home": Cursor(30)}
    await it.stop()
    await log.close()


async def test_a_cursor_that_moved_after_another_was_written_is_written_without_a_further_event(tmp_path, monkeypatch):
    monkeypatch.setattr(riding, "CURSOR_AFTER_S", 0.2)
    log = await EventLog.open(tmp_path / "events.db", SystemClock())
    watched = Watched(log, SystemClock(), 0.01)
    watched.recorder.ride("home", Cursor(1), riding.CURSOR_AFTER_ACKS)  # its timer outlives the commit that it rides in
    watched.recorder.offer([event(urgent=True)])
    await watched.recorder.flush()
    assert log.cursors["home"] == Cursor(1)
    watched.recorder.ride("home", Cursor(2, 1), 1)
    await until(lambda: log.cursors["home"] == Cursor(2, 1), 2)
    await watched.stop()
    await log.close()


async def test_a_cursor_that_must_stand_first_is_on_the_disk_at_once(tmp_path):
    log = await EventLog.open(tmp_path / "events.db", SystemClock())
    watched = Watched(log, SystemClock(), 60)
    async with asyncio.timeout(2):
        await watched.recorder.keep("rule/r/do/output", Cursor(5, 4))
    assert log.cursors["rule/r/do/output"] == Cursor(5, 4)
    watched.task.cancel()
    await log.close()
    again = await EventLog.open(tmp_path / "events.db", SystemClock())
    assert again.cursors["rule/r/do/output"] == Cursor(5, 4)
    await again.close()


async def test_a_stop_saves_the_last_cursor(tmp_path):
    log = await opened(tmp_path)
    it = Watched(log, ManualClock(), commit_within_s=3600)
    it.recorder.ride("home", Cursor(17, 16), 1)
    await it.stop()
    assert log.cursors["home"] == Cursor(17, 16)
    await log.close()


async def test_a_stop_ends_although_the_disk_refuses_and_says_what_is_lost(tmp_path, caplog):
    log = await opened(tmp_path)

    async def refusing(events, riders=None, *, at=None):
        raise StoreUnavailable("gone")

    log.append = refusing
    it = Watched(log, ManualClock(), commit_within_s=3600)
    it.recorder.offer([event()] * 3)
    async with asyncio.timeout(5):
        await it.stop()
    assert "3 events could not be stored" in caplog.text or "4 events could not be stored" in caplog.text
    await log.close()
