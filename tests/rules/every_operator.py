"""Rules of every operator and most of its options, over three channels, some of them fed by others."""

from __future__ import annotations

from typing import Final

from gateway.rules.model import RuleConfig
from tests.rules.kit import rule

CHANNELS: Final = ("a/x", "b/x", "c/x")
"""All report numbers from 0 to 9."""

RULES: Final[list[RuleConfig]] = [
    rule("every", event={"channel": "*/x", "above": 7}, only_if=[{"channel": "b/x", "below": 8, "max_age": "30s"}]),
    rule("turned", event={"channel": "c/x", "changed": {"to": 0}}),
    rule(
        "hot",
        hold={"channel": "*/x", "above": 3, "clear_below": 2, "for": "2s", "clear_for": "1s", "max_gap": "5s"},
        only_if=[{"not_preceded_by": {"channel": "a/x", "is": 0}, "within": "1s"}],
    ),
    rule("many", count={"channel": "*/x", "above": 4, "at_least": 4, "within": "4s"}),
    rule("oldest", by="none", count={"channel": "*/x", "above": 7, "at_least": 4, "within": "2s", "consume": "oldest"}),
    rule("sums", window={"channel": "*/x", "tumbling": "2s", "of": {"avg": "avg", "p": {"quantile": 0.5}}}),
    rule("hops", by="none", window={"channel": "*/x", "hopping": {"size": "3s", "every": "1s"}, "of": {"n": "count"}}),
    rule("runs", window={"channel": "*/x", "session": {"gap": "1500ms", "max": "6s"}, "of": {"twa": "twa"}}),
    rule("slides", window={"channel": "a/x", "above": 6, "sliding": "2s", "of": {"sd": "stddev", "last": "last"}}),
    rule("fives", window={"channel": "*/x", "count": 12, "every": 8, "of": {"sum": "sum", "m": "median"}}),
    rule("steep", rate={"channel": "*/x", "over": "4s", "per": "1s", "above": 1, "clear_below": 0, "max_gap": "3s"}),
    rule("quiet", absent={"channel": "*/x", "for": "3s", "repeat": "5s"}),
    rule(
        "then",
        by="device",
        sequence={
            "steps": [{"as": "s", "channel": "*/x", "above": 6}, {"as": "e", "channel": "*/x", "below": 2}],
            "within": "3s",
            "where": [{"left": "s.device", "is": "e.device"}],
        },
        on_timeout={"emit": {"name": "late"}},
    ),
    rule(
        "nothing",
        sequence={
            "steps": [{"as": "s", "channel": "a/x", "above": 6, "times": "1..2"}, {"not": {"channel": "b/x"}}],
            "within": "900ms",
            "mode": "parallel",
        },
    ),
    rule(
        "between",
        sequence={
            "steps": [
                {"as": "s", "channel": "a/x", "above": 5},
                {"not": {"channel": "b/x", "above": 7}, "for": "300ms"},
                {"as": "e", "channel": "c/x"},
            ],
            "within": "4s",
            "mode": "restart",
        },
    ),
    rule(
        "strict",
        sequence={"steps": [{"channel": "a/x", "above": 4}, {"channel": "a/x", "above": 4, "link": "next"}]},
    ),
    rule(
        "group",
        sequence={
            "steps": [{"all": [{"channel": "a/x", "above": 6}, {"channel": "b/x", "above": 6}]}, {"channel": "c/x"}],
            "within": "3s",
        },
    ),
    rule("above", window={"rule": "sums", "field": "avg", "tumbling": "5s", "of": {"max": "max"}}),
    rule("twice", count={"rule": "above", "at_least": 2, "within": "20s"}),
    rule("once", event={"rule": "twice"}, once=True),
    rule(
        "calm",
        hold={"rule": "sums", "below": 4, "for": "3s"},
        only_if=[{"preceded_by": {"rule": "hot"}, "within": "20s"}],
    ),
]
