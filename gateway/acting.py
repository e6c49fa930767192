"""What rules do in a running gateway: its actions, with everything they need of its other parts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from random import Random
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from gateway.health import ActionState, age_s

if TYPE_CHECKING:
    from gateway.action import Duty
    from gateway.actions import Actions
    from gateway.actions.actions import Consumer
    from gateway.app import Gateway
    from gateway.rules.model import RuleConfig
    from gateway.sink import Publisher

WAITING_EVENTS_MAX = 500
"""How far behind the cursor of an action what waits for it is looked for."""

Begin = Callable[[str, Coroutine[Any, Any, None]], asyncio.Task[None]]


class Acting:
    """The actions of a gateway. Without any there is nothing of them in memory."""

    def __init__(self, gateway: Gateway, begin: Begin, random: Random, *, rehearsal: bool) -> None:
        """With `rehearsal` they say what they would do outside, and do nothing."""
        self._gateway, self._begin, self._random, self._rehearsal = gateway, begin, random, rehearsal
        self._actions: Actions | None = None

    @property
    def consumers(self) -> Mapping[str, Consumer]:
        """Name -> who moves the log to that action."""
        return MappingProxyType({}) if self._actions is None else self._actions

    async def begin(self) -> None:
        """Have the actions of the configuration in force, and no others; after its sinks and devices have begun."""
        config = self._gateway.config
        if not config.rules and self._actions is None:
            return
        from gateway.config.do import outputs_of  # noqa: PLC0415 - see above

        self._actions = self._actions or self._made()
        await self._actions.have(duties_of(config.rules), outputs_of(config.devices), config.notify)

    async def states(self) -> list[ActionState]:
        """How each of them is doing."""
        return [] if self._actions is None else [await self._state(name) for name in list(self._actions)]

    async def _state(self, name: str) -> ActionState:
        assert self._actions is not None, "its names were asked for"
        log, clock, consumer = self._gateway.log, self._gateway.clock, self._actions[name]
        cursor, delivery = consumer.cursor.next_offset, consumer.delivery
        wanted = self._actions.wants(name)
        looked_at = (await log.read(cursor, WAITING_EVENTS_MAX, selection=wanted)).events
        waits = next(filter(wanted.selects, looked_at), None)
        lag_s = (
            0.0 if waits is None else age_s(waits, boot=clock.boot_id, mono_ns=clock.mono_ns(), wall_ns=clock.wall_ns())
        )
        return ActionState(
            name,
            consumer.sink_name,
            delivery.connected,
            delivery.since_ns,
            cursor,
            waits,
            lag_s,
            delivery.last_error or "",
            delivery.delivered,
            delivery.refused,
            await log.dead_letters(name),
            log.faults.missing(cursor, log.next_offset),
        )

    async def drain(self, timeout_s: float) -> None:
        """Do what is in the log as far as that is possible in this time, and end."""
        if self._actions is not None:
            await self._actions.drain(timeout_s)

    def _made(self) -> Actions:
        from gateway.actions import Actions, Surroundings  # noqa: PLC0415 - see above

        gateway = self._gateway
        around = Surroundings(
            log=gateway.log,
            recorder=gateway.recorder,
            clock=gateway.clock,
            random=self._random,
            gateway_id=gateway.config.gateway.id,
            publisher=self._publisher,
            command=gateway.acquirer.command,
            is_simulated=gateway.acquirer.is_simulated,
            raised=gateway.detection.raised,
            rehearsal=self._rehearsal,
        )
        return Actions(around, self._begin)

    def _publisher(self, sink_id: str | None) -> Publisher | None:
        for sink in self._gateway.config.sinks:
            if sink_id in {None, sink.id} and sink.sink.publishes:
                return cast("Publisher", self._gateway.forwarders[sink.id].destination)
        return None


def duties_of(rules: Iterable[RuleConfig]) -> list[Duty]:
    from gateway.action import duties  # noqa: PLC0415 - as above

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
