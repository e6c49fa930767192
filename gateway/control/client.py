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

    @asynccontextmanager
    async def lane(self) -> AsyncIterator[Lane]:
        """A connection for one question after the other.

        Raises:
            NotRunning, ControlError: nobody listens, or this user may not ask.
        """
        async with self._connection() as (reader, writer):
            yield Lane(self, reader, writer)

    async def _answers(self, op: str, args: dict[str, Any]) -> AsyncGenerator[Answer, None]:
        question = _question(1, op, args)
        async with self._connection() as (reader, writer):
            writer.write(question)
            while line := await _read_line(reader):
                answer = self.parse(line)
                if answer.error is not None:
                    raise _error_of(answer.error)
                yield answer

    def parse(self, line: bytes) -> Answer:
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


class Lane:
    """One connection to a service, for who asks often. One question at a time."""

    def __init__(self, client: ControlClient, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._client, self._reader, self._writer = client, reader, writer
        self._turn = asyncio.Lock()
        self._asked = 0

    @property
    def busy(self) -> bool:
        """Whether a question is open; the next one would wait for its answer."""
        return self._turn.locked()

    async def ask(self, op: str, args: dict[str, Any], timeout_s: float = 10.0) -> dict[str, Any]:
        """The answer of one operation. After an error other than the service's own, the lane is of no more use.

        Raises:
            Disconnected: the service closed the connection, or did not answer within `timeout_s`.
            ControlError: the service answered with an error.
        """
        async with self._turn:
            self._asked += 1
            self._writer.write(_question(self._asked, op, args))
            try:
                async with asyncio.timeout(timeout_s):
                    line = await _read_line(self._reader)
                    while line and (answer := self._client.parse(line)).id != self._asked:  # of one that was cancelled
                        line = await _read_line(self._reader)
            except TimeoutError:
                where = self._client.path
                raise Disconnected(f"the gateway at {where} did not answer {op!r} within {timeout_s:g} s") from None
        if not line:
            raise Disconnected(f"the gateway at {self._client.path} closed the connection")
        if answer.error is not None:
            raise _error_of(answer.error)
        return answer.ok or {}


def _question(id_: int, op: str, args: dict[str, Any]) -> bytes:
    question = msgspec.json.encode(Request(id_, op, args)) + b"\n"
    if len(question) > REQUEST_BYTES_MAX:
        raise ControlError(f"the request has {len(question)} bytes, and a gateway takes {REQUEST_BYTES_MAX}")
    return question


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
