"""`gateway rules status`, `backtest` and `explain` beside a gateway that runs, and after it stopped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gateway.cli import commands
from gateway.errors import GatewayError
from tests.app.test_rules import YAML
from tests.brokers import free_port
from tests.service import Service, wait_until

ACTIONS = YAML.replace(
    'do: [{log: "tank at {value}"}]',
    'do: [{log: "tank at {value}"}, {webhook: {url: "http://127.0.0.1:PORT/hook"}}]',
)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    file = tmp_path / "judge-pi.yaml"
    file.write_text(ACTIONS.replace("PORT", str(free_port())))
    service = Service(file, tmp_path).start()
    yield service
    if service.process is not None and service.process.poll() is None:
        service.kill()


def run(service: Service, *words: str, code: int = 0) -> str:
    """A command in this process, which spares the start of another."""
    done = CliRunner().invoke(commands, words, env=service.environ)
    error = done.exception
    assert error is None or isinstance(error, (GatewayError, SystemExit)), done.exc_info
    assert (error.exit_code if isinstance(error, GatewayError) else done.exit_code) == code, done.output
    return str(error) if isinstance(error, GatewayError) else done.stdout


def asked(service: Service, *words: str) -> Any:
    return json.loads(run(service, "rules", *words, "--json"))


def test_the_three_tools_beside_a_gateway_that_runs_and_without_one(service: Service) -> None:
    def fired() -> Any:
        told = asked(service, "status")
        return told if all(rule["derived"] for rule in told["rules"] if rule["id"] in {"high", "often"}) else None

    told = wait_until(fired, 20, "rules that fire")
    by_id = {rule["id"]: rule for rule in told["rules"]}
    assert {rule["state"] for rule in told["rules"]} == {"in force"}
    (quiet,) = by_id["quiet"]["shown"]
    assert (quiet["key"], quiet["state"], quiet["then"]) == ("tank/level", "heard", "raised")
    assert 55 < quiet["due_in_s"] <= 60
    assert by_id["slow"]["shown"][0]["then"] == "window"
    assert [rule["id"] for rule in asked(service, "status", "often")["rules"]] == ["often"]
    assert "there is no rule 'oftn' (did you mean 'often'?)" in run(service, "rules", "status", "oftn", code=2)
    page = run(service, "rules", "status")
    assert page.startswith("judge-pi  5 rules: 5 in force\n")
    assert "nothing of tank/level for 1m" in page

    def backlog() -> Any:
        actions = {action["action"]: action for action in service.status()["actions"]}
        return actions if actions["webhook"]["last_error"] else None

    actions = wait_until(backlog, 10, "a webhook that is not there")
    assert actions["webhook"]["name"] == "rule/high/do/webhook"
    assert actions["webhook"]["waits"]["type"] == "rule.raised"
    assert actions["webhook"]["lag_events"] > 0
    assert (actions["log"]["done"] > 0, actions["log"]["dead_letters"]) == (True, 0)

    run(service, "consume", "mine", "--from", "earliest", "--count", "3", "--json", "--gateway", service.id)
    (mine,) = service.status()["consumers"]
    assert (mine["name"], mine["cursor"] <= 4) == ("mine", True)
    assert mine["lag_events"] > 0
    assert mine["lag_s"] > 0

    tested = asked(service, "backtest")
    beside = {rule["id"]: (rule["fired"] > 0, rule["only_now"], rule["only_recorded"]) for rule in tested["rules"]}
    assert tested["channels_known"], "the file of the running gateway was found"
    assert beside["high"] == beside["often"] == (True, 0, 0)
    often = next(rule for rule in tested["rules"] if rule["id"] == "often")["firings"][-1]["id"]
    why = asked(service, "explain", often)
    assert why["asked"] == "2 events of rule high (rule.raised) within 5s"
    assert [one["subject"] for one in why["events"]] == ["rule/high", "rule/high"]
    roots = [one["why"]["events"] for one in why["events"]]
    assert all(root[0]["subject"] == "tank/level" and root[0]["part"] == "cause" for root in roots)
    assert all(root[0]["value"] > 8 for root in roots)

    service.stop()
    service.environ["GATEWAY_CONFIG"] = str(service.file)
    alone = asked(service, "backtest", "high", "--to", str(tested["next_offset"]))
    (rule,) = [rule for rule in tested["rules"] if rule["id"] == "high"]
    assert alone["rules"][0]["firings"] == rule["firings"]
    assert asked(service, "explain", often.rpartition("-")[2]) == why
    assert "no gateway is running" in run(service, "rules", "status", code=1)

    before = service.accepted()
    service.file.write_text(service.file.read_text().replace("above: 8, clear_below: 6", "above: 11, clear_below: 6"))
    shown = run(service, "rules", "backtest", "high", "--config", str(service.file))
    assert "high  would not have fired; the log has it" in shown
    assert "only in it (" in shown
    assert service.accepted() == before, "nothing was written"
