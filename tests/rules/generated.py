"""Strategies for rules of every operator, with any of their options, and for what happens to them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from gateway.rules.model import RuleConfig
from tests.rules.kit import rule

SUBJECTS = ("a/x", "b/x", "a/y")
DURATIONS = st.sampled_from(["300ms", "1s", "1500ms", "2s", "4s"])
NUMBERS = st.integers(0, 9)

channels = st.sampled_from(["a/x", "b/x", "*/x", "a/*", "**"])
bounds = st.one_of(
    st.builds(lambda n: {"above": n}, NUMBERS), st.builds(lambda n: {"at_most": n}, NUMBERS), st.just({"in": [1, 3, 5]})
)
changed = st.sampled_from([{}, {}, {"changed": True}, {"changed": {"to": 0}}])
quality = st.sampled_from([{}, {}, {"quality": "good"}, {"quality": "any"}])


def merged(*parts: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.tuples(*parts).map(lambda found: {key: value for part in found for key, value in part.items()})


def maybe(key: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.one_of(st.just({}), values.map(lambda value: {key: value}))


def always(key: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return values.map(lambda value: {key: value})


place = always("channel", channels)
selectors = merged(place, bounds, changed, quality)
steady = merged(place, quality)
levels = merged(
    always("above", st.integers(2, 7)),
    maybe("clear_below", st.integers(0, 2)),
    maybe("for", DURATIONS),
    maybe("clear_for", DURATIONS),
    maybe("max_gap", DURATIONS),
)
KINDS = st.one_of(
    always("tumbling", DURATIONS),
    st.just({"hopping": {"size": "2s", "every": "500ms"}}),
    always("sliding", DURATIONS),
    st.sampled_from([{"session": {"gap": "1s"}}, {"session": {"gap": "1s", "max": "3s"}}]),
    st.sampled_from([{"count": 3}, {"count": 4, "every": 2}]),
)
AGGREGATES = st.sampled_from(
    ["count", "sum", "min", "max", "avg", "stddev", "median", {"quantile": 0.9}, "first", "last", "twa"]
)
aggregates = st.lists(AGGREGATES, min_size=1, max_size=4).map(
    lambda listed: {"of": {f"r{n}": one for n, one in enumerate(listed)}}
)

plain_steps = merged(place, bounds, always("link", st.sampled_from(["then", "then", "next", "any"])))
steps = st.one_of(
    plain_steps,
    plain_steps,
    merged(place, bounds, st.sampled_from([{"times": "1..2"}, {"times": 2}, {"times": "2..3", "greedy": True}])),
    st.lists(merged(place, bounds), min_size=2, max_size=2).map(lambda two: {"all": two}),
    st.lists(merged(place, bounds), min_size=2, max_size=2).map(lambda two: {"any": two}),
)
nots = merged(always("not", merged(place, bounds)), maybe("for", st.sampled_from(["300ms", "1s"])))


@st.composite
def sequences(draw: Any) -> dict[str, Any]:
    listed = draw(st.lists(steps, min_size=1, max_size=3))
    if draw(st.booleans()):
        listed.insert(draw(st.integers(1, len(listed))), draw(nots))
    mode = draw(st.sampled_from(["single", "restart", "parallel"]))
    return {"steps": listed, "within": draw(DURATIONS), "mode": mode, "max": draw(st.sampled_from([1, 3, 10]))}


OPERATORS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "event": selectors,
    "hold": merged(steady, levels),
    "count": merged(
        place,
        changed,
        always("at_least", st.integers(1, 4)),
        always("within", DURATIONS),
        maybe("consume", st.sampled_from(["all", "oldest"])),
    ),
    "window": merged(selectors, KINDS, aggregates),
    "rate": merged(
        steady,
        levels,
        always("over", DURATIONS),
        always("per", st.just("1s")),
        maybe("method", st.just("lsq")),
        maybe("samples_max", st.just(4)),
        maybe("counter", st.just(True)),
    ),
    "absent": merged(selectors, always("for", DURATIONS), maybe("repeat", DURATIONS)),
    "sequence": sequences(),
}

guards = st.lists(
    st.one_of(
        merged(place, bounds, maybe("max_age", DURATIONS)),
        st.builds(lambda one, within: {"preceded_by": one, "within": within}, merged(place, bounds), DURATIONS),
        st.builds(lambda one, within: {"not_preceded_by": one, "within": within}, merged(place, changed), DURATIONS),
    ),
    max_size=1,
)


@st.composite
def one_rule(draw: Any, rule_id: str, operator: str | None = None) -> RuleConfig | None:
    """A rule, None where its parts do not go together."""
    operator = operator or draw(st.sampled_from(sorted(OPERATORS)))
    more = draw(maybe("once", st.just(True))) | draw(maybe("keys_max", st.sampled_from([1, 2])))
    by = draw(st.sampled_from([None, None, "device", "none", "tag", "value"]))
    if operator == "sequence" and draw(st.booleans()):
        more["on_timeout"] = {}
    try:
        return rule(rule_id, by=by, only_if=draw(guards), **{operator: draw(OPERATORS[operator])}, **more)
    except ValueError:
        return None


FED = (
    {"hold": {"rule": "one", "above": 3, "for": "1s"}},
    {"count": {"rule": "one", "at_least": 2, "within": "4s"}},
    {"window": {"rule": "one", "tumbling": "2s", "of": {"n": "count", "last": "last"}}},
    {"absent": {"rule": "one", "for": "2s", "repeat": "1s"}},
    {"sequence": {"steps": [{"rule": "one"}, {"channel": "a/x"}], "within": "2s"}},
)


def rules(operator: str) -> st.SearchStrategy[list[RuleConfig]]:
    """One rule of this operator, one of any, and one that hears the first."""
    three = st.tuples(one_rule("one", operator), one_rule("two"), st.sampled_from(FED).map(lambda o: rule("fed", **o)))
    return three.filter(lambda listed: listed[0] is not None).map(lambda listed: [one for one in listed if one])
