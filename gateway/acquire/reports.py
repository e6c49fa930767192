"""What one device has to say, as events: its readings, that it is there or gone, and how much of it was lost.

Kept here, on the loop's side, is what such a word depends on: the filters of its channels, what was dropped and not yet
told, and what was said already and is not said again. When it is time to say something `Device` decides.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from gateway.config.model import DeviceConfig
from gateway.event import Event, Reading
from gateway.normalize import Instant, Normalizer
from gateway.supervise import Gap

REMOVED: Final = "removed from the configuration"

_log = logging.getLogger("gateway.acquire")


@dataclass(frozen=True, slots=True)
class DeviceState:
    """What `gateway status` tells of a device.

    `available` is None until it answered or failed, and `reason` says why it is unavailable. `since_ns` (UTC) is when
    that changed last, `last_ns` (UTC) when its last reading came. `readings` and `failures` count since the start.
    """

    id: str
    driver: str
    available: bool | None
    since_ns: int
    reason: str
    readings: int
    failures: int
    last_ns: int | None
    simulated: bool


class Reports:
    """The events of one device. `since_ns` (UTC) is when its availability changed last, at first the time of its start.

    `heartbeats`: channels that said nothing for long are reported again; who is read on a schedule needs none.
    """

    def __init__(self, config: DeviceConfig, *, simulated: bool, heartbeats: bool, since_ns: int) -> None:
        self._config, self._simulated, self._beats = config, simulated, heartbeats
        self._normalizer = Normalizer(config, simulated=simulated)
        self._gap = Gap()
        self._said_bug = self._said_rejected = False
        self.since_ns = since_ns
        self.last_ns: int | None = None
        self.readings = 0

    def inherit(self, former: Reports) -> None:
        """Go on with the filters of the device that had this id before, where both look at the same thing."""
        old, new = former._config, self._config
        if (old.driver, old.options, old.simulate) == (new.driver, new.options, new.simulate):
            self._normalizer.inherit(former._normalizer)

    @property
    def due_ns(self) -> int | None:
        """When there is something to say without a word from the device (boot clock): a heartbeat, or a gap."""
        heartbeat_ns = self._normalizer.heartbeat_due_ns() if self._beats else None
        return min((ns for ns in (heartbeat_ns, self._gap.due_ns) if ns is not None), default=None)

    # -- readings -----------------------------------------------------------------------------------------------------

    def events(
        self, readings: Sequence[Reading], dropped: int, now: Instant, *, cause: str = "", reason: str = ""
    ) -> list[Event]:
        """The events of these readings, behind what tells that `dropped` others before them were lost."""
        self.readings += len(readings)
        self.last_ns = now.wall_ns if readings else self.last_ns
        normalized = self._normalizer(readings, now)
        if cause or reason:
            normalized = [msgspec.structs.replace(e, cause=cause, reason=reason or e.reason) for e in normalized]
        self._gap.add(dropped + self._normalizer.take_dropped())
        events = [*self.gaps(now), *normalized]
        if self._normalizer.rejected and not self._said_rejected:
            self._said_rejected = True
            _log.warning(
                "device %s: driver %s reports channel %r, which it did not declare; such readings are left out",
                self._config.id,
                self._config.driver.name,
                self._normalizer.rejected_channel,
            )
        return events

    def heartbeats(self, now: Instant) -> list[Event]:
        return self._normalizer.heartbeats(now) if self._beats else []

    def gaps(self, now: Instant, *, last: bool = False) -> list[Event]:
        """What was dropped, where that is due; `last`: all of it."""
        count = self._gap.take(now.mono_ns, last=last)
        if not count:
            return []
        data = {"device": self._config.id, "count": count}
        return [self._event("log.gap", "gateway", now, "overload", data)]

    # -- availability -------------------------------------------------------------------------------------------------

    def available(self, now: Instant) -> Event:
        self.since_ns = now.wall_ns
        self._said_bug = False
        _log.info("device %s is available", self._config.id)
        return self._event("device.available", self._config.id, now)

    def unavailable(self, now: Instant, reason: str) -> Event:
        """It is gone. What comes when it is back is compared with nothing from before."""
        self.since_ns = now.wall_ns
        self._normalizer.forget()
        _log.warning("device %s is unavailable: %s", self._config.id, reason)
        return self._event("device.unavailable", self._config.id, now, reason)

    def removed(self, now: Instant) -> Event:
        _log.info("device %s is removed", self._config.id)
        return self._event("device.unavailable", self._config.id, now, REMOVED)

    def bug(self, error: BaseException) -> None:
        """Its driver raised what no driver should: the log of the program shows where, once until it works again."""
        if not self._said_bug:
            self._said_bug = True
            _log.error("device %s: driver %s has a bug", self._config.id, self._config.driver.name, exc_info=error)

    def _event(
        self, kind: str, subject: str, now: Instant, reason: str = "", data: dict[str, object] | None = None
    ) -> Event:
        return Event(
            kind,
            subject,
            now.wall_ns,
            now.mono_ns,
            reason=reason,
            data=data or {},
            synced=now.synced,
            simulated=self._simulated,
        )
