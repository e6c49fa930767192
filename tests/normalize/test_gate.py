"""What is worth a record, and when: deadbands, heartbeats, intervals and rates."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.clock import NS_PER_S
from gateway.config.channel import ChannelConfig, Deadband, parse_deadband
from gateway.event import Reading
from tests.normalize.kit import at, normalizer, recorded, told

# Deadbands


def test_a_deadband_in_percent_is_of_the_value_recorded_last() -> None:
    normalize = normalizer(voltage=ChannelConfig(deadband="10%"))
    said = ((0, 100.0), (1, 109.0), (2, 110.0), (3, 120.0), (4, 121.0), (5, 109.0), (6, 108.9))
    assert recorded(normalize, "voltage", *said) == [100.0, 110.0, 121.0, 108.9]


def test_a_percentage_of_nothing_is_nothing() -> None:
    normalize = normalizer(voltage=ChannelConfig(deadband="10%"))
    assert recorded(normalize, "voltage", (0, 0.0), (1, 0.0), (2, 0.001), (3, 0.00105)) == [0.0, 0.001]


def test_a_negative_value_has_a_percentage_too() -> None:
    normalize = normalizer(temperature=ChannelConfig(deadband="10%"))
    assert recorded(normalize, "temperature", (0, -10.0), (1, -10.5), (2, -11.0)) == [-10.0, -11.0]


def test_both_deadbands_want_the_larger_change() -> None:
    normalize = normalizer(voltage=ChannelConfig(deadband=[0.5, "10%"]))
    assert recorded(normalize, "voltage", (0, 1.0), (1, 1.2), (2, 1.5), (3, 100.0), (4, 101.0), (5, 110.0)) == [
        1.0, 1.5, 100.0, 110.0,
    ]  # fmt: skip


def test_a_deadband_is_in_the_unit_of_the_entry() -> None:
    normalize = normalizer(pressure=ChannelConfig(unit="hPa", deadband=0.5))
    assert recorded(normalize, "pressure", (0, 100_000.0), (1, 100_049.0), (2, 100_050.0)) == [100_000.0, 100_050.0]
    degrees = normalizer(temperature=ChannelConfig(unit="degF", deadband=9))  # a difference: the 32 has no part in it
    assert recorded(degrees, "temperature", (0, 20.0), (1, 24.9), (2, 25.0)) == [20.0, 25.0]


@pytest.mark.parametrize(
    ("written", "parsed"),
    [
        (0, Deadband()),
        (0.2, Deadband(0.2)),
        ("2%", Deadband(0.0, 2.0)),
        ("2.5 %", Deadband(0.0, 2.5)),
        ([0.2, "2%"], Deadband(0.2, 2.0)),
        (["2%", 1], Deadband(1.0, 2.0)),
        (["2%"], Deadband(0.0, 2.0)),
        (Deadband(1.0), Deadband(1.0)),
    ],
)
def test_a_deadband_may_be_written_in_these_ways(written: object, parsed: Deadband) -> None:
    assert parse_deadband(written) == parsed


@pytest.mark.parametrize(
    "written", [None, True, "2", "-2%", "%", -1, math.nan, math.inf, [], [1, 2], ["1%", "2%"], [1, "2%", 3], {}, [[1]]]
)
def test_a_deadband_in_another_way_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match="expected a number of at least 0, a part such as 2%"):
        parse_deadband(written)


@given(
    said=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60),
    absolute=st.floats(0, 1e5),
    percent=st.floats(0, 200).map(lambda number: round(number, 2)),
)
def test_what_is_held_back_lies_within_both_deadbands_of_the_last_record(
    said: list[float], absolute: float, percent: float
) -> None:
    normalize = normalizer(voltage=ChannelConfig(deadband=[absolute, f"{percent:f}%"], heartbeat_s="1h"))
    last = None
    for second, value in enumerate(said):
        passed = normalize([Reading("voltage", value)], at(second / 60))
        if last is not None:
            change, least = abs(value - last), max(absolute, abs(last) * percent / 100)
            if passed:
                assert change > 0
                assert change >= least * (1 - 1e-8)
            else:
                assert change < least or change == 0
        last = passed[0].value if passed else last


# Range


def test_outside_the_range_a_value_is_kept_in_doubt_and_impossible_ones_are_not_kept() -> None:
    normalize = normalizer(temperature=ChannelConfig(range=(-20, 40)))
    assert told(normalize, "temperature", (0, 40.0), (1, 40.1), (2, -300.0), (3, -20.0)) == [
        (40.0, "good", ""),
        (40.1, "uncertain", "range"),
        (None, "bad", "range"),
        (-20.0, "good", ""),
    ]


def test_the_range_is_in_the_unit_of_the_entry() -> None:
    normalize = normalizer(temperature=ChannelConfig(unit="degF", range=(32, 86)))
    said = told(normalize, "temperature", (0, -0.1), (1, 0.1), (2, 29.9), (3, 30.1))
    assert [quality for _, quality, _ in said] == ["uncertain", "good", "good", "uncertain"]


def test_leaving_the_range_passes_the_deadband() -> None:
    normalize = normalizer(temperature=ChannelConfig(range=(-20, 40), deadband=5))
    assert recorded(normalize, "temperature", (0, 39.9), (1, 40.1), (2, 40.2), (3, 39.9)) == [39.9, 40.1, 39.9]


# Intervals and rates


def test_what_comes_too_soon_waits_and_the_newest_is_recorded_at_its_own_time() -> None:
    normalize = normalizer(voltage=ChannelConfig(min_interval_s="10s"))
    assert recorded(normalize, "voltage", (0, 1.0), (3, 2.0), (7, 3.0)) == [1.0]
    assert normalize.heartbeat_due_ns() == at(10).mono_ns
    assert normalize.heartbeats(at(9.9)) == []
    (event,) = normalize.heartbeats(at(10.1))
    assert (event.value, event.mono, event.time) == (3.0, at(7).mono_ns, at(7).wall_ns)
    assert normalize.heartbeat_due_ns() is None
    assert recorded(normalize, "voltage", (20, 4.0), (20.1, 5.0)) == [5.0]


def test_a_polled_device_needs_no_timer_the_next_poll_brings_the_newest() -> None:
    normalize = normalizer(every_s=10.0, voltage=ChannelConfig(min_interval_s="30s"))
    said = ((0.002, 1.0), (10, 2.0), (20, 3.0), (30, 4.0), (40, 5.0), (50, 6.0), (60, 7.0))
    assert recorded(normalize, "voltage", *said) == [1.0, 4.0, 7.0]


def test_a_level_that_returns_while_its_change_waits_is_no_change() -> None:
    normalize = normalizer(open=ChannelConfig(min_interval_s="10s"))
    assert recorded(normalize, "open", (0, False), (1, True), (2, False)) == [False]
    assert normalize.heartbeat_due_ns() is None


def test_a_level_that_flaps_ends_up_right() -> None:
    normalize = normalizer(open=ChannelConfig(min_interval_s="10s", heartbeat_s="1m"))
    assert recorded(normalize, "open", (0, False), (1, True), (2, False), (3, True)) == [False]
    (event,) = normalize.heartbeats(at(10))
    assert (event.value, event.mono) == (True, at(3).mono_ns)
    assert normalize.heartbeat_due_ns() == at(70).mono_ns


def test_even_bad_news_waits_for_its_time() -> None:
    normalize = normalizer(temperature=ChannelConfig(min_interval_s="10s"))
    assert recorded(normalize, "temperature", (0, 1.0), (1, None), (2, 1.0), (3, None)) == [1.0]
    assert [event.quality for event in normalize.heartbeats(at(10))] == ["bad"]


def test_after_an_outage_nothing_waits() -> None:
    normalize = normalizer(voltage=ChannelConfig(min_interval_s="10s"))
    recorded(normalize, "voltage", (0, 1.0), (3, 2.0))
    normalize.forget()
    assert normalize.heartbeat_due_ns() is None
    assert normalize.heartbeats(at(20)) == []


def test_occurrences_beyond_the_rate_are_dropped_and_counted() -> None:
    normalize = normalizer(click=ChannelConfig(rate_limit={"events": 2, "per": "10s"}))
    assert recorded(normalize, "click", (0, 1), (4, 2), (5, 3), (9, 4), (10, 5), (13, 6), (14, 7)) == [1, 2, 5, 7]
    assert normalize.heartbeat_due_ns() is None
    assert normalize.take_dropped() == 3
    assert normalize.take_dropped() == 0


def test_a_rate_and_an_interval_bound_each_other() -> None:
    config = ChannelConfig(min_interval_s="2s", rate_limit={"events": 3, "per": "60s"})
    normalize = normalizer(voltage=config)
    assert recorded(normalize, "voltage", *((second, float(second)) for second in range(70))) == [
        0.0, 2.0, 4.0, 60.0, 62.0, 64.0,
    ]  # fmt: skip


def test_a_deadband_has_a_heartbeat_that_its_limits_allow() -> None:
    normalize = normalizer(voltage=ChannelConfig(deadband=100, min_interval_s="10m"))
    said = [(minute * 60, 1.0) for minute in range(25)]
    assert len(recorded(normalize, "voltage", *said)) == 3


@given(
    gaps_s=st.lists(st.floats(0.001, 8), min_size=1, max_size=80),
    events=st.integers(1, 5),
    channel=st.sampled_from(["voltage", "open", "click"]),
)
def test_no_more_is_recorded_than_the_limit_allows_and_the_last_word_is_said(
    gaps_s: list[float], events: int, channel: str
) -> None:
    limit = {"events": events, "per": "10s"}
    normalize = normalizer(**{channel: ChannelConfig(rate_limit=limit)})
    said, seconds, truth = [], 0.0, None
    for index, gap_s in enumerate(gaps_s):
        due_ns = normalize.heartbeat_due_ns()
        if due_ns is not None and due_ns <= at(seconds + gap_s).mono_ns:
            due_s = (due_ns - at(0).mono_ns) / NS_PER_S
            said += [(due_s, event.value) for event in normalize.heartbeats(at(due_s))]
        seconds += gap_s
        truth = {"voltage": float(index), "open": index % 3 == 0, "click": index}[channel]
        said += [(seconds, event.value) for event in normalize([Reading(channel, truth)], at(seconds))]
    for first, last in zip(said, said[events:], strict=False):
        assert last[0] - first[0] >= 10 - 1e-6
    if channel == "click":
        assert len(said) + normalize.take_dropped() == len(gaps_s)
    else:
        said += [(seconds, event.value) for event in normalize.heartbeats(at(seconds + 10))]
        assert said[-1][1] == truth
    assert all(one[1] != other[1] for one, other in pairwise(said)), "nothing is said twice"
