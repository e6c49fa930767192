"""What a derived event names, and what lies between its beginning and its end."""

from __future__ import annotations

import pytest

from gateway.event import Event
from gateway.rules.explain import key_is, limits, named, same_rule, stretch
from tests.rules.kit import event, rule

SINCE = "2026-11-23T06:00:00.000000Z"


def raised(kind="rule.raised", cause="", **data):
    return Event(kind, "rule/r", 0, 0, cause=cause, data={"rulekey": "r:00000000:k:5:0", **data})


def test_matched_events_and_the_cause_are_named_each_once():
    assert named(raised(matched=["a-1", "a-2"], cause="a-2")) == [("a-1", ""), ("a-2", "")]
    assert named(raised(matched={"in": ["a-1"], "out": ["a-2", "a-3"]}, cause="a-4")) == [
        ("a-1", "in"), ("a-2", "out"), ("a-3", "out"), ("a-4", "cause"),
    ]  # fmt: skip
    assert named(raised()) == []


def test_a_rule_is_the_same_only_with_the_same_hash():
    config = rule(hold={"channel": "a/x", "above": 3})
    told = raised(rulekey=f"r:{config.hash}:a/x:5:0")
    assert same_rule(told, [config]) is config
    assert same_rule(raised(), [config]) is None
    assert same_rule(told, [rule(hold={"channel": "a/x", "above": 4})]) is None


@pytest.mark.parametrize(
    ("config", "before_s", "takes", "leaves"),
    [
        (rule(hold={"channel": "*/x", "above": 3}), 0, ("a/x",), ("b/x", "a/y")),
        (rule(by="device", absent={"channel": "*/*", "for": "9s"}), 0, ("a/x", "a/y"), ("b/x",)),
        (
            rule(by="none", rate={"channel": "*/x", "over": "2m", "per": "1m", "above": 1}),
            120,
            ("a/x", "b/x"),
            ("a/y",),
        ),
    ],
)
def test_the_stretch_is_what_the_rule_selects_for_that_key(config, before_s, takes, leaves):
    key = {"channel": "a/x", "device": "a", "none": ""}[config.key_by]
    found = stretch(raised(since=SINCE, key=key), config, None)
    assert (found.since, found.before_s) == (SINCE, before_s)
    assert [found.takes(event(subject, 1, 0)) for subject in (*takes, *leaves)] == [True] * len(takes) + [False] * len(
        leaves
    )
    assert not found.takes(event(takes[0], 1, 0, type="rule.raised"))


def test_keys_of_attributes_are_asked_of_each_event():
    assert key_is("lot", event("a/x", 1, 0, data={"lot": 7}), "7")
    assert not key_is("lot", event("a/x", 1, 0), "7")


def test_of_a_rule_that_is_gone_the_channel_of_the_cause_is_looked_at():
    cause = event("a/x", 31, 0)
    found = stretch(raised(since=SINCE), None, cause)
    assert (found.types, found.subjects) == (["reading"], ["a/x"])
    assert stretch(raised(since=SINCE), None, None) is None
    assert stretch(raised(since=SINCE), None, raised()) is None, "what a rule said is followed, not looked around"


def test_events_that_name_all_there_is_have_no_stretch():
    assert stretch(raised(matched=["a-1"]), rule(count={"channel": "a/x", "at_least": 1, "within": "1s"}), None) is None


def test_a_limit_is_a_number():
    assert (limits(raised(limit=30)), limits(raised(limit="x")), limits(raised())) == (30, None, None)
