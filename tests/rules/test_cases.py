"""Every case of every file of cases holds: the examples that we ship, and each sentence of the reference."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config.rules_file import load_cases, load_rules
from gateway.plugins import Plugins
from gateway.rules.cases import CaseConfig, parse_expected, parse_series, run_case
from tests.rules.kit import ns, rule

ROOT = Path(__file__).parents[2]
FILES = [ROOT / "config/rules.cases.yaml", Path(__file__).with_name("semantics.cases.yaml")]


def cases():
    for file in FILES:
        found = load_cases(file)
        assert found.rules is not None
        rules = load_rules(found.rules, Plugins()).rules
        for case, _ in found.cases:
            yield pytest.param(case, rules, id=case.name)


@pytest.mark.parametrize(("case", "rules"), list(cases()))
def test_the_rules_say_what_the_case_expects(case, rules):
    outcome = run_case(case, rules)
    assert outcome.told == outcome.expected


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_rule_of_the_file_has_a_case(file):
    found = load_cases(file)
    assert found.rules is not None
    rules = {one.id for one in load_rules(found.rules, Plugins()).rules}
    assert rules == {name for case, _ in found.cases for name in case.rule or rules}


def test_a_case_that_does_not_hold_says_what_was_expected_and_what_was_said():
    case = CaseConfig(name="x", series={"a/x": "1@1s 7@2s"}, expect=["matched@1s", "matched@2s value=8"])
    outcome = run_case(case, [rule("r", event={"channel": "a/x", "above": 5})])
    assert not outcome.holds
    assert (outcome.expected, outcome.told) == (("matched@1s", "matched@2s value=8"), ("matched@2s",))


def test_a_series_is_values_at_times_or_at_a_pace():
    assert [(s.at_ns, s.value, s.quality) for s in parse_series("on@5s 2.5?@1m bad@90 ann@2h")] == [
        (ns(5), True, "good"), (ns(60), 2.5, "uncertain"), (ns(90), None, "bad"), (ns(7200), "ann", "good"),
    ]  # fmt: skip
    assert [(s.at_ns // ns(1), s.value) for s in parse_series("every 10s from 5s: 1 _ 2x2 5-1.5x2 on")] == [
        (5, 1), (25, 2), (35, 2), (45, 2), (55, 5), (65, 3.5), (75, 2), (85, True),
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["on", "on@", "@5s", "on@5", "every 1m 3", "1@5x"])
def test_a_token_that_is_none_is_named(text):
    if text == "on@5":
        assert parse_series(text)[0].at_ns == ns(5)
        return
    with pytest.raises(ValueError, match=r"expected|duration"):
        parse_series(text)


def test_an_expectation_has_a_kind_and_a_time():
    assert parse_expected("r raised@1m30s value=3 since=1s") == ("r", "raised", ns(90), {"value": "3", "since": "1s"})
    for text in ("raised", "rised@3s", "raised@3s value"):
        with pytest.raises(ValueError, match="KIND"):
            parse_expected(text)
