"""Reloads: one at a time, whole or not at all, and none while the gateway stops.

Who asks while one runs shares the next, which reads the file anew: however often a script sends SIGHUP, there is never
more than one running and one waiting. A client that hangs up ends nothing: a reload runs to its end once it began.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Awaitable, Callable
from typing import Final

from gateway.clock import monotonic_us
from gateway.config import Config
from gateway.errors import ConfigError, ControlError, GatewayError
from gateway.reload import ReloadPlan

logger = logging.getLogger("gateway.reload")

Load = Callable[[], Config]
Apply = Callable[[Config], Awaitable[ReloadPlan]]
Tell = Callable[[str], object]

STOPPING: Final = "the gateway is stopping: nothing was reloaded"


class Reloads:
    """Asks for reloads between `open` and `close`; those that come before wait.

    `load` reads the configuration, on a thread; None where there is no file. `apply` puts it in force. `tell` takes
    what systemd wants to know: sd_notify(3), "RELOADING=1".
    """

    def __init__(self, load: Load | None, apply: Apply, tell: Tell) -> None:
        self._load, self._apply, self._tell = load, apply, tell
        self._opened = asyncio.Event()
        self._closed = False
        self._turn = asyncio.Lock()
        self._next: asyncio.Task[ReloadPlan] | None = None
        self._tasks: set[asyncio.Task[ReloadPlan]] = set()
        self._loading: asyncio.Future[Config] | None = None

    def open(self) -> None:
        self._opened.set()

    async def close(self) -> None:
        """Begin no more; the one under way ends, or is given up where it still reads the file."""
        self._closed = True
        self._opened.set()
        if self._loading is not None and not self._loading.done():
            self._loading.set_exception(ControlError(STOPPING))
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def ask(self) -> ReloadPlan:
        """Reload, and say what that changed.

        Raises:
            ConfigError: the configuration cannot be used, or needs a restart; nothing has changed.
            ControlError: the gateway stops, or was started without a file.
        """
        return await asyncio.shield(self.soon())

    def soon(self) -> asyncio.Task[ReloadPlan]:
        """The reload that will read the file next. Its outcome is logged, whether or not anybody waits for it."""
        if self._next is None:
            self._next = task = asyncio.create_task(self._one(), name="reload")
            self._tasks.add(task)
            task.add_done_callback(self._done)
        return self._next

    async def _one(self) -> ReloadPlan:
        async with self._turn:
            await self._opened.wait()
            self._next = None  # who asks from now on wants what the file says then
            self._check_open()
            self._tell(f"RELOADING=1\nMONOTONIC_USEC={monotonic_us()}")
            try:
                config = await self._read()
                self._check_open()
                return await self._apply(config)
            finally:
                if not self._closed:
                    self._tell("READY=1")

    def _check_open(self) -> None:
        if self._closed:
            raise ControlError(STOPPING)

    async def _read(self) -> Config:
        """The configuration as it is now. A slow disk must hold up nobody, and nobody waits for a disk that hangs."""
        if self._load is None:
            raise ControlError("this gateway was started without a configuration file: there is nothing to reload")
        loop, load = asyncio.get_running_loop(), self._load
        loading: asyncio.Future[Config] = loop.create_future()
        self._loading = loading
        threading.Thread(target=lambda: _post(loop, loading, load), name="reload", daemon=True).start()
        return await loading

    def _done(self, task: asyncio.Task[ReloadPlan]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            plan = task.result()
            logger.info("reloaded: devices %s; sinks %s", plan.devices.counts, plan.sinks.counts)
        elif isinstance(error, ConfigError):
            for problem in error.problems:
                logger.error("%s", problem)
            logger.error("not reloaded: the gateway goes on with the configuration that it has")
        elif isinstance(error, GatewayError):
            logger.error("not reloaded: %s", error)
        else:
            logger.error("the reload failed; this is a bug in the gateway", exc_info=error)


def _post(loop: asyncio.AbstractEventLoop, loading: asyncio.Future[Config], load: Load) -> None:
    """On the reload's thread: load, and bring the outcome to the loop."""
    config, failed = None, None
    try:
        config = load()
    except Exception as error:  # noqa: BLE001 - the edge of a thread: whatever it is, the asker is told
        failed = error

    def settle() -> None:
        if loading.done():  # given up meanwhile
            return
        if config is not None:
            loading.set_result(config)
        else:
            loading.set_exception(failed or AssertionError("a load gives a configuration or an error"))

    with contextlib.suppress(RuntimeError):  # the loop is closed: the disk hung for longer than the gateway ran
        loop.call_soon_threadsafe(settle)
