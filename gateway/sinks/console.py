"""The sink `console`: one CloudEvent a line on standard output, as structured JSON.

Standard output may be a pipe that nobody reads. Making it non-blocking would make the user's terminal non-blocking too,
for both share one file description; so one daemon thread writes, and the loop never waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, ClassVar, Final

from gateway.errors import LinkError
from gateway.event import CloudEventEncoder
from gateway.sink import Identity, Outgoing, Report, Session, Sink

STANDARD_OUTPUT: Final = 1
WINDOW: Final = 100
"""Lines that may wait for the reader: the queue between loop and thread is never longer."""

RELEASE_S: Final = 0.5

Lines = list[tuple[int, bytes]]
"""(offset, line), what one turn of the event loop gave."""


class ConsoleSink(Sink):
    """Standard output, for people and for pipes."""

    name: ClassVar[str] = "console"
    summary: ClassVar[str] = "CloudEvents on standard output, one JSON object a line"

    def __init__(self, identity: Identity, fd: int = STANDARD_OUTPUT) -> None:
        self._identity = identity
        self._fd = fd
        self._previous: ConsoleSession | None = None

    @classmethod
    def create(cls, options: Any, identity: Identity) -> ConsoleSink:
        del options
        return cls(identity)

    async def connect(self, report: Report) -> Session:
        if self._previous is not None and not await self._previous.released():
            raise LinkError("standard output takes nothing: its reader has stopped reading")
        _check_reader(self._fd)
        self._previous = session = ConsoleSession(self._identity.gateway_id, self._fd, report)
        return session


class ConsoleSession(Session):
    """One thread, which ends with the session: at once, or when the reader takes what it holds."""

    window_max = WINDOW

    def __init__(self, gateway_id: str, fd: int, report: Report) -> None:
        self._loop = asyncio.get_running_loop()
        self._encode = CloudEventEncoder(gateway_id).encode
        self._report = report
        self._gathered: Lines = []
        self._queue: SimpleQueue[Lines | None] = SimpleQueue()
        self._unsettled = 0
        self._over = False
        self._change = asyncio.Event()
        self._released = asyncio.Event()
        # A descriptor of our own: a write that hangs must not go on into what gets that number next.
        threading.Thread(target=self._write_all, args=(os.dup(fd),), name="console-writer", daemon=True).start()

    def send(self, outgoing: Outgoing) -> None:
        if self._over:
            return
        if not self._gathered:
            self._loop.call_soon(self.flush)
        self._gathered.append((outgoing.event.offset, self._encode(outgoing.event, outgoing.previous) + b"\n"))
        self._unsettled += 1

    def flush(self) -> None:
        if self._gathered and not self._over:
            self._queue.put(self._gathered)
            self._gathered = []

    async def close(self, timeout_s: float) -> None:
        self.flush()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._unsettled and not self._over:
                    self._change.clear()
                    await self._change.wait()
        self.abort()

    def abort(self) -> None:
        if not self._over:
            self._over = True
            self._change.set()
            with contextlib.suppress(Empty):
                while True:
                    self._queue.get_nowait()
            self._queue.put(None)

    async def released(self) -> bool:
        """Whether the thread has ended, after a moment's patience. One that hangs in a write has not."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RELEASE_S):
                await self._released.wait()
        return self._released.is_set()

    def _write_all(self, fd: int) -> None:
        """The writer's thread. Not `sys.stdout`: a thread that hangs with its lock would hang the program's end."""
        while (lines := self._queue.get()) is not None:
            try:
                _write(fd, memoryview(b"".join(line for _, line in lines)))
            except OSError as error:
                self._tell(self._written, lines, f"standard output: {error.strerror}")
                break
            self._tell(self._written, lines, "")
        os.close(fd)
        self._tell(self._released.set)

    def _tell(self, what: Callable[..., None], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
            self._loop.call_soon_threadsafe(what, *arguments)

    def _written(self, lines: Lines, trouble: str) -> None:
        if self._over:
            return
        if trouble:
            self.abort()
            self._report.lost(trouble)
            return
        self._unsettled -= len(lines)
        self._change.set()
        for offset, _ in lines:
            if self._over:  # the forwarder may abort when it hears of the first
                return
            self._report.settled(offset, "accepted")


def _check_reader(fd: int) -> None:
    """Raises LinkError where a write could only fail."""
    try:
        os.fstat(fd)
        poll = select.poll()
        poll.register(fd, 0)
        broken = any(state & (select.POLLERR | select.POLLNVAL) for _, state in poll.poll(0))
    except OSError as error:
        raise LinkError(f"standard output: {error.strerror}") from error
    if broken:
        raise LinkError("standard output: nobody reads it any more (broken pipe)")


def _write(fd: int, text: memoryview) -> None:
    while text:
        try:
            text = text[os.write(fd, text) :]
        except BlockingIOError:  # somebody who shares the terminal made it non-blocking
            poll = select.poll()
            poll.register(fd, select.POLLOUT)
            poll.poll()
