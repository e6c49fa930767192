"""What a running gateway answers on its control socket: status, one reading, a reload, the live tail."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from gateway import __version__
from gateway.clock import NS_PER_S
from gateway.consumers.words import Standing
from gateway.control import Call, Stream
from gateway.errors import ConfigError, ControlError
from gateway.event import CloudEventEncoder, Event
from gateway.eventlog.consumers import letters_of
from gateway.health import (
    ConsumerState,
    GatewayState,
    LogState,
    SinkState,
    Snapshot,
    age_s,
    readings_document,
    status_document,
)
from gateway.ledger import Ledger
from gateway.log_answers import LogAnswers, Parts
from gateway.options import did_you_mean
from gateway.position import time_ns
from gateway.reload import refusal, report
from gateway.wearing import written_bytes

if TYPE_CHECKING:
    from gateway.app import Gateway

READ_TIMEOUT_MAX_S = 60.0


class Answers:
    """The operations of the control socket over one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        of_log = LogAnswers(self._parts)
        own: dict[str, Call] = {
            "status": self._status,
            "read": self._read,
            "reload": self._reload,
            "rules": self._rules,
        }
        self.calls: Mapping[str, Call] = {**own, **of_log.calls}
        self.streams: Mapping[str, Stream] = {"tail": self._tail, **of_log.streams}

    def _parts(self) -> Parts:
        gateway = self._gateway
        return Parts(gateway.config.gateway.id, gateway.log, gateway.consumers, gateway.clock)

    async def _status(self, args: dict[str, Any]) -> dict[str, Any]:
        del args
        return status_document(await self.snapshot())

    async def snapshot(self) -> Snapshot:
        """Everything that is shown of the gateway, as it is now."""
        gateway = self._gateway
        bounds = await gateway.log.bounds()
        log = LogState(
            str(gateway.log.path),
            bounds.first_offset,
            bounds.next_offset,
            bounds.bytes,
            bounds.bytes_max,
            bounds.oldest,
            bounds.newest,
            gateway.recorder.trouble or gateway.log.faults.shortage or gateway.log.faults.broken or "ok",
            gateway.recorder.pending,
            gateway.log.held,
            gateway.log.faults.missing(bounds.first_offset, bounds.next_offset),
            gateway.log.faults.cloned,
        )
        return Snapshot(
            self._gateway_state(),
            log,
            [await self._sink_state(sink_id) for sink_id in list(gateway.forwarders)],
            gateway.acquirer.states(),
            gateway.log.tally,
            gateway.acquirer.lateness_s,
            gateway.recorder.dropped_total,
            gateway.clock.synced(),
            written_bytes() or 0,
            gateway.wearing.state,
            await gateway.acting.states(),
            [await self._consumer_state(standing) for standing in gateway.consumers.standings()],
            gateway.detection.describe(gateway.clock.mono_ns(), keys=False),
        )

    def _gateway_state(self) -> GatewayState:
        gateway, config = self._gateway, self._gateway.config
        return GatewayState(
            config.gateway.id,
            __version__,
            os.getpid(),
            gateway.log.run,
            gateway.started_ns,
            (gateway.clock.mono_ns() - gateway.started_mono_ns) / NS_PER_S,
            gateway.simulated,
            str(config.files[0]) if config.files else "",
            config.hash,
            config.gateway.labels,
        )

    async def _sink_state(self, sink_id: str) -> SinkState:
        gateway, forwarder = self._gateway, self._gateway.forwarders[sink_id]
        (cursor, _, ledger), delivery = forwarder.cursor, forwarder.delivery
        waiting = (await gateway.log.read(cursor, 1)).events if cursor < gateway.log.next_offset else []
        lag_s = self._age_s(waiting[0]) if waiting else 0.0
        return SinkState(
            sink_id,
            forwarder.sink_name,
            delivery.connected,
            delivery.since_ns,
            cursor,
            lag_s,
            delivery.last_error or "",
            delivery.delivered,
            await gateway.log.dead_letters(sink_id),
            delivery.refused,
            delivery.connections,
            ledger or Ledger(cursor),
            gateway.log.faults.missing(cursor, gateway.log.next_offset),
        )

    async def _consumer_state(self, standing: Standing) -> ConsumerState:
        log, cursor = self._gateway.log, standing.next_offset
        waiting = (await log.read(cursor, 1)).events if cursor < log.next_offset else []
        return ConsumerState(
            standing.name,
            standing.attended,
            cursor,
            standing.lag_events,
            self._age_s(waiting[0]) if waiting else 0.0,
            standing.in_flight,
            standing.delivered,
            standing.redelivered,
            await log.dead_letters(letters_of(standing.name)),
            standing.spec.protect,
        )

    def _age_s(self, event: Event) -> float:
        clock = self._gateway.clock
        return age_s(event, boot=clock.boot_id, mono_ns=clock.mono_ns(), wall_ns=clock.wall_ns())

    async def _rules(self, args: dict[str, Any]) -> dict[str, Any]:
        """Every rule as it is, or the one that `rule` names; see `gateway.rules.describe`."""
        gateway, wanted = self._gateway, args.get("rule")
        known = [rule.id for rule in gateway.config.rules]
        if wanted is not None and wanted not in known:
            listed = f"rules are: {', '.join(known)}" if known else "the gateway has no rules"
            error = ControlError(f"there is no rule {wanted!r}{did_you_mean(str(wanted), known)}; {listed}")
            error.exit_code = 2
            raise error
        told = gateway.detection.describe(gateway.clock.mono_ns(), keys=True, rule_id=wanted)
        return {"gateway": gateway.config.gateway.id, **told}

    async def _read(self, args: dict[str, Any]) -> dict[str, Any]:
        device, timeout_s = args.get("device"), args.get("timeout_s", 10.0)
        if not isinstance(device, str) or not isinstance(timeout_s, (int, float)) or isinstance(timeout_s, bool):
            raise ControlError("read takes {device: text, timeout_s: number}")
        answer = await self._gateway.acquirer.read_once(device, min(float(timeout_s), READ_TIMEOUT_MAX_S))
        return readings_document(answer)

    async def _reload(self, args: dict[str, Any]) -> dict[str, Any]:
        """Every problem goes back to the asker, who shows it as `gateway check` would."""
        del args
        try:
            plan = await self._gateway.reloads.ask()
        except ConfigError as error:
            return refusal(error)
        return report(plan, self._gateway.config)

    async def _tail(self, args: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Events from an offset or a time on, and then each as it is committed. Holds nothing: the log is the queue."""
        log = self._gateway.log
        offset = await self._tail_start(args)
        encoder = CloudEventEncoder(self._gateway.config.gateway.id)
        previous = offset - 1 if offset > log.first_offset else None
        while True:
            page = await log.read(offset)
            if page.gap is not None:
                yield {"gap": list(page.gap)}
            for event in page.events:
                yield {"event": msgspec.to_builtins(encoder.envelope(event, previous))}
                previous = event.offset
            offset = page.next_offset
            await log.wait(offset)

    async def _tail_start(self, args: dict[str, Any]) -> int:
        start, since = args.get("from"), args.get("since")
        if start is not None and since is not None:
            raise ControlError("tail takes `from` or `since`, not both")
        if isinstance(start, int) and not isinstance(start, bool) and start >= 0:
            return max(start, 1)
        if start is not None:
            raise ControlError(f"from: found {start!r}, expected an offset: a whole number from 0")
        return self._gateway.log.next_offset if since is None else await self._gateway.log.offset_at(_time_ns(since))


def _time_ns(text: object) -> int:
    try:
        return time_ns(str(text))
    except ValueError as error:
        raise ControlError(f"since: {error}") from None
