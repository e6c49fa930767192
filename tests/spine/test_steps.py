"""Steps of the wall clock: what is a step, and what becomes of it."""

import asyncio

import pytest

from gateway.clock import NS_PER_S
from gateway.eventlog import EventLog
from gateway.record import Recorder
from gateway.steps import StepWatch
from tests.clocks import ManualClock
from tests.spine.conftest import until
from tests.spine.test_record import Watched, event, opened


def look(watch, clock):
    return watch.look(clock.wall_ns(), clock.mono_ns(), synced=clock.synced())


def watched(**state):
    clock = ManualClock()
    vars(clock).update(state)
    return clock, StepWatch(clock.wall_ns(), clock.mono_ns(), synced=clock.synced())


@pytest.mark.parametrize("step_s", [50 * 365 * 86400, -3600, 0.501, -0.501])
def test_a_step_is_told_once_with_its_size(step_s):
    clock, watch = watched()
    assert look(watch, clock) is None
    clock.pass_s(7)
    clock.step_wall_s(step_s)
    step = look(watch, clock)
    assert step.after_ns - step.before_ns == round(step_s * NS_PER_S)
    assert (step.after_ns, step.why) == (clock.wall_ns(), "stepped")
    clock.pass_s(7)
    assert look(watch, clock) is None


@pytest.mark.parametrize("step_s", [0.003, -0.003, 0.5, -0.5])
def test_less_is_no_step(step_s):
    clock, watch = watched()
    clock.step_wall_s(step_s)
    assert look(watch, clock) is None


def test_small_steps_that_add_up_are_told():
    clock, watch = watched()
    told = []
    for _ in range(6):
        clock.step_wall_s(0.2)
        told.append(look(watch, clock))
    assert [step is not None for step in told] == [False, False, True, False, False, True]


def test_becoming_synchronised_is_told_once_also_without_a_step():
    clock, watch = watched(is_synced=False)
    clock.step_wall_s(0.1)
    assert look(watch, clock) is None
    clock.is_synced = True
    assert look(watch, clock).why == "synchronised"
    for synced in (False, True, False, True):
        clock.is_synced = synced
        assert look(watch, clock) is None, "a source that flaps says nothing new"


def test_a_step_in_doubt_is_told_again_when_the_clock_is_believed():
    clock, watch = watched()
    clock.step_wall_s(3600)
    clock.is_synced = False
    assert look(watch, clock).why == "stepped"
    clock.is_synced = True
    assert look(watch, clock).why == "synchronised"
    assert look(watch, clock) is None


async def test_a_step_is_recorded_behind_what_came_before_it_with_both_times(tmp_path):
    clock = ManualClock()
    log = await opened(tmp_path, clock)
    it = Watched(log, clock, commit_within_s=3600)
    it.recorder.offer([event(1.0)])
    clock.step_wall_s(-3600)
    it.recorder.offer([event(2.0, urgent=True)])
    await until(lambda: it.batches)
    step = it.batches[0][-1]
    assert [e.type for e in it.batches[0]] == ["reading", "reading", "clock.step"]
    assert step.data == {
        "boot": "boot-1",
        "before_ns": clock.wall_ns() + 3600 * NS_PER_S,
        "after_ns": clock.wall_ns(),
        "step_ns": -3600 * NS_PER_S,
    }
    assert (step.time, step.mono, step.reason) == (clock.wall_ns(), clock.mono_ns(), "stepped")
    await it.stop()
    await log.close()


async def test_a_step_is_seen_while_nothing_else_happens(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("gateway.record.LOOK_EVERY_S", 0.001)
    clock = ManualClock()
    log = await opened(tmp_path, clock)
    it = Watched(log, clock, commit_within_s=3600)
    watch = asyncio.create_task(it.recorder.watch_clock())
    clock.step_wall_s(50 * 365 * 86400)
    await until(lambda: it.batches)
    assert [e.type for batch in it.batches for e in batch] == ["clock.step"]
    assert caplog.text.count("the wall clock was stepped: +1576800000.000 s") == 1
    await it.stop()
    await asyncio.wait_for(watch, 5)
    await log.close()


async def test_rule_time_never_runs_back_and_follows_only_records(tmp_path):
    clock = ManualClock()
    log = await opened(tmp_path, clock)
    recorder = Recorder(log, clock, commit_within_s=0.001, protected=lambda: 1)
    task = asyncio.create_task(recorder.run())

    async def rule_time():
        return (await log._head.store.newest()).rule_time

    async def commit():
        at = log.next_offset
        recorder.offer([event(urgent=True)])
        await log.wait(at)

    recorder.note("gateway.started", {})
    await commit()
    began = await rule_time()
    assert began == clock.wall_ns()
    clock.pass_s(10)
    clock.step_wall_s(0.4)  # no record, so no change
    await commit()
    assert await rule_time() == began + 10 * NS_PER_S
    clock.step_wall_s(-3600)
    clock.pass_s(1)
    await commit()
    await recorder.flush()
    assert await rule_time() == began + 10 * NS_PER_S
    clock.pass_s(3700)
    await commit()
    assert await rule_time() == clock.wall_ns()
    await recorder.stop()
    await task
    await log.close()


async def test_an_anchor_of_rule_time_survives_a_reopened_file(tmp_path):
    """A store fault opens the file anew: that is no record, so rule time must not follow the clock."""
    clock = ManualClock()
    log = await EventLog.open(tmp_path / "events.db", clock)
    await log.append([event()])
    clock.step_wall_s(7200)
    log._head.store.broken = "as after a failed fsync"
    await log.append([event()])
    assert (await log._head.store.newest()).rule_time == clock.wall_ns() - 7200 * NS_PER_S
    await log.close()
