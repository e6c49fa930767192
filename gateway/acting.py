"""What rules do in a running gateway: its actions, with everything they need of its other parts."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import TYPE_CHECKING, cast

from gateway.action import Duty, duties
from gateway.actions import Actions, Surroundings
from gateway.config.do import outputs_of
from gateway.rules.model import RuleConfig
from gateway.sink import Publisher

if TYPE_CHECKING:
    from gateway.app import Gateway
    from gateway.forwarders import Begin


def actions_of(gateway: Gateway, begin: Begin, random: Random, *, rehearsal: bool) -> Actions:
    """The actions of a gateway, none of them begun. With `rehearsal` they say what they would do outside."""

    def publisher(sink_id: str | None) -> Publisher | None:
        for sink in gateway.config.sinks:
            if sink_id in {None, sink.id} and sink.sink.publishes:
                return cast("Publisher", gateway.forwarders[sink.id].destination)
        return None

    around = Surroundings(
        log=gateway.log,
        recorder=gateway.recorder,
        clock=gateway.clock,
        random=random,
        gateway_id=gateway.config.gateway.id,
        publisher=publisher,
        command=gateway.acquirer.command,
        is_simulated=gateway.acquirer.is_simulated,
        raised=gateway.detection.raised,
        rehearsal=rehearsal,
    )
    return Actions(around, begin)


async def act(gateway: Gateway) -> None:
    """Have the actions of the configuration in force, and no others; after its sinks and devices have begun."""
    config = gateway.config
    await gateway.actions.have(duties_of(config.rules), outputs_of(config.devices), config.notify)


def duties_of(rules: Iterable[RuleConfig]) -> list[Duty]:
    return [
        duty
        for rule in rules
        for duty in duties(
            rule.id,
            {
                "do": rule.do,
                "on_cleared": rule.on_cleared,
                "on_timeout": rule.on_timeout.do if rule.on_timeout is not None else [],
            },
        )
    ]
