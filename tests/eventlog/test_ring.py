"""What the disk does not take is delivered from memory, and is the same event when the disk takes it."""

import asyncio
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import outage, riding
from gateway.errors import StoreUnavailable
from gateway.event import CloudEventEncoder
from gateway.eventlog import Cursor, DeadLetter, EventLog, Riders, ring, store
from gateway.eventlog.batches import Batch
from gateway.eventlog.ring import Ring
from gateway.record import Recorder
from tests.eventlog.disks import Disk, everything, reading
from tests.eventlog.test_log import Faulty
from tests.spine.conftest import PlayedSink, Spine, until


@pytest.fixture
def disk(log, monkeypatch):
    return Disk(log, monkeypatch)


async def refused(log, events):
    with pytest.raises(StoreUnavailable):
        await log.append(events)
    return await log.keep_in_memory(events)


async def test_held_events_are_read_at_once_marked_and_with_a_run_of_their_own(log, disk):
    before = await log.append([reading(1.0)])
    disk.refuses = True
    await refused(log, [reading(2.0)])  # its commit failed in an unknown way: it keeps the run it was sent with
    held = await refused(log, [reading(3.0), reading(4.0)])
    events, gaps = await everything(log)
    assert [(e.offset, e.value, e.durable) for e in events] == [
        (1, 1.0, True), (2, 2.0, False), (3, 3.0, False), (4, 4.0, False)
    ]  # fmt: skip
    assert gaps == []
    assert held[0].run not in {log.run, before[0].run}
    assert log.held == 3


async def test_when_the_disk_returns_they_are_appended_with_the_same_ids_before_anything_else(log, disk, clock):
    await log.append([reading(1.0)])
    disk.refuses = True
    held = [e for n in range(5) for e in await refused(log, [reading(float(n))] * 3)]
    disk.refuses = False
    (after,) = await log.append([reading(9.0)], Riders({"home": Cursor(3, 2)}))
    assert log.held == 0
    assert all(e.durable for e in (await everything(log))[0]), "also those that are still in memory"
    await log.close()
    log = await EventLog.open(log.path, clock)
    events, gaps = await everything(log)
    assert gaps == []
    assert [e.offset for e in events] == list(range(1, 18))
    assert [e.id for e in events[1:16]] == [e.id for e in held]
    assert [(e.value, e.recorded, e.mono) for e in events[1:16]] == [(e.value, e.recorded, e.mono) for e in held]
    assert all(e.durable for e in events)
    assert events[16].id == after.id
    assert after.run not in {e.run for e in held}
    assert log.cursors == {"home": Cursor(3, 2)}
    await log.close()


@pytest.mark.parametrize("reached_the_disk", [False, True])
async def test_a_batch_whose_commit_nobody_knows_the_fate_of_has_one_id_for_ever(log, monkeypatch, reached_the_disk):
    await log.append([reading(1.0)])
    log._head.store._writer = Faulty(log._head.store._writer, after=reached_the_disk)
    batch = [reading(2.0), reading(3.0)]
    with pytest.raises(StoreUnavailable):
        await log.append(batch)
    disk = Disk(log, monkeypatch)
    disk.refuses = True
    held = await refused(log, batch)
    disk.refuses = False
    await log.append([reading(4.0)])
    log._head.tail.clear()
    events, gaps = await everything(log)
    assert [(e.offset, e.value) for e in events] == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0)]
    assert [e.id for e in events[1:3]] == [e.id for e in held]
    assert gaps == []


async def test_an_append_of_what_was_held_that_fails_half_way_doubles_nothing(log, disk, monkeypatch):
    monkeypatch.setattr("gateway.eventlog.head.HOME_BATCHES", 2)
    await log.append([reading()])
    disk.refuses = True
    held = [e for n in range(7) for e in await refused(log, [reading(float(n))])]
    disk.refuses = False
    wrap, transactions = disk._wrap, iter(range(2))

    def wrap_and_fail(opened):
        wrap(opened)
        inner = opened._writer.transaction

        async def twice(statements):
            if next(transactions, None) is None:
                disk.refuses = True
            return await inner(statements)

        opened._writer.transaction = twice

    disk._wrap = wrap_and_fail
    with pytest.raises(StoreUnavailable):
        await log.append([reading(8.0)])
    assert log.held == 7
    assert [e.id for e in (await everything(log, 2))[0]] == [e.id for e in held]
    disk.refuses, disk._wrap = False, wrap
    await log.append([reading(8.0)])
    events, gaps = await everything(log)
    assert [e.offset for e in events] == list(range(1, 10))
    assert [e.id for e in events[1:8]] == [e.id for e in held]
    assert gaps == []


async def test_what_is_in_the_file_can_be_read_while_the_disk_refuses(log, disk):
    await log.append([reading(1.0)])
    log._head.tail.clear()
    disk.refuses = True
    for n in range(3):
        await refused(log, [reading(float(n))])
    assert disk.openings >= 2
    assert [e.value for e in (await everything(log))[0]] == [1.0, 0.0, 1.0, 2.0]
    assert (await log.bounds()).next_offset == 5


async def test_a_reader_does_not_notice_that_the_file_is_opened_anew_under_it(log, monkeypatch):
    for n in range(50):
        await log.append([reading(float(n))] * 10)
    log._head.tail.clear()
    former, fetches = log._head.store, iter(range(1))
    batches_from = former.batches_from

    async def opened_anew(offset, limit):
        if next(fetches, None) is not None:
            former.broken = "disk I/O error"
            await log.append([reading(99.0)])
        return await batches_from(offset, limit)

    former.batches_from = opened_anew
    events, gaps = await everything(log)
    assert [e.offset for e in events] == list(range(1, 502))
    assert gaps == []


async def test_what_overflows_is_counted_exactly_and_a_reader_hears_of_the_hole(log, disk, clock):
    log._head.ring._events_max = 30
    await log.append([reading()])
    disk.refuses = True
    for n in range(10):
        await refused(log, [reading(float(n), subject=f"a/{n % 2}")] * 10)
    log._head.tail.clear()
    events, gaps = await everything(log)
    assert gaps == [(2, 71)]
    assert [e.offset for e in events] == [1, *range(72, 102)]
    lost = log.faults.take_lost()
    assert (int(lost["first"]), int(lost["last"]), lost["count"]) == (2, 71, 70)
    assert lost["subjects"] == {"a/0": 40, "a/1": 30}
    await refused(log, [reading()] * 10)
    assert log.faults.take_lost() is None, "one gap an episode"
    clock.pass_s(ring.TOLD_EVERY_S)
    assert (int(log.faults.take_lost()["first"]), log.faults.take_lost()) == (72, None)
    disk.refuses = False
    await log.append([reading()])
    assert log.faults.missing(1, log.next_offset) == 80
    await log.close()
    log = await EventLog.open(log.path, clock)
    events, gaps = await everything(log)
    assert gaps == [(2, 81)]
    assert log.faults.untold == [], "it was told"
    assert log.faults.missing(1, log.next_offset) == 80
    await log.close()


@given(st.lists(st.integers(1, 9), min_size=1, max_size=40), st.integers(1, 30))
def test_the_ring_holds_the_newest_and_accounts_for_the_rest(sizes, bound):
    it, offset = Ring(bound), 1
    for size in sizes:
        events = [reading(offset=offset + n) for n in range(size)]
        it.append(Batch(events, b"", 0, 0, []))
        offset += size
    assert len(it) <= bound or len(list(it)) == 1
    first = it.first_offset
    assert [e.offset for e in it.read(first, 10**6)] == list(range(first, offset))
    assert it.holes == ([(1, first - 1)] if first > 1 else [])
    lost = it.take_lost(0)
    assert (lost["count"] if lost else 0) == first - 1


async def test_a_crash_takes_what_was_held_and_gives_its_offsets_to_events_of_another_run(log, disk, tmp_path, clock):
    await log.append([reading(1.0)])
    disk.refuses = True
    held = await refused(log, [reading(2.0)])
    log._lock.release()
    disk.refuses = False
    again = await EventLog.open(log.path, clock)
    (event,) = await again.append([reading(3.0)])
    assert (event.offset, held[0].offset) == (2, 2)
    assert event.id != held[0].id
    await again.close()


def test_the_attribute_on_the_wire_is_there_only_while_it_says_something():
    encoder = CloudEventEncoder("pi")
    assert b"durable" not in encoder.encode(reading(), None)
    assert b'"durable":false' in encoder.encode(reading(durable=False), None)


# -- the recorder and a forwarder over it -----------------------------------------------------------------------------


@pytest.fixture
async def spine(log, clock):
    spine = Spine(log, clock, PlayedSink())
    yield spine
    if not all(task.done() for task in spine._tasks):
        await spine.stop(0.5)


@pytest.fixture
def hurried(monkeypatch):
    monkeypatch.setattr(outage, "RETRY_FIRST_S", 0.01)
    monkeypatch.setattr(outage, "RETRY_MAX_S", 0.05)
    monkeypatch.setattr(outage, "HOLD_AFTER_S", 0.1)


async def test_delivery_goes_on_without_the_disk_and_the_log_has_all_of_it_afterwards(hurried, log, monkeypatch, clock):
    disk = Disk(log, monkeypatch)
    spine = Spine(log, clock, PlayedSink())
    spine.offer(1)
    await until(lambda: spine.sink.offsets == [1])
    disk.refuses = True
    spine.offer(2, 3)
    await until(lambda: {2.0, 3.0} <= {e.value for e in spine.sink.arrived})
    spine.offer(4)
    await until(lambda: 4.0 in {e.value for e in spine.sink.arrived})
    assert spine.recorder.trouble
    assert {e.type for e in spine.sink.arrived} == {"reading", "store.degraded"}
    assert all(not e.durable for e in spine.sink.arrived[1:])
    disk.refuses = False
    await until(lambda: not log.held and any(e.type == "store.recovered" for e in spine.sink.arrived))
    sent = {e.offset: e.id for e in spine.sink.arrived}
    assert spine.sink.offsets == list(range(1, spine.sink.offsets[-1] + 1)), "each once, in order"
    log._head.tail.clear()
    events, gaps = await everything(log)
    assert {e.offset: e.id for e in events} == sent
    assert gaps == []
    await spine.stop()


async def test_short_trouble_is_waited_out_and_leaves_every_event_durable(log, monkeypatch, clock):
    monkeypatch.setattr(outage, "RETRY_FIRST_S", 0.01)
    disk = Disk(log, monkeypatch)
    spine = Spine(log, clock, PlayedSink())
    disk.refuses = True
    spine.offer(1)
    await until(lambda: disk.openings >= 2)
    disk.refuses = False
    await until(lambda: 1.0 in {e.value for e in spine.sink.arrived})
    assert all(e.durable for e in spine.sink.arrived)
    await spine.stop()


async def test_a_quiet_disk_that_returns_gets_what_was_held_without_a_further_event(hurried, log, monkeypatch, clock):
    disk = Disk(log, monkeypatch)
    spine = Spine(log, clock, PlayedSink())
    disk.refuses = True
    spine.offer(1)
    await until(lambda: spine.sink.arrived)
    disk.refuses = False
    await until(lambda: not log.held)
    await spine.stop()


async def test_a_stop_asks_the_disk_once_more_before_it_gives_up_what_is_held(hurried, log, monkeypatch, clock):
    monkeypatch.setattr(outage, "RETRY_MAX_S", 3600.0)
    monkeypatch.setattr(outage, "RETRY_FIRST_S", 0.1)
    disk = Disk(log, monkeypatch)
    recorder = Recorder(log, clock, commit_within_s=0.01, protected=lambda: log.next_offset)
    task = asyncio.create_task(recorder.run())
    disk.refuses = True
    recorder.offer([reading()])
    await until(lambda: log.held and not recorder.pending)
    disk.refuses = False
    await recorder.stop()
    await task
    assert log.held == 0


async def test_a_stop_while_events_are_held_says_how_many_go(hurried, log, monkeypatch, clock, caplog):
    disk = Disk(log, monkeypatch)
    spine = Spine(log, clock, PlayedSink())
    disk.refuses = True
    spine.offer(1, 2, 3)
    await until(lambda: log.held >= 3)
    held = log.held
    async with asyncio.timeout(10):
        await spine.stop()
    assert f"{held} events could not be stored" in caplog.text


async def test_dead_letters_that_wait_for_the_disk_are_bounded(hurried, log, monkeypatch, clock):
    monkeypatch.setattr(riding, "LETTERS_MAX", 5)
    disk = Disk(log, monkeypatch)
    spine = Spine(log, clock, PlayedSink())
    (event,) = await log.append([reading()])
    disk.refuses = True
    for _ in range(20):
        spine.recorder.bury(DeadLetter("home", event, "no"))
    assert len(spine.recorder._riding.letters) == 5
    disk.refuses = False
    await spine.stop()


async def test_what_was_held_gets_into_a_log_that_is_at_its_bound_which_then_makes_room(tmp_path, clock, monkeypatch):
    def bulk():
        return [reading(subject=f"{os.urandom(40).hex()}/x") for _ in range(100)]

    log = await EventLog.open(tmp_path / "small.db", clock, size_bytes_max=1_000_000)
    while log.first_offset == 1:
        await log.append(bulk())
    disk = Disk(log, monkeypatch)
    disk.refuses = True
    held = [event.id for _ in range(60) for event in await refused(log, bulk())]
    disk.refuses = False
    for _ in range(40):
        await log.append(bulk())
    assert log.held == 0
    assert (await log.bounds()).bytes < 2_000_000
    while await log.trim(log.next_offset):
        pass
    _, used = await log._head.store.pages()
    assert used * store.PAGE_BYTES < 1_000_000, "its bound holds again"
    events, gaps = await everything(log, log.first_offset)
    assert gaps == []
    kept = {event.id for event in events}
    assert [event.id for event in events if event.id in set(held)] == [one for one in held if one in kept]
    await log.close()
