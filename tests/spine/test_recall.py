"""What was true before a restart is true after it."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import recall as recall_module
from gateway.clock import SystemClock
from gateway.event import Event, stamp
from gateway.eventlog import EventLog, Page
from gateway.present import Latest
from gateway.recall import recall

DEVICES = {"a": ["t", "h"], "b": ["t"], "c": ["x"]}

kinds = st.one_of(
    st.tuples(st.sampled_from(["reading", "state", "input"]), st.sampled_from(["a/t", "a/h", "b/t", "gone/t"])),
    st.tuples(st.sampled_from(["device.available", "device.unavailable"]), st.sampled_from(["a", "b", "gone"])),
    st.just(("gateway.started", "gateway")),
)
histories = st.lists(st.lists(kinds, min_size=1, max_size=8), max_size=12)


def events(batch, n):
    return [Event(kind, subject, n, n, n, None, "good") for kind, subject in batch]


def shown(latest):
    values = {e.subject: (e.type, e.value, e.quality, e.time) for e in latest.values() if e.subject != "gone/t"}
    return values, {device: up for device, up in latest.availability() if device != "gone"}


class Shelf:
    """A log in memory, as far as it is read."""

    first_offset = 1

    def __init__(self, events):
        self.events = [stamp(event, offset=n, recorded=n, run="r", boot="b") for n, event in enumerate(events, 1)]
        self.next_offset = len(events) + 1

    async def read(self, offset, limit):
        events = self.events[offset - 1 : offset - 1 + limit]
        return Page(events, events[-1].offset + 1 if events else offset)


@settings(max_examples=100, deadline=None)
@given(histories, st.integers(1, 20))
def test_a_picture_from_the_newest_events_equals_one_from_all(history, step):
    log = Shelf([event for n, batch in enumerate(history, 1) for event in events(batch, n)])
    whole, again = Latest(dict), Latest(dict)
    whole.apply(log.events)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recall_module, "STEP_EVENTS", step)
        found = asyncio.run(recall(log, DEVICES))
    again.apply(found)
    assert shown(again) == shown(whole)
    assert "gone" not in {event.subject.partition("/")[0] for event in found}
    assert len(found) <= 4 * len(DEVICES) * 2


async def test_reading_backwards_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(recall_module, "EVENTS_MAX", 50)
    log = await EventLog.open(tmp_path / "x.db", SystemClock())
    await log.append(events([("reading", "b/t")], 1))
    await log.append(events([("reading", "a/t")] * 100, 2))
    assert [e.subject for e in await recall(log, DEVICES)] == ["a/t"]
    await log.close()


async def test_it_stops_reading_when_everything_was_found(tmp_path, monkeypatch):
    monkeypatch.setattr(recall_module, "STEP_EVENTS", 10)
    log = await EventLog.open(tmp_path / "x.db", SystemClock())
    for n in range(1, 40):
        await log.append(events([("reading", "a/t"), ("device.available", "a")], n))
    asked, read = [], log.read

    async def note(offset, limit):
        asked.append(offset)
        return await read(offset, limit)

    monkeypatch.setattr(log, "read", note)
    assert [e.value for e in await recall(log, {"a": ["t"]})] == [39, 39]
    assert len(asked) == 1
    await log.close()


async def test_an_empty_log_remembers_nothing(tmp_path):
    log = await EventLog.open(tmp_path / "x.db", SystemClock())
    assert await recall(log, DEVICES) == []
    await log.close()
