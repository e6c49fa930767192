"""What `gateway rules status` is told: the state of each key, what comes next, and what bounds have cost."""

from __future__ import annotations

import pytest

from gateway.clock import NS_PER_S
from gateway.rules.describe import KEYS_LOOKED_AT, KEYS_SHOWN, described
from gateway.rules.detect import Detector
from gateway.rules.engine import Engine
from gateway.rules.fold import Fold
from tests.rules.kit import Log, engine, event, ns, rule

HOT = {"channel": "a/x", "above": 30, "clear_below": 28, "for": "10s", "clear_for": "5s", "max_gap": "60s"}
TIMES = ("since", "due")


def fed(config, *series, at_s, subjects=()):
    """The rule's document at `at_s`, after (value, seconds) of a/x, or (subject, value, seconds)."""
    made = engine(config, subjects=subjects)
    for one in series:
        subject, value, when = one if len(one) == 3 else ("a/x", *one)
        made.feed(event(subject, value, when), ns(when))
    made.advance(ns(at_s))
    (told,) = described(made, ns(at_s))["rules"]
    return told


def key(config, *series, at_s, **more):
    """What is told of the only key, as far as it says anything; times in seconds since the rule began."""
    (told,) = fed(config, *series, at_s=at_s, **more)["shown"]
    seconds = {"since": None if told["since_s"] is None else at_s - told["since_s"]}
    seconds["due"] = None if told["due_in_s"] is None else at_s + told["due_in_s"]
    rest = {name: value for name, value in told.items() if not name.endswith("_s") and name not in TIMES}
    return {name: value for name, value in (rest | seconds).items() if value not in (None, "")}


@pytest.mark.parametrize(
    ("series", "at_s", "expected"),
    [
        ([(20, 1)], 2, None),
        ([(31, 1)], 5, {"state": "pending", "since": 1, "then": "raised", "due": 11, "value": 31}),
        ([(31, 1), (32, 8)], 20, {"state": "raised", "since": 1, "then": "unknown", "due": 68, "value": 32}),
        ([(31, 1), (27, 12)], 13, {"state": "clearing", "since": 12, "then": "cleared", "due": 17, "value": 27}),
        ([(31, 1), (32, 12)], 80, {"state": "unknown", "since": 12, "value": 32}),
        ([(31, 1), (27, 12)], 30, {"state": "idle"}),
    ],
)
def test_hold_tells_where_its_level_stands_and_what_comes_next(series, at_s, expected):
    if expected is None:
        expected = {"state": "idle"}
    assert key(rule(hold=HOT), *series, at_s=at_s) == {"key": "a/x"} | expected


def test_a_raise_that_a_guard_forbade_is_told_as_that():
    config = rule(hold=HOT, only_if=[{"channel": "b/armed", "is": "on"}])
    told = fed(config, (31, 1), (31, 15), at_s=20)
    assert told["shown"][0]["state"] == "raised, unsaid"
    assert told["dropped"]["guarded"] == 1


def test_count_tells_how_many_of_how_many_still_count():
    config = rule(count={"channel": "a/x", "at_least": 3, "within": "10s"})
    two = {"key": "a/x", "state": "counting", "since": 1, "n": 2, "of": 3, "things": "events"}
    assert key(config, (1, 1), (1, 5), at_s=6) == two
    assert key(config, (1, 1), (1, 5), at_s=12) == two | {"n": 1, "since": 5}
    assert key(config, (1, 1), (1, 5), at_s=15) == {"key": "a/x", "state": "idle", "n": 0, "of": 3, "things": "events"}


def test_window_tells_what_is_in_the_one_that_ends_next():
    config = rule(window={"channel": "a/x", "tumbling": "60s", "of": {"n": "count"}})
    expected = {"key": "a/x", "state": "open", "since": 0, "n": 2, "things": "events", "then": "window", "due": 60}
    assert key(config, (1, 1), (1, 5), at_s=6) == expected


def test_overlapping_windows_tell_how_many_are_open():
    config = rule(window={"channel": "a/x", "hopping": {"size": "60s", "every": "20s"}, "of": {"n": "count"}})
    told = key(config, (1, 70), at_s=71)
    assert (told["open"], told["since"], told["due"]) == (3, 20, 80)


def test_a_sliding_window_tells_what_would_still_be_in_it():
    config = rule(window={"channel": "a/x", "sliding": "10s", "of": {"n": "count"}})
    assert key(config, (1, 1), (1, 5), at_s=12)["n"] == 1


def test_a_window_of_so_many_events_tells_how_many_it_has():
    config = rule(window={"channel": "a/x", "count": 4, "of": {"n": "count"}})
    told = key(config, (1, 1), (1, 5), at_s=12)
    assert (told["n"], told["of"]) == (2, 4)


def test_rate_tells_its_level_and_its_samples():
    config = rule(rate={"channel": "a/x", "over": "20s", "per": "1m", "above": 2})
    told = key(config, (1, 1), (2, 5), (3, 15), at_s=22)
    assert told == {
        "key": "a/x",
        "state": "raised",
        "since": 5,
        "n": 2,
        "things": "samples",
        "value": pytest.approx(60 / 7),
    }


def test_absent_tells_since_when_it_is_silent_and_when_it_will_say_so():
    config = rule(absent={"channel": "a/x", "for": "10s", "repeat": "1m"})
    assert key(config, at_s=3) == {"key": "a/x", "state": "waiting", "since": 0, "then": "raised", "due": 10}
    heard = {"key": "a/x", "state": "heard", "since": 4, "value": 1, "then": "raised", "due": 14}
    assert key(config, (1, 4), at_s=5) == heard
    silent = heard | {"state": "silent", "then": "raised again", "due": 74}
    assert key(config, (1, 4), at_s=15) == silent


def test_sequence_tells_its_furthest_attempt_and_how_many_are_open():
    steps = [{"as": name, "channel": f"{name}/x", "is": "on"} for name in "abc"]
    config = rule(sequence={"within": "30s", "mode": "parallel", "steps": steps})
    told = key(config, ("a/x", True, 1), ("a/x", True, 2), ("b/x", True, 3), at_s=4)
    expected = {"state": "open", "since": 1, "n": 2, "of": 3, "things": "steps", "open": 2, "value": True}
    assert told == expected | {"then": "given up", "due": 31}


def test_sequence_tells_whether_silence_completes_it():
    steps = [{"channel": "a/x", "is": "on"}, {"not": {"channel": "b/x"}, "for": "5s"}]
    assert key(rule(sequence={"steps": steps}), ("a/x", True, 1), at_s=2)["then"] == "matched"


def test_event_has_no_keys():
    assert fed(rule(event={"channel": "a/x"}), (1, 1), at_s=2)["keys"] == 0


def test_what_is_under_way_and_due_first_is_shown_and_the_rest_is_counted():
    config = rule(hold=HOT | {"channel": "*/x"})
    cold = [(f"c{n}/x", 31 if n % 2 else 20, 1) for n in range(60)]
    told = fed(config, ("z/x", 31, 0.5), *cold, *((subject, 20, 2) for subject, _, _ in cold[1::4]), at_s=3)
    assert (told["keys"], told["looked_at"]) == (61, 61)
    assert told["states"] == {"idle": 45, "pending": 16}
    assert len(told["shown"]) == KEYS_SHOWN
    assert told["shown"][0]["key"] == "z/x"
    assert [one["state"] for one in told["shown"]] == ["pending"] * 16 + ["idle"] * 4


def test_of_many_keys_those_due_first_and_those_used_last_are_looked_at():
    made = engine(rule(absent={"channel": "*/x", "for": "10m"}, keys_max=1000))
    for n in range(900):
        made.feed(event(f"d{n}/x", 1, n / 10), ns(n / 10))
    (told,) = described(made, ns(100), keys_shown=KEYS_LOOKED_AT)["rules"]
    assert (told["keys"], told["looked_at"]) == (900, KEYS_LOOKED_AT)
    numbers = sorted(int(one["key"][1:-2]) for one in told["shown"])
    half = KEYS_LOOKED_AT // 2
    assert numbers == [*range(half), *range(900 - half, 900)]


def test_what_bounds_cost_is_told():
    steps = [{"channel": "*/x", "above": 1}, {"channel": "*/x", "below": -1}]
    sequence = rule("s", by="device", keys_max=2, sequence={"mode": "parallel", "max": 2, "steps": steps})
    told = fed(sequence, *((f"d{n}/x", 2, n + i / 10) for n in range(4) for i in range(4)), at_s=9)
    assert told["dropped"]["keys"] == 2
    assert told["dropped"]["partials"] == 8, "those of keys that are gone, too"
    keyed = rule(by="lot", count={"channel": "a/x", "at_least": 3, "within": "10s"})
    assert fed(keyed, (1, 1), at_s=2)["dropped"]["unkeyed"] == 1
    ranked = rule(window={"channel": "a/x", "tumbling": "60s", "of": {"m": "median"}, "samples_max": 10})
    assert fed(ranked, *((n, n) for n in range(30)), at_s=61)["dropped"]["samples"] == 22
    once = rule(once=True, keys_max=3, event={"channel": "*/x"})
    assert fed(once, *((f"d{n}/x", 1, n) for n in range(5)), at_s=9)["dropped"]["once"] == 2


def test_last_values_of_guards_that_had_no_room_are_counted(monkeypatch):
    monkeypatch.setattr("gateway.rules.guards.SUBJECTS_MAX", 3)
    config = rule(event={"channel": "a/x"}, only_if=[{"channel": "*/y", "above": 0}])
    assert fed(config, *((f"d{n}/y", 1, n) for n in range(5)), at_s=9)["dropped"]["guard_subjects"] == 2


def test_a_rule_that_broke_is_told_with_its_reason(monkeypatch):
    made = engine(rule(hold=HOT), rule("other", event={"channel": "b/x"}))
    monkeypatch.setattr("gateway.rules.operators.level.Level.judge", lambda *_: 1 / 0)
    made.feed(event("a/x", 31, 1), ns(1))
    broken, other = described(made, ns(2))["rules"]
    assert (broken["state"], broken["reason"]) == ("failed", "ZeroDivisionError: division by zero")
    assert (other["state"], other["reason"]) == ("in force", "")


def test_a_rule_that_nothing_brought_into_force_is_told_as_that():
    (told,) = described(Engine([rule(hold=HOT)]), 0)["rules"]
    assert told["state"] == "not in force"


def test_one_rule_alone_can_be_asked_for():
    made = engine(rule("one", hold=HOT), rule("two", hold=HOT))
    assert [told["id"] for told in described(made, 0, rule_id="two")["rules"]] == ["two"]


def test_times_are_those_of_the_wall_clock():
    log = Log([rule(hold=HOT)])
    log.open(ns(1000), 1_700_000_000 * NS_PER_S)
    log.record([event("a/x", 31, 1005)])
    told = described(log.detector.engine, ns(1008) + log.detector.engine.context.mono_ns)["rules"][0]["shown"][0]
    assert (told["since"], told["since_s"]) == ("2023-11-14T22:13:25.000000Z", 3)
    assert (told["due"], told["due_in_s"]) == ("2023-11-14T22:13:35.000000Z", 7)


def test_late_events_are_counted_alike_when_the_log_is_read_again():
    log = Log([rule(count={"channel": "*/x", "at_least": 3, "within": "10s"})])
    log.open(ns(1000), 0)
    log.record([event("a/x", 1, 1005), event("b/x", 1, 1004.9), event("c/none", 1, 1004.8)])
    assert described(log.detector.engine, 0)["counts"]["late"] == 1
    fold = Fold(Detector(Engine(log.configs)))
    fold.read_all(log.records)
    assert described(fold._engine, 0)["counts"]["late"] == 1


def test_without_keys_nothing_of_them_is_looked_at():
    (told,) = described(engine(rule(hold=HOT)), 0, keys_shown=0)["rules"]
    assert "shown" not in told


def test_what_is_over_time_is_shown_before_what_is_as_it_should_be():
    config = rule(absent={"channel": "*/x", "for": "10s"})
    told = fed(config, ("a/x", 1, 1), ("b/x", 1, 8), at_s=12)
    assert [(one["key"], one["state"]) for one in told["shown"]] == [("a/x", "silent"), ("b/x", "heard")]
