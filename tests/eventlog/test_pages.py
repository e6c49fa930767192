"""Reading through a filter: the same events as reading all and choosing, some times as fast, in bounded steps."""

import asyncio
import itertools
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.event import Event
from gateway.eventlog import EventLog, codec, pages
from gateway.eventlog.tail import Tail
from gateway.selection import Selection
from tests.clocks import ManualClock

SUBJECTS = ("air/temperature", "air/humidity", "door/contact", "gateway")
TYPES = ("reading", "state", "log.gap")


def event(type_, subject, quality="good"):
    return Event(type_, subject, 1_000, 10, 21.5, "Cel", quality)


async def read_all(log, selection=None, limit=500):
    """Every event a reader gets, and how many pages that took."""
    events, offset, count = [], log.first_offset, 0
    while offset < log.next_offset:
        page = await log.read(offset, limit, selection=selection)
        assert page.gap is None
        assert page.next_offset > offset, "every page moves on"
        events, offset, count = events + page.events, page.next_offset, count + 1
    return events, count


@pytest.fixture
async def log(tmp_path):
    log = await EventLog.open(tmp_path / "events.db", ManualClock())
    log._head.tail = Tail(events_max=3)
    yield log
    await log.close()


kinds = st.builds(event, st.sampled_from(TYPES), st.sampled_from(SUBJECTS), st.sampled_from(["good", "bad"]))
some = st.lists(st.lists(kinds, min_size=1, max_size=12), min_size=1, max_size=8)
selections = st.builds(
    Selection,
    st.none() | st.lists(st.sampled_from(["reading", "state"]), min_size=1),
    st.none() | st.lists(st.sampled_from(["air/*", "door/**", "*/humidity"]), min_size=1),
    st.none() | st.just(["good"]),
)


@settings(deadline=None, max_examples=60)
@given(some, selections, st.integers(1, 40))
def test_a_filtered_read_gives_what_choosing_from_everything_gives(batches, selection, limit):
    async def check():
        with tempfile.TemporaryDirectory() as folder:
            log = await EventLog.open(Path(folder) / "events.db", ManualClock())
            log._head.tail = Tail(events_max=5)
            try:
                stamped = [event for batch in batches for event in await log.append(batch)]
                read, _ = await read_all(log, selection, limit)
                assert [e.id for e in read] == [e.id for e in stamped if selection.selects(e)]
            finally:
                await log.close()

    asyncio.run(check())


@pytest.mark.parametrize("wanted", [1, 30, 100])
async def test_few_and_many_wanted_records_come_out_alike(log, wanted):
    """Below one in four records are decoded one by one, above all at once."""
    await log.append([event("reading", SUBJECTS[0] if n < wanted else SUBJECTS[1]) for n in range(100)])
    await log.append([event("state", "door/contact")] * 4)
    read, _ = await read_all(log, Selection(subjects=["air/temperature"]))
    assert [(e.offset, e.subject) for e in read] == [(n + 1, "air/temperature") for n in range(wanted)]


async def test_a_batch_of_which_nothing_is_wanted_is_not_decoded(log, monkeypatch):
    await log.append([event("reading", "air/temperature")] * 10)
    await log.append([event("state", "door/contact")] * 4)
    monkeypatch.setattr(codec, "_decode", None)
    monkeypatch.setattr(codec, "_decode_one", None)
    assert await read_all(log, Selection(["input"])) == ([], 1)


async def test_a_read_that_finds_nothing_looks_at_a_bounded_number_of_events(log, monkeypatch):
    monkeypatch.setattr(pages, "LOOKED_AT_MAX", 20)
    for _ in range(20):
        await log.append([event("reading", "air/temperature")] * 10)
    page = await log.read(1, selection=Selection(["input"]))
    assert (page.events, page.next_offset) == ([], 21)
    _, count = await read_all(log, Selection(["input"]))
    assert count == 10


async def test_a_filtered_read_names_the_gap_before_it(log):
    await log.append([event("reading", "air/temperature")] * 10)
    await log.append([event("state", "door/contact")] * 10)
    await log.append([event("reading", "air/temperature")] * 10)
    await log._retention.cut(11)
    page = await log.read(1, selection=Selection(["reading"]))
    assert page.gap == (1, 10), "offsets 11 to 20 are there, and not wanted"
    assert page.events[0].offset == 21


async def test_other_work_goes_on_between_any_two_batches(log, monkeypatch):
    for _ in range(20):
        await log.append([event("reading", "air/temperature")])
    turns, seen, decode = 0, [], pages.decode

    async def count():
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    def watched(row, selection):
        seen.append(turns)
        return decode(row, selection)

    monkeypatch.setattr(pages, "decode", watched)
    counting = asyncio.create_task(count())
    await log.read(1, selection=Selection(["input"]))
    counting.cancel()
    assert len(seen) == 20
    assert all(before < after for before, after in itertools.pairwise(seen))
