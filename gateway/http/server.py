"""A small HTTP/1.1 server on the event loop: a few pages that are read, and nothing else.

Own code and not a framework, because three pages that take GET need no routes, bodies, sessions or TLS: starlette with
uvicorn cost 6 MB and 185 ms, this costs no measurable memory. Everything that a client does is bounded: the size of its
request, the time it takes to send it and to read the answer, the number of connections. Each connection carries one
request.

A port that is taken must not keep sensors from being recorded: it is said once and tried again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus

from gateway.http.request import BadRequest, Request, parse

logger = logging.getLogger("gateway.http")

HEAD_BYTES_MAX = 8192
CONNECTIONS_MAX = 16
REQUEST_WITHIN_S = 5.0
ANSWER_WITHIN_S = 5.0
READ_WITHIN_S = 10.0
LINGER_BYTES_MAX = 65536
LISTEN_AGAIN_S = 5.0

TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a page says."""

    body: bytes
    content_type: str = TEXT
    status: int = 200


Page = Callable[[], Awaitable[Answer]]


class HttpServer:
    """Serves `pages`, by path, between `start` and `close`. `port` 0 takes a free one, which `address` then tells."""

    def __init__(self, host: str, port: int, pages: Mapping[str, Page]) -> None:
        self._host, self._port, self._pages = host, port, dict(pages)
        self._server: asyncio.Server | None = None
        self._listening: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._failed: set[str] = set()

    @property
    def address(self) -> tuple[str, int] | None:
        """Where it listens; None while it cannot."""
        if self._server is None or not self._server.sockets:
            return None
        host, port = self._server.sockets[0].getsockname()[:2]
        return host, port

    async def start(self) -> None:
        """Listen, now or as soon as the address is to be had."""
        if not await self._listen():
            self._listening = asyncio.create_task(self._listen_later(), name="http listen")

    async def close(self) -> None:
        """End every connection and stop listening. May be called twice."""
        if self._listening is not None:
            self._listening.cancel()
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, *([self._listening] if self._listening else []), return_exceptions=True)
        if server is not None:
            await server.wait_closed()

    # -- listening ----------------------------------------------------------------------------------------------------

    async def _listen(self, *, quiet: bool = False) -> bool:
        try:
            self._server = await asyncio.start_server(
                self._accept, self._host, self._port, limit=HEAD_BYTES_MAX, backlog=CONNECTIONS_MAX
            )
        except OSError as error:
            if not quiet:
                logger.warning(
                    "http: cannot listen on %s (%s); trying again every %g s",
                    _location(self._host, self._port),
                    error.strerror or error,
                    LISTEN_AGAIN_S,
                )
            return False
        logger.info("http: listening on http://%s", _location(*(self.address or (self._host, self._port))))
        return True

    async def _listen_later(self) -> None:
        await asyncio.sleep(LISTEN_AGAIN_S)
        while not await self._listen(quiet=True):  # noqa: ASYNC110 - an address does not tell when it is free
            await asyncio.sleep(LISTEN_AGAIN_S)

    # -- one connection -----------------------------------------------------------------------------------------------

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A plain function that makes its own tasks: only so can `close` wait for every connection.
        if self._server is None:
            writer.transport.abort()
            return
        if len(self._tasks) >= CONNECTIONS_MAX:
            writer.write(_encoded(_refusal(503, "too many connections: try again in some seconds"), head_only=False))
            writer.close()
            return
        task = asyncio.create_task(self._serve(reader, writer), name="http connection")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError, asyncio.IncompleteReadError):  # it hung up: nobody is left to tell
                await self._exchange(reader, writer)
        finally:
            writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head_only = False
        try:
            request = await _request(reader)
            head_only = request.method == "HEAD"
            answer = await self._answer(request)
        except BadRequest as bad:
            answer = _refusal(bad.status, str(bad))
        with suppress(TimeoutError):  # a client that does not read is cut
            async with asyncio.timeout(READ_WITHIN_S):
                writer.write(_encoded(answer, head_only=head_only))
                await writer.drain()
                writer.write_eof()
                await _linger(reader)

    async def _answer(self, request: Request) -> Answer:
        page = self._pages.get(request.path)
        if page is None:
            raise BadRequest(404, f"there are: {', '.join(self._pages)}")
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                return await page()
        except TimeoutError:
            return _refusal(503, f"the gateway did not answer within {ANSWER_WITHIN_S:g} s")
        except Exception:
            if request.path not in self._failed:  # a client that asks again must not fill the journal
                self._failed.add(request.path)
                logger.exception("http: %s failed", request.path)
            return _refusal(500, "this is a bug, the gateway's log tells more")


async def _request(reader: asyncio.StreamReader) -> Request:
    """The request, all of whose head comes in time.

    Raises:
        BadRequest: it is too slow, too long or makes no sense.
    """
    try:
        async with asyncio.timeout(REQUEST_WITHIN_S):  # for the whole head: a byte now and then does not help
            head = await reader.readuntil(b"\r\n\r\n")
    except TimeoutError:
        raise BadRequest(408, f"the request did not come within {REQUEST_WITHIN_S:g} s") from None
    except asyncio.LimitOverrunError:
        raise BadRequest(431, f"the request's head has more than {HEAD_BYTES_MAX} bytes") from None
    return parse(head)


async def _linger(reader: asyncio.StreamReader) -> None:
    """Until the client has hung up: an answer that is still on its way would be cut, as by bytes that nobody read."""
    left = LINGER_BYTES_MAX
    while left > 0 and (some := await reader.read(left)):
        left -= len(some)


def _refusal(status: int, why: str) -> Answer:
    return Answer(f"{why}\n".encode(), TEXT, status)


def _encoded(answer: Answer, *, head_only: bool) -> bytes:
    fields = {
        "Content-Type": answer.content_type,
        "Content-Length": str(len(answer.body)),
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Connection": "close",
        **({"Allow": "GET, HEAD"} if answer.status == HTTPStatus.METHOD_NOT_ALLOWED else {}),
    }
    head = f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}\r\n"
    head += "".join(f"{name}: {text}\r\n" for name, text in fields.items())
    return f"{head}\r\n".encode() + (b"" if head_only else answer.body)


def _location(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
