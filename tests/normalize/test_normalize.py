"""Reading -> Event: every rule of `gateway.normalize`, by example and by property."""

from __future__ import annotations

import math
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.clock import NS_PER_S
from gateway.config.channel import ChannelConfig, SpikeConfig
from gateway.event import Reading
from gateway.normalize import INTEGER_MAX, NUMBER_MAX, REASON_CHARACTERS_MAX, TEXT_CHARACTERS_MAX, Instant
from tests.normalize.kit import DECLARED, WALL_NS, at, found, normalizer, one, recorded


def test_a_value_arrives_in_the_canonical_unit_under_its_subject() -> None:
    event = one(Reading("temperature", 72.5, "degF"))
    assert event.value == pytest.approx(22.5)
    assert (event.type, event.subject, event.unit, event.quality) == ("reading", "air/temperature", "Cel", "good")


def test_no_unit_means_the_canonical_one_and_integers_become_floats() -> None:
    event = one(Reading("temperature", 20))
    assert found(event) == (20.0, "good", "")
    assert type(event.value) is float


def test_a_minus_sign_before_nothing_is_dropped() -> None:
    assert math.copysign(1.0, one(Reading("temperature", -0.0)).value) == 1.0


@pytest.mark.parametrize(
    ("reading", "reason"),
    [
        (Reading("temperature", None), "sensor"),
        (Reading("temperature", None, reason="not connected"), "not connected"),
        (Reading("temperature", math.nan), "sensor"),
        (Reading("temperature", math.inf), "sensor"),
        (Reading("voltage", 10**400), "sensor"),
        (Reading("temperature", "warm"), "sensor"),
        (Reading("temperature", True), "sensor"),
        (Reading("temperature", 2000.1), "range"),
        (Reading("temperature", -1.0, "K"), "range"),
        (Reading("temperature", 1.0, "furlong"), "config"),
        (Reading("temperature", 1.0, 7), "config"),
        (Reading("temperature", 1.0, ["Cel"]), "config"),
        (Reading("voltage", NUMBER_MAX * 2), "range"),
        (Reading("open", 1), "sensor"),
        (Reading("open", "open"), "sensor"),
        (Reading("open", True, "Cel"), "config"),
        (Reading("label", 5), "sensor"),
        (Reading("label", "x" * (TEXT_CHARACTERS_MAX + 1)), "sensor"),
        (Reading("label", "half a \ud800 pair"), "sensor"),
        (Reading("click", math.nan), "sensor"),
        (Reading("click", INTEGER_MAX + 1), "range"),
        (Reading("temperature", 21.0, quality="bad"), "sensor"),
        (Reading("temperature", 21.0, quality="bad", reason="checksum"), "checksum"),
        (Reading("temperature", 21.0, quality="superb"), "sensor"),
    ],
)
def test_what_cannot_be_believed_is_recorded_as_null_with_a_reason(reading: Reading, reason: str) -> None:
    assert found(one(reading)) == (None, "bad", reason)


def test_the_drivers_doubt_is_kept() -> None:
    reading = Reading("temperature", 21.0, quality="uncertain", reason="warming up")
    assert found(one(reading)) == (21.0, "uncertain", "warming up")


def test_a_long_reason_is_cut() -> None:
    assert one(Reading("label", "a", reason="r" * 1000)).reason == "r" * REASON_CHARACTERS_MAX


@pytest.mark.parametrize("value", ["single", 30, True, 0.5, "a\x00b\n"])
def test_an_occurrence_may_carry_any_kind_of_value(value: object) -> None:
    assert found(one(Reading("click", value))) == (value, "good", "")


def test_the_instant_of_the_hardware_is_kept_on_both_clocks() -> None:
    now = at(10)
    (event,) = normalizer()([Reading("temperature", 1.0, mono_ns=now.mono_ns - 3 * NS_PER_S)], now)
    assert (event.time, event.mono) == (now.wall_ns - 3 * NS_PER_S, now.mono_ns - 3 * NS_PER_S)


def test_no_event_lies_in_the_future() -> None:
    now = at(10)
    (event,) = normalizer()([Reading("temperature", 1.0, mono_ns=now.mono_ns + 1)], now)
    assert (event.time, event.mono) == (now.wall_ns, now.mono_ns)


def test_clock_doubt_and_simulation_are_marked() -> None:
    (event,) = normalizer(simulated=True)([Reading("temperature", 1.0)], Instant(1, 1, synced=False))
    assert (event.synced, event.simulated) == (False, True)


def test_levels_and_occurrences_are_urgent_unless_the_channel_says_otherwise() -> None:
    assert [one(Reading(c, v)).urgent for c, v in (("open", True), ("click", 1), ("voltage", 1.0))] == [
        True,
        True,
        False,
    ]
    assert one(Reading("voltage", 1.0), voltage=ChannelConfig(urgent=True)).urgent
    assert not one(Reading("open", True), open=ChannelConfig(urgent=False)).urgent


def test_an_undeclared_channel_becomes_no_event_but_is_counted_and_named() -> None:
    normalize = normalizer()
    assert (
        normalize([Reading("fog", 1.0), Reading("rain", 1.0), Reading("voltage", 1.0)], at(0))[0].subject
        == "air/voltage"
    )
    assert (normalize.rejected, normalize.rejected_channel) == (2, "fog")


def test_without_a_deadband_every_measurement_is_recorded() -> None:
    assert recorded(normalizer(), "temperature", (0, 1.0), (1, 1.0), (2, 1.0)) == [1.0, 1.0, 1.0]


def test_a_deadband_passes_changes_against_what_was_recorded_last() -> None:
    normalize = normalizer(temperature=ChannelConfig(deadband=0.2))
    said = ((0, 20.0), (1, 20.1), (2, 20.15), (3, 20.2), (4, 20.1), (5, 20.0), (6, 20.1))
    assert recorded(normalize, "temperature", *said) == [20.0, 20.2, 20.0]


def test_a_deadband_of_nothing_passes_every_change_and_no_repetition() -> None:
    normalize = normalizer(temperature=ChannelConfig(deadband=0.0))
    assert recorded(normalize, "temperature", (0, 1.0), (1, 1.0), (2, 1.001)) == [1.0, 1.001]


def test_a_deadband_implies_a_heartbeat_of_five_minutes() -> None:
    normalize = normalizer(temperature=ChannelConfig(deadband=5.0))
    assert recorded(normalize, "temperature", (0, 20.0), (299.9, 20.1), (300, 20.2), (599, 20.3)) == [20.0, 20.2]


def test_a_heartbeat_alone_passes_changes_and_one_repetition_per_heartbeat() -> None:
    normalize = normalizer(temperature=ChannelConfig(heartbeat_s="30s"))
    said = ((0, 1.0), (10, 1.0), (20, 2.0), (30, 2.0), (50, 2.0))
    assert recorded(normalize, "temperature", *said) == [1.0, 2.0, 2.0]


def test_a_heartbeat_does_not_miss_its_read_by_a_millisecond() -> None:
    normalize = normalizer(every_s=10.0, temperature=ChannelConfig(deadband=9.0, heartbeat_s="30s"))
    said = ((0.002, 1.0), (10.0, 2.0), (20.0, 3.0), (30.0, 4.0), (40.0, 5.0))
    assert recorded(normalize, "temperature", *said) == [1.0, 4.0]


def test_a_change_of_quality_passes_the_deadband() -> None:
    normalize = normalizer(temperature=ChannelConfig(deadband=5.0))
    assert recorded(normalize, "temperature", (0, 20.0), (1, None), (2, None), (3, 20.1)) == [20.0, None, 20.1]


def test_a_change_of_the_reason_passes_the_deadband() -> None:
    normalize = normalizer(temperature=ChannelConfig(deadband=5.0))
    said = [Reading("temperature", None, reason=reason) for reason in ("no probe", "no probe", "short circuit")]
    assert [event.reason for event in normalize(said, at(0))] == ["no probe", "short circuit"]


def test_an_equal_level_is_no_change() -> None:
    assert recorded(normalizer(), "open", (0, False), (1, False), (2, True), (900, True)) == [False, True]


def test_every_occurrence_is_recorded() -> None:
    normalize = normalizer(click=ChannelConfig(heartbeat_s="1h", deadband=5.0))
    assert recorded(normalize, "click", (0, 1), (0, 1), (0, 1)) == [1, 1, 1]


def test_after_an_outage_the_first_value_is_recorded_though_it_is_the_same() -> None:
    normalize = normalizer(temperature=ChannelConfig(deadband=5.0))
    assert recorded(normalize, "temperature", (0, 20.0), (1, 20.0)) == [20.0]
    normalize.forget()
    assert recorded(normalize, "temperature", (2, 20.0), (3, 20.0)) == [20.0]


def test_a_level_that_nobody_repeats_has_its_heartbeat_too() -> None:
    normalize = normalizer(open=ChannelConfig(heartbeat_s="60s"), temperature=ChannelConfig(heartbeat_s="60s"))
    assert normalize.heartbeat_due_ns() is None
    recorded(normalize, "open", (0, True))
    recorded(normalize, "temperature", (0, 20.0))  # a measurement does not hold: only a new one is recorded
    assert normalize.heartbeat_due_ns() == at(60).mono_ns
    assert normalize.heartbeats(at(59)) == []
    (event,) = normalize.heartbeats(at(61))
    assert (event.subject, event.value, event.mono) == ("air/open", True, at(61).mono_ns)
    assert normalize.heartbeat_due_ns() == at(121).mono_ns


def test_what_the_wall_clock_does_changes_nothing_but_the_time() -> None:
    normalize = normalizer(temperature=ChannelConfig(deadband=5.0))
    normalize([Reading("temperature", 20.0)], at(0))
    future = at(1)._replace(wall_ns=WALL_NS + 10**18)
    assert normalize([Reading("temperature", 20.0)], future) == []


# Properties

values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.text(alphabet=st.characters(categories=["Cs"]), max_size=3),
    st.floats(-40, 60),
)
channels = st.sampled_from([channel.name for channel in DECLARED] + ["fog"])
units = st.sampled_from([None, "Cel", "K", "degF", "V", "mV", "", "furlong"])
qualities = st.sampled_from(["good", "uncertain", "bad"])
instants = st.integers(-(10**12), 10**13)
readings = st.lists(st.builds(Reading, channels, values, units, qualities, st.text(max_size=5), instants), max_size=30)
seconds = st.sampled_from([None, "1s", "1h"])
configs = st.builds(
    ChannelConfig,
    quantity=st.sampled_from([None, None, "temperature", "ratio"]),
    expression=st.sampled_from([None, None, "value * 2", "log(value)", "1 / value", "value ** 100"]),
    scale=st.none() | st.floats(-1e308, 1e308),
    bias=st.none() | st.floats(-100, 100),
    calibration=st.sampled_from(
        [None, {"polynomial": [1, 1e200, 1e200]}, {"table": [[-1e308, 1e308], [1e308, -1e308]]}]
    ),
    spike=st.none() | st.builds(SpikeConfig, jump=st.floats(0.1, 50), of=st.integers(1, 4), confirm=st.integers(2, 4)),
    filter=st.sampled_from([None, {"median": 3}, {"mean": 4}, {"quantile": 0.9, "of": 3}]),
    average_s=seconds,
    range=st.sampled_from([None, (0, 20)]),
    deadband=st.sampled_from([None, 0.0, 3.0, "10%", [1.0, "10%"]]),
    min_interval_s=seconds,
    rate_limit=st.sampled_from([None, {"events": 2, "per": "1s"}]),
    heartbeat_s=seconds,
    urgent=st.none() | st.booleans(),
)


@given(said=readings, config=configs, now=st.integers(0, 10**13), later=st.integers(0, 10**13))
def test_any_readings_make_events_that_can_be_written_down(
    said: list[Reading], config: ChannelConfig, now: int, later: int
) -> None:
    normalize = normalizer(every_s=1.0, **{channel.name: config for channel in DECLARED})
    events = normalize(said, Instant(WALL_NS, now))
    subjects = iter([f"air/{reading.channel}" for reading in said])
    assert all(event.subject in subjects for event in events), "order kept, at most one event per reading"
    assert normalize.rejected == sum(reading.channel == "fog" for reading in said)
    after = Instant(WALL_NS + later, now + later)
    due_ns = normalize.heartbeat_due_ns()
    held = normalize.heartbeats(after)
    assert bool(held) <= (due_ns is not None and due_ns <= after.mono_ns), "nothing is said before it is due"
    left_ns = normalize.heartbeat_due_ns()
    assert left_ns is None or left_ns > after.mono_ns, "what is due is said, or the timer would never rest"
    for event, instant in [*((event, Instant(WALL_NS, now)) for event in events), *((event, after) for event in held)]:
        assert (event.value is None) == (event.quality == "bad")
        assert event.mono <= instant.mono_ns
        assert event.time <= instant.wall_ns
        assert msgspec.json.decode(msgspec.json.encode(event))["value"] == event.value
        msgspec.msgpack.encode(event)
    normalize.forget()
    assert normalize.heartbeat_due_ns() is None


@given(
    said=st.lists(st.tuples(st.floats(0.01, 200), st.one_of(st.none(), st.floats(-50, 50))), min_size=1, max_size=60),
    deadband=st.floats(0.01, 20),
)
def test_between_two_recorded_values_lies_a_deadband_or_a_heartbeat(
    said: list[tuple[float, float | None]], deadband: float
) -> None:
    normalize = normalizer(temperature=ChannelConfig(deadband=deadband, heartbeat_s="5m"))
    events, unsaid, seconds = [], 0.0, 0.0
    for gap_s, value in said:
        seconds += gap_s
        passed = normalize([Reading("temperature", value)], at(seconds))
        if not passed:
            last = events[-1]
            assert last.value is value or abs(last.value - value) < deadband, "what is held back lies in the deadband"
            unsaid = (at(seconds).mono_ns - last.mono) / NS_PER_S
            assert unsaid < 300, "and is younger than the heartbeat"
        events += passed
    for one_event, next_event in pairwise(events):
        if one_event.quality == next_event.quality == "good" and next_event.mono - one_event.mono < 300 * NS_PER_S:
            change = abs(next_event.value - one_event.value)
            assert change >= deadband or math.isclose(change, deadband)


@given(levels=st.lists(st.booleans(), max_size=40))
def test_recorded_levels_alternate_and_tell_the_same_story(levels: list[bool]) -> None:
    normalize = normalizer()
    story = recorded(normalize, "open", *enumerate(levels))
    assert all(before != after for before, after in pairwise(story))
    assert story[:1] == levels[:1]
    assert story[-1:] == levels[-1:]
