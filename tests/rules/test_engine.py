"""What the engine promises beside its operators: order, bounds, rules that break, snapshots that do not fit."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.event import Event
from gateway.rules.detect import Detector
from gateway.rules.engine import Engine, SnapshotUnfit
from gateway.rules.fold import Fold
from gateway.rules.graph import RuleCycle, RulesTooDeep
from gateway.rules.memory import need
from gateway.rules.timers import NEVER, Timer, Timers
from tests.rules.kit import Log, engine, event, ns, rule, told


class TestOrder:
    def test_equal_deadlines_fire_in_the_order_in_which_they_were_armed(self):
        made = engine(rule("r", hold={"channel": "*/x", "above": 5, "for": "3s"}))
        for at, subject, value in ((0, "b/x", 9), (0, "a/x", 9), (0, "c/x", 9)):
            made.feed(event(subject, value, at), ns(at))
        assert [one.data["key"] for one in made.advance(ns(3))] == ["b/x", "a/x", "c/x"]

    def test_a_timer_that_is_moved_takes_its_place_anew(self):
        made = engine(rule("r", absent={"channel": "*/x", "for": "3s"}))
        for at, subject in ((0, "a/x"), (1, "b/x"), (2, "a/x"), (2, "b/x"), (2, "a/x")):
            made.feed(event(subject, 1, at), ns(at))
        assert [one.data["key"] for one in made.advance(ns(9))] == ["b/x", "a/x"]

    def test_what_a_timer_derives_is_heard_before_a_later_deadline(self):
        made = engine(
            rule("low", window={"channel": "a/x", "tumbling": "10s", "of": {"n": "count"}}),
            rule("high", absent={"rule": "low", "for": "15s"}),
        )
        made.feed(event("a/x", 1, 1), ns(1))
        assert told(made.advance(ns(60))) == [("window", 10.0, 1), ("raised", 25.0, 1)]

    def test_rules_are_judged_after_those_that_they_hear(self):
        made = engine(rule("b", event={"rule": "a"}), rule("a", event={"channel": "x/x"}))
        assert [one.subject for one in made.feed(event("x/x", 1, 1), ns(1))] == ["rule/a", "rule/b"]

    def test_late_events_are_counted_and_not_judged(self):
        made = engine(rule(event={"channel": "a/x"}))
        made.feed(event("a/x", 1, 5), ns(5))
        assert made.feed(event("a/x", 1, 4), ns(4)) == []
        assert made.late == 1

    def test_two_events_of_one_instant_have_different_rulekeys(self):
        made = engine(rule(event={"channel": "a/x"}))
        keys = {made.feed(event("a/x", 1, 5), ns(5))[0].data["rulekey"] for _ in range(3)}
        assert len(keys) == 3


class TestRefused:
    def test_rules_that_feed_each_other_are_refused_by_name(self):
        circle = [rule("a", event={"rule": "b"}), rule("b", event={"rule": "c"}), rule("c", event={"rule": "a"})]
        with pytest.raises(RuleCycle, match="c -> b -> a -> c"):
            Engine(circle)

    def test_a_guard_closes_a_circle_too(self):
        guard = {"preceded_by": {"rule": "b"}, "within": "5s"}
        with pytest.raises(RuleCycle):
            Engine([rule("a", event={"channel": "x/x"}, only_if=[guard]), rule("b", event={"rule": "a"})])

    def test_too_many_rules_on_top_of_each_other_are_refused(self):
        tower = [rule("r0", event={"channel": "a/x"})]
        tower += [rule(f"r{n}", event={"rule": f"r{n - 1}"}) for n in range(1, 9)]
        Engine(tower[:-1])
        with pytest.raises(RulesTooDeep, match="9 rules"):
            Engine(tower)


class TestARuleThatBreaks:
    RULES = (
        rule("good", event={"channel": "a/x"}),
        rule("bad", hold={"channel": "a/x", "above": 5, "for": "2s"}),
        rule("after", count={"channel": "a/x", "at_least": 2, "within": "9s"}),
    )

    def test_is_cut_out_and_the_others_do_not_notice(self, monkeypatch):
        made = engine(*self.RULES)
        made.feed(event("a/x", 9, 1), ns(1))
        (level,) = made.parts["bad"].operator.keys
        monkeypatch.setattr(type(level), "judge", broken)
        derived = made.feed(event("a/x", 9, 2), ns(2))
        assert [(one.type, one.subject) for one in derived] == [
            ("rule.matched", "rule/good"), ("rule.failed", "rule/bad"), ("rule.matched", "rule/after"),
        ]  # fmt: skip
        assert derived[1].reason == "RuntimeError: broken"
        assert (made.parts["bad"].failed, made.failures) == ("RuntimeError: broken", 1)
        assert [one.subject for one in made.feed(event("a/x", 9, 9), ns(9))] == ["rule/good"]
        assert made.deadline is None

    def test_a_timer_that_breaks_is_cut_out_too(self, monkeypatch):
        made = engine(*self.RULES)
        made.feed(event("a/x", 9, 1), ns(1))
        (level,) = made.parts["bad"].operator.keys
        monkeypatch.setattr(type(level), "fire", broken)
        assert [(one.type, one.subject) for one in made.advance(ns(9))] == [("rule.failed", "rule/bad")]

    def test_begins_anew_with_the_next_start(self, monkeypatch):
        log = Log(list(self.RULES))
        log.open(ns(10), ns(1000))
        log.record([event("a/x", 9, 11)])
        (level,) = log.detector.engine.parts["bad"].operator.keys
        monkeypatch.setattr(type(level), "judge", broken)
        log.record([event("a/x", 9, 12)])
        monkeypatch.undo()
        fold = log.reread()
        assert (fold.named, log.detector.engine.parts["bad"].active) == ([], False)
        fold.finish()
        log.open(ns(20), ns(1010), gap_ns=ns(8))
        assert log.detector.engine.parts["bad"].active
        log.record([event("a/x", 9, 21)])
        log.tick(ns(24))
        assert log.records[-1].type == "rule.raised"


def broken(*_):
    raise RuntimeError("broken")


class TestBounds:
    def test_keys_beyond_the_bound_are_forgotten_least_recently_used_first_and_counted(self):
        made = engine(rule("r", keys_max=2, hold={"channel": "*/x", "above": 5, "for": "9s"}))
        for at, subject in enumerate(("a/x", "b/x", "a/x", "c/x")):
            made.feed(event(subject, 9, at), ns(at))
        operator = made.parts["r"].operator
        assert (list(operator.keys.states), operator.dropped()["keys"]) == (["a/x", "c/x"], 1)
        assert [one.data["key"] for one in made.advance(ns(60))] == ["a/x", "c/x"]

    def test_a_storm_of_keys_fills_neither_memory_nor_timers(self):
        made = engine(rule("r", keys_max=50, by="user", absent={"channel": "a/x", "for": "30d"}))
        for n in range(20_000):
            made.feed(event("a/x", 1, n / 1000, data={"user": f"u{n}"}), ns(n / 1000))
        assert len(made.parts["r"].operator.keys) == 50
        assert len(made.context.timers._heap) <= 2048

    def test_attempts_beyond_the_bound_are_dropped_and_counted(self):
        steps = [{"as": "a", "channel": "a/x"}, {"as": "b", "channel": "b/x"}]
        made = engine(rule("r", sequence={"steps": steps, "within": "1h", "mode": "parallel", "max": 3}))
        for at in range(10):
            made.feed(event("a/x", 1, at), ns(at))
        assert made.parts["r"].operator.dropped()["partials"] == 7

    def test_a_rate_keeps_its_span_with_fewer_samples(self):
        made = engine(rule("r", rate={"channel": "a/x", "over": "1000s", "per": "1s", "above": 0.5, "samples_max": 16}))
        derived = [one for at in range(500) for one in made.feed(event("a/x", float(at), at), ns(at))]
        (slope,) = made.parts["r"].operator.keys
        assert len(slope.times) <= 17
        assert slope.times[0] == 0
        assert made.parts["r"].operator.dropped()["samples"] > 400
        assert [(one.type, one.value) for one in derived] == [("rule.raised", 1.0)]

    def test_a_sliding_window_drops_its_oldest_and_counts_them(self):
        made = engine(rule("r", window={"channel": "a/x", "sliding": "1h", "samples_max": 10, "of": {"n": "count"}}))
        values = [made.feed(event("a/x", 1.0, at), ns(at))[0].value for at in range(30)]
        assert (values[-1], made.parts["r"].operator.dropped()["samples"]) == (10, 20)

    @pytest.mark.parametrize(
        "config",
        [
            rule(hold={"channel": "*/x", "above": 5, "for": "1h"}),
            rule(count={"channel": "*/x", "at_least": 200, "within": "1h"}),
            rule(
                window={"channel": "*/x", "hopping": {"size": "60s", "every": "1s"}, "of": {"a": "avg", "m": "median"}}
            ),
            rule(window={"channel": "*/x", "sliding": "1h", "of": {"a": "avg"}}),
            rule(rate={"channel": "*/x", "over": "1h", "per": "1s", "above": 1e9}),
            rule(absent={"channel": "*/x", "for": "1h"}),
            rule(
                by="channel",
                sequence={
                    "steps": [{"as": "a", "channel": "*/x"}, {"channel": "*/x", "is": 99}],
                    "mode": "parallel",
                    "within": "1h",
                },
            ),
        ],
        ids=lambda config: config.when.operator,
    )
    def test_no_rule_holds_more_than_check_says(self, config):
        config = config.model_copy(update={"keys_max": 20})
        made = engine(config)
        tracemalloc.start()
        try:
            for n in range(3_000):
                derived = made.feed(event(f"d{n % 20}/x", float(n), n / 10), ns(n / 10))
            del derived
            held = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, "*/gateway/rules/*")])
            bytes_held = sum(one.size for one in held.statistics("filename"))
        finally:
            tracemalloc.stop()
        assert bytes_held < need(config).bytes + 60_000, "the engine itself has the rest"

    def test_memory_is_flat(self):
        made = engine(
            *TestARuleThatBreaks.RULES, rule("w", window={"channel": "a/x", "tumbling": "1s", "of": {"n": "count"}})
        )

        def feed(first: int, count: int) -> None:
            for n in range(first, first + count):
                made.feed(event("a/x", float(n % 9), n / 100), ns(n / 100))

        feed(0, 20_000)
        tracemalloc.start()
        try:
            feed(20_000, 1_000)
            before = tracemalloc.get_traced_memory()[0]
            feed(21_000, 20_000)
            assert tracemalloc.get_traced_memory()[0] - before < 20_000
        finally:
            tracemalloc.stop()


class TestSnapshots:
    def test_one_of_another_version_is_refused_and_nothing_is_kept_of_it(self):
        made = engine(rule(hold={"channel": "a/x", "above": 5, "for": "9s"}))
        made.feed(event("a/x", 9, 1), ns(1))
        state = made.snapshot() | {"version": 99}
        other = engine(rule(hold={"channel": "a/x", "above": 5, "for": "9s"}))
        with pytest.raises(SnapshotUnfit, match="99"):
            other.restore(state)
        assert other.deadline is None

    @given(st.binary(max_size=200))
    @settings(deadline=None)
    def test_rubbish_is_refused(self, rubbish):
        with pytest.raises(SnapshotUnfit):
            Detector(Engine([rule(event={"channel": "a/x"})])).restore(rubbish)

    def test_a_rule_that_changed_begins_anew_and_the_others_go_on(self):
        before = Log(
            [
                rule("a", hold={"channel": "a/x", "above": 5, "for": "9s"}),
                rule("b", absent={"channel": "a/x", "for": "9s"}),
            ]
        )
        before.open(ns(10), ns(1000))
        before.record([event("a/x", 9, 11)])
        after = Log([rule("a", hold={"channel": "a/x", "above": 6, "for": "9s"}), before.configs[1]])
        after.records, after.runs = before.records, before.runs
        fold = after.reread()
        assert (fold.named, fold.finish()) == ([], [])
        parts = after.detector.engine.parts
        assert (parts["a"].active, parts["b"].active) == (False, True)
        after.open(ns(12), ns(1002), gap_ns=ns(1))
        assert parts is not after.detector.engine.parts or after.detector.engine.parts["a"].active

    def test_a_rule_that_is_gone_is_told_to_be_stopped(self):
        log = Log([rule("a", event={"channel": "a/x"}), rule("b", event={"channel": "a/x"})])
        log.open(ns(10), ns(1000))
        log.configs = log.configs[:1]
        fold = log.reread()
        fold.finish()
        assert [(one.type, one.rule) for one in log.detector.announcements()] == [
            ("rule.stopped", "b"), ("rule.started", "a"),
        ]  # fmt: skip
        assert fold.mismatches == 0


class TestMismatches:
    RULES = (rule("r", hold={"channel": "a/x", "above": 5, "for": "2s"}),)

    def log(self) -> Log:
        log = Log(list(self.RULES))
        log.open(ns(10), ns(1000))
        for at in (11, 14, 15):
            log.record([event("a/x", 9 if at < 15 else 1, at)])
        return log

    def test_a_derived_event_that_is_missing_is_counted_and_named(self):
        log = self.log()
        log.records = [one for one in log.records if one.type != "rule.raised"]
        assert "was not recorded" in log.reread().named[0]

    def test_one_that_is_too_many_is_counted_and_named(self):
        log = self.log()
        log.records.append(log.records[-2])
        raised = next(one for one in log.records if one.type == "rule.raised")
        log.records.append(raised)
        assert "is not derived when read again" in log.reread().named[0]

    def test_one_that_says_something_else_is_counted_and_named(self):
        log = self.log()
        place = next(n for n, one in enumerate(log.records) if one.type == "rule.raised")
        old = log.records[place]
        log.records[place] = Event(
            old.type, old.subject, old.time, old.mono, 8.0, data=old.data, offset=old.offset, run=old.run
        )
        assert "and is" in log.reread().named[0]

    def test_what_a_crash_left_unrecorded_is_handed_out_once(self):
        log = self.log()
        whole, log.records = log.records, log.records[:-1]
        assert whole[-1].type == "rule.cleared"
        fold = log.reread()
        assert [one.data["rulekey"] for one in fold.finish()] == [whole[-1].data["rulekey"]]
        assert isinstance(fold, Fold)


class _Noted(Timer):
    __slots__ = ()


def test_a_timer_that_is_armed_anew_for_the_same_time_goes_to_the_end_of_the_line():
    timers, first, second = Timers(), _Noted(), _Noted()
    for timer in (first, second, first):
        timers.arm(timer, 5)
    assert [timers.pop(5), timers.pop(5), timers.pop(5)] == [(5, second), (5, first), None]


@given(st.lists(st.tuples(st.sampled_from(["arm", "disarm", "pop"]), st.integers(0, 4), st.integers(0, 20))))
@settings(deadline=None)
def test_timers_fire_as_a_sorted_list_would(steps):
    """Against the plainest possible timers: a dictionary, and the least (due, armed) of it."""
    timers, known, plain, armed = Timers(), [_Noted() for _ in range(5)], {}, 0
    for step, which, at in steps:
        if step == "arm":
            armed += 1
            timers.arm(known[which], at)
            plain[which] = (at, armed)
        elif step == "disarm":
            timers.disarm(known[which])
            plain.pop(which, None)
        else:
            expected = min(plain, key=plain.get, default=None)
            due = None if expected is None else plain[expected][0]
            found = timers.pop(at)
            if due is None or due > at:
                assert found is None
            else:
                assert found == (due, known[expected])
                del plain[expected]
        assert timers.deadline() == min((due for due, _ in plain.values()), default=None)
        assert timers.next_due <= (timers.deadline() or NEVER)
