"""The tests' own proxy does what the rigs believe it does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.faultproxy import FaultProxy


@pytest.fixture
async def echo() -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1000):
                writer.write(data)
        except ConnectionError:
            pass
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def say(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"hello")
    return reader, writer


async def ends(reader: asyncio.StreamReader) -> str:
    async with asyncio.timeout(2):
        try:
            return "closed" if await reader.read(100) == b"" else "data"
        except ConnectionResetError:
            return "reset"


async def test_pass_forwards_both_ways(echo: int) -> None:
    async with FaultProxy("127.0.0.1", echo) as proxy:
        reader, writer = await say(proxy.port)
        assert await reader.readexactly(5) == b"hello"
        writer.close()
        assert proxy.accepted == 1


async def test_a_black_hole_swallows_and_then_resets(echo: int) -> None:
    async with FaultProxy("127.0.0.1", echo) as proxy:
        old_reader, old = await say(proxy.port)
        assert await old_reader.readexactly(5) == b"hello"
        await proxy.become("blackhole")
        old.write(b"lost")
        new_reader, new = await say(proxy.port)
        for reader in (old_reader, new_reader):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await reader.read(1)
        assert proxy.held_bytes == 9
        await proxy.become("pass")
        assert await ends(old_reader) == "reset"
        assert await ends(new_reader) == "reset"
        reader, writer = await say(proxy.port)
        assert await reader.readexactly(5) == b"hello"
        for one in (old, new, writer):
            one.close()


async def test_a_half_open_link_hears_us_and_swallows_the_answers(echo: int) -> None:
    async with FaultProxy("127.0.0.1", echo) as proxy:
        reader, writer = await say(proxy.port)
        assert await reader.readexactly(5) == b"hello"
        await proxy.become("half-open")
        writer.write(b"heard, and answered in vain")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await reader.read(1)
        assert proxy.held_bytes == 27, "what the target answered, so it heard us"
        await proxy.become("pass")
        assert await ends(reader) == "reset"
        writer.close()


async def test_refuse_means_that_nothing_listens_until_it_passes_again(echo: int) -> None:
    async with FaultProxy("127.0.0.1", echo) as proxy:
        reader, writer = await say(proxy.port)
        await reader.readexactly(5)
        port = proxy.port
        await proxy.become("refuse")
        assert await ends(reader) in {"closed", "reset"}
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        await proxy.become("pass")
        assert proxy.port == port
        again, second = await say(port)
        assert await again.readexactly(5) == b"hello"
        writer.close()
        second.close()


async def test_reset_resets_what_there_is_and_what_comes(echo: int) -> None:
    async with FaultProxy("127.0.0.1", echo) as proxy:
        reader, writer = await say(proxy.port)
        await reader.readexactly(5)
        await proxy.become("reset")
        assert await ends(reader) == "reset"
        writer.close()
        reader, writer = await say(proxy.port)
        assert await ends(reader) == "reset"
        writer.close()


async def test_slow_forwards_all_of_it_late(echo: int) -> None:
    async with FaultProxy("127.0.0.1", echo, delay_s=0.05, chunk_bytes=2) as proxy:
        await proxy.become("slow")
        loop = asyncio.get_running_loop()
        started = loop.time()
        reader, writer = await say(proxy.port)
        assert await reader.readexactly(5) == b"hello"
        assert loop.time() - started > 0.2
        writer.close()
