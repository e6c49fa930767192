"""Events that end connections: given up on evidence, and never for a bad link's sake."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import deliver, suspect
from gateway.clock import SystemClock
from gateway.eventlog import EventLog
from gateway.suspect import ALONE_ENDS_MAX, ENDS_MAX, Suspicion
from tests.spine.conftest import PlayedSink, Spine, until


def test_an_event_is_convicted_after_three_ends_and_two_more_alone_while_others_pass():
    suspicion = Suspicion()
    for _ in range(ENDS_MAX):
        assert not suspicion.isolating
        assert not suspicion.ended(5, until=20, passes=False)
    assert suspicion.isolating
    assert [suspicion.ended(5, until=6, passes=True) for _ in range(ALONE_ENDS_MAX)] == [False, True]
    suspicion.settled(6)
    assert suspicion.isolating, "what was in flight with it may hold another one"
    suspicion.settled(20)
    assert not suspicion.isolating


@given(st.lists(st.tuples(st.integers(1, 5), st.booleans())))
def test_without_evidence_nothing_is_convicted(ends):
    """However many connections end: as long as no other event passes on them, all are kept."""
    suspicion = Suspicion()
    for offset, _ in ends * 5:
        assert not suspicion.ended(offset, until=9, passes=False)


@given(st.lists(st.integers(1, 4), max_size=40))
def test_progress_in_between_clears_of_suspicion(heads):
    suspicion = Suspicion()
    for offset in heads:
        suspicion.ended(offset, until=9, passes=True)
        suspicion.settled(offset + 1)
        assert suspicion.offset is None


class Poisoned(PlayedSink):
    """Ends the connection when it sees one of these offsets; `fatal` ends it for everything."""

    def __init__(self, *poison):
        super().__init__()
        self.poison, self.fatal = set(poison), False

    async def connect(self, report):
        session = await super().connect(report)
        arrive = session._arrive

        def look(outgoing):
            if session.alive and (self.fatal or outgoing.event.offset in self.poison):
                self.cut("the broker closed the connection")
            else:
                arrive(outgoing)

        session._arrive = look
        return session


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(deliver, "BACKOFF_FIRST_S", 0.001)
    monkeypatch.setattr(deliver, "BACKOFF_MAX_S", 0.002)


async def spine_of(tmp_path, sink):
    clock = SystemClock()
    return Spine(await EventLog.open(tmp_path / "x.db", clock), clock, sink)


def first_arrivals(sink):
    return list(dict.fromkeys(sink.offsets))


async def test_an_event_that_ends_every_connection_becomes_a_dead_letter_and_the_rest_arrives_in_order(tmp_path):
    sink = Poisoned(12, 15)
    spine = await spine_of(tmp_path, sink)
    spine.offer(*range(30))
    await until(lambda: spine.forwarder.delivery.refused == 2)
    await until(lambda: len(first_arrivals(sink)) == 30, 20)
    assert first_arrivals(sink) == [*(n for n in range(1, 33) if n not in {12, 15})]
    assert await spine.log.dead_letters("home") == 2
    refused = [e for e in sink.arrived if e.type == "event.refused"]
    assert [int(e.data["refused"]["sequence"]) for e in refused] == [12, 15]
    assert "the connection ended whenever it was sent" in refused[0].reason
    assert len(sink.sessions) <= 2 * (ENDS_MAX + ALONE_ENDS_MAX) + 1
    before = len(sink.sessions)
    spine.offer(*range(20))
    await until(lambda: len(first_arrivals(sink)) == 50)
    assert sink.sessions[-1].unsettled_max > 1, "the window is open again"
    assert len(sink.sessions) == before
    await spine.stop()


async def test_after_a_restart_the_event_behind_the_suspect_shows_that_events_pass(tmp_path, monkeypatch):
    monkeypatch.setattr(deliver, "ACK_WITHIN_S", 60)  # no way out by another connection
    sink = Poisoned(1)
    spine = await spine_of(tmp_path, sink)
    spine.offer(*range(3))
    await until(lambda: spine.forwarder.delivery.refused == 1)
    await until(lambda: len(first_arrivals(sink)) == 3)
    assert set(sink.offsets) == {2, 3, 4}
    await spine.stop()


async def test_a_suspect_alone_in_the_log_is_kept_until_another_event_bears_witness(tmp_path):
    sink = Poisoned(1)
    spine = await spine_of(tmp_path, sink)
    spine.offer(0)
    await until(lambda: len(sink.sessions) > 3 * (ENDS_MAX + ALONE_ENDS_MAX))
    assert spine.forwarder.delivery.refused == 0
    spine.offer(1)
    await until(lambda: spine.forwarder.delivery.refused == 1)
    await until(lambda: 2 in sink.offsets)
    await spine.stop()


async def test_a_broker_that_ends_the_connection_whatever_is_sent_costs_no_event(tmp_path):
    sink = Poisoned()
    spine = await spine_of(tmp_path, sink)
    spine.offer(*range(5))
    await until(lambda: len(sink.arrived) == 5)
    sink.fatal = True
    spine.offer(*range(20))
    await until(lambda: len(sink.sessions) > 40)
    sink.fatal = False
    await until(lambda: len(first_arrivals(sink)) == 25)
    assert first_arrivals(sink) == list(range(1, 26))
    assert spine.forwarder.delivery.refused == 0
    await spine.stop()


async def test_a_link_that_flaps_costs_no_event(tmp_path):
    """Cut at every moment of a turn, hundreds of times, while a few events get through now and then."""
    sink = PlayedSink()
    spine = await spine_of(tmp_path, sink)
    spine.offer(*range(300))
    turns = 0
    while len(first_arrivals(sink)) < 300:
        for _ in range(turns % 23):
            await asyncio.sleep(0)
        if sink.sessions and sink.sessions[-1].alive:
            sink.cut()
        turns += 1
        assert turns < 20_000
    assert first_arrivals(sink) == list(range(1, 301))
    assert spine.forwarder.delivery.refused == 0
    await spine.stop()


async def test_an_end_that_the_destination_explains_is_no_evidence(tmp_path):
    sink = Poisoned(3)
    spine = await spine_of(tmp_path, sink)

    def explain(reason="shutting down"):
        session = sink.sessions[-1]
        session.alive = False
        session.report.lost(reason, unrelated=True)

    sink.cut = explain
    spine.offer(*range(6))
    await until(lambda: len(sink.sessions) > 3 * (ENDS_MAX + ALONE_ENDS_MAX))
    assert spine.forwarder.delivery.refused == 0
    assert not spine.forwarder._trial.isolating
    sink.poison.clear()
    await until(lambda: len(first_arrivals(sink)) == 6)
    await spine.stop()


async def test_a_late_end_is_no_evidence(tmp_path, monkeypatch):
    monkeypatch.setattr(suspect, "PROMPT_S", -1.0)
    sink = Poisoned(3)
    spine = await spine_of(tmp_path, sink)
    spine.offer(*range(6))
    await until(lambda: len(sink.sessions) > 3 * (ENDS_MAX + ALONE_ENDS_MAX))
    assert spine.forwarder.delivery.refused == 0
    await spine.kill()
