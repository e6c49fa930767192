"""The asking side of the control socket, as every command uses it.

Each question takes a connection of its own: closing it is what cancels, nothing runs in the background, and one slow
answer never stands in another's way.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from gateway.control.protocol import ANSWER_BYTES_MAX, REQUEST_BYTES_MAX, Answer, Refusal, Request, check_path
from gateway.errors import ControlError, NotRunning

HOW_TO_START: Final = "start one with `gateway run`, or with `sudo systemctl start gateway` where it is installed"


class Disconnected(ControlError):
    """The service closed the connection before it had answered: it stopped, or this client read too slowly."""


class ControlClient:
    """Asks the service that listens on `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._decode = msgspec.json.Decoder(Answer).decode

    async def call(self, op: str, args: dict[str, Any] | None = None, timeout_s: float = 10.0) -> dict[str, Any]:
        """The answer of one operation.

        Raises:
            NotRunning: nobody listens.
            ControlError: the service answered with an error, or not within `timeout_s`.
        """
        try:
            async with asyncio.timeout(timeout_s), aclosing(self._answers(op, args or {})) as answers:
                async for answer in answers:
                    if answer.ok is not None:
                        return answer.ok
        except TimeoutError:
            raise ControlError(f"the gateway at {self.path} did not answer {op!r} within {timeout_s:g} s") from None
        raise Disconnected(f"the gateway at {self.path} closed the connection without an answer to {op!r}")

    async def stream(self, op: str, args: dict[str, Any] | None = None) -> AsyncGenerator[dict[str, Any], None]:
        """The parts of a streaming operation until it ends. Close the generator to cancel (`contextlib.aclosing`).

        Raises:
            NotRunning: nobody listens.
            Disconnected: the service closed the connection before the stream's end.
            ControlError: the service answered with an error.
        """
        async with aclosing(self._answers(op, args or {})) as answers:
            async for answer in answers:
                if answer.ok is not None:
                    return
                if answer.item is not None:
                    yield answer.item
        raise Disconnected(f"the gateway at {self.path} closed the connection")

    async def _answers(self, op: str, args: dict[str, Any]) -> AsyncGenerator[Answer, None]:
        question = msgspec.json.encode(Request(1, op, args)) + b"\n"
        if len(question) > REQUEST_BYTES_MAX:
            raise ControlError(f"the request has {len(question)} bytes, and a gateway takes {REQUEST_BYTES_MAX}")
        async with self._connection() as (reader, writer):
            writer.write(question)
            while line := await _read_line(reader):
                answer = self._parse(line)
                if answer.error is not None:
                    raise _error_of(answer.error)
                yield answer

    def _parse(self, line: bytes) -> Answer:
        try:
            return self._decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ControlError(f"{self.path} gave no answer of a gateway: {error}") from None

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        path = check_path(self.path)
        try:
            reader, writer = await asyncio.open_unix_connection(path, limit=ANSWER_BYTES_MAX)
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            raise NotRunning(f"no gateway listens on {path}: {HOW_TO_START}") from None
        except PermissionError:
            raise ControlError(
                f"this user may not talk to the gateway at {path}: "
                "join its group (sudo usermod -aG gateway $USER, then log in again), or use sudo"
            ) from None
        except OSError as error:
            raise ControlError(f"cannot talk to the gateway at {path}: {error.strerror or error}") from None
        try:
            yield reader, writer
        finally:
            writer.transport.abort()


async def _read_line(reader: asyncio.StreamReader) -> bytes:
    """The next whole line, empty at the end of the connection."""
    try:
        return await reader.readuntil(b"\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""
    except asyncio.LimitOverrunError:
        raise ControlError(f"the gateway sent a line of more than {ANSWER_BYTES_MAX} bytes") from None


def _error_of(refusal: Refusal) -> ControlError:
    error = ControlError(refusal.message)
    error.exit_code = refusal.exit_code
    return error
