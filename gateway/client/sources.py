"""Where answers come from: a gateway that runs, or a log that this process has opened."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Protocol, Self

import msgspec

from gateway.control import ControlClient
from gateway.control.client import Lane
from gateway.log_answers import LogAnswers

ANSWER_WITHIN_S: Final = 15.0


class Asked(Protocol):
    """Something that answers one question after the other; `busy` while one is open."""

    @property
    def busy(self) -> bool: ...

    async def ask(self, op: str, args: dict[str, Any], timeout_s: float = ANSWER_WITHIN_S) -> dict[str, Any]: ...


class Source(Protocol):
    """Something that answers questions about a log."""

    async def ask(self, op: str, args: dict[str, Any], timeout_s: float) -> dict[str, Any]: ...

    def lane(self) -> contextlib.AbstractAsyncContextManager[Asked]: ...

    def stream(self, op: str, args: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]: ...


class Service:
    """A gateway that runs."""

    def __init__(self, path: Path) -> None:
        self._client = ControlClient(path)

    async def ask(self, op: str, args: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        return await self._client.call(op, args, timeout_s)

    def lane(self) -> contextlib.AbstractAsyncContextManager[Lane]:
        return self._client.lane()

    def stream(self, op: str, args: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        return self._client.stream(op, args)


class Here:
    """A log that is open in this process. Answers pass through JSON, as those of a gateway do."""

    def __init__(self, answers: LogAnswers) -> None:
        self._answers = answers

    @property
    def busy(self) -> bool:
        """Never: questions do not wait for each other here."""
        return False

    async def ask(self, op: str, args: dict[str, Any], timeout_s: float = ANSWER_WITHIN_S) -> dict[str, Any]:
        del timeout_s
        told: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(args))
        answer: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(await self._answers.calls[op](told)))
        return answer

    @asynccontextmanager
    async def lane(self) -> AsyncIterator[Self]:
        yield self

    async def stream(self, op: str, args: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        async for part in self._answers.streams[op](args):
            yield part
