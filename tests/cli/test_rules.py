"""`gateway rules`: what is shown, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.cli import commands

CONFIG = Path(__file__).parents[2] / "config"
RULES = """
- {id: hot, when: {hold: {channel: a/x, above: 30, for: 10s}}}
- {id: many, when: {count: {channel: "*/x", at_least: 3, within: 10s}}}
"""
CASES = """
rules: rules.yaml
cases:
  - {name: it is hot, rule: hot, series: {a/x: 31@0s}, until: 20s, expect: raised@10s}
  - {name: it is cold, rule: hot, series: {a/x: 31@0s}, until: 20s, expect: [raised@11s value=31]}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "rules.yaml").write_text(RULES)
    (tmp_path / "cases.yaml").write_text(CASES)
    return tmp_path


def ran(*arguments):
    result = CliRunner().invoke(commands, ["rules", *map(str, arguments)])
    return result.exit_code, result.output


def test_check_lists_the_rules_and_what_they_can_hold(folder):
    code, shown = ran("check", folder / "rules.yaml")
    assert code == 0
    assert shown.splitlines()[:4] == [
        "2 rules  ok",
        "  RULE  OPERATOR  BY       KEYS    A KEY  AT WORST",
        "  hot   hold      channel     1    900 B     900 B",
        "  many  count     channel  1000  1.24 kB   1.24 MB",
    ]


def test_check_as_json(folder):
    code, shown = ran("check", "--json", folder / "rules.yaml")
    found = json.loads(shown)
    assert (code, found["ok"], [rule["id"] for rule in found["rules"]]) == (0, True, ["hot", "many"])
    assert found["bytes_max"] == sum(rule["bytes_max"] for rule in found["rules"])


def test_check_shows_each_problem_at_its_line(folder):
    (folder / "rules.yaml").write_text("- {id: hot, when: {hold: {channel: a/x, abov: 30}}}\n")
    code, shown = ran("check", folder / "rules.yaml")
    assert code == 2
    assert "rules.yaml:1:41 [0].when.hold.abov: unknown key 'abov' (did you mean 'above'?)" in shown
    assert "1 problem: this configuration cannot be used" in shown


def test_check_takes_a_whole_configuration_and_looks_up_its_channels(folder):
    (folder / "gateway.yaml").write_text("gateway: {id: g}\nrules: !include rules.yaml\n")
    code, shown = ran("check", folder / "gateway.yaml")
    assert code == 2
    assert "there is no channel 'a/x'" in shown


def test_test_says_which_cases_hold_and_what_the_others_said(folder):
    code, shown = ran("test", folder / "cases.yaml")
    assert (code, shown.splitlines()) == (
        1,
        [
            "ok      it is hot",
            "failed  it is cold",
            "        - raised@11s value=31  expected",
            "        + raised@10s value=31  said",
            "",
            "1 of 2 cases failed",
        ],
    )


def test_test_plays_chosen_cases(folder):
    code, shown = ran("test", folder / "cases.yaml", "-k", "hot")
    assert (code, shown.splitlines()[-1]) == (0, "1 case, all hold")
    assert ran("test", folder / "cases.yaml", "-k", "nothing")[0] == 1


def test_test_as_json(folder):
    code, shown = ran("test", "--json", folder / "cases.yaml")
    assert (code, [row["holds"] for row in json.loads(shown)]) == (1, [True, False])


def test_the_cases_that_we_ship_hold():
    code, shown = ran("test", CONFIG / "rules.cases.yaml")
    assert (code, shown.splitlines()[-1]) == (0, "11 cases, all hold")


def test_cases_without_rules_say_what_to_do(folder):
    (folder / "cases.yaml").write_text("cases: []\n")
    result = CliRunner().invoke(commands, ["rules", "test", str(folder / "cases.yaml")])
    assert "write `rules: FILE` in it, or give --rules FILE" in str(result.exception)


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("{name: x, expect: rised@3s}", "cases[0].expect: found 'rised@3s', expected KIND@TIME such as raised@5.8s"),
        ("{name: x, series: {a/x: 3}, expect: []}", "cases[0].series.'a/x': found 3, expected a mapping"),
        ("{name: x, series: {a/x: 31@}, expect: []}", "cases[0].series.'a/x': found '31@', expected a duration"),
        ("{name: x, rule: cold, expect: []}", "there is no rule 'cold'; rules are: hot, many"),
    ],
)
def test_a_case_that_cannot_be_played_is_named_with_its_place(folder, case, message):
    (folder / "cases.yaml").write_text(f"rules: rules.yaml\ncases:\n- {case}\n")
    code, shown = ran("test", folder / "cases.yaml")
    assert code == 2
    assert "cases.yaml:3:" in shown
    assert message in shown.replace('"', ""), shown
