"""Texts with names in them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.template import Duration, Template, duration_words, fill_tree, templates_in, unknown_name


@pytest.mark.parametrize(
    ("text", "values", "filled"),
    [
        ("{subject} is {value} {unit}", {"subject": "a/b", "value": 31.5, "unit": "Cel"}, "a/b is 31.5 Cel"),
        ("{value:.1f}", {"value": 0.1 + 0.2}, "0.3"),
        ("{value}", {"value": 0.1 + 0.2}, "0.3"),
        ("{value:.0f} of {value:.2f}", {"value": 2}, "2 of 2.00"),
        ("{value:.1f}", {"value": "warm"}, "warm"),
        ("{value}", {"value": True}, "on"),
        ("{value:.1f}", {"value": False}, "off"),
        ("{value}", {"value": None}, "unknown"),
        ("{value:.1f}", {}, "unknown"),
        ("for {held}", {"held": Duration(330.0)}, "for 5m 30s"),
        ("{held:.0f} s", {"held": Duration(330.0)}, "330 s"),
        ("{{value}} {{}}", {"value": 1}, "{value} {}"),
        ("{n}", {"n": [1, "a"]}, '[1, "a"]'),
        ("no names", {}, "no names"),
    ],
)
def test_a_text_is_filled(text: str, values: dict[str, object], filled: str) -> None:
    assert Template(text).fill(values) == filled


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "a brace itself is written twice"),
        ("}", "a brace itself is written twice"),
        ("{}", "found {}, expected a name"),
        ("{0}", "found {0}"),
        ("{Value}", "found {Value}"),
        ("{a.b}", "found {a.b}"),
        ("{a[0]}", "found {a[0]}"),
        ("{a!r}", "found {a!r}"),
        ("{a:>10}", "expected decimals such as {a:.1f}"),
        ("{a:{b}}", "expected decimals"),
        ("x" * 4097, "at most 4096 characters"),
    ],
)
def test_what_is_no_template_is_said_with_what_was_expected(text: str, said: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the sentence is judged below
        Template(text)
    assert said in str(caught.value)


def test_names_are_known_before_anything_happens() -> None:
    assert Template("{b} {a} {b:.1f} {{c}}").names == ("b", "a")


def test_in_a_tree_one_name_alone_keeps_its_type() -> None:
    tree = {"n": "{value}", "text": "{value} Cel", "list": ["{on}", 1, None], "whole": "{event}"}
    filled = fill_tree(tree, {"value": 21.5, "on": True, "event": {"id": "x"}})
    assert filled == {"n": 21.5, "text": "21.5 Cel", "list": [True, 1, None], "whole": {"id": "x"}}
    assert json.loads(json.dumps(filled)) == filled


def test_a_tree_is_bounded_and_its_mistakes_are_found() -> None:
    deep: object = "{a}"
    for _ in range(10):
        deep = [deep]
    with pytest.raises(ValueError, match="at most 8 levels"):
        list(templates_in(deep))
    with pytest.raises(ValueError, match="expected a name"):
        list(templates_in({"a": ["{}"]}))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0s"), (0.8, "800ms"), (59.9994, "59s 999ms"), (300, "5m"), (3900, "1h 5m"), (90061, "1d 1h"), (3601, "1h"),
     (-2, "-2s")],
)  # fmt: skip
def test_durations_are_written_as_people_do(seconds: float, words: str) -> None:
    assert duration_words(seconds) == words


def test_an_unknown_name_has_the_nearest_beside_it() -> None:
    assert unknown_name("valeu", ["value", "unit"]) == (
        "no event of this rule has {valeu} (did you mean 'value'?); there are: unit, value"
    )


@given(st.text(max_size=50))
def test_any_text_with_its_braces_doubled_is_itself(text: str) -> None:
    assert Template(text.replace("{", "{{").replace("}", "}}")).fill({}) == text
    assert fill_tree(text.replace("{", "{{").replace("}", "}}"), {}) == text
