"""One event as a reader gets it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from gateway.event import TYPE_PREFIX, TYPE_SUFFIX, Quality, Value, sequence


class Settle(Protocol):
    """How an event is answered for: ('acks', offset), ('naks', [offset, seconds]), ('rejects', [offset, reason])."""

    async def __call__(self, verdict: str, answer: object) -> None: ...


@dataclass(frozen=True, slots=True)
class Received:
    """One event as a reader gets it: a CloudEvent (`cloudevent`), and its parts by name.

    `deliveries` counts how often this consumer was given the event; 0 for one that was only looked at. A gap in the log
    comes as an event of the type `log.gap` with an empty `id`, whose `data` names the first and last sequence that are
    no more; it needs no acknowledgement.
    """

    cloudevent: dict[str, Any]
    deliveries: int = 0
    _settle: Settle | None = field(default=None, repr=False, compare=False)

    @property
    def id(self) -> str:
        """Equal ids are always the same event."""
        return str(self.cloudevent["id"])

    @property
    def type(self) -> str:
        """Without prefix and version: `reading`, `state`, `input`, `device.unavailable`, ..."""
        return str(self.cloudevent["type"]).removeprefix(TYPE_PREFIX).removesuffix(TYPE_SUFFIX)

    @property
    def subject(self) -> str:
        """`<device>/<channel>`, `<device>`, `sink/<id>` or `gateway`."""
        return str(self.cloudevent["subject"])

    @property
    def time(self) -> datetime:
        """When it happened, UTC."""
        return datetime.fromisoformat(self.cloudevent["time"])

    @property
    def recorded(self) -> datetime:
        """When it was committed to the log, UTC."""
        return datetime.fromisoformat(self.cloudevent["recordedtime"])

    @property
    def offset(self) -> int:
        """Its place in the log."""
        return int(self.cloudevent["sequence"])

    @property
    def previous(self) -> int | None:
        """The offset of the event before it in this consumer's selection; None where there is none."""
        previous = self.cloudevent.get("previous")
        return None if previous is None else int(previous)

    @property
    def value(self) -> Value:
        """None for a bad reading, and for events without a value."""
        value: Value = self.cloudevent["data"].get("value")
        return value

    @property
    def unit(self) -> str | None:
        """SenML's name of the unit: `Cel`, `%RH`, `Pa`, ..."""
        unit: str | None = self.cloudevent["data"].get("unit")
        return unit

    @property
    def quality(self) -> Quality | None:
        quality: Quality | None = self.cloudevent["data"].get("quality")
        return quality

    @property
    def reason(self) -> str:
        return str(self.cloudevent["data"].get("reason", ""))

    @property
    def data(self) -> dict[str, Any]:
        """Everything that the event says, as CloudEvents' `data`."""
        data: dict[str, Any] = self.cloudevent["data"]
        return data

    async def ack(self) -> None:
        """It is dealt with. With `ack="cursor"` everything before it is, too."""
        await self._answer("acks", self.offset)

    async def nak(self, wait_s: float | None = None) -> None:
        """Give it again: after the consumer's back-off, or after `wait_s` seconds. Needs `ack="each"`."""
        await self._answer("naks", [self.offset, wait_s])

    async def reject(self, reason: str) -> None:
        """Give it up: it goes to the consumer's dead letters, and an `event.refused` names it. Needs `ack="each"`."""
        await self._answer("rejects", [self.offset, reason])

    async def _answer(self, verdict: str, answer: object) -> None:
        if self._settle is None:
            raise RuntimeError("this event was only looked at: what `consume` gives can be acknowledged")
        await self._settle(verdict, answer)


def gap_event(first: int, last: int, settle: Settle | None = None) -> Received:
    """What stands for events that the log holds no more."""
    told = {"first": sequence(first), "last": sequence(last), "count": last - first + 1, "reason": "trimmed"}
    return Received(
        {
            "specversion": "1.0",
            "id": "",
            "type": f"{TYPE_PREFIX}log.gap{TYPE_SUFFIX}",
            "subject": "gateway",
            "time": "1970-01-01T00:00:00.000000Z",
            "recordedtime": "1970-01-01T00:00:00.000000Z",
            "sequence": sequence(last),
            "datacontenttype": "application/json",
            "data": told,
        },
        _settle=settle,
    )
