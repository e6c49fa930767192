"""A TCP proxy that misbehaves on command: what a real network does to a link, on loopback.

    async with FaultProxy("127.0.0.1", broker.port) as proxy:
        ...                              # clients connect to proxy.port
        await proxy.become("blackhole")  # bytes are swallowed, nobody is told
        await proxy.become("pass")       # what was in the hole is gone: its connections are reset

`pass` forwards. `refuse` closes the listener and every connection: nothing listens. `blackhole` accepts and reads, but
forwards nothing in either direction, and resets those connections when the mode ends: the bytes that the client
believes delivered are lost. `half-open` is that in one direction only: the target hears everything, its answers are
swallowed. `reset` resets every connection, and each new one. `slow` forwards late and little at a
time.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Coroutine
from typing import Any, Literal, Self

Mode = Literal["pass", "refuse", "blackhole", "half-open", "reset", "slow"]
SWALLOWING = frozenset({"blackhole", "half-open"})

CHUNK_BYTES = 65536
BACKLOG = 128


class FaultProxy:
    """Forwards `127.0.0.1:port` to a target, as long as `mode` lets it."""

    def __init__(
        self, host: str, port: int, *, listen_port: int = 0, delay_s: float = 0.05, chunk_bytes: int = 1024
    ) -> None:
        """`slow` waits `delay_s` before each `chunk_bytes`. `listen_port` 0 takes a free one."""
        self._target = (host, port)
        self._delay_s, self._chunk_bytes = delay_s, chunk_bytes
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self.mode: Mode = "pass"
        self.port = listen_port
        self.accepted = 0
        self.held_bytes = 0

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()
        await self._cut(reset=False)

    async def become(self, mode: Mode) -> None:
        """Change the mode. Connections whose bytes were swallowed do not survive it."""
        before, self.mode = self.mode, mode
        if mode == "refuse":
            await self._close()
        elif self._server is None:
            await self._listen()
        if mode in {"refuse", "reset"} or (before in SWALLOWING and mode != before):
            await self._cut(reset=mode != "refuse")

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, backlog=BACKLOG)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _cut(self, *, reset: bool) -> None:
        links, self._links = self._links, set()
        for link in links:
            link.cut(reset=reset)
        await asyncio.gather(*(link.ended.wait() for link in links))

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        link = _Link(self, reader, writer)
        self._links.add(link)
        try:
            await link.live(self._target)
        finally:
            self._links.discard(link)

    async def forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        """Bytes of one direction, until its end. `answers` are those of the target."""
        while data := await reader.read(self._chunk_bytes if self.mode == "slow" else CHUNK_BYTES):
            if self.mode == "slow":
                await asyncio.sleep(self._delay_s)  # this *is* the fault, not a wait for something
            if self.mode == "blackhole" or (self.mode == "half-open" and answers):
                self.held_bytes += len(data)
                continue
            writer.write(data)
            await writer.drain()


class _Link:
    """One client's connection and the one behind it."""

    def __init__(self, proxy: FaultProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.ended = asyncio.Event()
        self._proxy, self._reader, self._writers = proxy, reader, [writer]
        self._tasks: list[asyncio.Task[None]] = []
        self._cut = asyncio.Event()

    async def live(self, target: tuple[str, int]) -> None:
        try:
            await self._first_of(self._run(target), self._wait_cut())
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for writer in self._writers:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
            self.ended.set()

    async def _run(self, target: tuple[str, int]) -> None:
        if self._proxy.mode == "reset":
            self.cut(reset=True)
            return
        while self._proxy.mode == "blackhole":  # not even the target hears of it
            if not (data := await self._reader.read(CHUNK_BYTES)):
                return
            self._proxy.held_bytes += len(data)
        with contextlib.suppress(OSError):
            behind, to_target = await asyncio.open_connection(*target)
            self._writers.append(to_target)
            forward = self._proxy.forward
            await self._first_of(
                forward(self._reader, to_target, answers=False), forward(behind, self._writers[0], answers=True)
            )

    async def _wait_cut(self) -> None:
        await self._cut.wait()

    async def _first_of(self, *work: Coroutine[Any, Any, None]) -> None:
        tasks = [asyncio.ensure_future(one) for one in work]
        self._tasks += tasks
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)

    def cut(self, *, reset: bool) -> None:
        for writer in self._writers:
            sock = writer.get_extra_info("socket")
            if reset and sock is not None:
                with contextlib.suppress(OSError):  # closed already
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        self._cut.set()
