"""The gateway from a program of your own.

    import asyncio
    from gateway import connect

    async def main():
        async with connect() as gateway:
            async for event in gateway.consume("mine", start="earliest", types=["reading"]):
                print(event.time, event.subject, event.value, event.unit)
                await event.ack()

    asyncio.run(main())

A *consumer* has a name and a place in the log that survives your program, the gateway and power cuts: run the program
again, and it goes on behind the last event that it acknowledged. Every event comes at least once; one that comes again
has the same `id`. `read` and `tail` only look: they have no place and cost the gateway nothing.

`connect` talks to the gateway that runs on this machine. `open_log` reads a log while no gateway runs; it is the log's
writer for as long, so none can start.
"""

from __future__ import annotations

from gateway.client.connection import Connection
from gateway.client.consumption import Consumption
from gateway.client.doors import connect, open_log
from gateway.client.received import Received

__all__ = ["Connection", "Consumption", "Received", "connect", "open_log"]
