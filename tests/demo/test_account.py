"""The demo's account: it must find what is lost, doubled or out of order, or its zeros mean nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import demo
from gateway.demo import Ledger, Tally


def booked(offsets):
    ledger = Ledger()
    for offset in offsets:
        ledger.add(offset)
    return ledger


@given(st.lists(st.integers(1, 30), max_size=60))
def test_the_ledger_agrees_with_plain_counting(offsets):
    firsts = list(dict.fromkeys(offsets))
    late = [offset for n, offset in enumerate(firsts) if offset < max(firsts[:n], default=0)]

    ledger = booked(offsets)

    assert ledger.distinct == len(firsts)
    assert ledger.duplicates == len(offsets) - len(firsts)
    assert ledger.out_of_order == len(late)


def test_an_event_that_never_came_is_lost():
    ledger = booked([1, 2, 4, 5])

    assert Tally(5, ledger.distinct, ledger.duplicates, ledger.out_of_order).lost == 1


def test_memory_stays_bounded_behind_a_hole(monkeypatch):
    monkeypatch.setattr(demo, "AHEAD_MAX", 10)

    ledger = booked([1, *range(3, 1000)])

    assert ledger.distinct == 998
    assert len(ledger._ahead) <= 10


@pytest.mark.parametrize("late", [2, 50])
def test_what_was_given_up_counts_once(monkeypatch, late):
    monkeypatch.setattr(demo, "AHEAD_MAX", 10)

    ledger = booked([1, *range(3, 100), late])

    assert ledger.distinct == 98
    assert ledger.duplicates == 1
