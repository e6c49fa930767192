"""Every sink of ours keeps the sink contract; and the contract's suite notices sinks that do not."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import threading
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import pytest

from gateway.errors import LinkError
from gateway.plugins import Plugins
from gateway.sink import Identity, Outgoing, Report, Session, Sink
from gateway.sinks.console import ConsoleSink
from gateway.sinks.mqtt import MqttSink
from gateway.sinks.mqtt_options import MqttOptions
from gateway.testing import sinks as suite
from gateway.testing.sinks import Destination, SinkContract, identity
from tests.brokers import Mosquitto, Script, ScriptedBroker, Subscriber, free_port, maximum_packet_size
from tests.faultproxy import FaultProxy


def mqtt(port: int, **options: object) -> MqttSink:
    return MqttSink.create(MqttOptions.model_validate({"url": f"mqtt://127.0.0.1:{port}", **options}), identity())


class Scripted(Destination):
    def __init__(self, broker: ScriptedBroker) -> None:
        self.broker = broker

    def sink(self) -> Sink:
        return mqtt(self.broker.port)

    def unreachable(self) -> Sink:
        return mqtt(free_port())

    def too_large(self) -> str:
        return "x" * 10_000

    async def received(self) -> Sequence[str]:
        return [json.loads(one.payload)["id"] for one in self.broker.published if "/event/" in one.topic]

    async def stall(self) -> None:
        self.broker.script.silent = True

    async def die(self) -> None:
        self.broker.script.silent = False
        self.broker.drop_all()


class TestMqtt(SinkContract):
    """Against a broker of ours: runs everywhere."""

    @asynccontextmanager
    async def destination(self) -> AsyncIterator[Destination]:
        async with ScriptedBroker(Script(properties=maximum_packet_size(5000))) as broker:
            yield Scripted(broker)


class BehindProxy(Destination):
    def __init__(self, proxy: FaultProxy, subscriber: Subscriber) -> None:
        self.proxy, self.subscriber = proxy, subscriber

    def sink(self) -> Sink:
        return mqtt(self.proxy.port)

    def unreachable(self) -> Sink:
        return mqtt(free_port())

    async def received(self) -> Sequence[str]:
        await self.subscriber.caught_up()
        return [json.loads(one.payload)["id"] for one in self.subscriber.messages if "/event/" in one.topic]

    async def stall(self) -> None:
        await self.proxy.become("blackhole")

    async def die(self) -> None:
        await self.proxy.become("pass")


@pytest.mark.mosquitto
class TestMqttWithMosquitto(SinkContract):
    """Against Debian's broker, over a link that can fall silent."""

    @pytest.fixture(autouse=True)
    def _broker(self, mosquitto: Mosquitto) -> None:
        self.broker = mosquitto

    @asynccontextmanager
    async def destination(self) -> AsyncIterator[Destination]:
        with Subscriber(self.broker.port, ["gateway/contract/#", "marker/#"]) as subscriber:
            async with FaultProxy("127.0.0.1", self.broker.port) as proxy:
                yield BehindProxy(proxy, subscriber)


class Pipe(Destination):
    """A pipe in the place of standard output, and its reader."""

    def __init__(self) -> None:
        self.text = bytearray()
        self.fd = -1
        self._read = -1
        self._open()
        self._broken_read, self.broken = os.pipe()
        os.close(self._broken_read)

    def _open(self) -> None:
        self._read, write = os.pipe()
        os.set_blocking(self._read, False)
        fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
        if self.fd < 0:
            self.fd = write
        else:
            os.dup2(write, self.fd)
            os.close(write)
        asyncio.get_running_loop().add_reader(self._read, self._take)

    def _take(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self.text += os.read(self._read, 65536)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._read)
        for fd in (self._read, self.fd, self.broken):
            os.close(fd)

    def sink(self) -> Sink:
        return ConsoleSink(identity(), self.fd)

    def unreachable(self) -> Sink:
        return ConsoleSink(identity(), self.broken)

    async def received(self) -> Sequence[str]:
        self._take()
        return [json.loads(line)["id"] for line in bytes(self.text).splitlines()]

    async def stall(self) -> None:
        asyncio.get_running_loop().remove_reader(self._read)
        again = os.open(f"/proc/self/fd/{self.fd}", os.O_WRONLY | os.O_NONBLOCK)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(again, b"\n" * 4096)
        os.close(again)

    async def die(self) -> None:
        asyncio.get_running_loop().remove_reader(self._read)
        os.close(self._read)
        self.text.clear()
        self._open()


class TestConsole(SinkContract):
    @asynccontextmanager
    async def destination(self) -> AsyncIterator[Destination]:
        pipe = Pipe()
        try:
            yield pipe
        finally:
            pipe.close()


def test_our_sinks_are_registered_by_the_name_that_they_give_themselves() -> None:
    plugins = Plugins()
    assert {"console", "mqtt"} <= set(plugins.sink_names())
    assert {name: plugins.sink(name).name for name in plugins.sink_names()} == {
        name: name for name in plugins.sink_names()
    }


# A sink in memory: right, and then wrong in one way at a time


class Shelf(Destination):
    kind: ClassVar[type[ShelfSink]]

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.sessions: list[ShelfSession] = []
        self.stalled = False
        self.open = asyncio.Event()
        self.open.set()

    def sink(self) -> Sink:
        return self.kind(self)

    def unreachable(self) -> Sink:
        return self.kind(self, reachable=False)

    def too_large(self) -> str:
        return "x" * 1000

    async def received(self) -> Sequence[str]:
        return self.ids

    async def stall(self) -> None:
        self.stalled = True
        self.open.clear()

    async def die(self) -> None:
        self.stalled = False
        self.open.set()
        sessions, self.sessions = self.sessions, []
        for session in sessions:
            session.destination_died()


class ShelfSession(Session):
    window_max = 20

    def __init__(self, shelf: Shelf, report: Report) -> None:
        self.shelf, self.report = shelf, report
        self.pending: deque[Outgoing] = deque()
        self.over = False
        self.loop = asyncio.get_running_loop()
        self.idle = asyncio.Event()

    def send(self, outgoing: Outgoing) -> None:
        if not self.over:
            self.pending.append(outgoing)
            self.loop.call_soon(self.step)

    def step(self) -> None:
        if self.over or self.shelf.stalled or not self.pending:
            return
        self.take(self.pending.popleft())
        if not self.pending:
            self.idle.set()

    def take(self, outgoing: Outgoing) -> None:
        event = outgoing.event
        if len(str(event.value)) >= 1000:
            self.report.settled(event.offset, "refused", "too large for the shelf")
        else:
            self.shelf.ids.append(event.id)
            self.report.settled(event.offset, "accepted")

    def destination_died(self) -> None:
        if not self.over:
            self.over = True
            self.idle.set()
            self.report.lost("the shelf fell")

    async def close(self, timeout_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self.pending and not self.over:
                    self.idle.clear()
                    await self.idle.wait()
        self.over = True

    def abort(self) -> None:
        self.over = True


class ShelfSink(Sink):
    name = "shelf"
    summary = "a list in memory"
    session: ClassVar[type[ShelfSession]] = ShelfSession

    def __init__(self, shelf: Shelf, *, reachable: bool = True) -> None:
        self.shelf, self.reachable = shelf, reachable

    @classmethod
    def create(cls, options: Any, identity: Identity) -> Sink:
        raise NotImplementedError

    async def connect(self, report: Report) -> Session:
        await self.meet()
        made = self.session(self.shelf, report)
        self.shelf.sessions.append(made)
        return made

    async def meet(self) -> None:
        if not self.reachable:
            raise LinkError("no such shelf")
        await self.shelf.open.wait()


class ShelfContract(SinkContract):
    kind: ClassVar[type[ShelfSink]] = ShelfSink

    @asynccontextmanager
    async def destination(self) -> AsyncIterator[Destination]:
        shelf = type("Shelf", (Shelf,), {"kind": self.kind})()
        try:
            yield shelf
        finally:
            shelf.stalled = False  # whoever still waits here has waited longer than the suite did
            shelf.open.set()


class TestShelf(ShelfContract):
    """The suite's own measure: a sink that keeps every promise passes."""


class SettlesWithinSend(ShelfSession):
    def send(self, outgoing):
        self.take(outgoing)


class SettlesTwice(ShelfSession):
    def take(self, outgoing):
        super().take(outgoing)
        self.report.settled(outgoing.event.offset, "accepted")


class ForgetsSome(ShelfSession):
    def take(self, outgoing):
        if outgoing.event.offset % 7:
            super().take(outgoing)


class SaysAcceptedButDropsSome(ShelfSession):
    def take(self, outgoing):
        if outgoing.event.offset % 7:
            super().take(outgoing)
        else:
            self.report.settled(outgoing.event.offset, "accepted")


class Reorders(ShelfSession):
    def step(self):
        self.pending.reverse()
        super().step()


class AcceptsBeforeItArrives(ShelfSession):
    def take(self, outgoing):
        self.report.settled(outgoing.event.offset, "accepted")
        self.loop.call_later(0.02, self.shelf.ids.append, outgoing.event.id)


class HasNoWindow(ShelfSession):
    window_max = 0


class ReportsOnAThread(ShelfSession):
    def take(self, outgoing):
        thread = threading.Thread(target=super().take, args=(outgoing,))
        thread.start()
        thread.join()


class ReportsAfterAbort(ShelfSession):
    def abort(self):
        pass


class DropsWhatIsInFlightAtClose(ShelfSession):
    async def close(self, timeout_s):
        self.over = True


class ClosesForEver(ShelfSession):
    async def close(self, timeout_s):
        await super().close(timeout_s + 30)


class RaisesAtClose(ShelfSession):
    async def close(self, timeout_s):
        await super().close(timeout_s)
        raise LinkError("the shelf was gone already")


class IsLostTwice(ShelfSession):
    def destination_died(self):
        super().destination_died()
        self.report.lost("and again")


class NeverNoticesALoss(ShelfSession):
    def destination_died(self):
        pass


class RaisesWhenLost(ShelfSession):
    def send(self, outgoing):
        if self.over:
            raise ConnectionError("gone")
        super().send(outgoing)


class TakesWhatIsTooLarge(ShelfSession):
    def take(self, outgoing):
        self.report.settled(outgoing.event.offset, "accepted")


class RefusesWithoutAReason(ShelfSession):
    def take(self, outgoing):
        self.report.settled(outgoing.event.offset, "refused")


class KeepsAPipe(ShelfSession):
    def __init__(self, shelf, report):
        super().__init__(shelf, report)
        self.pipe = os.pipe()
        LEAKED.extend(self.pipe)


LEAKED: list[int] = []


class RaisesWhatItLikes(ShelfSink):
    async def meet(self):
        if not self.reachable:
            raise ConnectionRefusedError
        await super().meet()


class ConnectsForEver(ShelfSink):
    async def meet(self):
        if not self.reachable:
            await asyncio.get_running_loop().create_future()
        await super().meet()


class CannotBeCancelled(ShelfSink):
    async def meet(self):
        while self.shelf.stalled:
            with contextlib.suppress(asyncio.CancelledError):
                await self.shelf.open.wait()


class ReusesItsSession(ShelfSink):
    async def connect(self, report):
        if not hasattr(self, "made"):
            self.made = await super().connect(report)
        return self.made


class OpensAtCreate(ShelfSink):
    def __init__(self, shelf, **options):
        super().__init__(shelf, **options)
        LEAKED.extend(os.pipe())


BITES = [
    (SettlesWithinSend, "test_a_full_window_given_at_once_is_settled"),
    (SettlesTwice, "test_every_event_is_settled_once_and_arrives_in_order"),
    (ForgetsSome, "test_every_event_is_settled_once_and_arrives_in_order"),
    (SaysAcceptedButDropsSome, "test_every_event_is_settled_once_and_arrives_in_order"),
    (Reorders, "test_every_event_is_settled_once_and_arrives_in_order"),
    (AcceptsBeforeItArrives, "test_accepted_means_that_it_arrived"),
    (HasNoWindow, "test_a_full_window_given_at_once_is_settled"),
    (ReportsOnAThread, "test_accepted_means_that_it_arrived"),
    (ReportsAfterAbort, "test_nothing_is_reported_after_abort"),
    (DropsWhatIsInFlightAtClose, "test_close_lets_what_is_in_flight_settle"),
    (ClosesForEver, "test_close_is_in_time_where_nothing_answers"),
    (RaisesAtClose, "test_close_lets_what_is_in_flight_settle"),
    (IsLostTwice, "test_a_destination_that_dies_loses_the_session_once"),
    (NeverNoticesALoss, "test_a_destination_that_dies_loses_the_session_once"),
    (RaisesWhenLost, "test_a_destination_that_dies_loses_the_session_once"),
    (TakesWhatIsTooLarge, "test_an_event_that_is_too_large_is_refused_and_the_next_one_follows"),
    (RefusesWithoutAReason, "test_an_event_that_is_too_large_is_refused_and_the_next_one_follows"),
    (KeepsAPipe, "test_a_session_that_ends_releases_everything"),
    (RaisesWhatItLikes, "test_an_unreachable_destination_is_a_link_error"),
    (ConnectsForEver, "test_an_unreachable_destination_is_a_link_error"),
    (CannotBeCancelled, "test_connect_can_be_cancelled_and_releases_everything"),
    (ReusesItsSession, "test_a_destination_that_dies_loses_the_session_once"),
    (OpensAtCreate, "test_create_is_cheap_and_opens_nothing"),
]


@pytest.mark.parametrize(("defect", "test"), BITES, ids=[defect.__name__ for defect, _ in BITES])
async def test_the_suite_notices_a_sink_that(defect: type, test: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for bound in ("SETTLE_S", "SLACK_S", "CONNECT_S", "CLOSE_S", "CLOSE_LONG_S"):
        monkeypatch.setattr(suite, bound, 0.3)
    kind = defect if issubclass(defect, Sink) else type("Sink", (ShelfSink,), {"session": defect})
    contract = type("Contract", (ShelfContract,), {"kind": kind})()
    try:
        with pytest.raises((AssertionError, TimeoutError, OSError, LinkError)):
            await getattr(contract, test)()
    finally:
        while LEAKED:
            os.close(LEAKED.pop())
