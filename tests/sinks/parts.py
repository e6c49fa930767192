"""What the tests of the sinks share: events, an ear, and a gateway's picture of what is true."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from gateway.event import Event, Value
from gateway.present import Latest
from gateway.sink import Identity, Outgoing, Session
from gateway.sinks.mqtt import MqttSink
from gateway.sinks.mqtt_options import MqttOptions

RUN = "5f0c9a31d2e47b88"
WALL_NS = 1_795_419_136_125_000_000


def event(subject: str, value: Value = None, *, type: str = "reading", offset: int = 1, **fields: Any) -> Event:  # noqa: A002 - the event's own word
    known = {"unit": "Cel", "quality": "good"} if type == "reading" else {}
    return Event(
        type, subject, WALL_NS + offset, offset, value, offset=offset, recorded=WALL_NS + offset, run=RUN,
        **{**known, **fields},
    )  # fmt: skip


def outgoing(offset: int, value: Value = 21.5, subject: str = "air/temperature") -> Outgoing:
    return Outgoing(event(subject, value, offset=offset), offset - 1 if offset > 1 else None)


class Heard:
    """A `Report` that notes and lets a test wait."""

    def __init__(self) -> None:
        self.settlements: list[tuple[int, str, str]] = []
        self.losses: list[tuple[str, float | None]] = []
        self.unrelated = False
        self._news = asyncio.Event()

    def settled(self, offset: int, verdict: str, reason: str = "") -> None:
        self.settlements.append((offset, verdict, reason))
        self._news.set()

    def lost(self, reason: str, retry_after_s: float | None = None, *, unrelated: bool = False) -> None:
        self.unrelated = unrelated
        self.losses.append((reason, retry_after_s))
        self._news.set()

    async def until(self, condition: Callable[[], bool], within_s: float = 5.0) -> None:
        async with asyncio.timeout(within_s):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def until_count(self, count: int) -> None:
        await self.until(lambda: len(self.settlements) >= count)

    @property
    def verdicts(self) -> dict[int, str]:
        return {offset: verdict for offset, verdict, _ in self.settlements}


def present(**birth: Any) -> Latest:
    return Latest(lambda: birth or {"version": "0.1.0"})


def mqtt(port: int, gateway_id: str, picture: Latest | None = None, *, probe: bool = False, **options: Any) -> MqttSink:
    parsed = MqttOptions.model_validate({"url": f"mqtt://127.0.0.1:{port}", **options})
    return MqttSink.create(parsed, Identity(gateway_id, RUN, picture or present(), probe))


@asynccontextmanager
async def connected(sink: MqttSink) -> AsyncIterator[tuple[Session, Heard]]:
    heard = Heard()
    async with asyncio.timeout(5):
        session = await sink.connect(heard)
    try:
        yield session, heard
    finally:
        session.abort()


def send(session: Session, *those: Outgoing) -> None:
    for one in those:
        session.send(one)
    session.flush()
