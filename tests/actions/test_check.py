"""What is wrong with an action stands at its place in the file."""

from __future__ import annotations

import pytest

from gateway.action import ActionConfig
from gateway.config import parse_config
from gateway.config.do import check_actions, outputs_of, publishers_of
from gateway.config.findings import Findings
from gateway.config.nodes import Place
from gateway.config.yaml import Document
from gateway.errors import ConfigError
from gateway.plugins import Plugins

YAML = """
gateway: {id: pi}
devices:
  - {id: pump, driver: output, pin: 23}
  - {id: button, driver: button, pin: 24}
sinks:
  - {id: paper, sink: console}
  - {id: home, sink: mqtt, url: 'mqtt://127.0.0.1'}
buffer: {path: a.db}
"""


def test_every_problem_of_a_rules_actions_is_found_with_its_place() -> None:
    config = parse_config(YAML, "gateway.yaml", Plugins())
    assert list(outputs_of(config.devices)) == ["pump"]
    assert publishers_of(config.sinks) == ["home"]
    written = [{"output": "pmup", "set": "on"}, {"publish": {"topic": "a", "sink": "paper"}}, {"log": "{valeu}"}]
    actions = [ActionConfig.model_validate(one) for one in written]
    findings = Findings(Document())
    check_actions(
        findings,
        {"do": actions, "on_cleared": [actions[2]]},
        lambda phase, index, key: (Place("rules.yaml", index + 1, 3), ("rules", 0, phase, index, key)),
        operator="hold",
        further=["zone"],
        devices=config.devices,
        sinks=config.sinks,
        notifier=False,
    )
    with pytest.raises(ConfigError) as caught:
        findings.raise_if_wrong()
    said = [str(problem) for problem in caught.value.problems]
    assert len(said) == 4
    assert any("rules.yaml:1:3 rules[0].do[0].output: no output 'pmup' (did you mean 'pump'?)" in one for one in said)
    assert any("rules[0].do[1].publish: no sink 'paper' publishes" in one for one in said)
    assert any("rules[0].on_cleared[0].log: no event of this rule has {valeu}" in one for one in said)
