"""How long readings wait under `buffer.wear`: bounded, settled, and the limit kept, whatever comes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.budget import Traffic, written_bytes, written_bytes_per_day
from gateway.clock import NS_PER_S
from gateway.wear import CREDIT_S, DAY_S, WAIT_S_MAX, Wear

LOOK_S = 10
HOUR_S = 3600
MB = 1_000_000


class Card:
    """A gateway as the budget describes it, hour after hour: what `Wear` decides is what it does next."""

    def __init__(self, wear):
        self.wear, self.now_s, self.written = wear, 0.0, 0.0
        self.waits, self.modes, self.totals = [], [], [(0.0, 0.0)]
        wear.look(0, 0)

    def run(self, seconds, readings_per_s, urgent_per_s=0.0):
        for _ in range(int(seconds / LOOK_S)):
            commits = min(readings_per_s, 1 / self.wear.commit_within_s) + urgent_per_s
            self.written += written_bytes(commits, readings_per_s + urgent_per_s) * LOOK_S
            self.now_s += LOOK_S
            if mode := self.wear.look(round(self.now_s * NS_PER_S), round(self.written)):
                self.modes.append(mode)
            self.waits.append(self.wear.commit_within_s)
            self.totals.append((self.now_s, self.written))

    def per_day(self, last_s):
        began, before = next(row for row in self.totals if row[0] >= self.now_s - last_s)
        return (self.written - before) / (self.now_s - began) * DAY_S


def test_without_a_limit_readings_wait_as_configured_whatever_is_written():
    card = Card(Wear(2.0, None))
    card.run(HOUR_S, 100, 100)
    assert set(card.waits) == {2.0}
    assert card.modes == []
    assert card.wear.state.bytes_per_day == pytest.approx(card.per_day(HOUR_S), rel=0.01)


def test_a_load_below_the_limit_is_left_alone():
    card = Card(Wear(1.0, 600 * MB))
    card.run(24 * HOUR_S, 1)
    assert set(card.waits) == {1.0}
    assert card.modes == []


def test_a_load_above_the_limit_is_spread_until_it_is_kept_and_then_does_not_swing():
    card = Card(Wear(1.0, 200 * MB))
    card.run(12 * HOUR_S, 1)
    assert card.modes == ["spread"], "said once"
    settled = card.waits[-360:]
    assert max(settled) < 1.02 * min(settled), "it does not swing"
    assert card.per_day(HOUR_S) == pytest.approx(200 * MB, rel=0.02)
    assert 1.0 < card.waits[-1] < 10.0, "no longer than needed"


def test_a_load_that_wobbles_around_the_limit_is_said_once():
    card = Card(Wear(1.0, 450 * MB))
    card.run(12 * HOUR_S, 1)
    for _ in range(50):
        card.run(300, 0.9)
        card.run(300, 1)
    assert card.modes == ["spread"]


def test_when_the_load_falls_readings_wait_as_configured_again():
    card = Card(Wear(1.0, 200 * MB))
    card.run(6 * HOUR_S, 1)
    card.run(6 * HOUR_S, 0.05)
    assert card.modes == ["spread", "free"]
    assert card.waits[-1] == 1.0


def test_urgent_events_alone_over_the_limit_are_said_once_and_not_paid_back_for_days():
    card = Card(Wear(1.0, 50 * MB))
    card.run(24 * HOUR_S, 1, 5)
    assert card.modes[-1] == "over"
    assert card.modes.count("over") == 1
    assert card.waits[-1] == WAIT_S_MAX
    card.run(HOUR_S, 0.01)
    assert card.modes[-2:] == ["spread", "free"]


def test_urgent_events_that_come_and_go_over_the_limit_are_said_once():
    card = Card(Wear(1.0, 50 * MB))
    for _ in range(50):
        card.run(300, 1, 5)
        card.run(60, 1, 0)
    assert card.modes.count("over") == 1


def test_a_changed_limit_begins_anew_and_the_same_one_does_not():
    card = Card(Wear(1.0, 50 * MB))
    card.run(6 * HOUR_S, 1)
    waited = card.wear.commit_within_s
    card.wear.retune(1.0, 50 * MB)
    assert card.wear.commit_within_s == waited > 10
    card.wear.retune(1.0, 500 * MB)
    assert (card.wear.commit_within_s, card.wear.mode) == (1.0, "free")
    card.wear.retune(3.0, None)
    assert card.wear.commit_within_s == 3.0


def test_the_measured_rate_is_that_of_the_last_hour_and_silent_in_the_first_minute():
    card = Card(Wear(1.0, None))
    card.run(50, 1)
    assert card.wear.state.bytes_per_day is None
    card.run(3 * HOUR_S, 100, 10)
    card.run(HOUR_S + 60, 0.5)
    assert card.wear.state.bytes_per_day == pytest.approx(
        written_bytes_per_day(Traffic(0.5, 0.5, 0, 0), 1.0) - 0.5 * 40 * DAY_S, rel=0.01
    ), "the three wild hours are forgotten; nothing is trimmed here"
    assert len(card.wear._samples) <= 61


@given(
    configured_s=st.floats(0.01, 60),
    limit=st.integers(10 * MB, 10_000 * MB),
    loads=st.lists(st.tuples(st.integers(1, 36), st.floats(0, 200), st.floats(0, 50)), min_size=1, max_size=6),
)
def test_whatever_comes_the_wait_is_bounded_and_what_readings_write_is_within_the_limit(configured_s, limit, loads):
    card = Card(Wear(configured_s, limit))
    for looks, readings, urgent in loads:
        card.run(looks * 100, readings, urgent)
    assert all(configured_s <= wait <= WAIT_S_MAX for wait in card.waits)
    if "over" not in card.modes:
        assert card.written <= limit * (card.now_s + CREDIT_S) / DAY_S
    for mode, after in zip(card.modes, card.modes[1:], strict=False):
        assert mode != after
