"""The HTTP server against clients that behave, and clients that do not."""

import asyncio
import logging
import socket

import pytest

from gateway.http import Answer, HttpServer, server
from tests.spine.conftest import until

BIG = b"x" * 3_000_000


@pytest.fixture
async def serving():
    gate = asyncio.Event()

    async def hello():
        return Answer(b"hello\n")

    async def big():
        return Answer(BIG)

    async def waits():
        await gate.wait()
        return Answer(b"at last\n")

    async def broken():
        raise ZeroDivisionError("canary")

    made = HttpServer("127.0.0.1", 0, {"/hello": hello, "/big": big, "/waits": waits, "/broken": broken})
    made.gate = gate
    await made.start()
    yield made
    await made.close()
    await made.close()


async def said(serving, request, *, end=False):
    """Everything the server answers to these bytes, until it hangs up."""
    reader, writer = await asyncio.open_connection(*serving.address)
    try:
        writer.write(request)
        if end:
            writer.write_eof()
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()


def get(path, method="GET", more=""):
    return f"{method} {path} HTTP/1.1\r\nHost: a\r\n{more}\r\n".encode()


def status(answer):
    return int(answer.split(b" ")[1])


async def test_a_page_is_served_whole_with_its_length_and_the_connection_ends(serving):
    answer = await said(serving, get("/hello"))
    head, body = answer.split(b"\r\n\r\n")
    assert (status(answer), body) == (200, b"hello\n")
    assert b"Content-Length: 6" in head
    assert b"Connection: close" in head


async def test_head_is_the_same_without_the_page(serving):
    whole, head = await said(serving, get("/hello")), await said(serving, get("/hello", "HEAD"))
    assert head == whole.removesuffix(b"hello\n")


async def test_a_big_page_arrives_whole(serving):
    assert (await said(serving, get("/big"))).endswith(b"\r\n\r\n" + BIG)


async def test_an_unknown_path_is_told_which_there_are(serving):
    answer = await said(serving, get("/"))
    assert status(answer) == 404
    assert answer.endswith(b"there are: /hello, /big, /waits, /broken\n")


async def test_other_methods_are_told_which_there_are_although_their_body_is_not_read(serving):
    answer = await said(serving, get("/hello", "POST", "Content-Length: 50000\r\n") + b"x" * 50_000)
    assert status(answer) == 405
    assert b"Allow: GET, HEAD\r\n" in answer


async def test_nonsense_is_answered_400(serving):
    assert status(await said(serving, b"hello?\r\n\r\n")) == 400


async def test_a_head_without_end_is_cut(serving):
    assert status(await said(serving, b"GET /hello HTTP/1.1\r\nA: " + b"a" * server.HEAD_BYTES_MAX)) == 431


async def test_a_request_in_single_bytes_has_one_time_limit_for_all(serving, monkeypatch):
    monkeypatch.setattr(server, "REQUEST_WITHIN_S", 0.2)
    reader, writer = await asyncio.open_connection(*serving.address)
    loop = asyncio.get_running_loop()
    begun, answer = loop.time(), asyncio.ensure_future(reader.read())
    while not answer.done():
        writer.write(b"G")
        await asyncio.wait([answer], timeout=0.02)
        assert loop.time() < begun + 5
    assert status(answer.result()) == 408
    writer.close()


async def test_a_page_that_does_not_come_is_a_503(serving, monkeypatch):
    monkeypatch.setattr(server, "ANSWER_WITHIN_S", 0.05)
    answer = await said(serving, get("/waits"))
    assert status(answer) == 503
    assert b"did not answer within" in answer


async def test_a_page_that_fails_is_a_500_and_said_once_with_no_word_to_the_client(serving, caplog):
    answers = [await said(serving, get("/broken")) for _ in range(3)]
    assert {status(answer) for answer in answers} == {500}
    assert b"canary" not in answers[0]
    assert caplog.text.count("http: /broken failed") == 1


async def test_connections_are_bounded_and_those_who_leave_make_room(serving):
    waiting = [asyncio.create_task(said(serving, get("/waits"))) for _ in range(server.CONNECTIONS_MAX)]
    await until(lambda: len(serving._tasks) == server.CONNECTIONS_MAX)
    answer = await said(serving, b"")
    assert status(answer) == 503
    assert b"too many connections" in answer
    serving.gate.set()
    assert {status(answer) for answer in await asyncio.gather(*waiting)} == {200}
    await until(lambda: not serving._tasks)
    assert status(await said(serving, get("/hello"))) == 200


async def test_a_client_that_does_not_read_is_cut(serving, monkeypatch):
    monkeypatch.setattr(server, "READ_WITHIN_S", 0.1)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, serving.address)
        await asyncio.get_running_loop().sock_sendall(client, get("/big"))
        await until(lambda: len(serving._tasks) == 1)
        await until(lambda: not serving._tasks)


async def test_a_client_that_reads_late_gets_the_whole_page(serving):
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, serving.address)
        await loop.sock_sendall(client, get("/big"))
        await until(lambda: len(serving._tasks) == 1)
        answer = b""
        while some := await loop.sock_recv(client, 1 << 16):
            answer += some
    assert answer.endswith(BIG)
    assert len(answer) < len(BIG) + 300


async def test_the_server_does_not_hang_up_on_a_client_that_may_still_be_reading(serving):
    reader, writer = await asyncio.open_connection(*serving.address)
    writer.write(get("/hello"))
    assert (await reader.read()).endswith(b"hello\n"), "our side of the connection ends"
    writer.write(b"and another thing")
    await writer.drain()
    assert len(serving._tasks) == 1
    writer.close()
    await until(lambda: not serving._tasks)


async def test_a_client_that_hangs_up_early_is_nobodys_trouble(serving, caplog):
    caplog.set_level(logging.DEBUG)
    for request in (b"", b"GET /he", get("/hello")):
        _, writer = await asyncio.open_connection(*serving.address)
        writer.write(request)
        writer.transport.abort()
    await until(lambda: not serving._tasks)
    assert status(await said(serving, get("/hello"))) == 200
    assert "Traceback" not in caplog.text


async def test_close_does_not_wait_for_clients(serving):
    waiting = [asyncio.create_task(said(serving, request)) for request in (b"GET", get("/waits"), get("/waits"))]
    await until(lambda: len(serving._tasks) == 3)
    begun = asyncio.get_running_loop().time()
    await serving.close()
    assert asyncio.get_running_loop().time() < begun + 1
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_port_that_is_taken_is_said_once_and_tried_until_it_is_free(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(server, "LISTEN_AGAIN_S", 0.01)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        made = HttpServer("127.0.0.1", taken.getsockname()[1], {})
        await made.start()
        assert made.address is None
        tried = asyncio.get_running_loop().time() + 0.1
        await until(lambda: asyncio.get_running_loop().time() > tried)
    await until(lambda: made.address is not None)
    await made.close()
    assert caplog.text.count("cannot listen on 127.0.0.1:") == 1
    assert caplog.text.count("listening on http://127.0.0.1:") == 1


async def test_a_server_that_never_came_to_listen_ends_as_well():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        made = HttpServer("127.0.0.1", taken.getsockname()[1], {})
        await made.start()
        await made.close()
