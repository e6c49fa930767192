"""Replay: what a sink gets once more, when, and what happens when it does not answer."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import LinkError
from gateway.event import Event
from gateway.replay import ATTEMPTS_MAX, HELD_MAX, Interrupted, Pace, Replay, parse_speed
from gateway.sink import Session, Sink
from tests import virtual

S = 1_000_000_000


def event(offset, at_s=0.0):
    return Event("reading", "a/b", round(at_s * S), 1, 1.0, offset=offset, run="r")


async def stream(*events):
    for one in events:
        yield one


class Played(Sink):
    """A sink in memory. `answer`: (offset, how manieth time) -> a verdict, None for silence, "cut" for a cut link."""

    name, summary = "played", "for tests"

    def __init__(self, answer=lambda offset, time: "accepted", down=0, window_max=10):
        self.answer, self.down, self.window_max = answer, down, window_max
        self.arrived, self.at_s, self.times, self.sessions = [], [], {}, 0
        self.open = self.open_max = 0

    @classmethod
    def create(cls, options, identity):
        raise NotImplementedError

    async def connect(self, report):
        if self.down:
            self.down -= 1
            raise LinkError("connection refused")
        self.sessions += 1
        self.open = 0
        return PlayedSession(self, report)


class PlayedSession(Session):
    def __init__(self, sink, report):
        self.sink, self.report, self.alive, self.window_max = sink, report, True, sink.window_max

    def send(self, outgoing):
        sink, offset = self.sink, outgoing.event.offset
        assert outgoing.event.historical
        sink.open += 1
        sink.open_max = max(sink.open_max, sink.open)
        sink.times[offset] = sink.times.get(offset, 0) + 1
        asyncio.get_running_loop().call_soon(self._answer, outgoing, sink.answer(offset, sink.times[offset]))

    def _answer(self, outgoing, verdict):
        if not self.alive or verdict is None:
            return
        if verdict == "cut":
            self.alive = False
            self.report.lost("cut")
            return
        self.sink.open -= 1
        if verdict == "accepted":
            self.sink.arrived.append((outgoing.event.offset, outgoing.previous))
            self.sink.at_s.append(asyncio.get_running_loop().time())
        self.report.settled(outgoing.event.offset, verdict, "" if verdict == "accepted" else "no")

    async def close(self, timeout_s):
        self.alive = False

    def abort(self):
        self.alive = False


def play(monkeypatch, sink, *events, speed=None):
    return virtual.run(lambda: Replay(sink, Pace(speed)).run(stream(*events)), monkeypatch)


def test_everything_arrives_once_in_order_and_chained(monkeypatch):
    sink = Played()
    tally = play(monkeypatch, sink, *(event(n) for n in (3, 5, 9)))
    assert sink.arrived == [(3, None), (5, 3), (9, 5)]
    assert (tally.sent, tally.accepted, tally.refused) == (3, 3, 0)


def test_no_more_is_unanswered_than_the_sink_takes(monkeypatch):
    sink = Played(window_max=4)
    play(monkeypatch, sink, *map(event, range(1, 50)))
    assert sink.open_max <= 4
    assert len(sink.arrived) == 49


@pytest.mark.parametrize(("speed", "instants"), [(1.0, [0, 10, 70]), (10.0, [0, 1, 7]), (None, [0, 0, 0])])
def test_the_pace_is_that_of_the_events(monkeypatch, speed, instants):
    sink = Played()
    play(monkeypatch, sink, event(1, 100), event(2, 110), event(3, 170), speed=speed)
    assert [round(at - sink.at_s[0], 3) for at in sink.at_s] == instants


def test_a_step_back_waits_for_nothing(monkeypatch):
    sink = Played()
    play(monkeypatch, sink, event(1, 100), event(2, 50), event(3, 55), speed=1.0)
    assert [round(at - sink.at_s[0], 3) for at in sink.at_s] == [0, 0, 5]


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=20), st.floats(0.1, 100))
def test_instants_never_run_backwards(times, speed):
    pace = Pace(speed)
    due = [pace.due_s(event(n, at_s), 5.0) for n, at_s in enumerate(times)]
    assert due[0] == 5.0
    assert due == sorted(due)


def test_what_was_not_answered_for_is_sent_again_after_a_cut(monkeypatch):
    sink = Played(lambda offset, time: "cut" if (offset, time) == (4, 1) else "accepted")
    tally = play(monkeypatch, sink, *map(event, range(1, 9)))
    assert sorted({offset for offset, _ in sink.arrived}) == list(range(1, 9))
    assert (sink.sessions, tally.accepted) == (2, 8)


def test_a_link_that_comes_back_in_time_is_waited_for(monkeypatch):
    tally = play(monkeypatch, Played(down=ATTEMPTS_MAX - 1), event(1))
    assert tally.accepted == 1


def test_a_link_that_stays_away_ends_it_and_says_where_to_go_on(monkeypatch):
    sink = Played(lambda offset, time: "accepted" if offset < 4 else "cut")
    with pytest.raises(Interrupted, match="cut") as caught:
        play(monkeypatch, sink, *map(event, range(1, 9)))
    assert caught.value.next_offset == 4
    with pytest.raises(Interrupted, match="connection refused"):
        play(monkeypatch, Played(down=100), event(1))


def test_a_silent_sink_ends_it_too(monkeypatch):
    with pytest.raises(Interrupted, match="no answer within 10 s"):
        play(monkeypatch, Played(lambda offset, time: None), event(1))


def test_a_refusal_is_counted_and_the_rest_goes_on(monkeypatch):
    sink = Played(lambda offset, time: "refused" if offset == 2 else "accepted")
    tally = play(monkeypatch, sink, *map(event, (1, 2, 3)))
    assert (tally.accepted, tally.refused, tally.reason) == (2, 1, "no")


def test_a_held_event_is_offered_again_and_not_for_ever(monkeypatch):
    sink = Played(lambda offset, time: "held" if offset == 2 and time < 3 else "accepted")
    assert play(monkeypatch, sink, *map(event, (1, 2, 3))).accepted == 3
    sink = Played(lambda offset, time: "held" if offset == 2 else "accepted")
    tally = play(monkeypatch, sink, *map(event, (1, 2, 3)))
    assert (tally.accepted, tally.refused, sink.times[2]) == (2, 1, HELD_MAX)


@pytest.mark.parametrize(("text", "speed"), [("max", None), ("original", 1.0), ("x10", 10.0), ("x0.5", 0.5)])
def test_speeds_that_are_some(text, speed):
    assert parse_speed(text) == speed


@pytest.mark.parametrize("text", ["", "x", "x0", "x-1", "10", "fast", "xx2", "x1e3"])
def test_speeds_that_are_none(text):
    with pytest.raises(ValueError, match="expected original, max, or a factor"):
        parse_speed(text)
