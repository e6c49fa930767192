"""The answering side of the control socket.

The server knows operations only by name: `calls` answer once, `streams` go on. It owns everything that keeps a client
from harming the gateway: the size of a line, the number of connections and requests, the time a reader may take.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import socket
import stat
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import msgspec

from gateway.control.protocol import (
    ANSWER_BYTES_MAX,
    CANCEL,
    CONNECTIONS_MAX,
    REQUEST_BYTES_MAX,
    REQUESTS_MAX,
    WRITE_TIMEOUT_S,
    Answer,
    BadRequest,
    Call,
    Refusal,
    Request,
    Stream,
    check_path,
    parse_request,
    presence,
    refusal_of,
)
from gateway.errors import ControlError, GatewayError

_log = logging.getLogger(__name__)

GROUP = "gateway"
MODE = 0o660
ACCEPT_TURNS = 5
"""Turns of the event loop in which a connection that asyncio has begun to accept comes to `_accept` and is aborted."""


class ControlServer:
    """Answers on the Unix socket `path` between `start` and `close`.

    `slow_readers` counts connections that were dropped because their client did not read for `write_timeout_s`.
    """

    def __init__(
        self,
        path: Path,
        calls: Mapping[str, Call],
        streams: Mapping[str, Stream],
        *,
        write_timeout_s: float = WRITE_TIMEOUT_S,
    ) -> None:
        self.path = path
        self.calls, self.streams = dict(calls), dict(streams)
        self.write_timeout_s = write_timeout_s
        self.slow_readers = 0
        self._server: asyncio.Server | None = None
        self._inode = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._served = 0
        self._defects: set[str] = set()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Listen.

        Raises:
            ControlError: somebody else answers on this path, or it cannot be used.
        """
        listening = _listen(self.path)
        self._inode = self.path.lstat().st_ino
        self._server = await asyncio.start_unix_server(self._accept, sock=listening, limit=REQUEST_BYTES_MAX)

    async def close(self) -> None:
        """Stop listening, end every request and connection, remove the socket. May be called twice."""
        if self._server is None:
            return
        server, self._server = self._server, None
        await _stop_accepting(server)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await server.wait_closed()
        with suppress(FileNotFoundError):
            if self.path.lstat().st_ino == self._inode:  # never remove what another gateway put there since
                self.path.unlink()

    def defect(self, op: str) -> None:
        """Log the error being handled, once for each operation: a client that asks again must not fill the journal."""
        if op not in self._defects:
            self._defects.add(op)
            _log.exception("control: %r failed", op)

    def dropped_slow_reader(self) -> None:
        self.slow_readers += 1
        if self.slow_readers == 1:
            _log.warning("control: dropped a client that read nothing for %g s", self.write_timeout_s)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A plain function that makes its own tasks: only so can `close` wait for every connection.
        if self._server is None or len(self._tasks) >= 2 * CONNECTIONS_MAX:
            writer.transport.abort()
            return
        connection = _Connection(self, reader, writer)
        full = self._served >= CONNECTIONS_MAX
        task = asyncio.create_task(connection.turn_away() if full else self._run(connection), name="control connection")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, connection: _Connection) -> None:
        self._served += 1
        try:
            await connection.run()
        finally:
            self._served -= 1


class _Gone(Exception):
    """The client hung up, or was dropped because it did not read."""


class _Connection:
    """One client: reads its requests, runs each as a task, writes the answers."""

    def __init__(self, server: ControlServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._server, self._reader, self._writer = server, reader, writer
        self._running: dict[int, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Serve until the client closes its side; then end the streams and let calls finish, briefly."""
        try:
            while (line := await self._next_line()) is not None:
                await self._take(line)
            await self._finish()
        except _Gone:
            pass  # there is nobody to tell
        finally:
            tasks = list(self._running.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._hang_up()

    async def turn_away(self) -> None:
        """Say that there is no room, and leave the client a second to read it."""
        full = f"{CONNECTIONS_MAX} clients are connected, as many as the gateway takes: try later"
        with suppress(_Gone, TimeoutError):
            await self._send(Answer(None, error=Refusal(full)))
            async with asyncio.timeout(1.0):
                while await self._reader.read(REQUEST_BYTES_MAX):
                    pass
        await self._hang_up()

    async def _next_line(self) -> bytes | None:
        try:
            return await self._reader.readuntil(b"\n")
        except asyncio.IncompleteReadError as end:
            return end.partial or None  # a last line may lack its newline, as `printf | socat` sends it
        except asyncio.LimitOverrunError:
            await self._send(Answer(None, error=Refusal(f"a request has at most {REQUEST_BYTES_MAX} bytes", 2)))
            raise _Gone from None
        except ConnectionError:
            raise _Gone from None

    async def _take(self, line: bytes) -> None:
        try:
            request = parse_request(line)
            self._check(request)
        except BadRequest as error:
            await self._send(Answer(error.id, error=Refusal(str(error), 2)))
            return
        if request.op == CANCEL:
            await self._cancel(request.id)
            return
        task = asyncio.create_task(self._serve(request), name=f"control {request.op}")
        self._running[request.id] = task
        task.add_done_callback(lambda _: self._running.pop(request.id, None))

    def _check(self, request: Request) -> None:
        running = request.id in self._running
        if request.op == CANCEL:
            if not running:
                raise BadRequest(f"nothing runs under id {request.id}", request.id)
            return
        if running:
            raise BadRequest(f"id {request.id} is in use by a request that still runs", request.id)
        if len(self._running) >= REQUESTS_MAX:
            raise BadRequest(f"{REQUESTS_MAX} requests run already, as many as one connection may have", request.id)
        if request.op not in self._server.calls and request.op not in self._server.streams:
            known = ", ".join(sorted({*self._server.calls, *self._server.streams, CANCEL}))
            raise BadRequest(f"unknown operation {request.op!r}; there are: {known}", request.id)

    async def _cancel(self, id_: int) -> None:
        task = self._running[id_]
        task.cancel()
        await asyncio.wait({task})
        if task.cancelled():  # else it had its answer already
            await self._send(Answer(id_, ok={"cancelled": True}))

    async def _serve(self, request: Request) -> None:
        """One request, answered. This is the boundary behind which nothing a client does disturbs the gateway."""
        try:
            await self._try(request)
        except _Gone:
            self._writer.transport.abort()

    async def _try(self, request: Request) -> None:
        try:
            answer = Answer(request.id, ok=await self._perform(request))
            line = _line(answer)
        except _Gone:
            raise
        except Exception as error:  # noqa: BLE001 - an operation may fail in any way; the client is told, the journal once
            if not isinstance(error, GatewayError):
                self._server.defect(request.op)
            line = _line(Answer(request.id, error=refusal_of(error, request.op)))
        await self._write(line)

    async def _perform(self, request: Request) -> dict[str, Any]:
        if request.op in self._server.calls:
            return await self._server.calls[request.op](request.args)
        parts = self._server.streams[request.op](request.args)
        try:
            async for part in parts:
                await self._send(Answer(request.id, item=part))
        finally:
            if isinstance(parts, AsyncGenerator):
                await parts.aclose()
        return {}

    async def _send(self, answer: Answer) -> None:
        await self._write(_line(answer))

    async def _write(self, line: bytes) -> None:
        """Write one line and wait until the client has read enough of what came before it.

        Raises:
            _Gone: the client hung up, or did not read in time and was dropped.
        """
        self._writer.write(line)
        try:
            async with asyncio.timeout(self._server.write_timeout_s):
                await self._writer.drain()
        except TimeoutError:
            if not self._writer.is_closing():
                self._server.dropped_slow_reader()
                self._writer.transport.abort()
            raise _Gone from None
        except ConnectionError:
            raise _Gone from None

    async def _finish(self) -> None:
        """The client will say no more. Streams end; calls that run may still answer: it may be listening."""
        for task in self._running.values():
            if task.get_name().removeprefix("control ") in self._server.streams:
                task.cancel()
        if self._running:
            await asyncio.wait(self._running.values(), timeout=self._server.write_timeout_s)

    async def _hang_up(self) -> None:
        """Close, giving what is written a moment to leave; then without mercy."""
        self._writer.close()
        try:
            async with asyncio.timeout(min(1.0, self._server.write_timeout_s)):
                await self._writer.wait_closed()
        except (OSError, TimeoutError):
            self._writer.transport.abort()


async def _stop_accepting(server: asyncio.Server) -> None:
    """Close the listening socket, after the connections that asyncio has begun to accept have come to `_accept`.

    Those that it finds half accepted in a closed server it would forget with their sockets open.
    """
    for listening in server.sockets:
        asyncio.get_running_loop().remove_reader(listening.fileno())
    for _ in range(ACCEPT_TURNS):
        await asyncio.sleep(0)
    server.close()


def _line(answer: Answer) -> bytes:
    line = msgspec.json.encode(answer)
    if len(line) >= ANSWER_BYTES_MAX:
        raise ControlError(f"the answer has {len(line)} bytes, and a client takes {ANSWER_BYTES_MAX}")
    return line + b"\n"


def _listen(path: Path) -> socket.socket:
    """A listening socket at `path`, for its owner and the group `gateway` only.

    Nobody can connect before `listen`, so the mode is right from the first connection on.
    """
    name = check_path(path)
    _remove_stale(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.bind(name)
        with suppress(LookupError, PermissionError):  # no such group, or we are not in it: then only the owner's group
            shutil.chown(name, group=GROUP)
        os.chmod(name, MODE)  # noqa: PTH101 - beside bind and chown, which take the same text
        listening.listen(CONNECTIONS_MAX * 2)
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        raise ControlError(f"cannot listen on {path}: {error.strerror or error}") from error
    return listening


def _remove_stale(path: Path) -> None:
    """Remove the socket that a killed service left behind; leave everything else alone."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise ControlError(f"cannot listen on {path}: {error.strerror or error}") from error
    if not stat.S_ISSOCK(mode):
        raise ControlError(f"cannot listen on {path}: there is a file of that name which is no socket; remove it")
    if presence(path) != "dead":
        raise ControlError(f"another gateway answers on {path}: stop it first, or give this one another `gateway.id`")
    path.unlink(missing_ok=True)
