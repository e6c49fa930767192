"""Re-reading a log gives what was derived, whatever happened to clocks, runs and batches."""

from __future__ import annotations

from itertools import takewhile
from random import Random

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.clock import NS_PER_S
from gateway.event import Event, stamp
from gateway.rules.detect import Detector
from gateway.rules.engine import Engine
from gateway.rules.fold import Fold
from gateway.rules.rule import rule_time_of
from gateway.rules.timers import NEVER
from tests.rules.kit import Log, event, ns, rule

RULES = [
    rule("any", event={"channel": "a/x", "above": 5}, only_if=[{"channel": "b/x", "is": True}]),
    rule("hot", hold={"channel": "*/x", "above": 3, "clear_below": 2, "for": "2s", "clear_for": "1s", "max_gap": "5s"}),
    rule("guarded", hold={"channel": "a/x", "above": 3, "for": "1s"}, only_if=[{"channel": "b/x", "is": True}]),
    rule("many", count={"channel": "a/x", "above": 4, "at_least": 3, "within": "3s"}),
    rule("sums", window={"channel": "*/x", "tumbling": "2s", "of": {"avg": "avg", "p": {"quantile": 0.5}}}),
    rule("hops", by="none", window={"channel": "a/x", "hopping": {"size": "3s", "every": "1s"}, "of": {"n": "count"}}),
    rule("runs", window={"channel": "a/x", "session": {"gap": "2s", "max": "6s"}, "of": {"twa": "twa"}}),
    rule("steep", rate={"channel": "a/x", "over": "4s", "per": "1s", "above": 1}),
    rule("quiet", absent={"channel": "a/x", "for": "3s", "repeat": "2s"}),
    rule(
        "then",
        sequence={
            "steps": [{"as": "s", "channel": "a/x", "above": 4}, {"channel": "b/x", "is": True}],
            "within": "4s",
        },
    ),
    rule(
        "nothing",
        sequence={
            "steps": [{"as": "s", "channel": "a/x", "above": 4, "times": "1..2"}, {"not": {"channel": "b/x"}}],
            "within": "3s",
            "mode": "parallel",
        },
        on_timeout={"emit": {"name": "late"}},
    ),
    rule("above", window={"rule": "sums", "field": "avg", "tumbling": "5s", "of": {"max": "max"}}),
    rule("twice", count={"rule": "above", "at_least": 2, "within": "20s"}, once=True),
]

STEP = st.one_of(
    st.tuples(st.just("value"), st.sampled_from(["a/x", "c/x"]), st.integers(0, 8)),
    st.tuples(st.just("value"), st.just("b/x"), st.booleans()),
    st.tuples(st.just("value"), st.just("z/unselected"), st.integers(0, 8)),
    st.tuples(st.just("bad"), st.just("a/x"), st.none()),
    st.tuples(st.just("wait"), st.integers(0, 4_000), st.none()),
    st.tuples(st.just("tick"), st.integers(0, 4_000), st.none()),
    st.tuples(st.just("skew"), st.integers(0, 300), st.integers(0, 8)),
    st.tuples(st.just("step"), st.sampled_from([-3600, -1, 7, 20 * 366 * 86400]), st.none()),
    st.tuples(st.just("restart"), st.sampled_from([None, 0, 2_500, 60_000]), st.none()),
)  # fmt: skip


class World:
    """Plays steps: a boot clock that runs, a wall clock that may step, a gateway that may be down."""

    def __init__(self) -> None:
        self.log = Log(RULES)
        self.mono, self.ahead = ns(100), ns(1_700_000_000)
        self.log.open(self.mono, self.wall)

    @property
    def wall(self) -> int:
        return self.mono + self.ahead

    def play(self, kind, first, second) -> None:
        self.mono += 1_000_000
        match kind:
            case "value" | "bad":
                one = event(first, second, 0)
                self.record(Event(one.type, first, self.wall, self.mono, second, quality=one.quality))
            case "wait":
                self.mono += first * 1_000_000
            case "tick":
                self.mono += first * 1_000_000
                self.log.tick(self.mono)
            case "skew":
                at = self.mono - first * 1_000_000
                self.record(Event("reading", "a/x", at + self.ahead, at, second, quality="good"))
            case "step":
                self.ahead += first * NS_PER_S
                self.record(Event("clock.step", "gateway", self.wall, self.mono))
            case "restart":
                gap = None if first is None else self.mono + first * 1_000_000 - self.log.records[-1].mono
                self.mono = ns(50) if first is None else self.mono + first * 1_000_000
                self.log.reread().finish()
                self.log.open(self.mono, self.wall, gap)

    def record(self, one: Event) -> None:
        self.log.record([one])


@settings(max_examples=60, deadline=None)
@given(st.lists(STEP, max_size=60))
def test_a_fresh_engine_that_reads_the_log_derives_what_was_recorded(steps):
    world = World()
    for step in steps:
        world.play(*step)
    fold = world.log.reread()
    assert fold.named == []
    assert fold.finish() == []


@settings(max_examples=40, deadline=None)
@given(st.lists(STEP, max_size=40), st.lists(STEP, max_size=40))
def test_re_reading_and_going_on_is_as_if_nothing_had_happened(before, after):
    one, other = World(), World()
    for world in (one, other):
        for step in before:
            world.play(*step)
    fold = other.log.reread()
    assert fold.finish() == []
    for world in (one, other):
        for step in after:
            world.play(*step)
    assert one.log.records == other.log.records


@settings(max_examples=40, deadline=None)
@given(st.lists(STEP, max_size=40), st.lists(STEP, max_size=40))
def test_a_checkpoint_and_the_records_after_it_are_the_whole(before, after):
    world = World()
    for step in before:
        world.play(*step)
    checkpoint, seen = world.log.detector.checkpoint(), len(world.log.records)
    for step in after:
        world.play(*step)
    whole = world.log.detector.checkpoint()
    fold = world.log.reread(checkpoint, seen)
    assert fold.named == []
    assert fold.finish() == []
    assert known(world.log.detector.checkpoint()) == known(whole)


def known(checkpoint: bytes):
    """What a checkpoint holds, with timers in their order: how often they were armed is nobody's business."""
    last, in_force, state = msgspec.msgpack.decode(checkpoint)
    del state["counts"]
    operators = [kept[3] for kept in state["rules"].values()]
    timers = [one for kept in operators for one in states(kept) if one[1] < NEVER]
    for place, one in enumerate(sorted(timers, key=lambda one: one[2])):
        one[2] = place
    for one in (one for kept in operators for one in states(kept) if one[1] == NEVER):
        one[2] = 0
    return last, in_force, state


def states(operator):
    return operator[2]


@settings(max_examples=30, deadline=None)
@given(st.lists(STEP, max_size=60), st.data())
def test_any_split_into_batches_derives_the_same(steps, data):
    steps = [step for step in steps if step[0] not in {"restart", "tick"}]
    single, batched = World(), World()
    collected: list[Event] = []
    batched.record = collected.append
    for step in steps:
        single.play(*step)
        batched.play(*step)
    while collected:
        size = data.draw(st.integers(1, len(collected)))
        batched.log.record(collected[:size])
        del collected[:size]
    assert single.log.records == batched.log.records


def test_ticks_that_derive_nothing_change_nothing():
    quiet, ticking = World(), World()
    for n in range(200):
        quiet.play("value", "a/x", n % 9)
        ticking.play("value", "a/x", n % 9)
        for _ in range(3):
            ticking.log.tick(ticking.mono)
    assert quiet.log.records == ticking.log.records


def test_the_world_makes_every_rule_speak():
    world = World()
    random = Random(5)
    for n in range(2_000):
        subject = random.choice(["a/x", "b/x", "c/x"])
        world.play("value", subject, random.random() < 0.5 if subject == "b/x" else random.randrange(9))
        world.play("wait" if n % 50 else "tick", random.randrange(1_500), None)
        if n % 300 == 299:
            world.play("tick", 9_000, None)
    spoke = {one.subject for one in world.log.records if one.type.startswith("rule.") and one.type != "rule.started"}
    assert spoke == {f"rule/{one.id}" for one in RULES}
    assert isinstance(world.log.detector.engine, Engine)


def test_what_only_the_clock_says_ends_nothing_silently():
    """Time alone would end the attempt, without a word. An event that was earlier and comes later completes it."""
    steps = [{"as": "a", "channel": "a/x"}, {"as": "b", "channel": "b/x"}]
    log = Log([rule("r", sequence={"steps": steps, "within": "4s"})])
    log.open(ns(10), ns(1010))
    log.record([event("a/x", 1, 11)])
    log.tick(ns(15.1))
    log.record([event("b/x", 1, 14.9)])
    assert log.records[-1].type == "rule.matched"
    assert log.reread().named == []


def test_what_was_silently_due_comes_before_what_is_said_later():
    """Re-reading knows of the clock only by what was said: a raise forbidden at 9 s stays so, whatever is at 10 s."""
    log = Log([
        rule("w", window={"channel": "a/x", "tumbling": "5s", "of": {"n": "count"}}),
        rule(
            "r",
            hold={"rule": "w", "at_least": 1, "for": "4s"},
            only_if=[{"preceded_by": {"rule": "w"}, "within": "1s"}],
        ),
    ])  # fmt: skip
    log.open(ns(1), ns(1))
    for at_s in (2, 7):
        log.record([event("a/x", 1, at_s)])
    log.tick(ns(11))
    log.record([event("a/x", 1, 12)])
    assert [one.data["rulekey"].split(":")[-2] for one in log.records if one.type == "rule.window"] == [
        str(ns(5)), str(ns(10)),
    ]  # fmt: skip
    assert not any(one.type == "rule.raised" for one in log.records)
    assert log.reread().named == []


def test_a_start_goes_on_from_what_the_last_one_left_unsaid():
    """An event that came late is judged at the newest time. So is what it brings, said before or after a kill."""
    held = rule("held", hold={"channel": "c/x", "is": 1, "for": "4s"})
    log = Log([rule("r", event={"channel": "*/x", "above": 5}), held])
    log.open(ns(10), ns(1010))
    log.record([event("a/x", 9, 12), event("b/x", 9, 11)])
    del log.records[-1:]  # the kill comes between the late event and what followed from it
    fold = log.reread()
    left = fold.finish()
    assert [one.mono for one in left] == [ns(12)]
    log.runs += 1
    log.detector.begin_run(log.run, log.next_offset)
    log._append(left)
    log.open(ns(11), ns(1011), 0)
    log.record([event("c/x", 1, 11.5), event("a/x", 9, 13)])
    log.tick(ns(16))
    assert [one.subject for one in log.records[-2:]] == ["rule/r", "rule/held"]
    assert log.reread().named == []


def test_a_start_after_which_no_time_is_missing_marks_no_gap():
    log = Log([rule("w", window={"channel": "a/x", "tumbling": "5s", "of": {"n": "count"}})])
    for at_s, gap_ns in ((1, None), (2, 0)):
        log.open(ns(at_s), ns(at_s), gap_ns)
        log.record([event("a/x", 1, at_s)])
    log.tick(ns(6))
    log.record([event("a/x", 1, 7)])
    log.open(ns(8), ns(8), 1)
    log.tick(ns(11))
    assert ["gap" in one.data for one in log.records if one.type == "rule.window"] == [False, True]


@settings(max_examples=40, deadline=None)
@given(st.lists(STEP, max_size=60), st.data())
def test_a_kill_at_any_cut_leaves_what_follows_to_be_said(steps, data):
    """The end of a batch is lost: what followed from the records before the cut is derived again, and nothing more."""
    world = World()
    for step in steps:
        world.play(*step)
    if data.draw(st.booleans()):
        world.play("restart", data.draw(st.sampled_from([2_500, 60_000])), None)
    whole = list(world.log.records)
    cut = len(whole) - data.draw(st.integers(0, min(40, len(whole) - 1)))
    del world.log.records[cut:]
    fold = world.log.reread()
    newest = max(rule_times(world.log))
    world.log.detector.begin_run(whole[cut].run if cut < len(whole) else "next", cut + 1)
    left = fold.finish()
    assert fold.named == []
    follows = [one for one in takewhile(lambda one: "rulekey" in one.data, whole[cut:]) if rule_time_of(one) <= newest]
    assert [said(one) for one in left] == [said(one) for one in follows]


def rule_times(log: Log) -> list[int]:
    """The rule time of each record, as reading them tells."""
    fold = Fold(Detector(Engine(log.configs, log.subjects)))
    told = []
    for one in log.records:
        fold.read(one)
        told.append(fold._detector.time.last)
    return told


def said(one: Event):
    return one.type, one.subject, one.offset, one.value, one.cause, one.time, one.mono, one.data


def test_what_a_kill_left_unsaid_of_a_downtime_is_heard_before_the_next_deadline():
    """Windows of windows that all ended while nobody ran, and a second kill in the midst of telling it."""
    inner = rule("inner", window={"channel": "*/x", "tumbling": "2s", "of": {"max": "max"}})
    outer = rule("outer", window={"rule": "inner", "tumbling": "10s", "of": {"max": "max"}}, by="none")
    many = rule("many", count={"rule": "inner", "at_least": 2, "within": "9s"}, by="none")
    log = Log([inner, outer, many])
    log.open(ns(10), ns(10))
    log.record([event("a/x", 4, 11), event("b/x", 7, 11)])
    log.open(ns(40), ns(40), ns(29))
    whole = list(log.records)
    assert [one.value for one in whole if one.type == "rule.window" and one.subject == "rule/outer"] == [7]
    cut = next(one.offset for one in whole if one.subject == "rule/inner" and one.value == 4)
    for first in (cut - 1, cut, cut + 1):
        log.records[:] = whole[:first]
        fold = log.reread()
        log.detector.begin_run(log.run, first + 1)
        assert list(map(said, fold.finish())) == [said(one) for one in whole[first:] if one.type != "rule.started"]


def test_what_follows_from_a_record_about_the_gateway_names_it():
    log = Log([rule("r", event={"type": "gateway.started"}), rule("s", event={"type": "clock.step"})])
    log.open(ns(1), ns(1))
    log.open(ns(5), ns(5), ns(4))
    log.record([Event("clock.step", "gateway", ns(9), ns(6))])
    by_id = {one.id: one.type for one in log.records}
    said = [(one.subject, by_id[one.cause]) for one in log.records if one.type == "rule.matched"]
    assert said == [("rule/r", "gateway.started"), ("rule/s", "clock.step")]
    assert log.reread().named == []


def test_what_the_log_itself_records_after_a_silence_lets_windows_of_windows_end_in_their_order():
    """All that was due is found at once when such a record is heard. Each is heard before what is due after it."""
    inner = rule("inner", window={"channel": "*/x", "tumbling": "2s", "of": {"max": "max"}})
    outer = rule("outer", window={"rule": "inner", "tumbling": "4s", "of": {"max": "max"}})
    log = Log([inner, outer, rule("late", hold={"channel": "a/x", "above": 3, "for": "17s"})])
    log.open(ns(8), ns(8))
    log.record([event("a/x", 4, 9)])
    gap = stamp(Event("log.gap", "gateway", ns(30), ns(30)), offset=log.next_offset, recorded=0, run=log.run, boot="b")
    log.records.append(gap)
    reading = Fold(log.detector)
    reading.read(gap)
    log._append(reading.finish())
    assert [one.subject for one in log.records[-3:]] == ["rule/inner", "rule/outer", "rule/late"]
    log.record([event("a/x", 1, 31)])
    assert log.reread().named == []


def test_what_was_due_when_other_rules_came_is_not_missed_when_the_old_ones_return():
    """From the reload on nobody knew them: what was due is unsaid. Read again by the old ones, that is no loss."""
    old = [
        rule("w", window={"channel": "a/x", "tumbling": "5s", "of": {"n": "count"}}),
        rule("gone", absent={"channel": "a/x", "for": "3s"}),
        rule("same", hold={"channel": "a/x", "above": 5, "for": "4s"}),
    ]
    new = [rule("w", window={"channel": "a/x", "tumbling": "7s", "of": {"n": "count"}}), old[2]]
    log = Log(old)
    log.open(ns(1), ns(1))
    log.record([event("a/x", 9, 2)])
    checkpoint = log.detector.checkpoint()
    log.detector, log.configs = Detector(Engine(new)), new
    log.detector.restore(checkpoint)
    log.detector.begin_run(log.run, log.next_offset)
    log.announce(ns(8), ns(8))  # since then w was due at 5 s, and gone at 5 s; same is said
    assert [one.subject for one in log.records if one.type == "rule.raised"] == ["rule/same"]
    log.configs = old
    fold = log.reread()
    assert (fold.named, fold.finish()) == ([], [])
    log.records = [one for one in log.records if one.type != "rule.raised"]
    log.records = [msgspec.structs.replace(one, offset=n) for n, one in enumerate(log.records, 1)]
    log.record([event("a/x", 9, 9)])
    assert [sentence for sentence in log.reread().named if "same" in sentence], "a rule that goes on has lost something"
