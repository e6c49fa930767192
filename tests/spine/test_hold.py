"""Readings wait for a clock that can be right; everything else goes ahead, and keeps its place in the chain."""

import asyncio
import itertools
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.clock import NS_PER_S, JudgedClock
from gateway.deliver import Forwarder
from gateway.event import Event
from gateway.eventlog import Cursor, EventLog
from gateway.record import Recorder
from gateway.selection import Selection
from gateway.sink import Outgoing
from gateway.window import Window
from tests.clocks import ManualClock
from tests.spine.conftest import PlayedSink, until

LONG_AGO_S = 10.0
NOW_S = 1_800_000_000.0


class Held:
    """A spine whose clock a test moves."""

    def __init__(self, log, inner, clock, selection):
        self.log, self.inner, self.clock, self.sink = log, inner, clock, PlayedSink()
        self.recorder = Recorder(log, clock, commit_within_s=0.001, protected=lambda: 1)
        self.recorder.note("gateway.started", {})
        self.forwarder = Forwarder(
            "home",
            self.sink,
            log,
            self.recorder,
            clock=clock,
            random=Random(1),
            selection=selection,
            readings_wait=lambda: clock.readings_wait(time_known=log.time_known),
        )
        self.recorder.watch(self.forwarder.wake)
        self.tasks = [asyncio.create_task(self.recorder.run()), asyncio.create_task(self.forwarder.run())]

    async def happens(self, *kinds):
        """One event after the other is committed; returns their offsets."""
        offsets = []
        for kind in kinds:
            self.inner.pass_s(1)
            offset = self.log.next_offset
            now, mono = self.clock.wall_ns(), self.clock.mono_ns()
            self.recorder.offer([Event(kind, "a/b", now, mono, 1.0, synced=self.clock.synced(), urgent=True)])
            await self.log.wait(offset)
            offsets.append(offset)
        return offsets

    async def put_right(self):
        offset = self.log.next_offset
        self.inner.step_wall_s(NOW_S - self.inner.wall_ns() / NS_PER_S)
        self.recorder.look_at_clock()
        await self.log.wait(offset)

    async def arrived(self, offsets):
        await until(lambda: set(offsets) <= set(self.sink.offsets))

    async def stop(self):
        await self.recorder.flush()
        await self.forwarder.drain(0.2)
        await self.recorder.stop()
        await asyncio.gather(*self.tasks)
        await self.log.close()


async def held(tmp_path, wall_s=LONG_AGO_S, selection=None):
    inner = ManualClock(wall_s=wall_s)
    clock = JudgedClock(inner, earliest="2026-11-23")
    log = await EventLog.open(tmp_path / "events.db", clock)
    clock.has_seen(log.newest_ns)
    it = Held(log, inner, clock, selection)
    await log.wait(log.next_offset)
    return it


async def test_readings_wait_for_the_clock_and_arrive_at_their_corrected_times(tmp_path):
    it = await held(tmp_path)
    readings = await it.happens("reading", "reading")
    (click,) = await it.happens("input")
    readings += await it.happens("reading")
    (state,) = await it.happens("state")
    await it.arrived([1, click, state])
    assert it.sink.offsets == [1, click, state], "what is urgent goes at once"
    assert it.sink.previous[click] == click - 1, "its place in the chain is that of the log"
    assert it.forwarder.cursor[:2] == (readings[0], readings[0] - 1)
    await it.put_right()
    late = await it.happens("reading")
    await it.arrived([*readings, *late])
    assert it.sink.offsets[3:] == sorted(it.sink.offsets[3:])
    assert sorted(it.sink.offsets) == list(range(1, it.log.next_offset)), "nothing is missing, nothing comes twice"
    assert all(it.sink.previous[offset] == offset - 1 for offset in range(2, it.log.next_offset))
    times = [event.time for event in sorted(it.sink.arrived, key=lambda e: e.offset) if event.type == "reading"]
    assert all(time_ns > (NOW_S - 60) * NS_PER_S for time_ns in times)
    assert times == sorted(times)
    assert {event.synced for event in it.sink.arrived if event.offset in readings} == {False}, "and stay marked"
    await it.stop()


async def test_they_wait_on_while_the_clock_is_set_but_nobody_has_said_that_it_is_right(tmp_path):
    """NTP sets the clock, and says so a moment later."""
    it = await held(tmp_path)
    it.inner.is_synced = False
    readings = await it.happens("reading", "reading")
    await it.put_right()
    await it.arrived(await it.happens("input"))
    assert not set(readings) & set(it.sink.offsets)
    it.inner.is_synced = True
    it.recorder.look_at_clock()
    await it.arrived(readings)
    assert all(event.time > (NOW_S - 60) * NS_PER_S for event in it.sink.arrived if event.offset in readings)
    await it.stop()


async def test_a_clock_that_nobody_calls_right_is_waited_for_a_minute(tmp_path):
    it = await held(tmp_path)
    it.inner.is_synced = False
    readings = await it.happens("reading", "reading")
    await it.put_right()
    it.inner.pass_s(61)
    await it.arrived([*readings, *await it.happens("input")])
    assert {event.synced for event in it.sink.arrived} == {False}
    await it.stop()


async def test_the_chain_of_a_selection_goes_through_what_waits(tmp_path):
    it = await held(tmp_path, selection=Selection(types=["reading", "input"]))
    first, _, click, second, _ = await it.happens("reading", "state", "input", "reading", "state")
    await it.arrived([click])
    assert it.sink.offsets == [click]
    assert it.sink.previous[click] == first
    await it.put_right()
    (last,) = await it.happens("reading")
    await it.arrived([first, second, last])
    assert it.sink.offsets == [click, first, second, last]
    assert it.sink.previous == {first: None, click: first, second: click, last: second}
    await it.stop()


async def test_a_stop_in_the_meantime_loses_nothing(tmp_path):
    it = await held(tmp_path)
    readings = await it.happens("reading", "input", "reading")
    await it.arrived(readings[1:2])
    await it.stop()
    assert it.log.cursors["home"].next_offset == readings[0]
    again = await held(tmp_path, wall_s=NOW_S)
    await again.arrived(range(readings[0], again.log.next_offset))
    assert again.sink.offsets == sorted(again.sink.offsets)
    await again.stop()


async def test_a_lost_link_in_the_meantime_repeats_and_loses_nothing(tmp_path):
    it = await held(tmp_path)
    offsets = await it.happens("reading", "input", "reading", "input")
    await it.arrived([offsets[1], offsets[3]])
    it.sink.cut()
    await until(lambda: len(it.sink.sessions) == 2)
    await it.arrived(await it.happens("input"))
    await it.put_right()
    await it.arrived(offsets)
    assert set(it.sink.offsets) >= set(range(1, it.log.next_offset - 1))
    await it.stop()


async def test_the_forwarder_turns_back_only_when_what_went_ahead_is_answered_for(tmp_path):
    it = await held(tmp_path)
    await it.arrived([1])
    it.sink.mute = True
    offsets = await it.happens("reading", "input")
    await it.put_right()
    await it.happens("input", "input")
    turns = iter(range(20))
    await until(lambda: next(turns, None) is None)  # it had its chances
    assert it.forwarder.cursor.next_offset == offsets[0]
    assert len(it.sink.sessions) == 1, "the session is sound"
    it.sink.mute = False
    it.sink.cut()
    await it.arrived(offsets)
    await it.stop()


async def test_readings_of_a_time_that_was_known_do_not_wait(tmp_path):
    it = await held(tmp_path, wall_s=NOW_S)
    it.sink.mute = True
    offsets = await it.happens("reading", "reading")
    it.inner.step_wall_s(-50 * 365 * 86400)
    (waits,) = await it.happens("reading")
    it.sink.mute = False
    it.sink.cut()
    await it.arrived(offsets)
    await it.arrived(await it.happens("input"))
    assert waits not in it.sink.offsets
    await it.stop()


async def test_after_an_hour_they_go_marked(tmp_path):
    it = await held(tmp_path)
    readings = await it.happens("reading", "reading")
    await it.arrived([1])
    it.inner.pass_s(3601)
    await it.arrived([*readings, *await it.happens("reading")])
    assert {event.synced for event in it.sink.arrived} == {False}
    await it.stop()


async def test_a_clock_that_is_only_unsynchronised_holds_nothing(tmp_path):
    it = await held(tmp_path, wall_s=NOW_S)
    it.inner.is_synced = False
    await it.arrived(await it.happens("reading", "input", "reading"))
    assert it.sink.offsets == sorted(it.sink.offsets)
    await it.stop()


async def test_what_goes_ahead_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("gateway.window.AHEAD_MAX", 3)
    it = await held(tmp_path)
    offsets = await it.happens("reading", "input", "input", "input", "reading", "input", "reading", "input")
    await it.arrived(offsets[1:4])
    it.sink.cut()
    await until(lambda: len(it.sink.sessions) == 2)
    await it.put_right()
    await it.arrived(offsets)
    first = list(dict.fromkeys(it.sink.offsets))
    assert first[1:4] == offsets[1:4]
    assert first[4:] == sorted(first[4:]), "beyond the bound everything waits, in order"
    await it.stop()


WINDOW_MAX = 3


class Moves:
    """A forwarder's moves on a bare window: pass over readings while they wait, turn back when nothing is in flight."""

    def __init__(self, answered_from):
        self.window, self.waits = Window(Cursor(1)), False
        self.log, self.sent, self.flying, self._answered_from = [], [], [], answered_from

    def settle(self):
        if self.flying:
            self.window.settle(self.flying.pop(self._answered_from))

    def fill(self):
        if self.window.passing_over and not self.waits:
            while self.flying:
                self.settle()
            self.window.turn_back()
        while (offset := self.window.read_from) <= len(self.log) and len(self.flying) < WINDOW_MAX:
            if self.window.went_ahead(offset):
                continue
            if self.waits and self.log[offset - 1] == "reading":
                assert self.window.pass_over(offset)
                continue
            assert self.window.previous == (offset - 1 or None)
            self.window.sent(Outgoing(Event("input", "a/b", 0, 0, offset=offset), self.window.previous))
            self.flying.append(offset)
            self.sent.append(offset)

    def step(self, move):
        if move == "settle":
            self.settle()
        elif move in {"wait", "go"}:
            self.waits = move == "wait"
        else:
            self.log.append(move)
        self.fill()
        unsettled = set(range(1, len(self.log) + 1)) - (set(self.sent) - set(self.flying))
        assert self.window.cursor.next_offset <= min(unsettled, default=len(self.log) + 1)


@pytest.mark.parametrize("answered_from", [0, -1])
@given(st.lists(st.sampled_from(["reading", "input", "wait", "go", "settle"]), max_size=60))
@example(["wait", *["reading"] * 4, "input", "go", "wait", "settle", "go"])  # doubted again on the way back
def test_the_window_sends_each_event_once_and_its_cursor_never_skips(answered_from, story):
    it = Moves(answered_from)
    for move in [*story, "go", *["settle"] * 100]:
        it.step(move)
    assert sorted(it.sent) == list(range(1, len(it.log) + 1)), "each exactly once"
    assert it.window.cursor.next_offset == len(it.log) + 1
    readings = [offset for offset in it.sent if it.log[offset - 1] == "reading"]
    assert all(earlier < later for earlier, later in itertools.pairwise(readings))
