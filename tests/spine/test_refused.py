"""A full log that refuses: what it does not take is counted to the last event, and everything else goes on."""

import asyncio
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.clock import NS_PER_S
from gateway.event import Event
from gateway.eventlog import TELL_EVERY_S, Cursor, EventLog, Riders
from gateway.record import Recorder
from gateway.refused import Refused
from tests.clocks import ManualClock
from tests.spine.conftest import until

MB = 1_000_000


def event(subject="a/b", *, urgent=False):
    return Event("reading", subject, 1, 1, os.urandom(1000).hex(), urgent=urgent)


def gap(data, *, urgent=True, reason="full"):
    return Event("log.gap", "gateway", 1, 1, data=data, reason=reason, urgent=urgent)


# -- the arithmetic ---------------------------------------------------------------------------------------------------

EVERY_NS = round(TELL_EVERY_S * NS_PER_S)


def test_the_first_refusal_is_told_at_once_what_follows_every_five_minutes_and_the_rest_when_there_is_room():
    refused = Refused()
    assert refused.to_tell(0) is None
    told = []
    for n in range(11):  # a batch each minute
        now = n * EVERY_NS // 5
        batch = [event(urgent=True), event()]
        if (data := refused.to_tell(now)) is not None:
            told.append((n, data["count"]))
            batch.append(gap(data))
        assert refused.without(batch, urgent=False) == [batch[0], *batch[2:]]
        refused.taken([batch[0], *batch[2:]], now)
    assert told == [(1, 1), (6, 5)]
    assert refused.full
    refused.taken([event()], 0)
    assert not refused.full
    assert refused.to_tell(11 * EVERY_NS // 5)["count"] == 5, "there is room: what is left is told"


def test_a_gap_that_is_refused_itself_is_told_later_and_counted_once():
    refused = Refused()
    refused.without([event("a/b"), event("a/c")], urgent=False)
    first = refused.to_tell(0)
    overload = gap({"count": 7, "subjects": {"a/b": 5}, "rest": 2}, urgent=False, reason="overload")
    assert refused.without([gap(first), overload], urgent=True) == []
    assert refused.to_tell(0) == {"count": 9, "subjects": {"a/b": 6, "gateway": 2, "a/c": 1}, "rest": 0}


steps = st.lists(
    st.tuples(st.lists(st.booleans(), max_size=4), st.sampled_from(["taken", "readings refused", "all refused"])),
    max_size=30,
)


@given(steps)
def test_every_event_is_taken_or_told(steps):
    refused, now = Refused(), 0
    offered = taken = told = 0
    for urgencies, fate in [*steps, ([False], "taken"), ([False], "taken")]:
        now += EVERY_NS // 3
        batch = [event(urgent=urgent) for urgent in urgencies]
        offered += len(batch)
        if (data := refused.to_tell(now)) is not None:
            batch.append(gap(data))
        if fate != "taken":
            batch = refused.without(batch, urgent=False)
        if fate == "all refused":
            batch = refused.without(batch, urgent=True)
        refused.taken(batch, now)
        taken += sum(e.type == "reading" for e in batch)
        told += sum(e.data["count"] for e in batch if e.type == "log.gap")
    assert taken + told == offered


# -- the recorder over a real log -------------------------------------------------------------------------------------


@pytest.fixture
async def spine(tmp_path):
    clock = ManualClock()
    log = await EventLog.open(tmp_path / "events.db", clock, size_bytes_max=MB, when_full="refuse")
    await log.append([event()], Riders({"far": Cursor(1)}))
    recorder = Recorder(log, clock, commit_within_s=0.001, protected=lambda: 1)
    committed = []
    recorder.watch(committed.extend)
    task = asyncio.create_task(recorder.run())
    yield log, clock, recorder, committed
    await recorder.stop()
    await task
    await log.close()


async def fill(recorder, log, offered=0):
    """Offer readings until some are refused; how many were offered."""
    while not recorder.dropped_total:
        recorder.offer([event() for _ in range(20)])
        offered += 20
        await recorder.flush()
    return offered


async def test_readings_are_refused_and_counted_and_the_gateway_goes_on(spine, caplog):
    log, clock, recorder, committed = spine
    offered = await fill(recorder, log)
    for _ in range(10):
        recorder.offer([event("a/c")])
        offered += 1
        await recorder.flush()
    assert recorder.trouble is None, "a full log is no broken disk"
    assert caplog.text.count("set to refuse") == 1
    recorder.offer([event("door/contact", urgent=True)])
    await recorder.flush()
    assert committed[-1].subject == "door/contact", "urgent events have the last part to themselves"
    recorder.ride("far", Cursor(log.next_offset, 1), 10_000)
    await until(lambda: log.cursors["far"].next_offset > 1)
    clock.pass_s(1)
    recorder.offer([event()])
    await recorder.flush()
    recorder.offer([event()])  # there is room again, so the rest of the tale is told
    await recorder.flush()
    told = sum(e.data["count"] for e in committed if e.type == "log.gap")
    readings = sum(e.type == "reading" and not e.urgent for e in committed)
    assert {e.reason for e in committed if e.type == "log.gap"} == {"full"}
    assert (told, readings) == (recorder.dropped_total, offered + 2 - recorder.dropped_total)


async def test_a_stop_tells_what_was_refused(spine):
    log, _, recorder, committed = spine
    await fill(recorder, log)
    for _ in range(3):
        recorder.offer([event()])
        await recorder.flush()
    recorder.note("gateway.stopped", {})
    await recorder.stop()
    told = sum(e.data["count"] for e in committed if e.type == "log.gap")
    assert told == recorder.dropped_total


async def test_when_even_the_last_part_is_used_up_cursors_still_move(spine):
    log, _, recorder, _ = spine
    await fill(recorder, log)
    before = recorder.dropped_total
    for _ in range(60):
        recorder.offer([event("door/contact", urgent=True)])
        await recorder.flush()
    assert recorder.dropped_total > before, "urgent ones too"
    assert recorder.trouble is None
    recorder.ride("far", Cursor(2, 1), 10_000)
    recorder.offer([event("door/contact", urgent=True)])
    await recorder.flush()
    assert [tuple(row[:3]) for row in await log._head.store.cursors()] == [("far", 2, 1)], "in the file"
