"""Signals: pure functions of time, whatever the YAML asks for."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.simulate.shapes import WALK_STEPS, uniform
from gateway.simulate.signals import SHAPES, parse_signal, signal_schema
from gateway.units import QUANTITIES

unhurried = settings(deadline=None, max_examples=60)  # the machine may be busy

finite = st.floats(-1e6, 1e6)
spans = st.integers(1, 100_000).map(lambda ms: f"{ms}ms")
times = st.floats(0, 1e9)
seeds = st.integers(0, 2**32 - 1)


@st.composite
def bounds(draw: st.DrawFn) -> dict[str, float]:
    low, high = sorted([draw(finite), draw(finite)])
    return {"min": low, "max": high}


@st.composite
def presses(draw: st.DrawFn) -> dict[str, Any]:
    hold_ms, jitter_ms, spare_ms = draw(st.integers(1, 5000)), draw(st.integers(0, 5000)), draw(st.integers(1, 5000))
    every_ms = hold_ms + 2 * jitter_ms + spare_ms
    return {"every": f"{every_ms}ms", "hold": f"{hold_ms}ms", "jitter": f"{jitter_ms}ms", "seed": draw(seeds)}


sines = st.builds(lambda ends, period: {"sine": {**ends, "period": period}}, bounds(), spans)
noisy = st.builds(
    lambda ends, period, noise, seed: {"sine": {**ends, "period": period, "noise": noise, "seed": seed}},
    bounds(),
    spans,
    st.floats(0, 100),
    seeds,
)
ends = st.fixed_dictionaries({"from": finite, "to": finite, "period": spans})
squares = st.fixed_dictionaries({"low": finite, "high": finite, "period": spans, "duty": st.floats(0.01, 0.99)})
steps = st.fixed_dictionaries({"values": st.lists(finite, min_size=1, max_size=9), "each": spans})
walks = st.builds(
    lambda ends, step, each, seed: {"walk": {**ends, "step": step, "each": each, "seed": seed}},
    bounds(),
    st.floats(0.001, 1e6),
    spans,
    seeds,
)
specs = st.one_of(
    st.fixed_dictionaries({"constant": finite}),
    sines,
    noisy,
    st.fixed_dictionaries({"ramp": ends}),
    st.fixed_dictionaries({"saw": ends}),
    st.fixed_dictionaries({"square": squares}),
    st.fixed_dictionaries({"steps": steps}),
    walks,
    st.fixed_dictionaries({"presses": presses()}),
)


def seconds(span: str) -> float:
    return int(span.removesuffix("ms")) / 1000


def value(spec: object, t_s: float) -> Any:
    return parse_signal(spec)(t_s)


@unhurried
@given(specs, st.lists(times, min_size=1, max_size=5))
def test_the_same_words_give_the_same_values_in_any_order(spec: dict[str, Any], at: list[float]) -> None:
    signal, other = parse_signal(spec), parse_signal(spec)
    forwards = [signal(t_s) for t_s in at]
    assert [other(t_s) for t_s in reversed(at)] == forwards[::-1]


@unhurried
@given(noisy, times)
def test_a_sine_stays_between_min_and_max_give_or_take_its_noise(spec: dict[str, Any], t_s: float) -> None:
    sine = spec["sine"]
    assert sine["min"] - sine["noise"] <= value(spec, t_s) <= sine["max"] + sine["noise"]


@unhurried
@given(walks, times)
def test_a_walk_stays_between_its_bounds(spec: dict[str, Any], t_s: float) -> None:
    assert spec["walk"]["min"] <= value(spec, t_s) <= spec["walk"]["max"]


@unhurried
@given(walks, st.integers(0, 3 * WALK_STEPS))
def test_a_walk_never_moves_more_than_a_step(spec: dict[str, Any], n: int) -> None:
    signal, each_s = parse_signal(spec), seconds(spec["walk"]["each"])
    before, after = signal((n + 0.5) * each_s), signal((n + 1.5) * each_s)
    assert abs(after - before) <= spec["walk"]["step"] * (1 + 1e-9) + 1e-9  # type: ignore[operator]


@unhurried
@given(st.fixed_dictionaries({"saw": ends}), times)
def test_a_saw_stays_between_its_ends(spec: dict[str, Any], t_s: float) -> None:
    low, high = sorted([spec["saw"]["from"], spec["saw"]["to"]])
    assert low <= value(spec, t_s) <= high


@unhurried
@given(st.sampled_from(["sine", "saw", "square", "presses"]), st.integers(0, 999), st.integers(0, 1000))
def test_what_has_a_period_repeats(shape: str, into_ms: int, periods: int) -> None:
    spec = {
        "sine": {"sine": {"min": 0, "max": 10, "period": "1s"}},
        "saw": {"saw": {"from": 0, "to": 10, "period": "1s"}},
        "square": {"square": {"low": 1, "high": 2, "period": "1s", "duty": 0.25}},
        "presses": {"presses": {"every": "1s", "hold": "100ms"}},
    }[shape]
    into_s = into_ms / 1000 + 0.0003  # beside the edges, where rounding decides
    assert value(spec, into_s + periods) == pytest.approx(value(spec, into_s), abs=1e-6)


@unhurried
@given(presses(), st.integers(0, 10_000))
def test_every_interval_has_one_press_that_is_held_for_the_time_asked(spec: dict[str, Any], n: int) -> None:
    signal, every_s, hold_s = parse_signal({"presses": spec}), seconds(spec["every"]), seconds(spec["hold"])
    looks = 500
    levels = [bool(signal((n + (look + 0.5) / looks) * every_s)) for look in range(looks)]
    assert sum(now and not before for before, now in pairwise([False, *levels])) <= 1
    assert sum(levels) / looks * every_s == pytest.approx(hold_s, abs=1.01 * every_s / looks)


def test_a_sine_begins_in_the_middle_and_rises() -> None:
    signal = parse_signal({"sine": {"min": 18, "max": 26, "period": "4s"}})
    assert [signal(t_s) for t_s in (0, 1, 2, 3)] == pytest.approx([22, 26, 22, 18])


def test_a_ramp_goes_there_once_and_stays() -> None:
    signal = parse_signal({"ramp": {"from": 20, "to": 10, "period": "10s"}})
    assert [signal(t_s) for t_s in (0, 5, 10, 1e9)] == [20, 15, 10, 10]


def test_a_square_is_low_first_and_high_for_its_duty() -> None:
    signal = parse_signal({"square": {"period": "10s", "duty": 0.2}})
    assert [signal(t_s) for t_s in (0, 7.9, 8.1, 9.9, 10)] == [False, False, True, True, False]


def test_steps_come_one_after_the_other() -> None:
    signal = parse_signal({"steps": {"values": ["open", "closed"], "each": "30s"}})
    assert [signal(t_s) for t_s in (0, 29.9, 30, 60)] == ["open", "open", "closed", "open"]


def test_a_walk_begins_where_it_is_told() -> None:
    assert value({"walk": {"start": 3, "step": 1, "min": 0, "max": 10}}, 0) == 3
    assert value({"walk": {"step": 1, "min": 0, "max": 10}}, 0) == 5


def test_a_walk_turns_back_at_its_bounds_instead_of_staying_there() -> None:
    signal = parse_signal({"walk": {"step": 1, "min": 0, "max": 1}})
    assert not [t_s for t_s in range(WALK_STEPS) if signal(t_s) in {0, 1}]


def test_a_walk_is_walked_back_after_its_last_step_and_then_begins_again() -> None:
    signal = parse_signal({"walk": {"step": 1, "min": 0, "max": 10}})
    there = [signal(t_s) for t_s in range(WALK_STEPS)]
    back = [signal(t_s) for t_s in range(WALK_STEPS - 1, 2 * WALK_STEPS - 1)]
    assert back == there[::-1]
    assert signal(2 * WALK_STEPS - 1) == there[1]


def test_another_seed_is_another_walk() -> None:
    walks = [parse_signal({"walk": {"step": 1, "min": 0, "max": 10, "seed": seed}}) for seed in (1, 2)]
    assert [walks[0](t_s) for t_s in range(9)] != [walks[1](t_s) for t_s in range(9)]


@pytest.mark.parametrize("spec", [21.5, 3, True, "day"])
def test_a_bare_value_is_a_constant(spec: object) -> None:
    assert value(spec, 0) == value(spec, 1e9) == value({"constant": spec}, 5) == spec


def test_a_fault_comes_in_the_last_part_of_every_every() -> None:
    signal = parse_signal({"saw": {"from": 0, "to": 100, "period": "100s"}, "unplugged": {"every": "60s", "for": "5s"}})
    assert [signal(t_s) for t_s in (0, 54.9, 60, 114.9)] == pytest.approx([0, 54.9, 60, 14.9])
    for t_s in (55, 59.9, 115):
        with pytest.raises(OSError, match="unplugged"):
            signal(t_s)


def test_a_stuck_signal_keeps_the_value_that_it_had() -> None:
    signal = parse_signal({"ramp": {"from": 0, "to": 100, "period": "100s"}, "stuck": {"every": "10s", "for": "4s"}})
    assert [signal(t_s) for t_s in (5, 6, 8, 9.9, 10)] == pytest.approx([5, 6, 6, 6, 10])


def test_a_signal_may_be_not_a_number_at_times() -> None:
    signal = parse_signal({"constant": 5, "nan": {"every": "10s", "for": "1s"}})
    assert signal(1) == 5
    assert math.isnan(signal(9.5))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (None, "expected a number, true, false or a word"),
        ([1, 2], "expected a number, true, false or a word"),
        (math.inf, "expected a finite number"),
        ({}, "found none: expected exactly one of constant, sine, ramp, saw, square, steps, walk, presses"),
        ({"sine": None}, "found none"),
        ({"sinus": {}}, "sinus is not known here (did you mean 'sine'?); expected constant, sine,"),
        ({"sine": {"min": 1, "max": 2, "perod": "1h"}}, "sine.perod is not known here (did you mean 'period'?)"),
        ({"sine": {"min": 1, "max": 2}}, "sine.period is missing"),
        ({"sine": {"min": 1, "max": 2, "period": 3}}, "sine.period: a duration needs a unit: write 3s"),
        ({"sine": {"min": 1, "max": 2, "period": "0s"}}, "sine.period: Input should be greater than 0"),
        ({"sine": {"min": 3, "max": 2, "period": "1h"}}, "sine: min must not be above max"),
        ({"sine": {"min": "a", "max": 2, "period": "1h"}}, "sine.min: "),
        ({"sine": 5}, "sine: expected a mapping with min, max, period, noise, seed"),
        ({"constant": 1, "square": {"period": "1s"}}, "found constant and square: expected exactly one"),
        ({"walk": {"start": 11, "step": 1, "min": 0, "max": 10}}, "walk: start must lie between min and max"),
        ({"presses": {"every": "1s", "hold": "1s"}}, "presses: hold and twice the jitter must be shorter than every"),
        ({"steps": {"values": [], "each": "1s"}}, "steps.values: "),
        ({"steps": {"values": [None], "each": "1s"}}, "steps.values.0: expected a number, true, false or a word"),
        ({"constant": 1, "stuck": {"every": "1s", "for": "1s"}}, "stuck: for must be shorter than every"),
        ({"constant": 1, "stuck": {"evry": "1s", "for": "1s"}}, "stuck.evry is not known here (did you mean 'every'?)"),
        ({"constant": True, "nan": {"every": "2s", "for": "1s"}}, "nan suits numbers only, constant gives true and"),
        ({1: 2}, "1: "),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(spec: object, said: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is compared below
        parse_signal(spec)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


@unhurried
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from([*SHAPES, "unplugged", "min", "max", "period", "every", "for", "x"]) | st.text(), inner
            )
        ),
        max_leaves=9,
    )
)
def test_any_yaml_is_a_signal_or_a_value_error(spec: object) -> None:
    with suppress(ValueError):
        assert callable(parse_signal(spec))


@pytest.mark.parametrize(
    ("quantity", "spec", "suits"),
    [
        ("temperature", 20, True),
        ("temperature", True, False),
        ("temperature", {"presses": {"every": "2s", "hold": "1s"}}, False),
        ("contact", {"presses": {"every": "2s", "hold": "1s"}}, True),
        ("contact", 1, False),
        ("contact", {"square": {"period": "1s"}}, True),
        ("text", "day", True),
        ("occurrence", {"steps": {"values": ["short", "long"], "each": "1s"}}, True),
        ("occurrence", {"steps": {"values": ["short", 1], "each": "1s"}}, False),
        ("load", {"sine": {"min": 0, "max": 1, "period": "1s"}}, True),
    ],
)
def test_a_signal_must_suit_the_quantity(quantity: str, spec: object, suits: bool) -> None:
    if suits:
        parse_signal(spec, QUANTITIES[quantity])
    else:
        with pytest.raises(ValueError, match=f"a signal for {quantity} must give"):
            parse_signal(spec, QUANTITIES[quantity])


def test_the_schema_stands_alone_and_knows_every_shape_and_fault() -> None:
    schema = signal_schema()
    assert "$ref" not in json.dumps(schema)
    bare, mapping = schema["anyOf"]
    assert bare == {"type": ["number", "boolean", "string"]}
    assert list(mapping["properties"]) == [*SHAPES, "unplugged", "stuck", "nan"]
    assert mapping["additionalProperties"] is False
    assert mapping["properties"]["saw"]["required"] == ["from", "to", "period"]
    assert {"required": ["sine"]} in mapping["oneOf"]


def test_draws_are_spread_evenly() -> None:
    draws = [uniform(7, n) for n in range(10_000)]
    assert 0 <= min(draws) < 0.001
    assert 0.999 < max(draws) < 1
    assert sum(draws) / len(draws) == pytest.approx(0.5, abs=0.02)
