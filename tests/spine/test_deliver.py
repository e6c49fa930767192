"""What a forwarder promises: everything, in order, at least once, whatever the link does."""

import asyncio
import sqlite3

import pytest

from gateway import deliver
from gateway.eventlog import Cursor, EventLog
from tests.spine.conftest import PlayedSink, Spine, until


async def test_everything_arrives_in_order_with_a_chain_that_has_no_holes(spine, sink):
    for n in range(50):
        spine.offer(*range(n * 10, n * 10 + 10))
    await until(lambda: len(sink.arrived) == 500)
    assert sink.offsets == list(range(1, 501))
    assert sink.previous == {1: None} | {n: n - 1 for n in range(2, 501)}


async def test_never_more_than_the_window_is_unsettled(spine, sink):
    spine.offer(*range(200))
    await until(lambda: len(sink.arrived) == 200)
    assert sink.sessions[0].unsettled_max == sink.window_max


async def test_what_was_not_acknowledged_is_sent_again_after_a_cut_and_nothing_else(spine, sink):
    spine.offer(*range(30))
    await until(lambda: len(sink.arrived) == 30)
    sink.mute = True
    spine.offer(30, 31, 32)
    await until(lambda: spine.log.next_offset == 34)
    sink.mute = False
    sink.cut()
    await until(lambda: len(sink.arrived) == 33)
    assert sink.offsets == list(range(1, 34))
    assert "cut" in spine.forwarder.delivery.last_error


async def test_a_restart_goes_on_at_the_cursor(tmp_path, clock):
    sink = PlayedSink()
    spine = Spine(await EventLog.open(tmp_path / "x.db", clock), clock, sink)
    spine.offer(*range(25))
    await until(lambda: len(sink.arrived) == 25)
    await spine.stop()
    again = PlayedSink()
    spine = Spine(await EventLog.open(tmp_path / "x.db", clock), clock, again)
    spine.offer(25)
    await until(lambda: again.arrived)
    assert again.offsets == [26]
    assert again.previous == {26: 25}
    await spine.stop()


async def test_after_a_crash_at_most_a_window_and_the_unsaved_cursor_repeat_and_nothing_is_skipped(tmp_path, clock):
    sink = PlayedSink()
    spine = Spine(await EventLog.open(tmp_path / "x.db", clock), clock, sink)
    spine.offer(*range(100))
    await until(lambda: len(sink.arrived) == 100)
    await spine.kill()
    again = PlayedSink()
    spine = Spine(await EventLog.open(tmp_path / "x.db", clock), clock, again)
    await until(lambda: again.arrived and again.offsets[-1] == 100)
    first = {e.offset: e.id for e in sink.arrived}
    assert all(first[e.offset] == e.id for e in again.arrived), "a repeated event has the same id"
    assert again.offsets == list(range(again.offsets[0], 101))
    await spine.stop()


async def test_a_refused_event_lands_in_dead_letters_and_says_so(spine, sink):
    sink.verdicts[3] = [("refused", "too large")]
    spine.offer(*range(5))
    await until(lambda: 6 in sink.offsets)
    assert sink.offsets == [1, 2, 4, 5, 6]
    refused = sink.arrived[-1]
    assert (refused.type, refused.subject) == ("event.refused", "sink/home")
    assert refused.reason == "too large"
    assert int(refused.data["refused"]["sequence"]) == 3
    assert refused.cause == sink.arrived[1].id.replace("-2", "-3")
    assert await spine.log.dead_letters("home") == 1
    assert sink.previous[4] == 3, "the chain names what was selected, sent or not"


async def test_refusing_the_word_of_a_refusal_does_not_go_on_for_ever(spine, sink):
    sink.verdicts |= {1: [("refused", "no")], 2: [("refused", "no")]}
    spine.offer(0)
    await until(lambda: spine.forwarder.delivery.refused == 2)
    spine.offer(1)
    await until(lambda: sink.offsets == [3])
    assert await spine.log.dead_letters("home") == 2


async def test_a_held_event_is_kept_and_offered_again(spine, sink, monkeypatch):
    monkeypatch.setattr(deliver, "BACKOFF_FIRST_S", 0.01)
    sink.verdicts[2] = [("held", "quota")] * 3
    spine.offer(*range(4))
    await until(lambda: len(sink.arrived) == 4)
    assert sorted(sink.offsets) == [1, 2, 3, 4]
    assert await spine.log.dead_letters("home") == 0


async def test_while_a_sink_holds_everything_nothing_is_given_up(spine, sink, monkeypatch):
    monkeypatch.setattr(deliver, "BACKOFF_FIRST_S", 0.001)
    monkeypatch.setattr(deliver, "BACKOFF_MAX_S", 0.002)
    sink.verdicts |= {n: [("held", "not authorized")] * 12 for n in range(1, 4)}
    spine.offer(*range(3))
    await until(lambda: len(sink.arrived) == 3)
    assert sorted(sink.offsets) == [1, 2, 3]
    assert await spine.log.dead_letters("home") == 0


async def test_an_event_held_five_times_while_others_pass_counts_as_refused(spine, sink, monkeypatch):
    monkeypatch.setattr(deliver, "BACKOFF_FIRST_S", 0.001)
    monkeypatch.setattr(deliver, "BACKOFF_MAX_S", 0.002)
    sink.verdicts[2] = [("held", "not authorized")] * 99
    spine.offer(*range(4))

    def others_pass():
        spine.offer(0)
        return spine.forwarder.delivery.refused == 1

    await until(others_pass)
    await until(lambda: any(e.type == "event.refused" for e in sink.arrived))
    assert 2 not in sink.offsets
    assert await spine.log.dead_letters("home") == 1


async def test_a_silent_link_is_cut_and_delivery_goes_on(spine, sink, monkeypatch):
    monkeypatch.setattr(deliver, "ACK_WITHIN_S", 0.1)
    sink.mute = True
    spine.offer(1, 2)
    await until(lambda: sink.sessions and sink.sessions[0].aborted)
    assert "no acknowledgement" in spine.forwarder.delivery.last_error
    sink.mute = False
    await until(lambda: sink.offsets == [1, 2])


async def test_a_quiet_link_that_owes_nothing_is_left_alone(spine, sink, monkeypatch):
    monkeypatch.setattr(deliver, "ACK_WITHIN_S", 0.02)
    spine.offer(1)
    await until(lambda: sink.arrived)
    ticks = iter(range(50))
    await until(lambda: next(ticks, None) is None)
    assert len(sink.sessions) == 1
    assert not sink.sessions[0].aborted


async def test_a_connection_attempt_that_hangs_is_given_up(spine, sink, monkeypatch):
    monkeypatch.setattr(deliver, "CONNECT_WITHIN_S", 0.05)
    sink.down = "silent"
    if sink.sessions:
        sink.cut()
    await until(lambda: "no connection within" in (spine.forwarder.delivery.last_error or ""))
    sink.down = None
    spine.offer(1)
    await until(lambda: sink.arrived)


async def test_a_bug_in_a_sink_is_said_once_and_survived(spine, sink, caplog):
    def broken(report):
        raise ZeroDivisionError("oops")

    healthy = sink.connect
    sink.connect = broken
    if sink.sessions:
        sink.cut()
    await until(lambda: "ZeroDivisionError" in (spine.forwarder.delivery.last_error or ""))
    sink.connect = healthy
    spine.offer(1)
    await until(lambda: sink.arrived)
    assert caplog.text.count("bug in the sink") <= 1


async def test_a_sink_that_was_away_while_the_log_was_trimmed_goes_on_behind_the_gap(spine, sink):
    await until(lambda: sink.sessions)
    sink.down = "away"
    sink.cut()
    spine.offer(*range(20))
    await until(lambda: spine.log.next_offset == 21)
    await spine.log._retention.cut(11)
    sink.down = None
    await until(lambda: len(sink.arrived) == 10)
    assert sink.offsets == list(range(11, 21))


async def test_two_sinks_do_not_wait_for_each_other(tmp_path, clock):
    good, bad = PlayedSink(), PlayedSink()
    spine = Spine(await EventLog.open(tmp_path / "x.db", clock), clock, good)
    bad.down = "always"
    from random import Random

    other = deliver.Forwarder("bad", bad, spine.log, spine.recorder, clock=clock, random=Random(2))
    spine.recorder.watch(other.wake)
    task = asyncio.create_task(other.run())
    spine.offer(*range(100))
    await until(lambda: len(good.arrived) == 100)
    await asyncio.gather(other.drain(0.1))
    await task
    await spine.stop()


async def test_a_stop_delivers_what_the_log_holds_then_says_goodbye(tmp_path, clock):
    sink = PlayedSink()
    spine = Spine(await EventLog.open(tmp_path / "x.db", clock), clock, sink, commit_within_s=30)
    spine.offer(*range(300))
    await spine.stop()
    assert len(sink.arrived) == 300
    assert sink.sessions[-1].closed
    raw = sqlite3.connect(tmp_path / "x.db")
    assert raw.execute("SELECT next_offset, previous FROM cursor").fetchall() == [(301, 300)]
    raw.close()


async def test_a_stop_does_not_wait_longer_than_it_may_for_a_silent_sink(tmp_path, clock):
    sink = PlayedSink()
    sink.mute = True
    spine = Spine(await EventLog.open(tmp_path / "x.db", clock), clock, sink)
    spine.offer(*range(3))
    await until(lambda: spine.log.next_offset == 4 and sink.sessions)
    before = asyncio.get_running_loop().time()
    await spine.stop(drain_s=0.3)
    assert asyncio.get_running_loop().time() - before < 2
    log = await EventLog.open(tmp_path / "x.db", clock)
    assert log.cursors.get("home", Cursor(1)).next_offset == 1, "the rest stays in the log"
    await log.close()


@pytest.mark.parametrize("attempt", range(10))
def test_back_off_is_jittered_and_bounded(attempt):
    from random import Random

    forwarder = deliver.Forwarder.__new__(deliver.Forwarder)
    forwarder._random, forwarder._attempts, forwarder._own_patience = Random(attempt), 0, None
    waits = [forwarder._backoff() for _ in range(30)]
    assert all(0 <= wait <= deliver.BACKOFF_MAX_S for wait in waits)
    assert len(set(waits)) > 20
