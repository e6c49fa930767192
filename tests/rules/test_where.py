"""`where`: every word of it, both ways round, and what cannot be compared."""

from __future__ import annotations

import pytest

from tests.rules.kit import engine, event, judged, ns, rule

STEPS = [{"as": "a", "channel": "a/x"}, {"as": "b", "channel": "b/y"}]


def matches(where, first, second, **more):
    sequence = {"steps": STEPS, "within": "10s", "where": [where]}
    made = engine(rule(sequence=sequence))
    data = {"data": more} if more else {}
    made.feed(event("a/x", first, 1, **data), ns(1))
    return bool(made.feed(event("b/y", second, 3, **data), ns(3)))


@pytest.mark.parametrize(
    ("word", "below", "same", "above"),
    [
        ("above", False, False, True),
        ("below", True, False, False),
        ("at_least", False, True, True),
        ("at_most", True, True, False),
        ("is", False, True, False),
        ("not", True, False, True),
    ],
)
class TestEveryWord:
    def test_between_two_steps(self, word, below, same, above):
        where = {"left": "b.value", word: "a.value"}
        assert [matches(where, 5.0, second) for second in (4.0, 5.0, 6.0)] == [below, same, above]

    def test_between_two_steps_the_later_one_on_the_right(self, word, below, same, above):
        where = {"left": "a.value", word: "b.value"}
        assert [matches(where, first, 5.0) for first in (4.0, 5.0, 6.0)] == [below, same, above]

    def test_with_a_value(self, word, below, same, above):
        where = {"left": "a.value", word: 5}
        assert [matches(where, first, 1.0) for first in (4.0, 5.0, 6.0)] == [below, same, above]

    def test_what_is_not_there_fits_no_word(self, word, below, same, above):
        if word != "not":
            assert not matches({"left": "a.zone", word: 5}, 5.0, 5.0)
        assert not matches({"left": "a.zone", word: "b.zone"}, 5.0, 5.0)
        assert not matches({"left": "b.zone", word: "a.value"}, 5.0, 5.0)


@pytest.mark.parametrize("word", ["above", "below", "at_least", "at_most"])
def test_a_text_is_neither_more_nor_less_than_a_number(word):
    assert not matches({"left": "b.value", word: "a.value"}, "ann", 5.0)
    assert not matches({"left": "a.value", word: 5}, "ann", 1.0)


@pytest.mark.parametrize(
    ("field", "value", "other"),
    [("subject", "a/x", "b/x"), ("device", "a", "x"), ("channel", "x", "a"), ("value", 5, 6), ("zone", "cellar", "x")],
)
def test_every_field_of_a_step(field, value, other):
    assert matches({"left": f"a.{field}", "is": value}, 5.0, 1.0, zone="cellar")
    assert not matches({"left": f"a.{field}", "is": other}, 5.0, 1.0, zone="cellar")


def test_the_time_of_steps_is_compared_in_order():
    assert matches({"left": "b.time", "above": "a.time"}, 1.0, 1.0)
    assert not matches({"left": "b.time", "below": "a.time"}, 1.0, 1.0)


def test_levels_are_what_people_call_them():
    assert matches({"left": "a.value", "is": "open"}, True, 1.0)
    assert not matches({"left": "a.value", "not": "open"}, True, 1.0)
    assert not matches({"left": "a.value", "is": "open"}, 1.0, 1.0)


def test_a_text_with_a_dot_that_names_no_step_is_a_text():
    assert matches({"left": "a.value", "is": "x.y"}, "x.y", 1.0)
    assert not matches({"left": "a.value", "is": "b"}, "x", 1.0)


def test_of_several_events_the_newest_is_compared():
    steps = [{"as": "a", "channel": "a/x", "times": "1..3"}, {"as": "b", "channel": "b/y"}]
    made = rule(sequence={"steps": steps, "within": "10s", "where": [{"left": "b.value", "is": "a.value"}]})
    assert judged(made, ("a/x", 1, 1), ("a/x", 2, 2), ("b/y", 1, 3), until=9) == []
    assert judged(made, ("a/x", 1, 1), ("a/x", 2, 2), ("b/y", 2, 3), until=9) == [("matched", 3.0, 2)]


def test_a_step_that_was_left_out_has_nothing_to_compare_with():
    steps = [
        {"as": "o", "channel": "o/x"},
        {"as": "a", "channel": "a/x", "times": "0..1"},
        {"as": "b", "channel": "b/y"},
    ]
    made = rule(sequence={"steps": steps, "within": "10s", "where": [{"left": "b.value", "is": "a.value"}]})
    assert judged(made, ("o/x", 1, 1), ("b/y", 7, 2), until=9) == [("matched", 2.0, 7)]
    assert judged(made, ("o/x", 1, 1), ("a/x", 3, 2), ("b/y", 7, 3), until=9) == []


def test_several_comparisons_must_all_hold():
    where = [{"left": "b.value", "above": "a.value"}, {"left": "b.value", "below": 9}]
    made = rule(sequence={"steps": STEPS, "within": "10s", "where": where})
    assert judged(made, ("a/x", 5, 1), ("b/y", 9, 2), ("b/y", 5, 3), ("b/y", 8, 4), until=9) == [("matched", 4.0, 8)]


def test_within_one_step_two_fields_are_compared():
    where = [{"left": "b.device", "is": "b.zone"}]
    made = engine(rule(sequence={"steps": STEPS, "within": "10s", "where": where}))
    made.feed(event("a/x", 1, 1), ns(1))
    assert not made.feed(event("b/y", 1, 2, data={"zone": "a"}), ns(2))
    assert made.feed(event("b/y", 1, 3, data={"zone": "b"}), ns(3))
