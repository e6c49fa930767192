"""Outputs in a whole gateway: commands become events, retained state, and the picture of the next start."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import pytest

from gateway.acquire import TOGGLE
from gateway.action import ActionConfig, duties
from gateway.actions import Actions, Surroundings
from gateway.app import Gateway
from gateway.config import parse_config
from gateway.config.do import outputs_of
from gateway.errors import DeviceError
from gateway.plugins import Plugins
from tests.spine.conftest import until

YAML = """
gateway: {id: pi}
devices:
  - {id: pump, driver: output, pin: 23}
  - {id: lamp, driver: pwm, pin: 12}
  - {id: siren, driver: buzzer, pin: 24, beep: 50ms}
sinks: []
buffer: {path: LOG}
"""


def gateway(folder: Path) -> Gateway:
    config = parse_config(YAML.replace("LOG", str(folder / "pi.db")), "gateway.yaml", Plugins(), simulate=True)
    return Gateway(config, simulate=True)


def shown(running: Gateway) -> dict[str, object]:
    return {event.subject: event.value for event in running.latest.values()}


async def test_a_command_is_an_event_and_state_that_lasts_until_the_stop(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    async with gateway(tmp_path) as running:
        await until(lambda: shown(running) == {"pump/on": False, "lamp/duty": 0.0, "siren/on": False})
        assert await running.acquirer.command("pump", "on", TOGGLE, cause="x-1") is True
        assert await running.acquirer.command("lamp", "duty", 0.3) == 0.3
        await until(lambda: shown(running) == {"pump/on": True, "lamp/duty": 0.3, "siren/on": False})
        with pytest.raises(DeviceError, match="expected a number from 0 to 1"):
            await running.acquirer.command("lamp", "duty", 3.0)
        page = await running.log.read(running.log.first_offset)
        (changed,) = [event for event in page.events if event.subject == "pump/on" and event.value]
        assert (changed.type, changed.cause, changed.simulated) == ("output.changed", "x-1", True)
        assert running.acquirer.is_simulated("pump")
    async with gateway(tmp_path) as again:
        page = await again.log.read(again.log.first_offset)
        safe = [event for event in page.events if event.subject == "pump/on" and event.reason == "stop"]
        assert [event.value for event in safe] == [False]
        stopped = next(event for event in page.events if event.type == "gateway.stopped")
        assert safe[0].offset < stopped.offset


async def test_what_a_rule_says_reaches_the_pin_and_comes_back_as_an_event(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    async with gateway(tmp_path) as running:
        around = Surroundings(
            log=running.log,
            recorder=running.recorder,
            clock=running.clock,
            random=Random(1),
            gateway_id=running.config.gateway.id,
            publisher=lambda _: None,
            command=running.acquirer.command,
            is_simulated=running.acquirer.is_simulated,
            raised=lambda _: None,
            rehearsal=True,
        )
        actions = Actions(around, running._tasks.begin)
        written = [{"output": "pump", "pulse": "50ms"}, {"output": "lamp", "set": "40 %"}]
        await actions.have(
            duties("hot", {"do": [ActionConfig.model_validate(one) for one in written]}),
            outputs_of(running.config.devices),
        )
        running.recorder.note("rule.raised", {"name": "hot"}, about="rule/hot")
        await until(lambda: shown(running).get("lamp/duty") == 0.4)

        async def told() -> list[tuple[str, object]]:
            events = (await running.log.read(running.log.first_offset)).events
            raised = next(event for event in events if event.type == "rule.raised")
            caused = [event for event in events if event.cause == raised.id]
            return sorted((event.subject, event.value) for event in caused)

        expected = [("lamp/duty", 0.4), ("pump/on", False), ("pump/on", True)]
        for _ in range(200):
            if await told() == expected:
                break
            await asyncio.sleep(0.01)
        assert await told() == expected
        await actions.drain(1.0)
