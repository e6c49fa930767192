"""An event gateway for edge hardware: what happens in the physical world, as durable events.

`gateway/README.md` is the architecture on one page. For programs of your own:

    from gateway import connect

    async with connect() as gateway:
        async for event in gateway.consume("mine", start="earliest", types=["reading"]):
            ...
            await event.ack()

`gateway/client.py` explains it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.client import Connection, Received, connect, open_log

__all__ = ["EARLIEST", "Connection", "Received", "__version__", "connect", "open_log"]

__version__ = "0.1.0"

EARLIEST = "2025-01-01"
"""A clock that says an earlier day is wrong: nothing of this software is older. Clocks without a battery say less."""


def __getattr__(name: str) -> object:
    """What programs use comes with its first use: who only wants a part of the gateway does not pay for it."""
    if name in {"Connection", "Received", "connect", "open_log"}:
        return getattr(import_module("gateway.client"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
