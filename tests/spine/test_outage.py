"""How long a refusing disk is waited for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.outage import HOLD_AFTER_S, RETRY_FIRST_S, RETRY_MAX_S, Outage


def test_without_trouble_nothing_waits_and_nothing_is_held():
    it = Outage()
    assert (it.asks_again_in(0.0), it.lasts(10.0**9)) == (0.0, False)


@given(st.lists(st.floats(0, 10), min_size=1, max_size=50))
def test_waits_grow_to_their_bound_and_lasting_trouble_is_known_as_such(pauses):
    it, now, waits = Outage(), 5.0, []
    for pause in pauses:
        waits.append(it.refused(now))
        assert it.asks_again_in(now) == pytest.approx(waits[-1])
        assert it.lasts(now) == (now - 5.0 >= HOLD_AFTER_S)
        now += pause
    assert waits[0] == RETRY_FIRST_S
    assert waits == sorted(waits)
    assert max(waits) <= RETRY_MAX_S < 5.0, "back to normal within 5 s"
    it.over()
    assert (it.asks_again_in(now), it.lasts(now)) == (0.0, False)
    assert it.refused(now) == RETRY_FIRST_S


def test_one_failed_flush_is_too_short_to_hold_anything():
    it, now = Outage(), 0.0
    for _ in range(3):
        now += it.refused(now)
    assert not it.lasts(now)
