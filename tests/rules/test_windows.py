"""Windows against the plainest possible ones: every event known, every window asked which events are its own.

What they come to is worked out with the `statistics` of Python. Times are whole seconds here, so that borders are
hit often.
"""

from __future__ import annotations

import math
import statistics
from datetime import datetime
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.clock import NS_PER_S
from gateway.event import Event, Quality
from gateway.rules.operators.aggregates import maker
from tests.rules.kit import Log, engine, event, ns, rule

OF: dict[str, Any] = {
    "count": "count", "sum": "sum", "min": "min", "max": "max", "avg": "avg", "stddev": "stddev", "median": "median",
    "p": {"quantile": 0.3}, "newest": "last", "oldest": "first", "twa": "twa",
}  # fmt: skip
UNTIL = 200


class Seen(NamedTuple):
    at: int
    value: float | None
    quality: Quality


class Told(NamedTuple):
    start: int
    end: int
    seen: list[Seen]


@st.composite
def series(draw: st.DrawFn) -> list[Seen]:
    at, seen = draw(st.integers(0, 20)), []
    for _ in range(draw(st.integers(1, 25))):
        quality: Quality = draw(st.sampled_from(["good", "good", "good", "uncertain", "bad"]))
        value = None if quality == "bad" else draw(st.one_of(st.integers(-50, 50).map(float), st.floats(-1e6, 1e6)))
        seen.append(Seen(at, value, quality))
        at += draw(st.integers(0, 7))
    return seen


def told(window: dict[str, Any], seen: list[Seen], until: int = UNTIL) -> list[Event]:
    made = engine(rule(window={"channel": "a/x", "of": OF, **window}))
    derived = [one for s in seen for one in made.feed(event("a/x", s.value, s.at, quality=s.quality), ns(s.at))]
    return derived + made.advance(ns(until))


def check(window: dict[str, Any], seen: list[Seen], wanted: list[Told]) -> None:
    found = told(window, seen)
    assert [(one.data["start"], one.data["end"]) for one in found] == [(_time(w.start), _time(w.end)) for w in wanted]
    for one, window_ in zip(found, wanted, strict=True):
        expected = results(window_)
        for name, value in expected.items():
            assert one.data[name] == (value if value is None else pytest.approx(value, rel=1e-9, abs=1e-6)), name
        assert (one.data["n"], one.quality) == (expected["count"], quality(window_.seen))


def _time(seconds: int) -> str:
    return engine().context.told(seconds * NS_PER_S)


def quality(seen: list[Seen]) -> Quality:
    good = sum(1 for one in seen if one.quality == "good")
    usable = sum(1 for one in seen if one.quality != "bad")
    return "bad" if not usable else "good" if good / len(seen) >= 0.8 else "uncertain"


def results(window: Told) -> dict[str, Any]:
    usable = [one for one in window.seen if one.value is not None]
    values = [one.value for one in usable if one.value is not None]
    if not values:
        return dict.fromkeys(OF, None) | {"count": 0, "sum": 0}
    lasting = [after.at - one.at for one, after in zip(usable, [*usable[1:], Seen(window.end, 0, "good")], strict=True)]
    whole = window.end - usable[0].at
    return {
        "count": len(values), "sum": math.fsum(values), "min": min(values), "max": max(values),
        "avg": statistics.fmean(values), "stddev": statistics.pstdev(values), "median": statistics.median(values),
        "p": statistics.quantiles(values, n=10, method="inclusive")[2] if len(values) > 1 else values[0],
        "oldest": values[0], "newest": values[-1],
        "twa": math.fsum(v * s for v, s in zip(values, lasting, strict=True)) / whole if whole else values[-1],
    }  # fmt: skip


@given(series(), st.integers(1, 30), st.integers(1, 30), st.integers(0, 40))
@settings(deadline=None)
def test_tumbling_and_hopping_windows(seen, size, every, offset):
    """Of every size, every distance and every offset."""
    starts = range(offset % every - 40 // every * every - every, UNTIL, every)
    windows = [Told(at, at + size, [one for one in seen if at <= one.at < at + size]) for at in starts]
    wanted = [window for window in windows if window.seen and window.end <= UNTIL]
    check({"hopping": {"size": f"{size}s", "every": f"{every}s"}, "offset": f"{offset}s"}, seen, wanted)
    if size == every:
        check({"tumbling": f"{size}s", "offset": f"{offset}s"}, seen, wanted)


@given(series(), st.integers(1, 30))
@settings(deadline=None)
def test_windows_from_the_first_event(seen, size):
    first = seen[0].at
    windows = [
        Told(at, at + size, [one for one in seen if at <= one.at < at + size]) for at in range(first, UNTIL, size)
    ]
    wanted = [window for window in windows if window.seen and window.end <= UNTIL]
    check({"tumbling": f"{size}s", "align": "first"}, seen, wanted)


@given(series(), st.integers(1, 30))
@settings(deadline=None)
def test_sliding_windows(seen, size):
    wanted = [
        Told(one.at - size, one.at, [other for other in seen[: n + 1] if other.at > one.at - size])
        for n, one in enumerate(seen)
        if one.value is not None
    ]
    check({"sliding": f"{size}s"}, seen, wanted)


@given(series(), st.integers(1, 6), st.integers(1, 8))
@settings(deadline=None)
def test_count_windows(seen, count, every):
    usable = [one for one in seen if one.value is not None]
    ends = [n for n in range(count, len(usable) + 1) if (n - count) % every == 0]
    windows = [usable[n - count : n] for n in ends]
    check({"count": count, "every": every}, seen, [Told(some[0].at, some[-1].at, some) for some in windows])


@given(series(), st.integers(1, 9), st.one_of(st.none(), st.integers(1, 20)))
@settings(deadline=None)
def test_sessions(seen, gap, longest):
    wanted: list[Told] = []
    for one in seen:
        open_ = wanted[-1] if wanted and one.at < wanted[-1].end else None
        if one.value is None:
            if open_ is not None:
                open_.seen.append(one)
            continue
        start = one.at if open_ is None else open_.start
        end = one.at + gap if longest is None else min(one.at + gap, start + longest)
        grown = Told(start, end, [*(open_.seen if open_ is not None else []), one])
        wanted[len(wanted) - (open_ is not None) :] = [grown]
    check({"session": {"gap": f"{gap}s"} | ({} if longest is None else {"max": f"{longest}s"})}, seen, wanted)


@pytest.mark.parametrize("ahead_s", [3, -3, 3600.5])
@pytest.mark.parametrize(
    "window",
    [
        {"hopping": {"size": "10s", "every": "5s"}},
        {"tumbling": "5s"},
        {"tumbling": "5s", "empty": "emit"},
        {"hopping": {"size": "10s", "every": "5s"}, "empty": "emit"},
    ],
    ids=["hopping", "tumbling", "tumbling, empty", "hopping, empty"],
)
def test_windows_that_open_after_a_step_of_the_clock_begin_where_the_clock_says(window, ahead_s):
    """However steadily events come: no window that is open hides the new beginning."""
    log = Log([rule(window={"channel": "a/x", "of": {"n": "count"}, **window})])
    log.open(ns(100), ns(1000))
    ahead = 900.0
    for at in range(101, 160):
        if at == 130:
            ahead += ahead_s
            log.record([Event("clock.step", "gateway", ns(at + ahead), ns(at))])
        log.record([Event("reading", "a/x", ns(at + ahead), ns(at), 1.0, quality="good")])
    told = [one for one in log.records if one.type == "rule.window"]
    starts = [datetime.fromisoformat(one.data["start"]).timestamp() for one in told if one.mono > ns(145)]
    assert len(starts) >= 2
    assert [start % 5 for start in starts] == [0.0] * len(starts)
    assert [later - start for start, later in pairwise(starts)] == [5.0] * (len(starts) - 1)


class TestAggregates:
    @given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=60), st.floats(0, 1))
    def test_a_quantile_lies_between_the_samples_beside_it(self, values, share):
        aggregate = made({"quantile": share}, values)
        place = share * (len(values) - 1)
        low, high = sorted(values)[math.floor(place)], sorted(values)[math.ceil(place)]
        assert aggregate == pytest.approx(low + (high - low) * (place - math.floor(place)), rel=1e-12, abs=1e-6)

    @given(st.lists(st.floats(-1e9, 1e9), min_size=2, max_size=60), st.integers(1, 99))
    def test_quantiles_are_those_of_the_statistics_library(self, values, percent):
        wanted = statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
        assert made({"quantile": percent / 100}, values) == pytest.approx(wanted, rel=1e-9, abs=1e-6)

    @given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=60))
    def test_the_median_is_that_of_the_statistics_library(self, values):
        assert made("median", values) == pytest.approx(statistics.median(values), rel=1e-12, abs=1e-9)

    @given(st.lists(st.floats(-1e15, 1e15), min_size=1, max_size=60))
    def test_a_sum_is_exact_but_for_its_last_digit(self, values):
        assert made("sum", values) == pytest.approx(math.fsum(values), rel=1e-15, abs=1e-13)

    @given(st.floats(-1e12, 1e12), st.integers(1, 2000))
    def test_constant_input_deviates_by_exactly_nothing(self, value, n):
        assert made("stddev", [value] * n) == 0

    @pytest.mark.parametrize("kind", ["sum", "avg"])
    def test_small_values_beside_a_large_one_are_not_lost(self, kind):
        assert made(kind, [1e16, 1.0, -1e16]) == (1.0 if kind == "sum" else 1 / 3)

    def test_thinned_samples_still_tell_the_median(self):
        values = [float(n) for n in range(10_000)]
        assert made("median", values, samples_max=100) == pytest.approx(5000, rel=0.02)

    @given(st.sampled_from([*OF.values()]), st.lists(st.floats(-1e6, 1e6), max_size=30), st.integers(0, 30))
    def test_an_accumulator_goes_on_from_what_it_kept(self, kind, values, cut):
        make = maker(_kind(kind), 16)
        whole, before, after = make(), make(), make()
        for n, value in enumerate(values):
            whole.add(value, n)
            if n == cut:
                after.load(before.dump())
            (before if n < cut else after).add(value, n)
        assert (after if len(values) > cut else before).result(99) == whole.result(99)


def made(kind: Any, values: list[float], samples_max: int = 256) -> Any:
    aggregate = maker(_kind(kind), samples_max)()
    for n, value in enumerate(values):
        aggregate.add(value, n)
    return aggregate.result(len(values))


def _kind(kind: Any) -> Any:
    window = rule(window={"type": "reading", "count": 1, "of": {"x": kind}}).when.window
    assert window is not None
    return window.of["x"]


class TestWhatIsTold:
    def test_a_count_has_no_unit_and_what_is_measured_has(self):
        for kind, unit in (("count", None), ("sum", "Cel"), ("last", "Cel")):
            made = engine(rule(window={"channel": "a/x", "tumbling": "10s", "of": {"x": kind}}))
            made.feed(event("a/x", 1.0, 1, unit="Cel"), ns(1))
            (one,) = made.advance(ns(10))
            assert (one.unit, kind) == (unit, kind)

    def test_the_cause_is_the_newest_event_that_counts(self):
        made = engine(rule(window={"channel": "a/x", "tumbling": "10s", "of": {"x": "count"}}))
        for at, value in ((1, 1.0), (2, 2.0), (3, None)):
            made.feed(event("a/x", value, at), ns(at))
        (one,) = made.advance(ns(10))
        assert one.cause.endswith("-2")

    def test_what_is_too_large_for_a_number_is_none(self):
        made = engine(rule(window={"channel": "a/x", "count": 2, "of": {"sum": "sum", "max": "max"}}))
        made.feed(event("a/x", 1.7e308, 1), ns(1))
        (one,) = made.feed(event("a/x", 1.7e308, 2), ns(2))
        assert (one.value, one.data["sum"], one.data["max"]) == (None, None, 1.7e308)


class TestBounds:
    def test_samples_that_a_median_has_no_room_for_are_counted(self):
        window = {"channel": "a/x", "tumbling": "1h", "samples_max": 16, "of": {"m": "median", "n": "count"}}
        made = engine(rule("r", window=window))
        for at in range(100):
            made.feed(event("a/x", float(at), at), ns(at))
        (one,) = made.advance(ns(3600))
        assert one.value == pytest.approx(50, abs=8)
        assert made.parts["r"].operator.dropped()["samples"] >= 84

    def test_what_left_a_sliding_window_by_its_age_is_not_counted_as_dropped(self):
        made = engine(rule("r", window={"channel": "a/x", "sliding": "9s", "samples_max": 10, "of": {"n": "count"}}))
        values = [made.feed(event("a/x", 1.0, at), ns(at))[0].value for at in range(60)]
        assert (values[-1], made.parts["r"].operator.dropped()["samples"]) == (9, 0)
