"""Whatever stands in a file of rules: rules, or problems with their places. Whatever happens: no rule breaks.

The rules are those that we ship and those of the semantic cases, so every operator takes part in each of its forms.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.cli.rules import rules as command
from gateway.clock import NS_PER_S
from gateway.config.rules_file import load_rules
from gateway.errors import ConfigError
from gateway.event import Event
from gateway.plugins import Plugins
from gateway.rules.engine import Engine
from gateway.rules.memory import need
from gateway.rules.model import RuleConfig
from tests.rules.kit import Log

ROOT = Path(__file__).parents[2]
FILES = [ROOT / "config/rules.yaml", Path(__file__).with_name("semantics.rules.yaml")]
TEXTS = [file.read_text("utf-8") for file in FILES]
POOL = [rule for file in FILES for rule in load_rules(file, Plugins()).rules]

PIECES = st.sampled_from([
    "", " ", "\n", "  ", ":", ": ", ", ", "- ", "[", "]", "{", "}", "'", '"', "#", "~", "on", "off", "1", "-1", "0",
    "1e999", "30", ".nan", "0s", "10s", "9e9d", "1..2", "3..", "a/x", "*/x", "**", "rule.*", "reading", "[1, 2]",
    "{a: 1}", "a.b",
    "above", "below", "at_least", "is", "not", "in", "changed", "expr", "channel", "device", "rule", "type", "field",
    "for", "within", "steps", "all", "any", "times", "link", "next", "greedy", "mode", "parallel", "where", "left",
    "event", "hold", "count", "window", "rate", "absent", "sequence", "sliding", "of", "quantile", "only_if", "time",
    "preceded_by", "by", "none", "value", "once", "emit", "do", "on_timeout", "keys_max", "\ud800", "\0", "😀",
])  # fmt: skip


@st.composite
def files_with_something_wrong(draw: st.DrawFn) -> str:
    lines = draw(st.sampled_from(TEXTS)).splitlines(keepends=True)
    first = draw(st.integers(0, len(lines) - 1))
    text = "".join(lines[first : first + draw(st.integers(1, 12))])
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 10)))
        text = text[:start] + draw(PIECES) + text[end:]
    return text


@given(files_with_something_wrong())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_with_anything_in_it_is_rules_or_problems_with_their_places(tmp_path, text):
    file = tmp_path / "rules.yaml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        found = load_rules(file, Plugins())
    except ConfigError as error:
        for problem in error.problems:
            assert problem.line >= 1
            assert problem.column >= 1
            assert problem.message
            assert str(problem).isprintable()
        return
    for one in found.rules:
        assert need(one).bytes >= 0
    Engine(found.rules).begin_all()


@pytest.mark.parametrize(
    "text", ["- {id: r, when: {hold: {channel: a/x, abov: 3}}}", "- 3", "[", "{rules: x}", "", "x"]
)
def test_the_command_shows_the_place_and_no_traceback(tmp_path, text):
    (tmp_path / "rules.yaml").write_text(text)
    result = CliRunner().invoke(command, ["check", "--json", str(tmp_path / "rules.yaml")])
    assert (result.exit_code, type(result.exception)) == (2, SystemExit)
    assert all(problem["line"] >= 1 and problem["column"] >= 1 for problem in json.loads(result.stdout)["problems"])


VALUES = st.one_of(
    st.integers(-3, 12),
    st.sampled_from([0.0, 0.5, 30.1, -1e308, 1e308, 5e-324, 2**62, -(2**62)]),
    st.booleans(),
    st.sampled_from(["ann", "", "5"]),
    st.none(),
)
DATA = st.sampled_from(
    [{}, {"user": "ann"}, {"user": 3}, {"user": 2.0}, {"user": True}, {"user": [1]}, {"user": {"a": 1}}, {"zone": None}]
)
HAPPENING = st.one_of(
    st.tuples(
        st.sampled_from(["reading", "state", "input", "reading"]),
        st.sampled_from(["a/x", "a/x", "a/x", "b/x", "a/y", "b/armed", "cellar/temperature", "door/contact"]),
        VALUES,
        st.sampled_from(["good", "good", "uncertain"]),
        DATA,
        st.integers(0, 6_000),
    ),
    st.tuples(st.sampled_from(["clock.step"]), st.sampled_from([-7, 3600, 86_400 * 9000]), st.just(0), st.just(0), DATA,
              st.integers(0, 6_000)),
    st.tuples(st.sampled_from(["tick"]), st.just(0), st.just(0), st.just(0), DATA, st.integers(0, 40_000)),
    st.tuples(st.sampled_from(["restart"]), st.sampled_from([None, 0, 5_000, 90_000]), st.just(0), st.just(0), DATA,
              st.integers(0, 6_000)),
)  # fmt: skip


def _narrow(config: RuleConfig) -> RuleConfig:
    """The rule with bounds that are reached at once."""
    meaning = config.model_dump(mode="json", by_alias=True, exclude_none=True)
    when: dict[str, Any] = meaning["when"]
    update: dict[str, Any] = {"keys_max": 2}
    ((operator, own),) = when.items()
    if operator in {"window", "rate"} and own.get("count") is None:
        model = getattr(config.when, operator).model_copy(update={"samples_max": 2})
        update["when"] = config.when.model_copy(update={operator: model})
    return config.model_copy(update=update)


NARROW = [_narrow(config) for config in POOL]


@given(
    st.lists(st.integers(0, len(POOL) - 1), min_size=1, max_size=8, unique=True),
    st.booleans(),
    st.lists(HAPPENING, max_size=60),
)
@settings(max_examples=100)
def test_no_rule_breaks_whatever_happens_and_the_log_read_again_says_the_same(chosen, narrow, happenings):
    configs = [(NARROW if narrow else POOL)[index] for index in sorted(chosen)]
    log = Log(configs, [("reading", "a/x"), ("state", "b/x")])
    mono, ahead = 100 * NS_PER_S, 1_700_000_000 * NS_PER_S
    log.open(mono, mono + ahead)
    for kind, what, value, quality, data, later_ms in happenings:
        mono += later_ms * 1_000_000
        if kind == "clock.step":
            ahead += what * NS_PER_S
            log.record([Event("clock.step", "gateway", mono + ahead, mono)])
        elif kind == "tick":
            log.tick(mono)
        elif kind == "restart":
            log.reread().finish()
            mono += (what or 0) * 1_000_000
            log.open(mono, mono + ahead, gap_ns=None if what is None else what * 1_000_000)
        else:
            known = quality if value is not None else "bad"
            log.record([Event(kind, what, mono + ahead, mono, value, quality=known, data=data)])
        engine = log.detector.engine
        assert [(part.rule.id, part.failed) for part in engine.parts.values() if part.failed] == []
        assert all(len(part.operator.keys) <= part.rule.config.keys_max for part in engine.parts.values())
    fold = log.reread()
    assert fold.named == []
