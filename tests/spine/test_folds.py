"""What was true before a restart is true after it, from a checkpoint and the events behind it."""

import asyncio
from random import Random

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway import folds as folds_module
from gateway.clock import SystemClock
from gateway.event import Event
from gateway.eventlog import Checkpoint, EventLog, Riders
from gateway.folds import EVENTS_MAX, EVENTS_MIN, due, pack, recover
from gateway.present import Latest
from gateway.record import Recorder
from tests.spine.conftest import until

DEVICES = {"a": ["t", "h"], "b": ["t"], "c": ["x"]}

kinds = st.one_of(
    st.tuples(st.sampled_from(["reading", "state", "input"]), st.sampled_from(["a/t", "a/h", "b/t", "gone/t"])),
    st.tuples(st.sampled_from(["device.available", "device.unavailable"]), st.sampled_from(["a", "b", "gone"])),
    st.just(("gateway.started", "gateway")),
)
histories = st.lists(st.lists(kinds, min_size=1, max_size=8), min_size=1, max_size=12)


def events(batch, n):
    return [Event(kind, subject, n, n, n, None, "good") for kind, subject in batch]


def latest():
    return Latest(dict, lambda: DEVICES)


def shown(picture):
    picture.recovered()
    values = {e.subject: (e.type, e.value, e.quality, e.time) for e in picture.values()}
    return values, dict(picture.availability())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(histories, st.data())
def test_a_checkpoint_and_what_follows_equals_all_of_the_log(tmp_path_factory, history, data):
    marks = data.draw(st.sets(st.integers(0, len(history))))

    async def live(path):
        log, whole = await EventLog.open(path, SystemClock()), latest()
        for n, batch in enumerate(history):
            mark = Checkpoint(log.next_offset, pack({"latest": whole})) if n in marks else None
            whole.fold(await log.append(events(batch, n), Riders(checkpoint=mark)))
        await log.close()
        return whole, len([n for n in marks if n < len(history)])

    async def again(path):
        log, picture = await EventLog.open(path, SystemClock()), latest()
        kept = await log.checkpoints()
        offset = await recover(log, {"latest": picture})
        assert offset == (kept[0].offset if kept else 1)
        await log.close()
        return picture, len(kept)

    path = tmp_path_factory.mktemp("folds") / "x.db"
    whole, marked = asyncio.run(live(path))
    picture, kept = asyncio.run(again(path))
    assert kept == min(2, marked), "two are kept"
    assert shown(picture) == shown(whole)


def recorder(log, folds, folded_from):
    return Recorder(
        log,
        SystemClock(),
        commit_within_s=0.005,
        protected=lambda: log.next_offset,
        folds=folds,
        folded_from=folded_from,
    )


async def life(path, count, *, stop):
    """One run of a gateway: recover, record so many events, end. Says how many events had to be read at its start."""
    log, picture = await EventLog.open(path, SystemClock()), latest()
    folded_from = await recover(log, {"latest": picture})
    read = log.next_offset - folded_from
    it = recorder(log, {"latest": picture}, folded_from)
    running = asyncio.create_task(it.run())
    for n in range(count):
        it.offer(events([("reading", "a/t")], n))
        if n % 50 == 49:
            await until(lambda: not it.pending)
    await until(lambda: not it.pending)
    if stop:
        await it.stop()
        await running
    else:
        running.cancel()
        await asyncio.wait({running})
    held = log.next_offset - log.first_offset
    await log.close()
    return read, held


async def test_a_stop_leaves_nothing_to_be_read_again(tmp_path):
    await life(tmp_path / "x.db", 120, stop=True)
    assert (await life(tmp_path / "x.db", 0, stop=True))[0] == 0


async def test_however_often_it_dies_a_start_reads_no_more_than_the_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(folds_module, "EVENTS_MAX", 200)
    monkeypatch.setattr(folds_module, "EVENTS_MIN", 200)
    reads = [(await life(tmp_path / "x.db", 150, stop=False))[0] for _ in range(6)]
    assert reads[1] == 150, "no checkpoint yet"
    assert max(reads) <= 200 + 50
    assert len(set(reads)) > 2


@pytest.mark.parametrize("damaged", [1, 2])
async def test_a_damaged_checkpoint_costs_time_and_nothing_else(tmp_path, damaged):
    log, whole = await EventLog.open(tmp_path / "x.db", SystemClock()), latest()
    for n in range(100):
        mark = Checkpoint(log.next_offset, pack({"latest": whole})) if n in {40, 80} else None
        whole.fold(
            await log.append(events([("reading", "a/t"), ("reading", "b/t")][n % 2 :], n), Riders(checkpoint=mark))
        )
    offsets = [checkpoint.offset for checkpoint in await log.checkpoints()]
    for offset in offsets[:damaged]:
        await log._head.store.transaction([("UPDATE checkpoint SET state = x'00' WHERE offset = ?", (offset,))])
    picture = latest()
    assert await recover(log, {"latest": picture}) == [*offsets, 1][damaged]
    assert shown(picture) == shown(whole)
    await log.close()


async def test_a_checkpoint_of_another_version_is_passed_over(tmp_path, caplog):
    log, picture = await EventLog.open(tmp_path / "x.db", SystemClock()), latest()
    await log.append(events([("reading", "a/t")], 1))
    await log.append(events([("reading", "b/t")], 2), Riders(checkpoint=Checkpoint(2, b"\x81\xa6latest\xc4\x01\xc3")))
    assert await recover(log, {"latest": picture}) == 1
    assert "the log is read instead" in caplog.text
    assert set(shown(picture)[0]) == {"a/t", "b/t"}
    await log.close()


async def test_a_failed_commit_keeps_its_checkpoint_and_its_offset(tmp_path):
    """The checkpoint is of what was before the batch; events that come while the disk refuses are not in it."""
    await life(tmp_path / "x.db", EVENTS_MIN, stop=True)
    log, picture = await EventLog.open(tmp_path / "x.db", SystemClock()), latest()
    folded_from = await recover(log, {"latest": picture})
    it = recorder(log, {"latest": picture}, folded_from)
    running = asyncio.create_task(it.run())
    it.offer(events([("reading", "b/t")] * EVENTS_MIN, 7))
    await until(lambda: not it.pending)
    (tmp_path / "x.db.ballast").unlink()  # with it there would be room
    limit = "PRAGMA max_page_count = "
    await log._head.store._writer.execute_fetchall(f"{limit}1")
    it.offer([Event("reading", "a/t", 8, 8, 8, None, "good", data={"noise": Random(1).randbytes(200_000).hex()})])
    await until(lambda: it.trouble)
    at = log.next_offset
    it.offer(events([("reading", "a/h")], 9))
    await log._head.store._writer.execute_fetchall(f"{limit}100000")
    await until(lambda: not it.pending and not it.trouble)
    (newest, *_) = await log.checkpoints()
    assert newest.offset == at
    again = latest()
    again.restore(msgspec.msgpack.decode(newest.state)["latest"])
    assert {event.subject: event.value for event in again.values()}["b/t"] == 7
    assert "a/h" not in {event.subject for event in again.values()}
    await it.stop()
    await running
    await log.close()


def test_a_small_log_has_its_checkpoint_near_its_end():
    assert not due(EVENTS_MIN - 1, 100)
    assert due(EVENTS_MIN, 100)
    assert not due(EVENTS_MIN, 40 * EVENTS_MIN)
    assert due(EVENTS_MAX, 10**9)
