"""A sink and a log that is thinned under it: what is in flight stays, what follows comes in an unbroken chain."""

from itertools import pairwise
from types import SimpleNamespace

import pytest

from gateway import feed
from gateway.clock import NS_PER_S
from gateway.event import THINNED, Event
from gateway.eventlog import EventLog, thin
from gateway.eventlog.tail import Tail
from gateway.forwarders import Forwarders
from tests.spine.conftest import PlayedSink, Spine, until


@pytest.fixture
async def spine(tmp_path, clock, monkeypatch):
    monkeypatch.setattr(feed, "HELD_AT_START", 0)
    monkeypatch.setattr(thin, "TAIL_EVENTS_MAX", 300)
    log = await EventLog.open(tmp_path / "events.db", clock, when_full="thin")
    log._head.tail = Tail(300)
    spine = Spine(log, clock, PlayedSink())
    forwarders = Forwarders(log, spine.recorder, make=None, begin=None)
    forwarders._running["home"] = SimpleNamespace(forwarder=spine.forwarder)
    yield spine
    await spine.stop(0.5)


def minutes(clock, count):
    """So many minutes of a reading a second, each behind an urgent one that is no matter of thinning."""
    start = clock.wall_ns() // (60 * NS_PER_S) * 60 * NS_PER_S
    for minute in range(count):
        at = start + minute * 60 * NS_PER_S
        yield [Event("reading", "a/b", at, at, 0.0, "Cel", "good", urgent=True)] + [
            Event("reading", "a/b", at + n * NS_PER_S, at + n * NS_PER_S, float(n), "Cel", "good") for n in range(60)
        ]


async def test_what_is_in_flight_stays_and_what_follows_is_summed_up_in_one_chain(spine, clock):
    log, sink = spine.log, spine.sink
    sink.mute = True
    for batch in minutes(clock, 30):
        await log.append(batch)
    spine.forwarder.wake([])
    await until(lambda: spine.forwarder.handed_out > 500)
    handed_out = spine.forwarder.handed_out
    sink.down = "away"
    sink.cut()  # some of it may have arrived there, whatever we know
    await until(lambda: not spine.forwarder._feed._read)  # it tried to connect anew, and has nothing in memory
    while await log._retention.thinner.make_room(10**6, log.next_offset):
        pass
    assert log.tally.thinned > 0
    sink.mute, sink.down = False, None
    await until(lambda: sink.arrived and sink.arrived[-1].offset == log.next_offset - 1)
    in_flight = [event for event in sink.arrived if event.offset < handed_out]
    assert [event.offset for event in in_flight] == list(range(1, handed_out))
    assert THINNED in {event.type for event in sink.arrived}
    assert sum(event.stands_for for event in sink.arrived) == log.next_offset - 1
    await until(lambda: spine.forwarder.cursor.next_offset == log.next_offset)
    ledger = spine.forwarder.cursor.ledger
    summed = sum(event.stands_for - 1 for event in sink.arrived)
    assert (ledger.delivered, ledger.evicted) == (len(sink.arrived), {"thinned": summed}), "and nothing unaccounted"
    assert all(sink.previous[event.offset] == before.offset for before, event in pairwise(sink.arrived))


async def test_what_is_not_in_flight_any_more_may_be_summed_up(spine, clock):
    log, sink = spine.log, spine.sink
    for batch in minutes(clock, 20):
        await log.append(batch)
    spine.forwarder.wake([])
    await until(lambda: len(sink.arrived) == 20 * 61)
    spine.offer(1.0, urgent=True)  # something that the cursor rides with
    await until(lambda: log.cursors["home"].next_offset > 500)
    assert await log._retention.thinner.make_room(10**6, log.next_offset)
    assert log.tally.thinned > 0
