"""The sink contract as tests: every promise of `gateway.sink` that can be kept or broken without knowing the wire.

In the tests of a sink of one's own:

    from gateway.testing.sinks import Destination, SinkContract, identity

    class Shelf(Destination):
        \"\"\"A destination that the tests can look into, stall and kill.\"\"\"

    class TestMySink(SinkContract):
        @asynccontextmanager
        async def destination(self) -> AsyncIterator[Shelf]:
            async with Shelf() as shelf:
                yield shelf

Each test gets a destination of its own. pytest-asyncio runs them in either of its modes.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final

import pytest

from gateway.errors import LinkError
from gateway.event import Event
from gateway.sink import Identity, Nothing, Outgoing, Report, Session, Sink, Verdict

CONNECT_S: Final = 3.0
"""What the forwarder allows `connect`."""

SETTLE_S: Final = 10.0
CLOSE_S: Final = 0.5
CLOSE_LONG_S: Final = 4.0
"""What the forwarder allows `close` at least, and what it allows at a stop."""

SLACK_S: Final = 1.0
"""For a busy machine: a promise about time is judged this much late."""

RUN: Final = "5f0c9a31d2e47b88"


def identity(gateway_id: str = "contract") -> Identity:
    return Identity(gateway_id, RUN, Nothing())


def outgoing(offset: int, value: float | str = 21.5) -> Outgoing:
    """A recorded event, and the one before it."""
    event = Event(
        "reading", "air/temperature", 1_795_419_136_000_000_000 + offset, offset, value, "Cel", "good",
        offset=offset, recorded=1_795_419_137_000_000_000, run=RUN, boot="contract",
    )  # fmt: skip
    return Outgoing(event, offset - 1 if offset > 1 else None)


class Destination(ABC):
    """What a sink under test sends to, in the tests' hands."""

    @abstractmethod
    def sink(self) -> Sink:
        """A new sink that sends here, made by `create`."""

    @abstractmethod
    def unreachable(self) -> Sink | None:
        """A sink that cannot connect; None if that cannot happen."""

    @abstractmethod
    async def received(self) -> Sequence[str]:
        """Ids of the events that arrived so far, in order, repeats included."""

    @abstractmethod
    async def stall(self) -> None:
        """From now on, take nothing and answer nothing; connections stay, and new ones get no answer either."""

    @abstractmethod
    async def die(self) -> None:
        """End every connection, and take new ones again."""

    def too_large(self) -> str | None:
        """A value that makes an event too large for this destination; None if there is no bound."""
        return None


class Ear(Report):
    """Notes what a session reports, and complains about what it must not."""

    def __init__(self) -> None:
        self.verdicts: list[tuple[int, Verdict]] = []
        self.losses: list[str] = []
        self.faults: list[str] = []
        self.deaf = ""
        self._thread = threading.get_ident()
        self._sending = False
        self._owed: Counter[int] = Counter()
        self._heard = asyncio.Event()

    def send(self, session: Session, *those: Outgoing, flush: bool = True) -> None:
        """Gives events to the session, as a forwarder does in one turn of the loop."""
        for one in those:
            if not self.losses:
                self._owed[one.event.offset] += 1
            self._sending = True
            session.send(one)
            self._sending = False
        if flush:
            session.flush()

    def settled(self, offset: int, verdict: Verdict, reason: str = "") -> None:
        self._check(f"settled({offset}, {verdict!r})")
        if self._owed[offset] < 1:
            self.faults.append(f"event {offset} was settled, but nothing is owed for it")
        if verdict not in {"accepted", "refused", "held"}:
            self.faults.append(f"event {offset}: {verdict!r} is no verdict")
        if verdict != "accepted" and not reason:
            self.faults.append(f"event {offset} was {verdict} without a reason")
        self._owed[offset] -= 1
        self.verdicts.append((offset, verdict))
        self._heard.set()

    def lost(self, reason: str, retry_after_s: float | None = None, *, unrelated: bool = False) -> None:
        del retry_after_s, unrelated
        self._check(f"lost({reason!r})")
        if not reason:
            self.faults.append("lost without a reason")
        self.losses.append(reason)
        self.deaf = "lost"
        self._heard.set()

    def _check(self, call: str) -> None:
        if self._sending:
            self.faults.append(f"{call} from within send")
        if self.deaf:
            self.faults.append(f"{call} after {self.deaf}")
        if threading.get_ident() != self._thread:
            self.faults.append(f"{call} on thread {threading.current_thread().name}, not the loop's")

    @property
    def owed(self) -> int:
        """Events that were sent and not settled."""
        return self._owed.total()

    async def until_settled(self) -> None:
        """Until nothing is owed, or the session was lost."""
        async with asyncio.timeout(SETTLE_S):
            while self.owed and not self.losses:
                self._heard.clear()
                await self._heard.wait()

    def accepted(self) -> list[int]:
        return [offset for offset, verdict in self.verdicts if verdict == "accepted"]


class SinkContract(ABC):
    """Derive from this, say what the destination is, and pytest does the rest."""

    pytestmark = pytest.mark.asyncio

    @abstractmethod
    def destination(self) -> AbstractAsyncContextManager[Destination]:
        """A working destination, for one test."""

    async def test_create_is_cheap_and_opens_nothing(self) -> None:
        async with self.destination() as place:
            before = _held()
            sink = place.sink()
            assert _held() == before, "create opened a file, socket or thread"
            assert sink.name, "name is empty"
            assert sink.summary, "summary is empty"

    async def test_every_event_is_settled_once_and_arrives_in_order(self) -> None:
        async with self.destination() as place:
            ear, session = await _connected(place.sink())
            sent = [outgoing(offset) for offset in range(1, 251)]
            await _send_all(ear, session, sent)
            assert sorted(ear.accepted()) == [one.event.offset for one in sent], ear.verdicts[:20]
            assert await place.received() == [one.event.id for one in sent]
            await _close(ear, session)
            assert not ear.faults, ear.faults

    async def test_accepted_means_that_it_arrived(self) -> None:
        async with self.destination() as place:
            ear, session = await _connected(place.sink())
            for offset in range(1, 11):
                ear.send(session, outgoing(offset))
                await ear.until_settled()
                assert outgoing(offset).event.id in await place.received()
            await _close(ear, session)
            assert not ear.faults, ear.faults

    async def test_a_full_window_given_at_once_is_settled(self) -> None:
        async with self.destination() as place:
            ear, session = await _connected(place.sink())
            assert session.window_max >= 1
            count = min(session.window_max, 500)
            ear.send(session, *map(outgoing, range(1, count + 1)))
            assert not ear.verdicts, "settled from within send"
            await ear.until_settled()
            assert len(ear.accepted()) == count
            await _close(ear, session)
            assert not ear.faults, ear.faults

    async def test_an_event_sent_again_is_settled_again(self) -> None:
        async with self.destination() as place:
            ear, session = await _connected(place.sink())
            for _ in range(2):
                ear.send(session, outgoing(1))
                await ear.until_settled()
            assert ear.accepted() == [1, 1]
            await _close(ear, session)
            assert not ear.faults, ear.faults

    async def test_send_without_flush_is_enough(self) -> None:
        async with self.destination() as place:
            ear, session = await _connected(place.sink())
            ear.send(session, outgoing(1), flush=False)
            await ear.until_settled()
            assert ear.accepted() == [1]
            await _close(ear, session)

    async def test_an_event_that_is_too_large_is_refused_and_the_next_one_follows(self) -> None:
        async with self.destination() as place:
            huge = place.too_large()
            if huge is None:
                return  # it takes events of any size
            ear, session = await _connected(place.sink())
            ear.send(session, outgoing(1), outgoing(2, huge), outgoing(3))
            await ear.until_settled()
            assert sorted(ear.verdicts) == [(1, "accepted"), (2, "refused"), (3, "accepted")]
            await _close(ear, session)
            assert not ear.faults, ear.faults

    async def test_close_lets_what_is_in_flight_settle(self) -> None:
        async with self.destination() as place:
            ear, session = await _connected(place.sink())
            ear.send(session, *map(outgoing, range(1, min(session.window_max, 50) + 1)))
            await _close(ear, session, timeout_s=CLOSE_LONG_S)
            assert not ear.owed, f"{ear.owed} events were in flight and close did not wait for them"
            assert not ear.faults, ear.faults

    async def test_close_is_in_time_where_nothing_answers(self) -> None:
        async with self.destination() as place:
            ear, session = await _connected(place.sink())
            await place.stall()
            ear.send(session, outgoing(1))
            await _close(ear, session, timeout_s=CLOSE_S)
            await place.die()
            await _a_moment()
            assert not ear.faults, ear.faults

    async def test_nothing_is_reported_after_abort(self) -> None:
        async with self.destination() as place:
            ear, session = await _connected(place.sink())
            ear.send(session, *map(outgoing, range(1, min(session.window_max, 50) + 1)))
            session.abort()
            ear.deaf = "abort"
            await _a_moment()
            session.abort()
            await session.close(CLOSE_S)
            session.send(outgoing(99))
            session.flush()
            await _a_moment()
            assert not ear.faults, ear.faults

    async def test_a_destination_that_dies_loses_the_session_once(self) -> None:
        async with self.destination() as place:
            sink = place.sink()
            ear, session = await _connected(sink)
            await place.stall()
            ear.send(session, *map(outgoing, range(1, min(session.window_max, 50) + 1)))
            await _a_moment()
            await place.die()
            await ear.until_settled()
            assert len(ear.losses) == 1, f"lost was called {len(ear.losses)} times"
            session.send(outgoing(99))
            session.flush()
            await session.close(CLOSE_S)
            session.abort()
            await _a_moment()
            assert not ear.faults, ear.faults
            again, fresh = await _connected(sink)
            assert fresh is not session, "each connection is a new session"
            again.send(fresh, outgoing(1))
            await again.until_settled()
            assert again.accepted() == [1]
            await _close(again, fresh)

    async def test_an_unreachable_destination_is_a_link_error(self) -> None:
        async with self.destination() as place:
            sink = place.unreachable()
            if sink is None:
                return  # it is always reachable
            for _ in range(2):
                ear = Ear()
                async with asyncio.timeout(CONNECT_S + SLACK_S):
                    with pytest.raises(LinkError) as caught:
                        await sink.connect(ear)
                assert caught.value.reason, "a LinkError without a reason"
                assert not ear.verdicts
                assert not ear.losses, "a connection that never was cannot be lost"

    async def test_connect_can_be_cancelled_and_releases_everything(self) -> None:
        async with self.destination() as place:
            sink = place.sink()
            await place.stall()
            before = _held()
            connecting = asyncio.ensure_future(sink.connect(Ear()))
            await _a_moment()
            connecting.cancel()
            await asyncio.wait([connecting], timeout=SLACK_S)
            assert connecting.done(), "connect does not end when it is cancelled"
            if not connecting.cancelled() and connecting.exception() is None:
                connecting.result().abort()  # it needs no answer to connect
            await place.die()
            await _released(before)
            ear, session = await _connected(sink)
            await _close(ear, session)

    async def test_a_session_that_ends_releases_everything(self) -> None:
        async with self.destination() as place:
            sink = place.sink()
            ear, session = await _connected(sink)  # what the sink imports and keeps is there now
            await _close(ear, session)
            before = _held()
            for end in ("close", "abort"):
                ear, session = await _connected(sink)
                ear.send(session, outgoing(1))
                await ear.until_settled()
                if end == "close":
                    await _close(ear, session)
                else:
                    session.abort()
                await _released(before)


async def _connected(sink: Sink) -> tuple[Ear, Session]:
    """A session, tried as often as a forwarder would for a while."""
    ear = Ear()
    async with asyncio.timeout(SETTLE_S):
        while True:
            with contextlib.suppress(LinkError):
                return ear, await sink.connect(ear)
            await _a_moment()


async def _send_all(ear: Ear, session: Session, those: Sequence[Outgoing]) -> None:
    """A window at a time."""
    window = session.window_max
    for first in range(0, len(those), window):
        ear.send(session, *those[first : first + window])
        await ear.until_settled()


async def _close(ear: Ear, session: Session, timeout_s: float = CLOSE_LONG_S) -> None:
    loop = asyncio.get_running_loop()
    started = loop.time()
    async with asyncio.timeout(timeout_s + 2 * SLACK_S):
        await session.close(timeout_s)
    took_s = loop.time() - started
    assert took_s <= timeout_s + SLACK_S, f"close({timeout_s:g}) took {took_s:.1f} s"
    ear.deaf = ear.deaf or "close"


async def _a_moment() -> None:
    """Time for what must not happen to happen: there is no sign to wait for."""
    await asyncio.sleep(0.05)


def _held() -> tuple[int, int]:
    """(open files and sockets, threads) of this process."""
    descriptors = Path("/proc/self/fd")
    return sum(1 for _ in descriptors.iterdir()) if descriptors.is_dir() else 0, threading.active_count()


async def _released(before: tuple[int, int]) -> None:
    """Until no more is held than `before`; threads and sockets may take a moment to go."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + CONNECT_S + SLACK_S
    while any(now > then for now, then in zip(_held(), before, strict=True)):
        assert loop.time() < deadline, f"(files, threads) were {before} and are {_held()}"
        await _a_moment()
