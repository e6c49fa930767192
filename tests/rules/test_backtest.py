"""Backtest: a rule as it is written now, played against records, and beside what it said then."""

from __future__ import annotations

import tracemalloc
from random import Random

import pytest

from gateway.clock import NS_PER_S
from gateway.event import Event, stamp
from gateway.rules.backtest import FIRES, Backtest
from gateway.rules.idle import DERIVED
from gateway.rules.trial import AGAIN, KEPT_MAX, Firing, Trial
from tests.rules.kit import Log, event, ns, rule
from tests.rules.test_fold import RULES as CORPUS

WALL = 1_700_000_000 * NS_PER_S
HOT = {"channel": "a/x", "above": 30, "for": "10s"}
DAY_S = 86_400


class Recorded(Log):
    """A log with a wall clock; records are commits of one event."""

    def __init__(self, *configs, subjects=()):
        super().__init__(list(configs), subjects)
        self.open(ns(1000), WALL)

    def feed(self, subject, value, at_s, **more):
        mono = ns(1000 + at_s)
        one = event(subject, value, 0, **more)
        self.record([Event(one.type, subject, WALL + ns(at_s), mono, value, quality=one.quality, data=one.data)])

    def feed_all(self, subject, rows):
        for value, at_s in rows:
            self.feed(subject, value, at_s)

    def played(self, *configs, first=1, begin_s=0.0, end_s=None, finish_s=None, subjects=()):
        last_s = (self.records[-1].time - WALL) / NS_PER_S
        end = WALL + ns(last_s if end_s is None else end_s)
        test = Backtest(configs, subjects, first=first, begin_ns=WALL + ns(begin_s), end_ns=end)
        for one in self.records:
            test.read([one])
        test.finish(None if finish_s is None else WALL + ns(finish_s))
        return test


def rows(trial):
    """(what, seconds, now, recorded) of everything that was kept."""
    kept = sorted(trial.kept, key=lambda one: one.time)
    return [(one.kind, (one.time - WALL) / NS_PER_S, one.now, one.recorded) for one in kept]


def hot_log(*, above=30, hot=((31, 1), (32, 20), (20, 30), (29, 40), (29.5, 60), (20, 70))):
    log = Recorded(rule("hot", hold=HOT | {"above": above}))
    log.feed_all("a/x", hot)
    return log


def test_the_rule_as_it_was_says_what_it_said():
    trial = hot_log().played(rule("hot", hold=HOT)).trials["hot"]
    assert rows(trial) == [("raised", 11, True, True)]
    assert (trial.fired, trial.recorded, trial.same, trial.only_now, trial.only_recorded) == (1, 1, 1, 0, 0)


def test_another_threshold_says_what_it_would_have_said_and_what_no_longer():
    trial = hot_log().played(rule("hot", hold=HOT | {"above": 28})).trials["hot"]
    assert rows(trial) == [("raised", 11, True, True), ("raised", 50, True, False)]
    trial = hot_log().played(rule("hot", hold=HOT | {"above": 40})).trials["hot"]
    assert rows(trial) == [("raised", 11, False, True)]
    assert (trial.fired, trial.only_recorded) == (0, 1)


def test_what_was_raised_tells_how_long():
    trial = hot_log().played(rule("hot", hold=HOT | {"above": 28})).trials["hot"]
    assert [(one.ended - one.time, one.end) for one in trial.kept] == [(ns(19), "cleared"), (ns(20), "cleared")]
    trial = hot_log(hot=[(31, 1), (32, 20)]).played(rule("hot", hold=HOT)).trials["hot"]
    assert [one.ended for one in trial.kept] == [None]


def test_what_is_said_again_is_no_second_beginning():
    log = Recorded(rule("gone", absent={"channel": "a/x", "for": "10s", "repeat": "1m"}))
    log.feed_all("a/x", [(1, 0), (1, 150)])
    trial = log.played(*log.configs).trials["gone"]
    assert [(one.end, one.ended) for one in trial.kept] == [("cleared", WALL + ns(150)), (AGAIN, None), (AGAIN, None)]


def test_the_rules_own_events_are_not_fed_to_what_it_says_now():
    """Else what was derived then would be heard by rules that listen to it now, twice."""
    low = rule("low", event={"channel": "a/x", "above": 5})
    high = rule("high", count={"rule": "low", "at_least": 2, "within": "1m"})
    log = Recorded(low, high)
    log.feed_all("a/x", [(6, 1), (3, 2), (7, 3)])
    both = log.played(rule("low", event={"channel": "a/x", "above": 2}), high)
    assert both.trials["low"].fired == 3
    assert rows(both.trials["high"]) == [("matched", 2, True, False), ("matched", 3, False, True)]


def test_of_rules_that_are_not_tested_what_they_said_is_heard():
    low = rule("low", event={"channel": "a/x", "above": 5})
    high = rule("high", count={"rule": "low", "at_least": 2, "within": "1m"})
    log = Recorded(low, high)
    log.feed_all("a/x", [(6, 1), (3, 2), (7, 3)])
    assert rows(log.played(high).trials["high"]) == [("matched", 3, True, True)]


def test_records_before_the_range_warm_up_and_are_not_counted():
    log = hot_log()
    first = next(one.offset for one in log.records if one.value == 32)
    cold = Recorded(rule("hot", hold=HOT))
    cold.records = [one for one in log.records if one.offset >= first]
    assert rows(cold.played(rule("hot", hold=HOT), first=first, begin_s=15).trials["hot"]) == [
        ("raised", 30, True, False)
    ], "as if the heat had begun with the range"
    warm = log.played(rule("hot", hold=HOT), first=first, begin_s=15)
    assert (warm.trials["hot"].fired, warm.trials["hot"].before) == (0, ["a/x"])
    assert warm.events + warm.warm_up_events == len(log.records)


def test_a_deadline_before_the_range_is_not_of_the_range():
    log = Recorded(rule("other", event={"channel": "b/x"}))
    log.feed_all("a/x", [(31, 1), (31, 20)])
    last = log.records[-1].offset
    hot = rule("hot", hold=HOT)
    assert log.played(hot, first=last, begin_s=15).trials["hot"].fired == 0
    assert log.played(hot, first=last, begin_s=10).trials["hot"].fired == 1


def test_a_gateway_that_runs_on_in_silence_makes_timers_fire_behind_the_last_record():
    log = Recorded(rule("other", event={"channel": "b/x"}))
    log.feed("a/x", 31, 1)
    hot = rule("hot", hold=HOT)
    assert log.played(hot).trials["hot"].fired == 0
    assert log.played(hot, end_s=60, finish_s=60).trials["hot"].fired == 1


def test_an_empty_answer_knows_what_there_was():
    log = hot_log()
    log.feed("b/y", True, 80)
    test = log.played(rule("cold", hold={"channel": "c/z", "below": 0}))
    assert test.selected("cold") == []
    assert dict(test.channels()) == {"a/x": 6, "b/y": 1}
    test = log.played(rule("hot", hold=HOT | {"above": 99}))
    ((kind, subject, seen),) = test.selected("hot")
    assert (kind, subject, seen.n, seen.low, seen.high) == ("reading", "a/x", 6, 20, 32)


def test_a_rule_that_breaks_tells_why(monkeypatch):
    log = hot_log()
    monkeypatch.setattr("gateway.rules.operators.level.Level.judge", lambda *_: 1 / 0)
    assert log.played(rule("hot", hold=HOT)).trials["hot"].failed == "ZeroDivisionError: division by zero"


def test_ids_of_records_are_those_of_the_log():
    log = Recorded()
    log.feed_all("a/x", [(31, 1), (1, 5), (31, 20), (1, 22)])
    count = rule("n", count={"channel": "a/x", "above": 30, "at_least": 2, "within": "1m"})
    (firing,) = log.played(rule("hot", hold=HOT | {"for": "1s"}), count).trials["n"].kept
    hot = [one.id for one in log.records if one.value == 31]
    assert firing.data["matched"] == hot


def test_the_timeline_marks_when_it_fired_and_while_it_was_raised():
    test = hot_log().played(rule("hot", hold=HOT), end_s=60)
    trial = test.trials["hot"]
    assert [n for n, cell in enumerate(trial.cells) if cell] == [11]
    assert [n for n, cell in enumerate(trial.raised_cells) if cell] == list(range(11, 31))
    assert trial.recorded_cells == trial.cells


def test_downtime_and_clock_steps_in_the_log_are_judged_as_they_were():
    window = rule("w", window={"channel": "a/x", "tumbling": "1m", "of": {"n": "count"}})
    log = Recorded(rule("hot", hold=HOT), window)
    log.feed("a/x", 31, 1)
    log.open(ns(50), WALL + ns(1000), gap_ns=ns(990))  # another boot
    log.record([Event("clock.step", "gateway", WALL + ns(5000), ns(52))])
    log.record([Event("reading", "a/x", WALL + ns(5020), ns(72), 32.0, quality="good")])
    log.record([Event("reading", "a/x", WALL + ns(5100), ns(152), 32.0, quality="good")])
    test = log.played(*log.configs, end_s=6000)
    assert (test.trials["hot"].fired, test.trials["hot"].same) == (1, 1)
    assert (test.trials["w"].fired, test.trials["w"].same) == (2, 2)


@pytest.mark.parametrize("late_s", [0, 0.002])
@pytest.mark.parametrize("seed", range(3))
def test_unchanged_rules_over_any_log_say_what_they_said(seed, late_s):
    """All operators, rules that hear rules, late events, several keys: as recorded, to the event.

    By itself a rule may judge a late event some milliseconds earlier than among others.
    """
    random, log, at_s = Random(seed), Recorded(*CORPUS), 1.0
    for _ in range(600):
        at_s += random.choice([0.001, 0.05, 0.3, 0.9, 0.9, 4.0])
        subject = random.choice(["a/x", "b/x", "c/x"])
        value = random.random() < 0.5 if subject == "b/x" else float(random.randrange(9))
        log.feed(subject, value, at_s - random.choice([0, 0, late_s]))
    test = log.played(*CORPUS)
    assert sum(trial.recorded for trial in test.trials.values()) > 20
    for trial in test.trials.values():
        assert (trial.only_now, trial.only_recorded) == (0, 0), trial.config.id
    alone = [] if late_s else [log.played(config).trials[config.id] for config in CORPUS]
    assert [(t.config.id, t.only_now, t.only_recorded) for t in alone if t.only_now or t.only_recorded] == []


def test_memory_does_not_grow_with_the_range():
    config = rule("all", event={"channel": "a/x"})
    test = Backtest([config], first=1, begin_ns=WALL, end_ns=WALL + ns(DAY_S))

    def events(first, n):
        for k in range(first, first + n):
            yield stamp(
                Event("reading", "a/x", WALL + ns(k), ns(k), float(k), quality="good"),
                offset=k, recorded=WALL, run="0" * 16, boot="b",
            )  # fmt: skip

    test.read(list(events(1, 2 * KEPT_MAX)))
    tracemalloc.start()
    for chunk in range(10):
        test.read(list(events(2 * KEPT_MAX + 1 + 1000 * chunk, 1000)))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert test.trials["all"].fired == 12_000
    assert len(test.trials["all"].kept) == KEPT_MAX
    assert held < 200_000


def test_thinned_readings_are_counted_and_not_judged():
    log = Recorded()
    log.record([Event("reading.thin", "a/x", WALL, ns(1001), 31.0, data={"count": 60})])
    test = log.played(rule("all", event={"channel": "a/x"}))
    assert (test.thinned, test.trials["all"].fired) == (60, 0)


def test_each_recorded_event_is_the_like_of_one_and_only_of_its_boot():
    trial = Trial(rule("hot", hold=HOT))

    def firing(boot, mono, *, now):
        return Firing("raised", 0, "a/x", 31, None, {}, mono, boot, now=now, recorded=not now)

    trial.now(firing("b", 5, now=True))
    trial.then(firing("c", 5, now=False))
    assert trial.same == 0
    for mono in (5, 5, ns(5)):
        trial.then(firing("b", mono, now=False))
    assert (trial.fired, trial.recorded, trial.same, trial.only_recorded) == (1, 4, 1, 3)


def test_what_counts_as_firing_is_derived():
    assert FIRES < DERIVED
