"""Reaching a broker: what hangs, hangs on a thread of its own, and only once."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from gateway.errors import LinkError
from gateway.sinks import mqtt_dial
from gateway.sinks.mqtt_dial import Dialler
from gateway.sinks.mqtt_options import Address


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def address_of(listening: socket.socket, host: str = "127.0.0.1") -> Address:
    return Address(host, listening.getsockname()[1], tls=False)


def dialling() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("mqtt-dial")]


async def test_a_look_up_that_hangs_is_left_alone_and_not_entered_again(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, let_go, look_ups = socket.getaddrinfo, threading.Event(), []

    def hangs(*arguments, **options):
        look_ups.append(arguments)
        let_go.wait(10)
        return real(*arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", hangs)
    monkeypatch.setattr(mqtt_dial, "PREVIOUS_WAIT_S", 0.05)
    dialler = Dialler(address_of(listener))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await dialler.dial()
    for _ in range(2):
        with pytest.raises(LinkError, match="the last attempt still hangs"):
            await dialler.dial()
    assert len(look_ups) == 1
    [thread] = dialling()
    assert thread.daemon
    let_go.set()
    (await dialler.dial()).close()
    assert len(look_ups) == 2


@pytest.mark.parametrize("too_late", [False, True])
async def test_what_a_given_up_attempt_brings_is_closed(listener: socket.socket, too_late: bool) -> None:
    """`too_late`: the result is known already, and the one who waits for it has not seen it yet."""
    dialler = Dialler(address_of(listener))
    dial = asyncio.ensure_future(dialler.dial())
    await asyncio.sleep(0)
    for thread in dialling():
        thread.join(5)  # the loop stands still: what the thread told it waits to be run
    if too_late:
        asyncio.get_running_loop().call_soon(dial.cancel)
    else:
        dial.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dial
    await asyncio.sleep(0)
    connection, _ = listener.accept()
    with connection:
        connection.settimeout(2)
        assert connection.recv(1) == b"", "the connection is still open"


async def test_cancelling_wakes_a_thread_that_waits_for_tcp(monkeypatch: pytest.MonkeyPatch) -> None:
    with deaf_listener() as deaf:
        dialler = Dialler(address_of(deaf))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await dialler.dial()
        async with asyncio.timeout(1):  # far less than the thread's own limit
            await dialler._attempt.ended.wait()


@contextlib.contextmanager
def deaf_listener() -> Iterator[socket.socket]:
    """Its queue is full: the kernel drops every further SYN, as a broken network does."""
    with socket.socket() as deaf, contextlib.ExitStack() as waiting:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for _ in range(4):
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(deaf.getsockname())
        yield deaf


async def test_a_dead_address_leaves_time_for_the_next(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt_dial, "DIAL_TIMEOUT_S", 0.6)
    with deaf_listener() as deaf:
        found = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", place)
            for place in (deaf.getsockname(), ("127.0.0.1", 1), listener.getsockname())
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        opened = await Dialler(address_of(listener, "broker")).dial()
        assert opened.getpeername() == listener.getsockname()
        opened.close()


async def test_no_answer_from_any_address_says_how_long_was_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt_dial, "DIAL_TIMEOUT_S", 0.2)
    with deaf_listener() as deaf, pytest.raises(LinkError, match=r"127.0.0.1:\d+: no answer within 0.2 s"):
        await Dialler(address_of(deaf)).dial()


async def test_an_unknown_name_is_a_link_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(LinkError, match=r"nowhere\.test:1883: the name cannot be looked up: Name or service not known"):
        await Dialler(Address("nowhere.test", 1883, tls=False)).dial()


async def test_a_fault_of_ours_on_the_thread_is_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr(socket, "getaddrinfo", fails)
    with pytest.raises(ZeroDivisionError):
        await Dialler(Address("x", 1883, tls=False)).dial()


def test_a_loop_that_ends_while_the_thread_hangs_leaves_nothing_behind(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, let_go = socket.getaddrinfo, threading.Event()

    def slow(*arguments, **options):
        let_go.wait(10)
        return real(*arguments, **options)

    async def give_up() -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.05):
                await Dialler(address_of(listener)).dial()

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    asyncio.run(give_up())
    [thread] = dialling()
    let_go.set()
    thread.join(5)
    assert not thread.is_alive()
