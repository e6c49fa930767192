"""Thinning: detail goes before history does, never what is urgent, never what somebody has in his hands."""

import asyncio
import logging
import os
import tempfile
from functools import partial
from itertools import pairwise
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.clock import NS_PER_S
from gateway.errors import StoreUnavailable
from gateway.event import THINNED, CloudEventEncoder, Event, data_of, stamped
from gateway.eventlog import Cursor, EventLog, Riders, codec, thin
from gateway.eventlog.queries import BatchHead
from gateway.eventlog.tail import TAIL_EVENTS_MAX, Tail
from gateway.eventlog.thinning import MINUTE_NS, Stretch, of_low_priority, stretch, summed_up
from gateway.selection import Selection
from tests.clocks import ManualClock

MB = 1_000_000
START_NS = 1_800_000_000 * NS_PER_S


def reading(n=0, value=1.0, subject="air/temperature", quality="good", **more):
    return Event("reading", subject, START_NS + n * NS_PER_S, n * NS_PER_S, value, "Cel", quality, **more)


def placed(events):
    return stamped(events, first=1, recorded=START_NS, run="5f0c", boot="b")


# -- what becomes of events -------------------------------------------------------------------------------------------


def test_the_readings_of_a_minute_become_their_minimum_mean_and_maximum():
    (event,) = summed_up(placed([reading(n, float(n)) for n in range(60)]))
    assert (event.type, event.subject, event.offset, event.id) == (THINNED, "air/temperature", 60, "5f0c-60~60")
    assert event.time == START_NS + 59 * NS_PER_S
    assert event.data == {"min": 0.0, "mean": 29.5, "max": 59.0, "count": 60, "span_s": 59.0}
    assert data_of(event) == {"unit": "Cel", "quality": "good", **event.data}
    outside = CloudEventEncoder("pi").envelope(event, None)
    assert (outside.id, outside.sampledrate) == ("5f0c-60~60", 60)


@pytest.mark.parametrize(
    "event",
    [
        Event("state", "door/contact", START_NS, 0, value=True, quality="good", urgent=True),
        Event("input", "pad/key", START_NS, 0, "a", quality="good"),
        Event("device.unavailable", "air", START_NS, 0),
        Event("log.gap", "gateway", START_NS, 0, data={"count": 3, "subjects": {}, "rest": 3}),
        reading(urgent=True),
        reading(value="text"),
        reading(value=True),
        reading(value=float("inf")),
        reading(cause="5f0c-1"),
        reading(data={"samples": [1, 2]}),
    ],
    ids=lambda event: f"{event.type} {event.value}",
)
def test_everything_else_stays_word_for_word(event):
    assert not of_low_priority(event)
    both = placed([event, event])
    assert summed_up(both) == both


def test_a_reading_that_is_alone_in_its_minute_stays_itself():
    hourly = placed([reading(n * 3600) for n in range(5)])
    assert summed_up(hourly) == hourly


def test_what_differs_is_not_summed_up_together():
    kinds = [
        reading(0), reading(1, subject="air/humidity"), reading(2, None, quality="bad"),
        reading(3, quality="uncertain"), reading(4, synced=False), reading(5, simulated=True),
        reading(6, reason="range"), reading(60),
    ]  # fmt: skip
    alone = placed(kinds)
    assert summed_up(alone) == alone
    twice = summed_up(placed(kinds + kinds))
    assert [event.data["count"] for event in twice] == [2] * len(kinds)
    absent = [event for event in twice if event.quality == "bad"]
    assert absent[0].data["min"] is absent[0].data["mean"] is absent[0].data["max"] is None


anything = st.one_of(
    st.builds(
        reading,
        st.integers(0, 300),
        st.none() | st.floats(-1e6, 1e6) | st.integers(-1000, 1000) | st.booleans() | st.text(max_size=3),
        st.sampled_from(["a/b", "c/d"]),
        st.sampled_from(["good", "bad"]),
        urgent=st.booleans(),
    ),
    st.just(Event("state", "door/contact", START_NS, 0, value=True, quality="good")),
)


@given(st.lists(anything, min_size=1, max_size=80))
def test_every_event_is_there_or_counted_and_the_file_gives_back_what_was_put_in(events):
    given_ = placed(events)
    left = summed_up(given_)
    assert sum(event.stands_for for event in left) == len(given_)
    offsets = [event.offset for event in left]
    assert all(a < b for a, b in pairwise(offsets))
    assert offsets[-1] == len(given_), "the last offset stays taken: a reader goes on behind it"
    assert len({event.id for event in [*left, *given_]}) <= len(given_) + sum(e.type == THINNED for e in left)
    assert [e for e in given_ if not of_low_priority(e)] == [
        e for e in left if not of_low_priority(e) and e.type != THINNED
    ]
    for event in left:
        if event.type == THINNED and event.data["min"] is not None:
            assert event.data["min"] <= event.data["max"]
            assert event.data["min"] - 1e-6 <= event.data["mean"] <= event.data["max"] + 1e-6
            assert event.data["span_s"] <= MINUTE_NS / NS_PER_S
    blob = codec.pack_sparse(left, base_offset=1, recorded=START_NS, mono=7)
    how = {"codec": codec.SPARSE, "base_offset": 1, "recorded": START_NS, "mono": 7, "run": "5f0c", "boot": "b"}
    assert codec.unpack(blob, **how) == left
    wanted = Selection(["reading"], ["a/*"], ["good"])
    assert codec.unpack(blob, **how, selection=wanted) == [event for event in left if wanted.selects(event)]


def test_who_wants_readings_gets_what_stands_for_them():
    (event,) = summed_up(placed([reading(n) for n in range(3)]))
    assert Selection(["reading"], ["air/*"]).selects(event)
    assert Selection(["reading.thin"]).selects(event)
    assert not Selection(["state"]).selects(event)
    assert not Selection(["reading"], ["door/*"]).selects(event)


# -- which batches ----------------------------------------------------------------------------------------------------


def heads(*sizes, first=1, codec_=1, nonce="r"):
    made, base = [], first
    for size in sizes:
        made.append(BatchHead(base, base + size - 1, codec_, nonce, 10 * size))
        base += size
    return made


def chosen(rows, limit=10**9, cursors=(), held=()):
    return stretch(rows, limit=limit, cursors=cursors, held=held, thinned=codec.SPARSE)


@pytest.mark.parametrize(
    ("rows", "more", "found"),
    [
        (heads(10, 10, 10), {}, Stretch(0, 3, 31)),
        (heads(10, 10, 10), {"limit": 25}, Stretch(0, 2, 21)),
        (heads(10, 10, 10), {"limit": 5}, Stretch(0, 0, 1)),
        (heads(10, 10, 10), {"limit": 30}, Stretch(0, 2, 21)),
        (heads(10, 10, 10), {"limit": 31}, Stretch(0, 3, 31)),
        (heads(10, 10, 10), {"cursors": [11]}, Stretch(0, 1, 11)),
        (heads(10, 10, 10), {"cursors": [15]}, Stretch(0, 1, 11)),
        (heads(10, 10, 10), {"cursors": [1, 31]}, Stretch(0, 3, 31)),
        (heads(10, 10, 10), {"cursors": [5]}, Stretch(1, 3, 31)),
        (heads(10, 10, 10), {"held": [(1, 11)]}, Stretch(1, 3, 31)),
        (heads(10, 10, 10), {"held": [(20, 21)]}, Stretch(0, 1, 11)),
        (heads(10, 10, 10), {"held": [(1, 31)]}, Stretch(3, 3, 31)),
        (heads(10, 10, 10), {"held": [(11, 11)]}, Stretch(0, 3, 31)),
        (heads(10, codec_=2) + heads(10, first=11), {}, Stretch(1, 2, 21)),
        (heads(10) + heads(10, first=11, codec_=2), {}, Stretch(0, 1, 11)),
        (heads(10) + heads(10, first=11, nonce="s"), {}, Stretch(0, 1, 11)),
        (heads(10) + heads(10, first=10**6), {}, Stretch(0, 1, 11)),
        (heads(4000, 90, 90), {}, Stretch(0, 2, 4091)),
        (heads(5000, 10), {}, Stretch(0, 1, 5001)),
        (heads(10, codec_=2) + heads(10, first=11), {"limit": 15}, Stretch(1, 1, 11)),
    ],
    ids=str,
)
def test_which_batches_are_rewritten_together(rows, more, found):
    assert chosen(rows, **more) == found


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=12),
    st.lists(st.integers(1, 200), max_size=3),
    st.lists(st.tuples(st.integers(1, 200), st.integers(0, 60)), max_size=2),
    st.integers(1, 300),
)
def test_no_stretch_reaches_over_a_cursor_or_into_a_hand(sizes, cursors, hands, limit):
    rows = heads(*sizes)
    held = [(begin, begin + length) for begin, length in hands if length]
    low, high, upto = chosen(rows, limit, cursors, held)
    assert 0 <= low <= high <= len(rows)
    if low == high:
        assert upto > rows[0].base_offset or rows[0].last_offset >= limit, "the look moves on, or is at its limit"
        return
    begin, end = rows[low].base_offset, rows[high - 1].last_offset
    assert end < limit
    assert upto == end + 1
    assert not any(begin < cursor <= end for cursor in cursors)
    assert not any(a <= end and begin < b for a, b in held)


# -- in the log -------------------------------------------------------------------------------------------------------


@pytest.fixture
def opened(opened):
    return partial(opened, when_full="thin")


async def everything(log, offset=None, selection=None):
    events, offset = [], log.first_offset if offset is None else offset
    while offset < log.next_offset:
        page = await log.read(offset, selection=selection)
        assert page.gap is None, "what was summed up is no gap"
        events, offset = events + page.events, page.next_offset
    return events


def minute(clock, key=0, per_batch=60):
    """A batch of readings a second apart, all of one minute, and a key press behind them: 61 events."""
    events = []
    for n in range(per_batch):
        value = 20 + (key * 7919 + n * 104729) % 1000 / 100
        events.append(Event("reading", f"air/t{n % 3}", clock.wall_ns(), clock.mono_ns(), value, "Cel", "good"))
        clock.pass_s(1)
    return [*events, Event("input", "pad/key", clock.wall_ns(), clock.mono_ns(), f"k{key}", urgent=True)]


async def fill(log, clock, minutes):
    return [e for key in range(minutes) for e in await log.append(minute(clock, key))]


async def thinned(log):
    """Sum up all that may be."""
    while await log._retention.thinner.make_room(MB, log.next_offset):
        pass


async def test_a_full_log_gives_up_detail_before_history(opened, clock):
    log = await opened(size_bytes_max=MB)
    keys = 0
    while (await log._head.store.pages())[1] * 1024 < 0.97 * MB or not log.tally.thinned:
        await fill(log, clock, 20)
        keys += 20
    assert log.first_offset == 1, "nothing is gone while there is detail to give up"
    events = await everything(log)
    assert sum(event.stands_for for event in events) == log.next_offset - 1
    assert sum(event.type == "input" for event in events) == keys
    assert sum(event.type == THINNED for event in events) > 100
    assert log.tally.thinned > 1000


async def test_only_when_nothing_is_left_to_sum_up_does_the_oldest_go(opened, clock):
    log = await opened(size_bytes_max=MB)
    bulky = [Event("input", "pad/key", 1, 1, os.urandom(500).hex(), urgent=True) for _ in range(50)]
    await log.append(bulky, Riders({"far": Cursor(1)}))
    for _ in range(60):
        await log.append(bulky)
    assert log.first_offset > 1
    assert [e.type for e in await everything(log)].count("log.gap") == 1


async def test_urgent_events_come_back_word_for_word_and_readings_as_their_sums(opened, clock):
    log = await opened()
    await fill(log, clock, 120)
    before = await everything(log)
    await thinned(log)
    after = await everything(log)
    whole_batches = (log.next_offset - TAIL_EVENTS_MAX) // 61 * 61
    assert [e for e in before if e.type == "input"] == [e for e in after if e.type == "input"]
    assert [e for e in before if e.offset > whole_batches] == [e for e in after if e.offset > whole_batches]
    sums = [event for event in after if event.type == THINNED]
    assert len(sums) == 3 * whole_batches // 61, "one for each minute and subject"
    for event in sums:
        begin = event.mono - event.data["span_s"] * NS_PER_S
        of = [e for e in before if e.subject == event.subject and begin <= e.mono <= event.mono]
        values = [e.value for e in of]
        assert (event.data["min"], event.data["max"]) == (min(values), max(values))
        assert event.data["count"] == len(of) == 20
        assert event.offset == of[-1].offset
        assert (event.recorded, event.boot, event.run) == (of[-1].recorded, of[-1].boot, of[-1].run)


async def test_readers_from_any_offset_find_their_way_through(opened, clock):
    log = await opened()
    await fill(log, clock, 120)
    await thinned(log)
    whole = await everything(log)
    for offset in (1, 2, 60, 61, 62, 500, 1000, log.next_offset - 1):
        assert await everything(log, offset) == [event for event in whole if event.offset >= offset]
        wanted = Selection(["input"])
        assert await everything(log, offset, wanted) == [e for e in whole if e.offset >= offset and e.type == "input"]


async def test_a_consumer_gets_whole_sums_behind_its_cursor_and_its_hands_stay_as_they_were(opened, clock):
    log = await opened()
    await fill(log, clock, 30)
    cursors = {"far": Cursor(5 * 61 + 31, 5 * 61 + 30), "home": Cursor(10 * 61 + 1, 10 * 61)}
    await log.append([], Riders(cursors))
    await fill(log, clock, 90)
    raw = await everything(log)
    log.hold(lambda: [(10 * 61 + 1, 12 * 61 + 5)])
    await thinned(log)
    after = await everything(log)
    in_hand = [e for e in raw if 10 * 61 < e.offset <= 13 * 61]
    assert [e for e in after if 10 * 61 < e.offset <= 13 * 61] == in_hand
    assert [e for e in after if 5 * 61 < e.offset <= 6 * 61] == [e for e in raw if 5 * 61 < e.offset <= 6 * 61]
    for at in cursors.values():
        behind = [event for event in after if event.offset >= at.next_offset]
        assert sum(event.stands_for for event in behind) == log.next_offset - at.next_offset


async def test_a_hand_that_let_go_is_free(opened, clock):
    log = await opened()
    let_go = log.hold(lambda: [(1, 10**9)])
    await fill(log, clock, 120)
    await log._retention.thinner.make_room(MB, log.next_offset)
    assert log.tally.thinned == 0
    let_go()
    log._retention.thinner._upto = 0
    await thinned(log)
    assert log.tally.thinned > 0


async def test_what_was_given_and_not_acknowledged_one_by_one_is_in_hand(opened, clock):
    log = await opened()
    await fill(log, clock, 120)
    log.hold(lambda: [(70, 131)])
    await thinned(log)
    kept = {event.offset for event in await everything(log) if event.type == "reading"}
    assert kept & set(range(1, 62)) == set()
    assert kept & set(range(62, 184)) == {*range(62, 122), *range(123, 183)}, "two batches, their key presses aside"
    assert kept & set(range(184, 245)) == set()


async def test_what_the_newest_checkpoint_needs_stays(opened, clock):
    log = await opened()
    await fill(log, clock, 120)
    await log._head.store.transaction(
        [("INSERT INTO checkpoint(offset, codec, crc, state) VALUES (62, 1, 0, x'')", ())]
    )
    while await log._retention.thinner.make_room(MB, await log._retention._needed()):
        pass
    events = await everything(log)
    assert {event.type for event in events if event.offset < 62} == {THINNED, "input"}
    assert {event.type for event in events if event.offset >= 62} == {"reading", "input"}


async def test_a_log_is_thinned_once_also_over_a_restart(opened, clock, caplog):
    log = await opened()
    await fill(log, clock, 120)
    await thinned(log)
    before = await everything(log)
    log = await opened()
    caplog.clear()
    with caplog.at_level(logging.DEBUG, "gateway.eventlog"):
        await thinned(log)
    assert "thinned" not in caplog.text
    assert await everything(log) == before


async def test_a_rewrite_that_fails_changes_nothing(opened, clock, monkeypatch):
    log = await opened()
    await fill(log, clock, 120)
    before = await everything(log)
    monkeypatch.setattr(thin.writes, "KEEP_THINNED", "INSERT INTO nowhere VALUES (?)")  # the last statement
    with pytest.raises(StoreUnavailable):
        await thinned(log)
    monkeypatch.undo()
    log = await opened()
    assert await everything(log) == before


async def test_age_takes_a_thinned_batch_when_its_youngest_event_is_old_enough(opened, clock):
    log = await opened(keep_for_s=3 * 3600)
    await fill(log, clock, 120)
    await thinned(log)
    assert log.first_offset == 1
    row = (await log._head.store.heads_from(1, 1))[0]
    clock.pass_s(3600 + 600)
    await log.trim(log.next_offset)
    assert log.first_offset == 1, "its oldest event is three hours and ten minutes old"
    clock.pass_s(row.last_offset / 61 * 60)
    await log.trim(log.next_offset)
    assert log.first_offset > row.last_offset


@settings(deadline=None, max_examples=15)
@given(st.lists(st.lists(anything, min_size=1, max_size=40), min_size=1, max_size=10), st.integers(1, 400))
def test_summing_up_never_changes_what_else_a_filter_finds(batches, cursor):
    async def check():
        only_the_newest_stays = mock.patch.object(thin, "TAIL_EVENTS_MAX", 1)
        with tempfile.TemporaryDirectory() as folder, only_the_newest_stays:
            log = await EventLog.open(Path(folder) / "events.db", ManualClock(), when_full="thin")
            try:
                for batch in batches:
                    await log.append(batch)
                await log.append([], Riders({"far": Cursor(min(cursor, log.next_offset))}))
                wanted = Selection(["state"])
                before = await everything(log, selection=wanted)
                log._head.tail = Tail()
                await thinned(log)
                assert await everything(log, selection=wanted) == before
                assert sum(event.stands_for for event in await everything(log)) == log.next_offset - 1
            finally:
                await log.close()

    asyncio.run(check())
