"""The watchdog's decisions: values in, verdicts out."""

import asyncio

import pytest

from gateway.watchdog import Stage, Token, Verdict, every_s, judge


def test_a_token_that_is_home_leaves_again():
    assert judge(Token(None, 0.0), 1e9, 20.0) == Verdict(send=True)


def test_a_token_on_its_way_is_left_alone():
    assert judge(Token("record", 100.0), 119.9, 20.0) == Verdict(send=False)


def test_a_stage_that_keeps_the_token_for_the_whole_time_is_named():
    assert judge(Token("record", 100.0), 120.0, 20.0) == Verdict(send=False, stuck="record")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "60000000"}, 20.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "42"}, 20.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "43"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": ""}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "٣"}, None),
        ({"WATCHDOG_USEC": "1m"}, None),
    ],
)
def test_what_systemd_asks_for_is_read_from_its_variables(environ, expected):
    assert every_s(environ, 42) == expected


async def test_a_busy_stage_keeps_the_token_until_it_is_idle_again():
    stage, passed, wake = Stage(), [], asyncio.Event()
    stage.enter(lambda: passed.append("busy"))
    assert not passed
    idle = asyncio.create_task(stage.idle(wake.wait()))
    await asyncio.sleep(0)
    assert passed == ["busy"]
    stage.enter(lambda: passed.append("idle"))
    assert passed == ["busy", "idle"]
    wake.set()
    await idle
    stage.enter(lambda: passed.append("never"))
    assert passed == ["busy", "idle"]


async def test_a_stage_that_ended_holds_nothing_up():
    stage, passed = Stage(), []
    stage.enter(lambda: passed.append(1))
    stage.end()
    stage.enter(lambda: passed.append(2))
    assert passed == [1, 2]


async def test_a_cancelled_wait_is_no_idleness():
    stage, passed = Stage(), []
    task = asyncio.create_task(stage.idle(asyncio.Event().wait()))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    stage.enter(lambda: passed.append(1))
    assert not passed


async def test_work_that_nobody_will_wake_a_stage_for_is_no_idleness():
    work, passed = [], []
    stage = Stage(lambda: bool(work))
    task = asyncio.create_task(stage.idle(asyncio.Event().wait()))
    await asyncio.sleep(0)
    work.append(1)
    stage.enter(lambda: passed.append("forgotten"))
    assert not passed
    work.clear()
    stage.enter(lambda: passed.append("idle"))
    assert passed == ["forgotten", "idle"]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
