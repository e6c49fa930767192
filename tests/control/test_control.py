"""The control socket: what it answers, and that no client can harm it."""

# ruff: noqa: ASYNC110, ASYNC240 - tests look at files, and wait for what has no event to wait for

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import socket
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.control import ControlClient, ControlServer, Disconnected, presence
from gateway.control.protocol import (
    CONNECTIONS_MAX,
    PATH_BYTES_MAX,
    REQUEST_BYTES_MAX,
    REQUESTS_MAX,
    BadRequest,
    parse_request,
)
from gateway.errors import ControlError, NotRunning


class Service:
    """What a service might offer."""

    def __init__(self) -> None:
        self.closed: list[str] = []
        self.kept: list[object] = []
        self.gate = asyncio.Event()
        self.started = 0

    async def echo(self, args: dict[str, Any]) -> dict[str, Any]:
        return {"args": args}

    async def wait(self, args: dict[str, Any]) -> dict[str, Any]:
        self.started += 1
        await self.gate.wait()
        return {"waited": True}

    async def refuse(self, args: dict[str, Any]) -> dict[str, Any]:
        error = ControlError("no device 'air'")
        error.exit_code = 2
        raise error

    async def break_(self, args: dict[str, Any]) -> dict[str, Any]:
        raise TimeoutError("secret detail")

    async def unspeakable(self, args: dict[str, Any]) -> dict[str, Any]:
        return {"thing": object()}

    async def count(self, args: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        try:
            for n in range(args["to"]):
                yield {"n": n}
        finally:
            self.closed.append("count")

    async def follow(self, args: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        try:
            yield {"n": 0}
            self.started += 1
            await asyncio.Event().wait()
        finally:
            self.closed.append("follow")

    def flood(self, args: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        stream = self._flood()
        self.kept.append(stream)  # so that it is the server that closes it, and not the collector of garbage
        return stream

    async def _flood(self) -> AsyncIterator[dict[str, Any]]:
        try:
            while True:
                yield {"text": "x" * 10_000}
        finally:
            self.closed.append("flood")

    def server(self, path: Path, **more: Any) -> ControlServer:
        calls = {
            "echo": self.echo,
            "wait": self.wait,
            "refuse": self.refuse,
            "break": self.break_,
            "unspeakable": self.unspeakable,
        }
        return ControlServer(path, calls, {"count": self.count, "follow": self.follow, "flood": self.flood}, **more)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "c.sock"


@pytest.fixture
async def service(path: Path) -> AsyncIterator[Service]:
    service = Service()
    async with service.server(path):
        yield service


class Wire:
    """A client that speaks bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, path: Path) -> Wire:
        return cls(*await asyncio.open_unix_connection(str(path)))

    async def say(self, *requests: Any) -> None:
        lines = (r if isinstance(r, bytes) else msgspec.json.encode(r) + b"\n" for r in requests)
        self.writer.write(b"".join(lines))
        await self.writer.drain()

    async def hear(self) -> Any:
        async with asyncio.timeout(5):
            line = await self.reader.readline()
        return json.loads(line) if line else None

    async def ask(self, *requests: Any) -> Any:
        await self.say(*requests)
        return await self.hear()

    def close(self) -> None:
        self.writer.transport.abort()


@pytest.fixture
async def wire(service: Service, path: Path) -> AsyncIterator[Wire]:
    wire = await Wire.open(path)
    yield wire
    wire.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


# --- asking ---------------------------------------------------------------------------------------------------------


async def test_a_call_answers_with_what_the_operation_returned(service: Service, path: Path) -> None:
    assert await ControlClient(path).call("echo", {"a": [1, "ü"]}) == {"args": {"a": [1, "ü"]}}


async def test_a_stream_gives_every_part_in_order_and_ends(service: Service, path: Path) -> None:
    assert [part["n"] async for part in ControlClient(path).stream("count", {"to": 500})] == list(range(500))
    assert service.closed == ["count"]


async def test_a_refusal_reaches_the_client_with_its_words_and_exit_code(service: Service, path: Path) -> None:
    with pytest.raises(ControlError, match=r"^no device 'air'$") as caught:
        await ControlClient(path).call("refuse")
    assert caught.value.exit_code == 2


async def test_a_defect_in_an_operation_is_logged_once_and_told_without_details(
    service: Service, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        with pytest.raises(ControlError, match=r"'break' failed in the gateway: TimeoutError") as caught:
            await ControlClient(path).call("break")
        assert "secret" not in str(caught.value)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert await ControlClient(path).call("echo") == {"args": {}}


async def test_an_answer_that_is_no_json_becomes_an_error(
    service: Service, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ControlError, match="'unspeakable' failed in the gateway: TypeError"):
        await ControlClient(path).call("unspeakable")


async def test_a_call_that_takes_too_long_is_given_up(service: Service, path: Path) -> None:
    with pytest.raises(ControlError, match=r"did not answer 'wait' within 0.01 s"):
        await ControlClient(path).call("wait", timeout_s=0.01)


async def test_several_requests_on_one_connection_answer_when_they_are_ready(service: Service, wire: Wire) -> None:
    assert await wire.ask({"id": 1, "op": "wait"}, {"id": 2, "op": "echo"}) == {"id": 2, "ok": {"args": {}}}
    service.gate.set()
    assert await wire.hear() == {"id": 1, "ok": {"waited": True}}


async def test_a_last_line_without_newline_is_answered_although_the_client_stops_writing(
    service: Service, wire: Wire
) -> None:
    await wire.say(b'{"id":7,"op":"wait"}')
    wire.writer.write_eof()
    await until(lambda: service.started == 1)
    service.gate.set()
    assert await wire.hear() == {"id": 7, "ok": {"waited": True}}
    assert await wire.hear() is None


# --- cancelling -----------------------------------------------------------------------------------------------------


async def test_cancel_ends_a_stream_and_answers(service: Service, wire: Wire) -> None:
    assert await wire.ask({"id": 1, "op": "follow"}) == {"id": 1, "item": {"n": 0}}
    assert await wire.ask({"id": 1, "op": "cancel"}) == {"id": 1, "ok": {"cancelled": True}}
    assert service.closed == ["follow"]
    assert await wire.ask({"id": 1, "op": "echo"}) == {"id": 1, "ok": {"args": {}}}


async def test_cancel_of_a_request_that_has_not_begun_answers_too(service: Service, wire: Wire) -> None:
    assert await wire.ask({"id": 1, "op": "follow"}, {"id": 1, "op": "cancel"}) == {"id": 1, "ok": {"cancelled": True}}


async def test_cancel_of_nothing_is_an_error(wire: Wire) -> None:
    answer = await wire.ask({"id": 9, "op": "cancel"})
    assert answer == {"id": 9, "error": {"message": "nothing runs under id 9", "exit_code": 2}}


async def test_a_client_that_leaves_ends_its_streams_and_calls(service: Service, path: Path) -> None:
    wire = await Wire.open(path)
    await wire.ask({"id": 1, "op": "follow"})
    wire.close()
    await until(lambda: service.closed == ["follow"])


async def test_closing_the_client_stream_ends_the_stream_in_the_service(service: Service, path: Path) -> None:
    async with aclosing(ControlClient(path).stream("follow")) as parts:
        assert await anext(parts) == {"n": 0}
    await until(lambda: service.closed == ["follow"])


# --- what goes wrong ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "id_", "words"),
    [
        (b"\n", None, "not JSON"),
        (b"hello\n", None, "not JSON"),
        (b"\xff\xfe\n", None, "not JSON"),
        (b'{"id":1,"op":"\xff"}\n', None, "not JSON"),
        (b"[" * 60_000 + b"\n", None, "not a request"),
        (b'{"id":1,"op":"echo","args":' + b'{"a":' * 10_000 + b"\n", None, "not JSON"),
        (b'{"op":"echo"}\n', None, "id"),
        (b'{"id":-1,"op":"echo"}\n', -1, "id"),
        (b'{"id":3}\n', 3, "op"),
        (b'{"id":3,"op":5}\n', 3, "$.op"),
        (b'{"id":3,"op":"echo","args":[]}\n', 3, "$.args"),
        (b'{"id":3,"op":"eco"}\n', 3, "unknown operation 'eco'; there are: break, cancel, count, echo"),
    ],
)
async def test_rubbish_gets_a_clear_error_and_the_connection_lives_on(
    wire: Wire, line: bytes, id_: int | None, words: str
) -> None:
    answer = await wire.ask(line)
    assert answer["id"] == id_
    assert words in answer["error"]["message"]
    assert answer["error"]["exit_code"] == 2
    assert await wire.ask({"id": 4, "op": "echo"}) == {"id": 4, "ok": {"args": {}}}


async def test_a_line_that_is_too_long_is_refused_and_the_connection_closed(wire: Wire, path: Path) -> None:
    answer = await wire.ask(b"x" * (REQUEST_BYTES_MAX + 1))
    assert str(REQUEST_BYTES_MAX) in answer["error"]["message"]
    assert await wire.hear() is None
    assert await ControlClient(path).call("echo") == {"args": {}}


async def test_the_longest_line_is_still_taken(wire: Wire) -> None:
    start, end = b'{"id":1,"op":"echo","args":{"a":"', b'"}}'
    line = start + b"x" * (REQUEST_BYTES_MAX - len(start) - len(end)) + end + b"\n"
    assert (await wire.ask(line))["id"] == 1


async def test_a_client_does_not_send_what_no_gateway_takes(service: Service, path: Path) -> None:
    with pytest.raises(ControlError, match="a gateway takes 65536"):
        await ControlClient(path).call("echo", {"a": "x" * REQUEST_BYTES_MAX})


async def test_an_id_in_use_is_refused(service: Service, wire: Wire) -> None:
    answer = await wire.ask({"id": 1, "op": "wait"}, {"id": 1, "op": "echo"})
    assert "in use" in answer["error"]["message"]
    service.gate.set()
    assert await wire.hear() == {"id": 1, "ok": {"waited": True}}


async def test_one_request_too_many_is_refused_and_the_others_go_on(service: Service, wire: Wire) -> None:
    await wire.say(*({"id": n, "op": "wait"} for n in range(REQUESTS_MAX)))
    answer = await wire.ask({"id": 99, "op": "echo"})
    assert answer["id"] == 99
    assert f"{REQUESTS_MAX} requests" in answer["error"]["message"]
    service.gate.set()
    assert {(await wire.hear())["id"] for _ in range(REQUESTS_MAX)} == set(range(REQUESTS_MAX))
    assert (await wire.ask({"id": 99, "op": "echo"}))["ok"] == {"args": {}}


async def test_one_connection_too_many_is_told_and_room_is_made_when_one_leaves(service: Service, path: Path) -> None:
    wires = [await Wire.open(path) for _ in range(CONNECTIONS_MAX)]
    for wire in wires:
        assert (await wire.ask({"id": 1, "op": "echo"}))["id"] == 1
    client = ControlClient(path)
    with pytest.raises(ControlError, match=f"{CONNECTIONS_MAX} clients are connected"):
        await client.call("echo")
    wires[0].close()
    async with asyncio.timeout(5):
        while True:
            try:
                assert await client.call("echo") == {"args": {}}
            except ControlError:
                continue
            break
    for wire in wires[1:]:
        wire.close()


def _dropped(server: ControlServer, times: int) -> bool:
    return server.slow_readers == times


async def test_a_client_that_does_not_read_is_dropped_and_counted_and_said_once(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    service = Service()
    async with service.server(path, write_timeout_s=0.05) as server:
        for dropped in (1, 2):
            wire = await Wire.open(path)
            cast("asyncio.Transport", wire.writer.transport).pause_reading()
            await wire.say({"id": 1, "op": "flood"})
            await until(partial(_dropped, server, dropped))
            wire.close()
        assert await ControlClient(path).call("echo") == {"args": {}}
    assert service.closed == ["flood", "flood"]
    assert [record.getMessage() for record in caplog.records] == [
        "control: dropped a client that read nothing for 0.05 s"
    ]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    chunks=st.lists(
        st.binary(max_size=300)
        | st.just(b"\n")
        | st.sampled_from(
            [b'{"id":1,"op":"wait"}\n', b'{"id":1,"op":"cancel"}\n', b'{"id":2,"op":"flood"}\n', b'{"id":']
        )
        | st.recursive(
            st.none() | st.integers() | st.text(max_size=8),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "op", "args"]), inner),
            max_leaves=8,
        ).map(lambda value: json.dumps(value).encode() + b"\n"),
        max_size=12,
    )
)
def test_no_bytes_disturb_the_service(tmp_path: Path, chunks: list[bytes]) -> None:
    async def scene() -> None:
        path = tmp_path / "f.sock"
        async with Service().server(path):
            bystander = await Wire.open(path)
            rude = await Wire.open(path)
            await rude.say(*chunks)
            assert await bystander.ask({"id": 5, "op": "echo"}) == {"id": 5, "ok": {"args": {}}}
            rude.close()
            assert await ControlClient(path).call("echo") == {"args": {}}
            bystander.close()

    asyncio.run(scene())


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400) | st.text(max_size=200).map(lambda text: json.dumps({"id": 1, "op": text}).encode()))
def test_any_line_is_a_request_or_a_bad_request(line: bytes) -> None:
    try:
        request = parse_request(line)
    except BadRequest:
        return
    assert 0 < len(request.op) <= 64


# --- the socket file ------------------------------------------------------------------------------------------------


async def test_only_owner_and_group_may_connect(service: Service, path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o660


async def test_the_socket_goes_when_the_server_closes(path: Path) -> None:
    server = Service().server(path)
    await server.start()
    assert presence(path) == "live"
    await server.close()
    await server.close()
    assert not path.exists()
    assert presence(path) == "dead"
    with pytest.raises(NotRunning):
        await ControlClient(path).call("echo")


async def test_closing_ends_what_runs_and_clients_are_told_apart_from_an_answer(path: Path) -> None:
    service = Service()
    server = service.server(path)
    await server.start()
    call = asyncio.create_task(ControlClient(path).call("wait"))
    parts = ControlClient(path).stream("follow")
    assert await anext(parts) == {"n": 0}
    await until(lambda: service.started == 2)
    async with asyncio.timeout(2):
        await server.close()
    with pytest.raises(Disconnected):
        await call
    with pytest.raises(Disconnected):
        await anext(parts)
    assert service.closed == ["follow"]


@pytest.mark.parametrize("turns", range(6))
def test_a_client_that_comes_while_the_server_closes_leaves_nothing_behind(path: Path, turns: int) -> None:
    async def scene() -> None:
        server = Service().server(path)
        await server.start()
        with socket.socket(socket.AF_UNIX) as late:
            late.connect(str(path))
            for _ in range(turns):  # the loop takes several to accept it
                await asyncio.sleep(0)
            await server.close()

    loop = asyncio.new_event_loop()
    loop.run_until_complete(scene())
    loop.close()
    gc.collect()  # an open transport would warn here, and warnings are errors


async def test_a_socket_that_a_killed_service_left_is_replaced(path: Path) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    async with Service().server(path):
        assert await ControlClient(path).call("echo") == {"args": {}}


async def test_a_second_gateway_on_one_socket_is_refused_and_the_first_goes_on(service: Service, path: Path) -> None:
    with pytest.raises(ControlError, match="another gateway answers on"):
        await Service().server(path).start()
    assert await ControlClient(path).call("echo") == {"args": {}}


async def test_a_file_that_is_no_socket_is_left_alone(path: Path) -> None:
    path.write_text("precious")
    with pytest.raises(ControlError, match="is no socket"):
        await Service().server(path).start()
    assert path.read_text() == "precious"


async def test_close_leaves_a_socket_that_somebody_else_put_there(path: Path) -> None:
    first, second = Service().server(path), Service().server(path)
    await first.start()
    path.rename(path.with_name("moved"))
    async with second:
        await first.close()
        assert await ControlClient(path).call("echo") == {"args": {}}


@pytest.mark.parametrize("act", [lambda p: Service().server(p).start(), lambda p: ControlClient(p).call("echo")])
async def test_a_path_that_is_too_long_is_said_with_its_length(
    tmp_path: Path, act: Callable[[Path], Awaitable[object]]
) -> None:
    path = tmp_path / ("ü" * 60) / "control.sock"
    with pytest.raises(
        ControlError, match=rf"has {len(os.fsencode(path))} bytes, and the system allows {PATH_BYTES_MAX}"
    ):
        await act(path)


async def test_a_missing_directory_is_said(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match=r"cannot listen on .*No such file or directory"):
        await Service().server(tmp_path / "no" / "c.sock").start()


async def test_a_user_outside_the_group_is_told_how_to_join(service: Service, path: Path) -> None:
    path.chmod(0)
    root = os.geteuid() == 0
    if root:  # permissions do not bind root
        os.seteuid(65534)
    try:
        found = presence(path)
        with pytest.raises(ControlError, match="this user may not talk to") as caught:
            await ControlClient(path).call("echo")
    finally:
        if root:
            os.seteuid(0)
    assert found == "denied"
    assert "usermod -aG gateway" in str(caught.value)


async def test_a_stranger_that_answers_nonsense_is_named(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def babble(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_unix_server(babble, str(path)):
        with pytest.raises(ControlError, match="gave no answer of a gateway"):
            await ControlClient(path).call("echo")


def test_nothing_of_the_control_socket_needs_logging_to_be_set_up() -> None:
    assert logging.getLogger("gateway.control.server").handlers == []
