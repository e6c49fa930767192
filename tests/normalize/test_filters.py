"""Spikes, sliding windows and averages: by example, and against the plainest way to compute the same."""

from __future__ import annotations

import math
import statistics
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.channel import ChannelConfig, FilterConfig, SpikeConfig
from gateway.event import Reading
from gateway.normalize import NUMBER_MAX, Judged
from gateway.normalize.filters import Average, SpikeGuard, sliding
from tests.normalize.kit import at, normalizer, recorded, told

numbers = st.floats(-NUMBER_MAX, NUMBER_MAX)
series = st.lists(numbers, min_size=1, max_size=40)


def every(step_s: float, *values: object) -> list[tuple[float, object]]:
    return [(index * step_s, value) for index, value in enumerate(values)]


# Sliding windows


def test_a_median_is_of_the_last_few_and_doubtful_until_there_are_so_many() -> None:
    normalize = normalizer(temperature=ChannelConfig(filter={"median": 3}))
    assert told(normalize, "temperature", *every(1, 1.0, 9.0, 2.0, 3.0, 99.0)) == [
        (1.0, "uncertain", "initial"),
        (5.0, "uncertain", "initial"),
        (2.0, "good", ""),
        (3.0, "good", ""),
        (3.0, "good", ""),
    ]


def test_a_mean_and_a_quantile() -> None:
    means = normalizer(temperature=ChannelConfig(filter={"mean": 2}))
    assert recorded(means, "temperature", *every(1, 1.0, 2.0, 4.0)) == [1.0, 1.5, 3.0]
    highest = normalizer(temperature=ChannelConfig(filter={"quantile": 1.0, "of": 2}))
    assert recorded(highest, "temperature", *every(1, 1.0, 3.0, 2.0, 0.0)) == [1.0, 3.0, 3.0, 2.0]


def test_a_quantile_between_two_readings_is_on_the_line_between_them() -> None:
    normalize = normalizer(temperature=ChannelConfig(filter={"quantile": 0.25, "of": 3}))
    assert recorded(normalize, "temperature", *every(1, 10.0, 20.0, 30.0))[-1] == 15.0


def test_one_doubtful_reading_makes_the_result_doubtful_as_long_as_it_is_in_it() -> None:
    normalize = normalizer(temperature=ChannelConfig(filter={"mean": 2}))
    recorded(normalize, "temperature", *every(1, 1.0, 1.0))
    doubtful = Reading("temperature", 1.0, quality="uncertain", reason="warming up")
    said = [doubtful, Reading("temperature", 1.0), Reading("temperature", 1.0)]
    assert [(event.quality, event.reason) for event in normalize(said, at(9))] == [
        ("uncertain", "warming up"),
        ("uncertain", "warming up"),
        ("good", ""),
    ]


def test_a_doubt_without_a_reason_is_a_doubt() -> None:
    normalize = normalizer(temperature=ChannelConfig(filter={"mean": 2}))
    recorded(normalize, "temperature", *every(1, 1.0, 1.0))
    (event,) = normalize([Reading("temperature", 1.0, quality="uncertain")], at(9))
    assert (event.quality, event.reason) == ("uncertain", "")


def test_a_bad_reading_passes_the_filter_by_and_leaves_no_trace_in_it() -> None:
    normalize = normalizer(temperature=ChannelConfig(filter={"median": 3}))
    assert told(normalize, "temperature", *every(1, 1.0, 2.0, 3.0, None, 4.0))[2:] == [
        (2.0, "good", ""),
        (None, "bad", "sensor"),
        (3.0, "good", ""),
    ]


def test_after_an_outage_a_filter_begins_anew() -> None:
    normalize = normalizer(temperature=ChannelConfig(filter={"median": 2}, spike={"jump": 1}))
    recorded(normalize, "temperature", *every(1, *[1.0] * 9))
    normalize.forget()
    assert told(normalize, "temperature", (20, 50.0)) == [(50.0, "uncertain", "initial")]


@given(values=series, size=st.integers(2, 9))
def test_a_median_is_that_of_the_statistics_module(values: list[float], size: int) -> None:
    median = sliding(FilterConfig(median=size))
    for end in range(1, len(values) + 1):
        window = values[max(0, end - size) : end]
        said = median(Judged(values[end - 1], "good", ""), end)
        assert said.value == pytest.approx(statistics.median(window), rel=1e-9, abs=1e290)
        assert min(window) <= said.value <= max(window)
        assert said.quality == ("good" if end >= size else "uncertain")


@given(values=series, size=st.integers(2, 9), part=st.floats(0, 1))
def test_what_a_window_says_lies_within_it(values: list[float], size: int, part: float) -> None:
    mean, quantile = sliding(FilterConfig(mean=size)), sliding(FilterConfig(quantile=part, of=size))
    for end in range(1, len(values) + 1):
        window = values[max(0, end - size) : end]
        judged = Judged(values[end - 1], "good", "")
        for said in (mean(judged, end), quantile(judged, end)):
            assert min(window) <= said.value <= max(window)
    exact = sum(map(Fraction, window)) / len(window)
    assert mean(judged, 0).quality in {"good", "uncertain"}
    assert math.isclose(float(exact), min(max(float(exact), min(window)), max(window)), rel_tol=1e-9, abs_tol=1e-9)


@given(values=st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=40), size=st.integers(2, 9))
def test_a_mean_is_exact_to_the_last_digit(values: list[float], size: int) -> None:
    mean = sliding(FilterConfig(mean=size))
    for end in range(1, len(values) + 1):
        window = values[max(0, end - size) : end]
        exact = float(sum(map(Fraction, window)) / len(window))
        said = mean(Judged(values[end - 1], "good", ""), end).value
        assert said == pytest.approx(exact, rel=1e-15, abs=1e-300)


# Spikes


def test_a_spike_is_never_recorded() -> None:
    normalize = normalizer(temperature=ChannelConfig(spike={"jump": 5, "of": 3}))
    assert recorded(normalize, "temperature", *every(1, 20.0, 20.1, 85.0, 20.2, 20.3, -127.0, 20.4)) == [
        20.0, 20.1, 20.2, 20.3, 20.4,
    ]  # fmt: skip


def test_a_step_is_believed_when_it_is_confirmed() -> None:
    normalize = normalizer(temperature=ChannelConfig(spike={"jump": 5, "of": 3, "confirm": 3}))
    assert recorded(normalize, "temperature", *every(1, 20.0, 60.0, 60.0, 61.0, 60.5, 20.0, 60.2)) == [
        20.0, 61.0, 60.5, 60.2,
    ]  # fmt: skip


def test_a_confirmed_step_is_the_new_past_at_once() -> None:
    normalize = normalizer(temperature=ChannelConfig(spike={"jump": 5, "of": 5}))
    assert recorded(normalize, "temperature", *every(1, *[20.0] * 5, 60.0, 60.0, 61.0, 20.0, 62.0)) == [
        *[20.0] * 5, 60.0, 61.0, 62.0,
    ]  # fmt: skip


def test_a_change_of_exactly_the_jump_is_no_spike() -> None:
    normalize = normalizer(temperature=ChannelConfig(spike={"jump": 5, "of": 1}))
    assert recorded(normalize, "temperature", *every(1, 20.0, 25.0, 30.5, 29.0)) == [20.0, 25.0, 29.0]


def test_the_jump_is_in_the_unit_of_the_entry() -> None:
    normalize = normalizer(pressure=ChannelConfig(unit="hPa", spike={"jump": 5, "of": 1}))
    assert recorded(normalize, "pressure", *every(1, 100_000.0, 100_499.0, 101_100.0)) == [100_000.0, 100_499.0]


def test_until_the_past_is_full_a_reading_is_doubtful() -> None:
    normalize = normalizer(temperature=ChannelConfig(spike={"jump": 5, "of": 2}))
    assert [quality for _, quality, _ in told(normalize, "temperature", *every(1, 1.0, 1.0, 9.0, 9.0, 9.0))] == [
        "uncertain", "good", "good", "good",
    ]  # fmt: skip


@given(values=series, of=st.integers(1, 5), confirm=st.integers(2, 4), jump=st.floats(0.1, 1e9))
def test_what_passes_was_read_and_silence_has_an_end(values: list[float], of: int, confirm: int, jump: float) -> None:
    guard = SpikeGuard(SpikeConfig(jump=jump, of=of, confirm=confirm))
    silent = 0
    for value in values:
        said = guard(Judged(value, "good", ""), 0)
        assert said is None or said.value == value
        silent = silent + 1 if said is None else 0
        assert silent < confirm


# Averages


def test_an_average_is_said_once_in_its_time_with_the_reading_that_ends_it() -> None:
    normalize = normalizer(every_s=10.0, temperature=ChannelConfig(average_s="1m"))
    events = [
        event
        for second in range(0, 190, 10)
        for event in normalize([Reading("temperature", float(second))], at(second + 0.004 * (second % 20)))
    ]
    assert [(event.value, event.quality) for event in events] == [(30.0, "good"), (95.0, "good"), (155.0, "good")]
    assert [round((event.mono - at(0).mono_ns) / 1e9) for event in events] == [60, 120, 180]


def test_a_read_that_comes_early_ends_its_average_and_a_late_one_does_not_move_the_next() -> None:
    normalize = normalizer(every_s=10.0, temperature=ChannelConfig(average_s="20s"))
    said = ((0, 0.0), (10, 0.0), (19.99, 3.0), (30, 1.0), (44.9, 2.0), (50, 5.0), (55.1, 6.0))
    assert recorded(normalize, "temperature", *said) == [1.0, 1.5, 5.5]


def test_a_bad_reading_is_said_at_once_and_is_in_no_average() -> None:
    normalize = normalizer(every_s=10.0, temperature=ChannelConfig(average_s="20s"))
    assert recorded(normalize, "temperature", *every(10, 1.0, None, 3.0)) == [None, 2.0]


def test_an_average_with_a_doubtful_reading_is_doubtful_and_the_next_is_not() -> None:
    normalize = normalizer(every_s=10.0, temperature=ChannelConfig(average_s="20s"))
    readings = [
        Reading("temperature", 1.0, quality="uncertain", reason="warming up"),
        *[Reading("temperature", 1.0)] * 4,
    ]
    events = [event for index, reading in enumerate(readings) for event in normalize([reading], at(index * 10))]
    assert [(event.quality, event.reason) for event in events] == [("uncertain", "warming up"), ("good", "")]


def test_a_device_that_falls_silent_gets_its_average_when_it_is_due() -> None:
    normalize = normalizer(temperature=ChannelConfig(average_s="1m"))
    assert recorded(normalize, "temperature", (0, 1.0), (20, 2.0)) == []
    assert normalize.heartbeat_due_ns() == at(60).mono_ns
    assert normalize.heartbeats(at(59)) == []
    (event,) = normalize.heartbeats(at(61))
    assert (event.value, event.mono, event.time) == (1.5, at(60).mono_ns, at(60).wall_ns)
    assert normalize.heartbeat_due_ns() is None
    assert recorded(normalize, "temperature", (500, 7.0), (559, 9.0)) == []
    assert normalize.heartbeat_due_ns() == at(560).mono_ns


def test_an_outage_drops_what_was_begun() -> None:
    normalize = normalizer(every_s=10.0, temperature=ChannelConfig(average_s="20s"))
    recorded(normalize, "temperature", (0, 100.0), (10, 100.0))
    normalize.forget()
    assert recorded(normalize, "temperature", (25, 1.0), (35, 2.0), (45, 3.0)) == [2.0]


def test_a_million_readings_lose_no_digit() -> None:
    average = Average(10**12, 0)
    for index in range(100_000):
        average(Judged(0.1 if index % 2 else 1e9, "good", ""), index)
    assert average.due(10**12).value == (1e9 + 0.1) / 2


@given(
    said=st.lists(st.tuples(st.floats(0.01, 30), st.floats(0, 1000)), min_size=1, max_size=60),
    every_s=st.sampled_from([None, 5.0]),
)
def test_each_reading_is_in_one_average_and_an_average_lies_within_its_readings(
    said: list[tuple[float, float]], every_s: float | None
) -> None:
    normalize = normalizer(every_s=every_s, temperature=ChannelConfig(average_s="20s"))
    window, seconds = [], 0.0
    for gap_s, value in said:
        seconds += gap_s
        window.append(value)
        for event in normalize([Reading("temperature", value)], at(seconds)):
            assert min(window) <= event.value <= max(window)
            assert event.value == pytest.approx(math.fsum(window) / len(window))
            window = []
    rest = normalize.heartbeats(at(seconds + 60))
    assert len(rest) == bool(window)
    for event in rest:
        assert event.value == pytest.approx(math.fsum(window) / len(window))
