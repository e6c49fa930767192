"""What the log forgets, and what it says of that."""

import os
import sqlite3
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import LogFull, StoreUnavailable
from gateway.event import Event, stamped
from gateway.eventlog import TELL_EVERY_S, Cursor, Riders, loss, retention, store, writes
from gateway.eventlog.loss import SUBJECTS_TOLD, loss_of
from tests.eventlog.disks import all_events
from tests.eventlog.test_log import Faulty

MB = 1_000_000


def reading(n=0, subject="air/temperature", **more):
    return Event("reading", subject, n, n, float(n), "Cel", "good", **more)


def bulky(count=50, *, urgent=False):
    """Events that deflate does not make small: about 2 kB each."""
    kind = "input" if urgent else "reading"
    return [Event(kind, "pad/key", n, n, os.urandom(1000).hex(), quality="good", urgent=urgent) for n in range(count)]


async def fill_for_ever(log, count=50, *, urgent=False):
    """Until the log does not take any more; if it takes twenty times its size, something is wrong."""
    for _ in range(20 * MB // (1000 * count)):
        await log.append(bulky(count, urgent=urgent))


async def gaps(log):
    return [event for event in await all_events(log) if event.type == "log.gap"]


# -- count ------------------------------------------------------------------------------------------------------------


async def test_what_is_beyond_the_count_and_was_read_goes_in_whole_batches(opened):
    log = await opened(events_max=1000)
    for _ in range(13):
        await log.append([reading()] * 100)
    await log.trim(protected=log.next_offset)
    assert (log.first_offset, log.next_offset) == (301, 1301)
    await log.append([reading()] * 50)
    await log.trim(protected=log.next_offset)
    assert log.first_offset == 301, "a batch of which a part is to be kept stays"


async def test_the_count_never_takes_what_a_sink_has_not_read(opened):
    log = await opened(events_max=1000)
    for _ in range(30):
        await log.append([reading()] * 100)
    await log.trim(protected=150)
    assert log.first_offset == 101
    assert (await log.read(101)).events[0].offset == 101


async def test_the_count_is_of_events_not_of_offsets_that_a_run_skipped(opened, tmp_path):
    log = await opened(events_max=1000)
    for _ in range(7):
        await log.append([reading()] * 100)
    await log.close()
    with sqlite3.connect(tmp_path / "events.db") as raw:  # as behind a salvaged log
        raw.execute(writes.KEEP_NEXT_OFFSET, (10**9,))
    log = await opened(events_max=1000)
    for _ in range(5):
        await log.append([reading()] * 100)
    await log.trim(protected=log.next_offset)
    assert log.first_offset == 201, "500 of this run and 500 of the one before"
    for _ in range(5):
        await log.append([reading()] * 100)
    await log.trim(protected=log.next_offset)
    assert log.first_offset == 10**9


async def test_one_trim_deletes_a_bounded_number_of_batches_and_asks_for_more(opened, monkeypatch):
    monkeypatch.setattr(retention, "TRIM_BATCHES_MAX", 5)
    log = await opened(events_max=1000)
    for _ in range(18):
        await log.append([reading()] * 100)
    steps = 1
    while await log.trim(protected=log.next_offset):
        steps += 1
    assert (log.first_offset, steps) == (801, 2)


# -- checkpoints ------------------------------------------------------------------------------------------------------


async def checkpoint(log, *offsets):
    insert = "INSERT INTO checkpoint(offset, codec, crc, state) VALUES (?, 1, 0, x'')"
    await log._head.store.transaction([(insert, (offset,)) for offset in offsets])


async def test_no_trim_by_age_or_count_passes_the_newest_checkpoint(opened, clock):
    log = await opened(events_max=1000, keep_for_s=60)
    for _ in range(30):
        await log.append([reading()] * 100)
    await checkpoint(log, 201, 401)
    clock.pass_s(120)
    await log.trim(protected=log.next_offset)
    assert log.first_offset == 401


@pytest.mark.parametrize("when_full", ["evict", "thin", "refuse"])
async def test_no_step_for_room_passes_the_newest_checkpoint(opened, when_full):
    log = await opened(size_bytes_max=MB, when_full=when_full)
    for _ in range(4):
        await log.append(bulky())
    await checkpoint(log, 101)
    with pytest.raises(StoreUnavailable):
        await fill_for_ever(log)
    assert log.first_offset == 101
    await checkpoint(log, log.next_offset)
    await log.append(bulky())


# -- losses, told an episode at a time --------------------------------------------------------------------------------


async def test_the_first_loss_is_told_at_once_and_what_follows_every_five_minutes(opened, clock):
    log = await opened(size_bytes_max=MB)
    await log.append([reading()], Riders({"far": Cursor(1)}))
    told = []
    for _ in range(100):
        told += [e for e in await log.append(bulky(10)) if e.type == "log.gap"]
        clock.pass_s(10)
    seen = await gaps(log)
    assert log.events_trimmed_unread > 0
    assert 1 <= len(seen) <= 4, "a thousand seconds, of which the first part had room"
    assert not told, "an append returns its own events only"
    times = [gap.mono for gap in seen]
    assert all(b - a >= TELL_EVERY_S * 10**9 for a, b in pairwise(times))


async def test_a_cut_and_the_count_of_what_it_took_are_one_transaction(opened, clock, monkeypatch):
    """Losses that are not told yet survive a crash, and are told first thing."""
    log = await opened(size_bytes_max=MB)
    await log.append([reading()], Riders({"far": Cursor(1)}))
    while log.events_trimmed_unread < 200:
        await log.append(bulky())
    lost = log.first_offset - 1
    assert log._retention._loss is not None, "a second step within five minutes waits to be told"
    await log._head.store.close()  # nothing more gets into the file, as after a crash
    log = await opened(size_bytes_max=MB)
    await log.append([reading()])
    await log.prepare([])
    clock.pass_s(TELL_EVERY_S)
    named = [(int(gap.data["first"]), int(gap.data["last"])) for gap in await gaps(log)]
    assert min(first for first, _ in named) == 1
    assert max(last for _, last in named) == lost
    assert sum(gap.data["count"] for gap in await gaps(log)) == lost
    assert not log.owes


async def test_a_clean_stop_tells_what_was_lost(opened):
    log = await opened(size_bytes_max=MB)
    await log.append([reading()], Riders({"far": Cursor(1)}))
    while log.events_trimmed_unread < 200:
        await log.append(bulky())
    lost = log.first_offset - 1
    log = await opened(size_bytes_max=MB)
    assert sum(gap.data["count"] for gap in await gaps(log)) == lost


async def test_a_gap_that_is_evicted_unread_hands_its_tale_on(opened, clock):
    log = await opened(size_bytes_max=MB)
    await log.append([reading()], Riders({"far": Cursor(1)}))
    while log.first_offset < 3000:  # the log turns over several times
        await log.append(bulky())
        clock.pass_s(TELL_EVERY_S / 4)
    clock.pass_s(TELL_EVERY_S)
    await log.prepare([])
    seen = await gaps(log)
    assert min(int(gap.data["first"]) for gap in seen) == 1, "all that far never got is named by what is in the log"
    assert max(int(gap.data["last"]) for gap in seen) == log.first_offset - 1


async def test_what_every_sink_has_read_goes_without_a_word(opened):
    log = await opened(size_bytes_max=MB)
    for _ in range(40):
        await log.append(bulky(), Riders({"home": Cursor(log.next_offset)}))
    assert log.first_offset > 1
    assert await gaps(log) == []
    assert log.events_trimmed_unread == 0


lost_events = st.lists(st.sampled_from([f"d{n}/x" for n in range(300)]), max_size=600)


@given(lost_events, lost_events)
def test_a_tale_names_at_most_fifty_subjects_and_counts_all(ones, others):
    total = None
    for first, subjects in ((1, ones), (1000, others)):
        events = stamped([reading(subject=s) for s in subjects], first=first, recorded=0, run="", boot="")
        total = loss_of(events, first, first + len(events)).plus(total)
    told = loss.decode(loss.encode(total)).told()
    assert told["count"] == len(ones) + len(others) == sum(told["subjects"].values()) + told["rest"]
    assert len(told["subjects"]) <= SUBJECTS_TOLD
    assert (int(told["first"]), int(told["last"])) == (1, 1000 + len(others))


# -- refuse -----------------------------------------------------------------------------------------------------------


async def test_a_log_that_refuses_never_loses_what_was_not_read(opened):
    log = await opened(size_bytes_max=MB, when_full="refuse")
    await log.append([reading()], Riders({"far": Cursor(1)}))
    with pytest.raises(LogFull, match="set to refuse"):
        await fill_for_ever(log)
    end = log.next_offset
    with pytest.raises(LogFull):
        await log.append([reading()])
    assert (log.first_offset, log.next_offset) == (1, end)
    assert len(await all_events(log)) == end - 1
    assert await gaps(log) == []


async def test_urgent_events_have_the_last_part_to_themselves_and_cursors_are_always_taken(opened, tmp_path):
    log = await opened(size_bytes_max=MB, when_full="refuse")
    await log.append([reading()], Riders({"far": Cursor(1)}))
    with pytest.raises(LogFull):
        await fill_for_ever(log, 5)
    end = log.next_offset
    with pytest.raises(LogFull):
        await fill_for_ever(log, 5, urgent=True)
    assert log.next_offset > end
    _, used = await log._head.store.pages()
    assert MB - used * store.PAGE_BYTES >= 4 * store.PAGE_BYTES, "something is left for cursors"
    await log.append([], Riders({"far": Cursor(2, 1)}))
    assert log.cursors["far"] == Cursor(2, 1)
    await log.close()
    assert (tmp_path / "events.db").stat().st_size <= MB


async def test_what_every_sink_has_read_makes_room_for_new_events(opened):
    log = await opened(size_bytes_max=MB, when_full="refuse")
    await log.append([reading()], Riders({"far": Cursor(1)}))
    with pytest.raises(LogFull):
        await fill_for_ever(log)
    await log.append([], Riders({"far": Cursor(log.next_offset - 60)}))
    await log.append(bulky())
    assert 1 < log.first_offset <= log.cursors["far"].next_offset
    assert await gaps(log) == []


# -- room -------------------------------------------------------------------------------------------------------------


async def test_a_batch_that_is_larger_than_the_last_part_of_a_small_log_finds_room(opened, clock):
    """The bound is ours also where 95 % of it are not used yet."""
    log = await opened(size_bytes_max=MB)
    for _ in range(20):
        await log.append(bulky(120))
    assert log.first_offset > 1


async def test_what_is_to_be_told_finds_room_too(opened, clock):
    log = await opened(size_bytes_max=MB)
    await log.append([reading()], Riders({"far": Cursor(1)}))
    for _ in range(60):
        for _ in range(7):
            await log.append(bulky(3))
        clock.pass_s(TELL_EVERY_S)
        await log.append([reading()] * 10)
    assert log.events_trimmed_unread > 0


async def test_the_metric_of_losses_counts_each_once(opened, clock):
    log = await opened(size_bytes_max=MB)
    await log.append([reading()], Riders({"far": Cursor(1)}))
    while log.first_offset < 3000:
        await log.append(bulky())
        clock.pass_s(TELL_EVERY_S / 4)
    clock.pass_s(TELL_EVERY_S)
    await log.prepare([])
    assert log.tally.lost["size"] == log.events_trimmed_unread == log.first_offset - 1


async def test_what_a_run_before_lost_is_told_behind_the_first_words_of_this_one(opened, clock):
    """They tell of the downtime; time that passed in it must not seem to have been watched."""
    log = await opened(size_bytes_max=MB)
    await log.append([reading()], Riders({"far": Cursor(1)}))
    while log._retention._loss is None:
        await log.append(bulky())
    await log._head.store.close()  # as after a crash
    log = await opened(size_bytes_max=MB)
    clock.pass_s(TELL_EVERY_S)
    begin = log.next_offset
    await log.prepare([])
    await log.append([reading(subject="gateway")])
    assert log.owes
    await log.prepare([])
    events = (await log.read(begin)).events
    assert [event.type for event in events[:2]] == ["reading", "log.gap"]


async def test_a_gap_whose_commit_only_seemed_to_fail_is_read_and_heard(opened, clock):
    log = await opened(size_bytes_max=MB)
    await log.append([reading()], Riders({"far": Cursor(1)}))
    while log._retention._loss is None:
        await log.append(bulky())
    clock.pass_s(TELL_EVERY_S)
    log.take_own()
    begin = log.next_offset
    log._head.store._writer = Faulty(log._head.store._writer, after=True)
    with pytest.raises(StoreUnavailable):
        await log.prepare([])
    (stamped,) = await log.append([reading()])
    assert stamped.offset == begin + 1
    assert [event.type for event in (await log.read(begin)).events] == ["log.gap", "reading"]
    assert [event.offset for event in log.take_own()] == [begin], "rules and latest values hear of it"
