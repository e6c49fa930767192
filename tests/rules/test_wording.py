"""What a rule asks for, in words that are found in the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config.rules_file import load_rules
from gateway.plugins import Plugins
from gateway.rules.wording import asked, guards_asked, limit_of, longest_s
from tests.rules.kit import rule

HERE = Path(__file__).parent
X = {"channel": "a/x"}
STEPS = [{"as": "in", "channel": "a/x", "is": "on"}, {"not": {"channel": "b/x"}, "for": "5s"}]


@pytest.mark.parametrize(
    ("operator", "words"),
    [
        ({"event": X | {"in": [1, 3, "open"]}}, "each event of a/x in 1, 3, open"),
        ({"event": X | {"changed": {"from": 1, "to": True}}}, "each event of a/x changed from 1 to on"),
        ({"event": {"device": "a", "field": "lot", "quality": "any"}}, "each event of lot of a/** good or bad"),
        ({"event": {"rule": "hot", "type": "rule.cleared"}}, "each event of rule hot (rule.cleared)"),
        (
            {"hold": X | {"above": 30, "for": "5m", "clear_below": 28, "clear_for": "1m", "max_gap": "90s"}},
            "a/x above 30 for 5m, cleared below 28 for 1m, unknown after 90s of silence",
        ),
        ({"hold": X | {"is": "on", "clear_for": "10s"}}, "a/x is on, cleared otherwise for 10s"),
        (
            {"count": X | {"above": 2.5, "at_least": 3, "within": "10s"}},
            "3 events of a/x above 2.5 within 10s",
        ),
        (
            {"window": X | {"tumbling": "1m", "of": {"avg": "avg", "high": {"quantile": 0.9}}}},
            "avg, 0.9 quantile (high) of a/x in each 1m",
        ),
        (
            {"window": X | {"session": {"gap": "5m", "max": "1h"}, "of": {"count": "count"}}},
            "count of a/x until it is silent for 5m, at most 1h",
        ),
        ({"window": X | {"count": 5, "every": 2, "of": {"sum": "sum"}}}, "sum of a/x in 5 events, every 2"),
        (
            {"rate": X | {"over": "2m", "per": "1m", "above": 2, "for": "30s"}},
            "a/x changes above 2 per 1m, over 2m for 30s",
        ),
        ({"absent": X | {"for": "90s", "repeat": "1h"}}, "nothing of a/x for 90s, again every 1h"),
        ({"sequence": {"within": "30s", "steps": STEPS}}, "a/x is on, then no b/x for 5s; all within 30s"),
        (
            {
                "sequence": {
                    "steps": [
                        {"as": "in", "channel": "a/x", "times": "2..4"},
                        {"as": "out", "link": "next", "any": [{"channel": "b/x"}, {"channel": "c/x", "is": "on"}]},
                    ],
                    "where": [{"left": "in.device", "is": "out.device"}],
                }
            },
            "a/x, 2..4 times, next b/x or c/x is on, where in.device is out.device",
        ),
    ],
)
def test_each_operator_says_what_it_asks_for(operator, words):
    assert asked(rule(**operator)) == words


def test_each_guard_says_what_it_asks_for():
    guards = [
        {"channel": "b/armed", "is": "on", "max_age": "12h"},
        {"time": {"after": "22:00", "before": "06:00", "days": ["mon", "fri"], "zone": "UTC"}},
        {"not_preceded_by": {"channel": "badge/scan"}, "within": "15s"},
    ]
    assert guards_asked(rule(event=X, only_if=guards)) == [
        "b/armed is on, no older than 12h",
        "from 22:00 until 06:00 on mon, fri in UTC",
        "no badge/scan in the 15s before",
    ]


@pytest.mark.parametrize("file", ["semantics.rules.yaml", "../../config/rules.yaml"])
def test_every_rule_of_our_files_can_be_put_in_words(file):
    for config in load_rules(HERE / file, Plugins()).rules:
        words = asked(config)
        assert words == words.strip()
        assert not {"None", "_s", "{", "}"} & {*words.split()}, words


def test_the_longest_time_is_that_of_the_operator_its_windows_steps_and_guards_but_not_of_actions():
    assert longest_s(rule(event=X)) == 0
    assert longest_s(rule(hold=X | {"above": 1, "for": "5m", "max_gap": "10m"})) == 600
    assert longest_s(rule(window=X | {"hopping": {"size": "1h", "every": "1m"}, "of": {"n": "count"}})) == 3600
    assert longest_s(rule(sequence={"steps": STEPS})) == 5
    assert longest_s(rule(event=X, only_if=[{"channel": "b/x", "is": "on", "max_age": "12h"}])) == 43200
    assert longest_s(rule(event=X, do=[{"output": "siren", "pulse": "1h"}])) == 0


def test_a_limit_is_told_where_there_is_exactly_one():
    assert limit_of(rule(hold=X | {"above": 30})) == 30
    assert limit_of(rule(event=X | {"above": 1, "below": 3})) is None
    assert limit_of(rule(count=X | {"at_least": 3, "within": "1s"})) is None
