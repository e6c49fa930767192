"""What operators tell beside their times: causes, ids, samples that are kept. The times are in semantics.cases.yaml."""

from __future__ import annotations

import pytest

from gateway.event import Event
from gateway.rules.guards import SUBJECTS_MAX
from tests.rules.kit import Log, engine, event, ns, rule


def derived(config, *series, until):
    """(type, seconds, offset of the cause) of what is derived; the first event has offset 1 and so on."""
    log = Log([config])
    log.open(ns(0), ns(1000))
    numbers = {}
    for n, (subject, value, at) in enumerate(series, 1):
        log.record([event(subject, value, at)])
        numbers[next(one.id for one in reversed(log.records) if one.subject == subject)] = n
    log.tick(ns(until))
    told = [one for one in log.records if one.type.removeprefix("rule.") in KINDS]
    return [(one.type.removeprefix("rule."), one.mono / ns(1), numbers.get(one.cause)) for one in told]


KINDS = {"raised", "cleared", "unknown", "matched", "window", "timeout"}


class TestCauses:
    def test_a_level_is_raised_and_cleared_by_the_event_that_began_it(self):
        hold = rule(hold={"channel": "a/x", "above": 5, "for": "10s", "clear_for": "10s"})
        series = (("a/x", 6, 1), ("a/x", 7, 2), ("a/x", 4, 20), ("a/x", 3, 25))
        assert derived(hold, *series, until=40) == [("raised", 11.0, 1), ("cleared", 30.0, 3)]

    def test_a_level_without_delay_is_raised_and_cleared_by_the_event_itself(self):
        hold = rule(hold={"channel": "a/x", "above": 5})
        assert derived(hold, ("a/x", 4, 1), ("a/x", 6, 2), ("a/x", 4, 3), until=9) == [
            ("raised", 2.0, 2), ("cleared", 3.0, 3),
        ]  # fmt: skip

    def test_a_level_that_came_back_is_cleared_by_the_event_that_ended_it_for_good(self):
        hold = rule(hold={"channel": "a/x", "above": 5, "clear_for": "5s"})
        series = (("a/x", 6, 1), ("a/x", 4, 2), ("a/x", 6, 3), ("a/x", 4, 4))
        assert derived(hold, *series, until=20) == [("raised", 1.0, 1), ("cleared", 9.0, 4)]

    def test_silence_has_no_cause(self):
        hold = rule(hold={"channel": "a/x", "above": 5, "max_gap": "5s"})
        assert derived(hold, ("a/x", 6, 1), ("a/x", 4, 9), until=20) == [
            ("raised", 1.0, 1), ("unknown", 6.0, None), ("cleared", 9.0, 2),
        ]  # fmt: skip

    def test_an_absence_is_that_since_the_newest_event(self):
        absent = rule(absent={"channel": "a/x", "for": "5s", "repeat": "5s"})
        assert derived(absent, ("a/x", 1, 1), ("a/x", 1, 2), ("a/x", 1, 13), until=14) == [
            ("raised", 7.0, 2), ("raised", 12.0, 2), ("cleared", 13.0, 3),
        ]  # fmt: skip

    def test_a_count_is_matched_by_its_last_event(self):
        count = rule(count={"channel": "a/x", "at_least": 2, "within": "9s"})
        assert derived(count, ("a/x", 1, 1), ("a/x", 1, 2), until=9) == [("matched", 2.0, 2)]

    def test_sliding_and_count_windows_are_told_by_their_last_event(self):
        for kind in ({"sliding": "9s"}, {"count": 1}):
            window = rule(window={"channel": "a/x", "of": {"n": "count"}, **kind})
            assert derived(window, ("a/x", 1, 1), ("a/x", 1, 2), until=9) == [("window", 1.0, 1), ("window", 2.0, 2)]

    def test_a_sequence_is_matched_by_its_newest_event_and_timed_out_by_the_newest_that_it_has(self):
        steps = [{"as": n, "channel": f"{n}/x"} for n in "abc"]
        sequence = rule(sequence={"steps": steps, "within": "9s"}, on_timeout={})
        assert derived(sequence, ("a/x", 1, 1), ("b/x", 1, 2), until=20) == [("timeout", 10.0, 2)]
        assert derived(sequence, ("a/x", 1, 1), ("b/x", 1, 2), ("c/x", 1, 3), until=20) == [("matched", 3.0, 3)]


class TestMatched:
    def test_the_ids_of_a_count_are_those_of_its_events(self):
        made = engine(rule(count={"channel": "a/x", "at_least": 3, "within": "9s", "consume": "oldest"}))
        found = [made.feed(event("a/x", 1, at), ns(at)) for at in range(5)]
        assert [[int(id_.rpartition("-")[2]) for id_ in one[0].data["matched"]] for one in found[2:]] == [
            [1, 2, 3], [2, 3, 5], [3, 5, 7],
        ]  # fmt: skip

    def test_of_many_events_the_first_and_the_last_are_told(self):
        made = engine(rule(count={"channel": "a/x", "at_least": 40, "within": "99s"}))
        (found,) = [one for at in range(40) for one in made.feed(event("a/x", 1, at), ns(at))]
        told = [int(id_.rpartition("-")[2]) for id_ in found.data["matched"]]
        assert told == [*range(1, 17), *range(25, 41)]


class TestRate:
    def test_the_newest_sample_always_counts_however_many_there_are(self):
        made = engine(rule(rate={"channel": "a/x", "over": "1h", "per": "1s", "above": 0.9, "samples_max": 4}))
        told = [one for at in range(200) for one in made.feed(event("a/x", 0.0, at), ns(at))]
        assert told == []
        (found,) = made.feed(event("a/x", 1000.0, 200), ns(200))
        assert found.value == pytest.approx(5.0)

    def test_samples_that_are_few_again_are_all_kept_again(self):
        over = {"channel": "a/x", "over": "10m", "per": "1m", "above": 1e9, "samples_max": 8}
        made = engine(rule("r", rate=over))
        for n in range(1000):
            made.feed(event("a/x", 0.0, n / 100), ns(n / 100))
        (slope,) = made.parts["r"].operator.keys
        assert slope.thin > 100
        for minute in range(1, 40):
            made.feed(event("a/x", float(minute), 60 * minute), ns(60 * minute))
        assert slope.thin <= 2
        assert slope.times[-1] - slope.times[0] >= ns(8 * 60)

    def test_every_sample_is_kept_or_counted(self):
        made = engine(rule("r", rate={"channel": "a/x", "over": "1h", "per": "1s", "above": 1e9, "samples_max": 10}))
        for at in range(500):
            made.feed(event("a/x", float(at), at), ns(at))
        operator = made.parts["r"].operator
        (slope,) = operator.keys
        assert len(slope.times) + operator.dropped()["samples"] == 500
        assert len(slope.times) <= 10

    def test_the_slope_of_least_squares_is_that_of_the_statistics_library(self):
        import statistics

        times, values = [1, 2, 4, 7, 11], [3.0, -1.0, 8.0, 2.5, 40.0]
        made = engine(rule(rate={"channel": "a/x", "over": "1h", "per": "1s", "above": 3, "method": "lsq"}))
        told = [one for t, v in zip(times, values, strict=True) for one in made.feed(event("a/x", v, t), ns(t))]
        assert told[-1].value == pytest.approx(statistics.linear_regression(times, values).slope)


class TestKeys:
    @pytest.mark.parametrize(
        "config",
        [
            {"hold": {"channel": "*/x", "above": 0, "for": "1h"}},
            {"count": {"channel": "*/x", "at_least": 9, "within": "1h"}},
            {"window": {"channel": "*/x", "tumbling": "1h", "of": {"n": "count"}}},
            {"rate": {"channel": "*/x", "over": "1h", "per": "1s", "above": 1}},
            {"absent": {"channel": "*/x", "for": "1h"}},
            {"by": "channel", "sequence": {"steps": [{"channel": "*/x"}, {"channel": "*/x", "is": 9}], "within": "1h"}},
        ],
        ids=lambda config: next(iter(config)),
    )
    def test_the_key_that_was_not_seen_for_longest_goes_and_is_counted(self, config):
        made = engine(rule("r", keys_max=2, **config))
        for at, subject in enumerate(("a/x", "b/x", "a/x", "c/x")):
            made.feed(event(subject, 1, at), ns(at))
        operator = made.parts["r"].operator
        assert (sorted(operator.keys.states), operator.dropped()["keys"]) == (["a/x", "c/x"], 1)

    def test_channels_that_there_is_no_room_to_wait_for_are_counted(self):
        subjects = [("reading", f"{name}/x") for name in "abcde"]
        made = engine(rule("r", keys_max=3, absent={"channel": "*/x", "for": "9s"}), subjects=subjects)
        assert made.parts["r"].operator.dropped()["keys"] == 2
        assert len(made.advance(ns(9))) == 3

    def test_events_without_the_key_are_counted(self):
        made = engine(rule("r", by="user", event={"channel": "a/x"}))
        for data in ({}, {"user": None}, {"user": [1]}, {"user": {"a": 1}}, {"user": "x" * 257}, {"user": "ann"}):
            made.feed(event("a/x", 1, 1, data=data), ns(1))
        assert made.parts["r"].operator.dropped()["unkeyed"] == 5

    def test_a_level_is_a_key_as_people_write_it(self):
        made = engine(rule(by="value", event={"channel": "a/x"}))
        told = [one.data["key"] for value in (True, False, 2.0, 2, 2.5, 1e22, "a") for one in
                made.feed(event("a/x", value, 1), ns(1))]  # fmt: skip
        assert told == ["true", "false", "2", "2", "2.5", "10000000000000000000000", "a"]


class TestGuards:
    def test_a_guard_remembers_so_many_subjects_and_no_more(self):
        made = engine(rule("r", event={"channel": "a/x"}, only_if=[{"channel": "*/door", "is": "closed"}]))
        made.feed(event("first/door", True, 0), ns(0))  # open: it forbids, until there is no room for it
        for n in range(1, SUBJECTS_MAX):
            made.feed(event(f"d{n}/door", False, n), ns(n))
        assert made.feed(event("a/x", 1, 2000), ns(2000)) == []
        made.feed(event("one-more/door", False, 2001), ns(2001))
        assert len(made.feed(event("a/x", 1, 2002), ns(2002))) == 1

    def test_the_time_of_day_follows_the_clock_when_it_is_set(self):
        noon = {"time": {"after": "12:00", "before": "13:00", "zone": "UTC"}}
        log = Log([rule(event={"channel": "a/x"}, only_if=[noon])])
        log.open(ns(100), ns(0))
        log.record([Event("reading", "a/x", ns(1), ns(101), 1.0)])
        log.record([Event("clock.step", "gateway", ns(12 * 3600), ns(102))])
        log.record([Event("reading", "a/x", ns(12 * 3600 + 1), ns(103), 2.0)])
        assert [one.value for one in log.records if one.type == "rule.matched"] == [2.0]

    def test_how_often_a_guard_forbade_is_counted(self):
        made = engine(rule("r", event={"channel": "a/x"}, only_if=[{"channel": "b/x", "is": 1}]))
        for at in range(3):
            made.feed(event("a/x", 1, at), ns(at))
        assert made.parts["r"].rule.guarded == 3

    def test_quality_any_lets_a_bad_event_precede(self):
        guard = {"preceded_by": {"channel": "b/x", "quality": "any"}, "within": "9s"}
        made = engine(rule("r", event={"channel": "a/x"}, only_if=[guard]))
        made.feed(event("b/x", None, 1), ns(1))
        assert len(made.feed(event("a/x", 1, 2), ns(2))) == 1


class TestRoutes:
    def test_subjects_without_end_do_not_fill_the_memory_and_lose_nothing(self):
        from gateway.rules.engine import ROUTES_MAX

        made = engine(rule("r", count={"channel": "a/x", "at_least": 3, "within": "9d"}))
        told = list(made.feed(event("a/x", 1, 0), ns(0)))
        for n in range(2 * ROUTES_MAX):
            made.feed(event(f"s{n}/x", 1, n), ns(n))
            if n in {10, ROUTES_MAX + 10}:
                told += made.feed(event("a/x", 1, n), ns(n))
        assert len(made.routes) <= ROUTES_MAX
        assert [one.data["n"] for one in told] == [3]

    def test_an_event_that_no_rule_selects_asks_no_rule(self, monkeypatch):
        made = engine(rule("r", hold={"channel": "a/*", "above": 3}), rule("s", count={"channel": "b/x", "at_least": 2,
                                                                                  "within": "9s"}))  # fmt: skip
        made.feed(event("z/x", 1, 0), ns(0))
        for part in made.parts.values():
            monkeypatch.setattr(part.operator, "judge", None)
        assert made.feed(event("z/x", 1, 1), ns(1)) == []
        assert made.judges(Event("reading", "z/x", 0, 0)) == ()
