"""`expr:` conditions in CEL, and what happens where the package is not there."""

from __future__ import annotations

import sys

import pytest

from gateway.errors import PluginError
from gateway.rules import cel
from tests.config.parts import wrong
from tests.rules.kit import engine, event, judged, ns, rule


def test_without_the_package_the_sentence_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "cel_expr_python", None)
    with pytest.raises(PluginError, match=r"pip install 'sensor-event-gateway\[cel\]'"):
        cel.check("value > 3")


def test_without_the_package_a_rule_is_refused_at_the_place_of_its_expression(monkeypatch):
    monkeypatch.setitem(sys.modules, "cel_expr_python", None)
    (problem,) = wrong("rules:\n- {id: r, when: {event: {type: reading, expr: 'value > 3'}}}")
    assert str(problem).startswith(
        "gateway.yaml:2:47 rules[0].when.event.expr: `expr` needs the package cel-expr-python"
    )


def test_names_are_found_outside_of_texts_only():
    assert cel.names_in("value > 3 && unit == 'quality' && x.type", cel.EVENT_NAMES) == ["value", "unit"]
    assert cel.fields_in("door.zone == badge.zone && has(a.b) && s.startsWith('x.y')") == ["zone", "zone", "b"]


class TestWithThePackage:
    @pytest.fixture(autouse=True)
    def _package(self):
        pytest.importorskip("cel_expr_python", reason="the extra `cel` is for 64-bit systems")

    def test_an_expression_selects_events(self):
        hot = rule(event={"channel": "a/x", "expr": "value > 30 && quality == 'good' && device == 'a'"})
        assert judged(hot, ("a/x", 30, 1), ("a/x", 31, 2), ("a/x", 31.5, 3), until=4) == [
            ("matched", 2.0, 31), ("matched", 3.0, 31.5),
        ]  # fmt: skip

    def test_an_expression_stands_beside_structured_predicates(self):
        hot = rule(hold={"channel": "a/x", "above": 30, "expr": "value < 40.0", "for": "2s"})
        assert judged(hot, ("a/x", 35, 1), ("a/x", 45, 5), until=9) == [("raised", 3.0, 35), ("cleared", 5.0, 45)]

    def test_an_event_without_a_result_does_not_fit_and_is_counted(self):
        made = engine(rule(event={"channel": "a/x", "expr": "data.zone == 'b' || 1 / 0 > value"}))
        assert made.feed(event("a/x", 3, 1), ns(1)) == []
        assert made.context.expr_errors == 1
        assert len(made.feed(event("a/x", 3, 2, data={"zone": "b"}), ns(2))) == 1

    def test_an_expression_compares_steps(self):
        same = rule(
            sequence={
                "steps": [{"as": "badge-in", "channel": "a/x"}, {"as": "door", "channel": "b/x"}],
                "within": "10s",
                "where": [{"expr": "door.value == badge_in.value + 1.0"}],
            }
        )
        assert judged(same, ("a/x", 3.0, 1), ("b/x", 3.0, 2), ("b/x", 4.0, 3), until=9) == [("matched", 3.0, 4)]

    def test_a_step_that_is_not_there_is_named_with_those_that_are(self):
        steps = "steps: [{as: a, type: reading}], where: [{expr: 'b.value > 3'}]"
        (problem,) = wrong(f"rules:\n- {{id: r, when: {{sequence: {{{steps}}}}}}}")
        assert "unknown name 'b', expected one of a" in str(problem)

    @pytest.mark.parametrize(
        ("text", "place", "message"),
        [
            ("vaue > 3", "2:48", "unknown name 'vaue', expected one of value, unit, "),
            ("value > 3 && quality > 3", "2:69", "found no matching overload for '_>_' applied to '(string, int)'"),
            ("value >", "2:55", "mismatched input '<EOF>' expecting "),
            ("1 + 1", "2:48", "expected a condition, which is true or false; the result is of type int"),
        ],
    )
    def test_a_mistake_is_found_when_the_configuration_is_read_with_its_place(self, text, place, message):
        (problem,) = wrong(f"rules:\n- {{id: r, when: {{event: {{type: reading, expr: '{text}'}}}}}}")
        said = str(problem).removeprefix("gateway.yaml:")
        assert said.startswith(f"{place} rules[0].when.event.expr: in the expression: {message}"), said
