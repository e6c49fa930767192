"""On random patterns and streams the matcher agrees with the reference, cut and restored too, and keeps its bounds."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import event as note
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from gateway.rules.sequence import AllOf, Condition, Match, Matcher, Not, Pattern, PatternError, Step
from tests.rules.sequence.reference import Reference

LETTERS = "abcx"
MANY = 10_000


def same_parity(matched, event):
    """Some relation to what came before, where anything did."""
    return not matched or (next(iter(matched.values()))[0] + event) % 2 == 0


@st.composite
def patterns(draw):
    """Steps, what they say beside them, and the letter of each condition."""
    letters, steps = {}, []

    def condition():
        name = f"c{len(letters)}"
        letters[name] = draw(st.sampled_from(LETTERS))
        return Condition(name, draw(st.sampled_from([None, None, None, same_parity])))

    style = draw(st.sampled_from(["mixed", "mixed", "next"]))
    link = st.just("next") if style == "next" else st.sampled_from(["then", "then", "next", "any"])
    for _ in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(["one", "one", "one", "many", "not", "all", "any"]))
        if kind == "not":
            steps.append(Not(condition(), draw(st.sampled_from([None, 2, 3, 5]))))
        elif kind == "all":
            steps.append(AllOf(tuple(condition() for _ in range(draw(st.integers(1, 3)))), draw(link)))
        else:
            conditions = tuple(condition() for _ in range(2 if kind == "any" else 1))
            low = draw(st.integers(0, 3)) if kind == "many" else 1
            high = draw(st.sampled_from([None, 1, 2, 3, 4])) if kind == "many" else 1
            steps.append(Step(conditions, draw(link), low, high and max(high, low), draw(st.booleans())))
    within = draw(st.sampled_from([None, 6, 10, 15]))
    mode = draw(st.sampled_from(["single", "restart", "parallel"]))
    return steps, {"within": within, "mode": mode}, letters


@st.composite
def streams(draw):
    """(at, letters): events that fit one letter mostly, close together and at equal times too."""
    at, events = 0, []
    for _ in range(draw(st.integers(0, 12))):
        at += draw(st.sampled_from([0, 1, 1, 1, 2, 3, 7]))
        events.append((at, draw(st.text(LETTERS, min_size=1, max_size=2))))
    return events


def compiled(steps, options, partials_max=MANY):
    try:
        return Pattern(steps, within_ns=options["within"], mode=options["mode"], partials_max=partials_max)
    except PatternError:
        reject()


def named(events, letters):
    """The events with the names they fit; those that fit none are not there."""
    all_named = [(at, tuple(n for n, letter in letters.items() if letter in fits)) for at, fits in events]
    return [(at, names, n) for n, (at, names) in enumerate(all_named) if names]


def plain(found):
    return [(one.at, isinstance(one, Match), one.steps) for one in found]


def run(matcher, events, until):
    found = [one for at, names, value in events for one in matcher.feed(at, names, value)]
    return plain(found + list(matcher.advance(until)))


@settings(max_examples=600)
@given(patterns(), streams())
def test_the_matcher_agrees_with_the_reference(it, stream):
    agree(it, stream)


@pytest.mark.rig
@settings(max_examples=20_000)
@given(patterns(), streams())
def test_the_matcher_agrees_with_the_reference_on_many_more(it, stream):
    agree(it, stream)


def agree(it, stream):
    steps, options, letters = it
    pattern = compiled(steps, options)
    events = named(stream, letters)
    until = stream[-1][0] + 20 if stream else 20
    expected = Reference(steps, **options).play(events, 0, until)
    for _, is_match, _ in expected:
        note("match" if is_match else "timeout")
    assert run(Matcher(pattern, 0), events, until) == expected


@settings(max_examples=300)
@given(patterns(), streams(), st.data())
def test_a_prefix_a_snapshot_and_the_rest_are_the_whole(it, stream, data):
    steps, options, letters = it
    pattern = compiled(steps, options, partials_max=4)
    events = named(stream, letters)
    cut = data.draw(st.integers(0, len(events)))
    until = 100
    whole, first, second = Matcher(pattern), Matcher(pattern), Matcher(pattern)
    expected = run(whole, events, until)
    found = [one for at, names, value in events[:cut] for one in first.feed(at, names, value)]
    packed = msgspec.msgpack.encode(first.snapshot())
    second.restore(msgspec.msgpack.decode(packed))
    assert msgspec.msgpack.encode(second.snapshot()) == packed
    assert second.deadline == first.deadline
    assert plain(found) + run(second, events[cut:], until) == expected
    assert second.snapshot() == whole.snapshot()


@settings(max_examples=300)
@given(patterns(), streams(), st.data())
def test_looking_at_the_clock_in_between_changes_nothing(it, stream, data):
    steps, options, letters = it
    pattern = compiled(steps, options, partials_max=4)
    events = named(stream, letters)
    matcher, found = Matcher(pattern, 0), []
    for at, names, value in events:
        look = data.draw(st.integers(0, at))
        if matcher.deadline is not None and matcher.deadline <= look:
            found += matcher.advance(look)
        found += matcher.feed(at, names, value)
    assert plain(found) + plain(matcher.advance(100)) == run(Matcher(pattern, 0), events, 100)


@settings(max_examples=300)
@given(patterns(), streams(), st.integers(1, 4))
def test_bounds_hold_and_what_they_cost_is_counted(it, stream, partials_max):
    steps, options, letters = it
    pattern = compiled(steps, options, partials_max=partials_max)
    events = named(stream, letters)
    matcher, unbound = Matcher(pattern, 0), Matcher(compiled(steps, options), 0)
    found, unbound_found = [], []
    for at, names, value in events:
        found += matcher.feed(at, names, value)
        unbound_found += unbound.feed(at, names, value)
        assert matcher.partials <= pattern.partials_max
        kept = [len(partial[-1]) for partial in matcher.snapshot()[-1]]
        assert all(length <= pattern.events_max for length in kept)
        if not matcher.partials_dropped:
            assert found == unbound_found
