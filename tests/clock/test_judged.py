"""When a clock is believed."""

from datetime import UTC, date, datetime

import pytest

from gateway import EARLIEST
from gateway.clock import AHEAD_NS, BEHIND_NS, DOUBT_NS_MAX, NS_PER_S, JudgedClock, SystemClock, read_together
from tests.clocks import ManualClock

YEAR_S = 365 * 86400
HOUR_S = 3600


def at(text, newest=None):
    clock = ManualClock(wall_s=datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())
    judged = JudgedClock(clock, earliest="2026-11-23")
    if newest is not None:
        judged.has_seen(round(datetime.fromisoformat(newest).replace(tzinfo=UTC).timestamp()) * NS_PER_S)
    return clock, judged


@pytest.mark.parametrize(
    ("now", "newest", "plausible"),
    [
        ("1970-01-01T00:00:10", None, False),
        ("2026-11-20T00:00:00", None, False),
        ("2026-11-22T12:00:00", None, True),  # somewhere it is tomorrow
        ("2027-03-01T00:00:00", None, True),
        ("2076-11-23T00:00:00", None, False),
        ("2028-05-01T00:00:00", "2028-05-01T01:00:00", True),  # fake-hwclock saves once an hour
        ("2028-04-29T00:00:00", "2028-05-01T01:00:00", False),
        ("2047-01-01T00:00:00", "2028-05-01T00:00:00", True),  # a long time on the shelf
        ("2078-05-01T00:00:00", "2028-05-01T00:00:00", False),
    ],
)
def test_a_clock_is_implausible_before_what_it_must_have_passed_and_decades_after(now, newest, plausible):
    _, judged = at(now, newest)
    assert judged.plausible() is plausible
    assert judged.synced() is plausible
    assert judged.readings_wait(time_known=True) is not plausible


def test_a_clock_that_knows_that_it_is_wrong_is_not_synced_but_readings_do_not_wait_for_it():
    clock, judged = at("2027-03-01T00:00:00")
    clock.is_synced = False
    assert not judged.synced()
    assert not judged.readings_wait(time_known=True)


def test_readings_wait_until_the_step_that_puts_the_clock_right():
    clock, judged = at("1970-01-01T00:00:10")
    assert judged.readings_wait(time_known=True)
    clock.step_wall_s(57 * YEAR_S)
    assert not judged.readings_wait(time_known=True)
    assert judged.synced()


def test_readings_wait_for_an_hour_and_not_for_ever():
    clock, judged = at("1970-01-01T00:00:10")
    assert judged.readings_wait(time_known=True)
    clock.pass_s(HOUR_S - 1)
    assert judged.readings_wait(time_known=True)
    clock.pass_s(2)
    assert not judged.readings_wait(time_known=True)
    assert not judged.synced(), "they go out marked"


def test_a_log_from_the_future_accuses_a_right_clock_for_an_hour_only():
    clock, judged = at("2027-01-01T00:00:00", newest="2060-01-01T00:00:00")
    assert not judged.synced()
    clock.pass_s(HOUR_S + 1)
    judged.plausible()
    assert judged.synced()
    assert not judged.readings_wait(time_known=True)


def test_the_limits_are_what_the_readme_says():
    assert BEHIND_NS == 86400 * NS_PER_S
    assert AHEAD_NS == 20 * YEAR_S * NS_PER_S
    assert DOUBT_NS_MAX == HOUR_S * NS_PER_S


def test_no_right_clock_is_accused_of_being_too_early():
    assert date.fromisoformat(EARLIEST) <= datetime.now(UTC).date()


def test_who_keeps_the_clock_is_asked_once_a_second(monkeypatch):
    asked, now = [], [5 * NS_PER_S]
    clock = SystemClock(synchronisation=lambda: asked.append(1) or False)
    monkeypatch.setattr(SystemClock, "mono_ns", lambda self: now[0])
    assert [clock.synced() for _ in range(1000)] == [False] * 1000
    assert len(asked) == 1
    now[0] += NS_PER_S
    clock.synced()
    assert len(asked) == 2


@pytest.mark.parametrize("answer", [True, None])
def test_nobody_knowing_is_no_reason_to_doubt(answer):
    assert SystemClock(synchronisation=lambda: answer).synced()


class Interrupted(ManualClock):
    """The scheduler comes between the first looks."""

    def __init__(self):
        super().__init__()
        self.pauses_s = [3.0, 2.0]

    def wall_ns(self):
        if self.pauses_s:
            self.pass_s(self.pauses_s.pop())
        return super().wall_ns()


def test_both_clocks_are_read_as_one_instant_however_the_scheduler_disturbs():
    clock = Interrupted()
    steady = clock._wall_ns - clock._mono_ns
    wall, mono = read_together(clock)
    assert wall - mono == steady
