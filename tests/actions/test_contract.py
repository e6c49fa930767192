"""A deed keeps the contract that a forwarder relies on: the suite of sinks, with a webhook as the destination."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from gateway.action import WebhookConfig
from gateway.actions.web import webhook
from gateway.sink import Identity, Report, Session, Sink
from gateway.testing.sinks import Destination, SinkContract
from tests.actions.receiver import Receiver, receiving


class Hook(Sink):
    """A webhook, as a sink."""

    name, summary = "webhook", "for tests"

    def __init__(self, url: str) -> None:
        self._web = webhook(WebhookConfig(url=url), "pi", lambda _: "")

    @classmethod
    def create(cls, options: Any, identity: Identity) -> Sink:
        return cls(options)

    async def connect(self, report: Report) -> Session:
        return await self._web.connect(report)


class There(Destination):
    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver

    def sink(self) -> Sink:
        return Hook(self.receiver.url)

    def unreachable(self) -> Sink | None:
        return None  # each request finds its connection: there is none to fail

    async def received(self) -> Sequence[str]:
        return self.receiver.keys

    async def stall(self) -> None:
        self.receiver.answer = lambda _: None

    async def die(self) -> None:
        self.receiver.answer = lambda _: (204, {})
        self.receiver.over.set()
        self.receiver.over = threading.Event()


class TestWebhook(SinkContract):
    @asynccontextmanager
    async def destination(self) -> AsyncIterator[Destination]:
        with receiving() as receiver:
            yield There(receiver)
