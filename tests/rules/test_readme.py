"""The language reference says what the code does: its tables, its examples, its bounds."""

from __future__ import annotations

import re

import pytest

import gateway.rules
from gateway.cli.explain_page import SHOWN_MAX
from gateway.cli.rules_backtest import WARM_UP_MIN_S
from gateway.config.findings import Findings
from gateway.config.rules import read_rules
from gateway.config.schema import describe
from gateway.config.yaml import read_document
from gateway.event import EVENT_TYPES
from gateway.rules import cel, guards, words
from gateway.rules.describe import KEYS_LOOKED_AT, KEYS_SHOWN
from gateway.rules.explain import NODES_MAX
from gateway.rules.graph import DEPTH_MAX
from gateway.rules.model import EmitConfig, GuardConfig, RuleConfig, TimeOfDay, TimeoutConfig
from gateway.rules.operator_model import (
    AbsentConfig,
    CountConfig,
    HoldConfig,
    Hopping,
    RateConfig,
    Session,
    When,
    WindowConfig,
)
from gateway.rules.rule import MATCHED_MAX
from gateway.rules.select_model import Predicates, Selector, Source
from gateway.rules.sequence_model import Comparison, SequenceConfig, StepConfig
from gateway.rules.trial import TOGETHER_NS
from tests.pages import page_of, tables_of

PAGE = page_of(gateway.rules)
TABLES = tables_of(PAGE)
MODELS = (
    (RuleConfig, None),
    (Selector, None),
    (When, None),
    (HoldConfig, Predicates),
    (CountConfig, Selector),
    (WindowConfig, Selector),
    (Hopping, None),
    (Session, None),
    (RateConfig, Source),
    (AbsentConfig, Selector),
    (SequenceConfig, None),
    (StepConfig, Selector),
    (Comparison, None),
    (GuardConfig, Predicates),
    (TimeOfDay, None),
    (EmitConfig, None),
    (TimeoutConfig, None),
)


@pytest.mark.parametrize(
    ("model", "shared", "table"),
    [(model, shared, table) for (model, shared), table in zip(MODELS, TABLES, strict=True)],
    ids=[model.__name__ for model, _ in MODELS],
)
def test_each_table_has_the_models_keys_defaults_and_meanings(model, shared, table):
    assert table == rows(model, shared)


def rows(model, shared):
    """Key -> (default, meaning) of what the model has beside the keys of `shared`, or says differently."""
    schema = describe(model)
    common = {} if shared is None else describe(shared)["properties"]
    return {
        key: (default_of(key, wanted, schema.get("required", [])), wanted["description"])
        for key, wanted in schema["properties"].items()
        if key not in common or wanted["description"] != common[key]["description"]
    }


def default_of(key, wanted, required):
    if key in required:
        return "required"
    default = wanted.get("default")
    if default in (None, [], [1, 1], (1, 1)):
        return ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


@pytest.mark.parametrize("yaml", re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
def test_every_example_is_right(yaml):
    if "expr:" in yaml:
        pytest.importorskip("cel_expr_python")
    document = read_document(yaml, "example.yaml", lambda name: None)
    findings = Findings(document)
    assert read_rules(findings, document.root)
    findings.raise_if_wrong()


def test_the_bounds_on_the_page_are_those_of_the_code():
    for sentence in (
        f"at most {words.KEYS_MAX} keys",
        f"{words.SAMPLES_MAX} samples",
        f"{words.PARTIALS_MAX} open attempts",
        f"{words.PANES_MAX} windows",
        f"{words.STEPS_MAX} steps",
        f"{DEPTH_MAX} rules deep",
        f"{MATCHED_MAX} ids",
        f"{guards.SUBJECTS_MAX} subjects",
        f"at most {KEYS_SHOWN} keys are shown",
        f"from {KEYS_LOOKED_AT} keys, the {KEYS_LOOKED_AT // 2} that are due first",
        f"within {TOGETHER_NS // 1_000_000} ms",
        f"at most {NODES_MAX} in all",
        f"in between: at most {SHOWN_MAX}",
        f"at least {WARM_UP_MIN_S / 60:g} m",
    ):
        assert sentence in " ".join(PAGE.split()), sentence


def test_every_type_that_rules_derive_is_on_the_page():
    assert [kind for kind in EVENT_TYPES if kind.startswith("rule.") and f"`{kind}`" not in PAGE] == []


def test_every_name_that_an_expression_knows_is_on_the_page():
    assert f"`{' '.join(cel.EVENT_NAMES)}`" in PAGE
