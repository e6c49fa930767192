"""The console sink over real pipes and a real program."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from gateway.errors import LinkError
from gateway.sink import Identity
from gateway.sinks.console import ConsoleSink
from tests.sinks.parts import RUN, Heard, connected, outgoing, present, send


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """(read end, write end)"""
    read, write = os.pipe()
    yield read, write
    for fd in (read, write):
        with contextlib.suppress(OSError):
            os.close(fd)


def console(fd: int) -> ConsoleSink:
    return ConsoleSink(Identity("pi", RUN, present()), fd)


async def test_each_event_is_one_line_of_json(pipe: tuple[int, int]) -> None:
    read, write = pipe
    async with connected(console(write)) as (session, heard):
        send(session, outgoing(1), outgoing(2, "two\nlines"))
        await heard.until_count(2)
        await session.close(1)
    assert heard.settlements == [(1, "accepted", ""), (2, "accepted", "")]
    lines = os.read(read, 65536).splitlines()
    assert [json.loads(line)["id"] for line in lines] == [f"{RUN}-1", f"{RUN}-2"]
    assert json.loads(lines[1])["data"]["value"] == "two\nlines"
    assert json.loads(lines[1])["previous"] == "00000000000000000001"


async def test_a_reader_that_stops_reading_does_not_stop_the_loop(pipe: tuple[int, int]) -> None:
    _, write = pipe
    sink = console(write)
    async with connected(sink) as (session, heard):
        send(session, *(outgoing(offset, "x" * 10_000) for offset in range(1, 51)))
        await asyncio.sleep(0)
        assert not heard.settlements
        await session.close(0.1)
    with pytest.raises(LinkError, match="its reader has stopped reading"):
        await sink.connect(Heard())


async def test_after_the_reader_came_back_lines_are_whole_and_delivery_goes_on(pipe: tuple[int, int]) -> None:
    read, write = pipe
    sink = console(write)
    async with connected(sink) as (session, _):
        send(session, *(outgoing(offset, "x" * 10_000) for offset in range(1, 51)))
        session.abort()
    text = bytearray()
    reader = threading.Thread(target=lambda: text.extend(iter_read(read)), daemon=True)
    reader.start()
    async with connected(sink) as (session, heard):
        send(session, outgoing(51))
        await heard.until_count(1)
        await session.close(1)
    os.close(write)
    reader.join(5)
    ids = [json.loads(line)["id"] for line in text.splitlines()]
    assert ids[-1] == f"{RUN}-51"


def iter_read(fd: int) -> bytes:
    text = b""
    while part := os.read(fd, 65536):
        text += part
    return text


async def test_a_closed_pipe_is_a_loss_and_then_a_link_error(pipe: tuple[int, int]) -> None:
    read, write = pipe
    sink = console(write)
    async with connected(sink) as (session, heard):
        os.close(read)
        send(session, outgoing(1))
        await heard.until(lambda: bool(heard.losses))
        assert heard.losses == [("standard output: Broken pipe", None)]
        assert not heard.settlements
    with pytest.raises(LinkError, match="nobody reads it any more"):
        await sink.connect(Heard())


async def test_a_closed_standard_output_is_a_link_error() -> None:
    read, write = os.pipe()
    os.close(read)
    os.close(write)
    with pytest.raises(LinkError, match="standard output: Bad file descriptor"):
        await console(write).connect(Heard())


async def test_a_terminal_that_somebody_made_non_blocking_still_gets_every_line(pipe: tuple[int, int]) -> None:
    read, write = pipe
    os.set_blocking(write, False)
    text = bytearray()
    async with connected(console(write)) as (session, heard):
        send(session, *(outgoing(offset, "x" * 10_000) for offset in range(1, 51)))
        reader = threading.Thread(target=lambda: text.extend(iter_read(read)), daemon=True)
        reader.start()
        await heard.until_count(50)
        await session.close(1)
    os.close(write)
    reader.join(5)
    assert [json.loads(line)["id"] for line in text.splitlines()] == [f"{RUN}-{offset}" for offset in range(1, 51)]


PROGRAM = """
import asyncio
from gateway.plugins import Plugins
from gateway.sink import Identity
from tests.sinks.parts import Heard, outgoing, present, send, RUN
async def run():
    console = Plugins().sink("console")
    session = await console.create(console.Options(), Identity("pi", RUN, present())).connect(Heard())
    send(session, *map(outgoing, range(1, 2001)))
    await session.close({timeout_s})
asyncio.run(run())
"""


def test_a_program_whose_reader_hangs_still_ends() -> None:
    """No lock of Python's own standard output is held by the thread that hangs in the pipe."""
    with subprocess.Popen([sys.executable, "-c", PROGRAM.format(timeout_s=0.1)], stdout=subprocess.PIPE) as program:
        assert program.wait(10) == 0


def test_a_program_writes_to_its_standard_output() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(timeout_s=5)], capture_output=True, text=True, timeout=10
    )
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 2000
