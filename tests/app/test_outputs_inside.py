"""Outputs in a whole gateway: commands become events, retained state, and the picture of the next start."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.acquire import TOGGLE
from gateway.app import Gateway
from gateway.config import parse_config
from gateway.errors import DeviceError
from gateway.event import Event
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


RULED = YAML.replace(
    "sinks: []",
    """  - {id: tank, driver: signal, every: 20ms, signals: {level: {quantity: load, constant: 9}}}
sinks: []
rules:
  - id: hot
    when: {hold: {channel: tank/level, above: 8}}
    do: [{output: pump, pulse: 50ms}, {output: lamp, set: 40 %}]
""",
)


def gateway(folder: Path, text: str = YAML) -> Gateway:
    config = parse_config(text.replace("LOG", str(folder / "pi.db")), "gateway.yaml", Plugins(), simulate=True)
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
    committed: list[Event] = []
    async with gateway(tmp_path, RULED) as running:
        running.recorder.watch(committed.extend)

        def told() -> list[tuple[str, object]]:
            raised = [event.id for event in committed if event.type == "rule.raised"]
            return sorted((event.subject, event.value) for event in committed if raised and event.cause == raised[0])

        await until(lambda: told() == [("lamp/duty", 0.4), ("pump/on", False), ("pump/on", True)])
