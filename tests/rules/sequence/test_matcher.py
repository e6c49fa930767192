"""What the matcher promises beside its meaning: errors with their place, state that survives, bounds, and cost."""

from __future__ import annotations

import msgspec
import pytest

from gateway.rules.sequence import (
    CONDITIONS_MAX,
    KEPT_MAX,
    AllOf,
    Condition,
    Matcher,
    Pattern,
    PatternError,
    Step,
)
from tests.rules.sequence import bench
from tests.rules.sequence.kit import Rule, play, shown

A, B, X = Condition("a"), Condition("b"), Condition("x")


@pytest.mark.parametrize(
    ("text", "within", "step", "says"),
    [
        ("a a b", None, 1, "the name 'a' stands for two things"),
        ("a !x", None, 1, "needs `for:`, or the sequence `within:`"),
        ("!x a", None, 0, "needs `for:`, there is no step before it"),
        ("a{0..1} !x b", None, 1, "needs `for:`, there is no step before it"),
        ("!x/5", None, None, "at least one step must"),
        ("a{0..3}", None, None, "at least one step must"),
        ("a{0..3} !x/5", None, None, "at least one step must"),
        ("a{2..} b", None, 0, "has no end"),
        ("a{3..2}", None, 0, "the upper number"),
        ("a{0}", None, 0, "the upper number"),
        ("a b{1..3}g", None, 1, "greedy at the end"),
        ("a b{0..1}g", None, 1, "greedy at the end"),
        ("a !x/0", None, 1, "longer than nothing"),
        ("a b", 0, None, "longer than nothing"),
    ],
)
def test_steps_that_make_no_sequence_are_refused_with_the_one_to_blame(text, within, step, says):
    steps = Rule.steps_of(text)
    with pytest.raises(PatternError, match=says) as caught:
        Pattern(steps, within_ns=within)
    assert caught.value.step == step


def test_other_values_that_make_no_sequence():
    many = tuple(Condition(f"c{n}") for n in range(CONDITIONS_MAX + 1))
    for wrong in (
        lambda: Pattern([Step((A,))], mode="queued"),
        lambda: Pattern([Step((A,))], partials_max=0),
        lambda: Pattern([Step((A,), link="after")]),
        lambda: Pattern([Step(())]),
        lambda: Pattern([AllOf(())]),
        lambda: Pattern([Step(many)]),
        lambda: Pattern([]),
    ):
        with pytest.raises(PatternError):
            wrong()
    assert Pattern([Step(many[1:])])


def test_a_greedy_end_that_the_next_event_ends_needs_no_within():
    assert play("a next.b{1..}g c", "a@0", within=9) == []
    assert play("a next.b{1..3}g", "a@0 b@1 a@2") == ["2 a:a b:b"]


def test_an_event_that_fits_an_unknown_name_is_a_mistake_of_the_caller():
    with pytest.raises(KeyError, match="unknown"):
        Matcher(Pattern([Step((A,))])).feed(0, ("unknown",), 0)


def test_fits_may_be_a_tuple_or_a_frozenset():
    matcher = Rule("a b").matcher()
    assert not matcher.feed(0, frozenset({"a"}), 1)
    assert matcher.feed(0, ("b",), 2)


@pytest.mark.parametrize(
    ("text", "options", "stream"),
    [
        ("a any.b{2..3} (c&d) !x/5", {"mode": "parallel"}, "a1@0 b1@1 b2@2 a2@3 c@4 b3@5 d@6 d2@7"),
        ("!x/3 a next.b{1..}g", {"within": 9}, "x@1 a@5 b1@6 b2@7"),
        ("a next.b=a next.c", {"within": 9}, "a1@0 a2@1 a3@2"),
    ],
)
def test_a_snapshot_packs_and_restores_at_every_event(text, options, stream):
    rule = Rule(text, **options)
    expected = rule.play(stream, 99)
    tokens, matcher, found = stream.split(), rule.matcher(), []
    for token in tokens:
        found += rule.play(token, matcher=matcher)
        packed = msgspec.msgpack.encode(matcher.snapshot())
        matcher = rule.matcher()
        matcher.restore(msgspec.msgpack.decode(packed))
    assert found + [shown(one) for one in matcher.advance(99)] == expected
    assert expected, "the case is about something"


def test_a_snapshot_does_not_change_when_the_matcher_goes_on():
    rule = Rule("!x/3 a b c", within=9)
    matcher = rule.matcher(0)
    rule.play("a@5 b@6", matcher=matcher)
    before = matcher.snapshot()
    as_it_was = msgspec.msgpack.encode(before)
    rule.play("x@7 c@8 a@20", 99, matcher=matcher)
    assert msgspec.msgpack.encode(before) == as_it_was
    matcher.restore(before)
    assert rule.play("c@7", matcher=matcher) == ["7 a:a b:b c:c"]


def test_an_idle_matcher_holds_nothing_that_a_new_one_would_not():
    rule = Rule("a b", within=9)
    matcher = rule.matcher()
    assert matcher.idle
    rule.play("a@0", matcher=matcher)
    assert not matcher.idle
    rule.play("b@1", matcher=matcher)
    assert matcher.idle
    assert not Rule("!x/5 a").matcher().idle


def test_the_deadline_is_the_earliest_of_all():
    rule = Rule("a !x/5", mode="parallel", within=9)
    matcher = rule.matcher()
    assert matcher.deadline is None
    rule.play("a@10 a@12", matcher=matcher)
    assert matcher.deadline == 15
    matcher.advance(15)
    assert matcher.deadline == 17
    assert Rule("a b").matcher().deadline is None


@pytest.mark.parametrize(("mode", "partials", "dropped"), [("parallel", 3, 1997), ("single", 1, 0)])
def test_repetitions_and_partials_keep_their_bounds_under_a_long_storm(mode, partials, dropped):
    rule = Rule("a{1..}g b", within=1 << 40, mode=mode, partials=3)
    matcher = rule.matcher()
    for n in range(2000):
        matcher.feed(n, ("a",), n)
    assert (matcher.partials, matcher.partials_dropped) == (partials, dropped)
    assert all(len(partial[-1]) <= KEPT_MAX for partial in matcher.snapshot()[-1])
    assert matcher.repetitions_dropped == (2000 - KEPT_MAX if mode == "single" else 0)
    assert rule.pattern.events_max == KEPT_MAX + 1


def test_a_pattern_is_compiled_once_and_its_matchers_share_nothing_that_changes():
    rule = Rule("a b")
    one, other = rule.matcher(), rule.matcher()
    rule.play("a@0", matcher=one)
    assert (one.partials, other.partials) == (1, 0)


def test_the_graph_does_not_grow_with_the_numbers_of_times():
    small, large = (Rule(f"a{{2..{n}}} !x/5 b{{{n}}} c") for n in (5, 100_000))
    assert len(small.pattern.nodes) == len(large.pattern.nodes)


def test_an_event_that_changes_nothing_builds_nothing():
    """The way of most events: the answer is one and the same empty sequence, the state is not touched."""
    rule = Rule("a b", within=100)
    matcher = rule.matcher()
    rule.play("a@0", matcher=matcher)
    before = matcher.snapshot()
    assert matcher.feed(1, ("a",), 1) is matcher.feed(2, ("a",), 2)
    assert matcher.snapshot() == before


def test_an_event_that_changes_nothing_costs_a_few_calls():
    """However many partial matches wait. Some 4 calls of an empty function, measured; ten times what it was fails."""
    call, *costs = (bench.best_ns(bench.CASES[name], 20_000) for name in ("bare call", *bench.IDLE))
    assert max(costs) < 40 * call
