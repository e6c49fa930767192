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

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any, Final, Literal, Protocol, Self

import msgspec

from gateway.clock import JudgedClock, SystemClock
from gateway.consumers import Consumers
from gateway.control import ControlClient, Disconnected
from gateway.control.client import Lane
from gateway.control.find import choose, running
from gateway.errors import NotRunning, StoreUnavailable
from gateway.event import TYPE_PREFIX, TYPE_SUFFIX, Quality, Value, sequence
from gateway.eventlog import ConsumerSpec, EventLog
from gateway.log_answers import LogAnswers, Parts
from gateway.record import Recorder

__all__ = ["Connection", "Consumption", "Received", "connect", "open_log"]

logger = logging.getLogger("gateway.client")

FETCH_WAIT_S: Final = 25.0
ANSWER_WITHIN_S: Final = 15.0
AGAIN_FIRST_S, AGAIN_MAX_S = 0.1, 4.0
NEVER_S: Final = 100 * 365 * 86400.0
SIZE_BYTES_MAX: Final = 2**40
"""Bounds of a log that is only looked at: nothing is forgotten, whatever the gateway's own bounds are."""


class Settle(Protocol):
    """How an event is answered for: ('acks', offset), ('naks', [offset, seconds]), ('rejects', [offset, reason])."""

    async def __call__(self, verdict: str, answer: object) -> None: ...


@dataclass(frozen=True, slots=True)
class Received:
    """One event as a reader gets it: a CloudEvent (`cloudevent`), and its parts by name.

    `deliveries` counts how often this consumer was given the event; 0 for one that was only looked at. A gap in the log
    comes as an event of the type `log.gap` with an empty `id`, whose `data` names the first and last sequence that are
    no more; it needs no acknowledgement.
    """

    cloudevent: dict[str, Any]
    deliveries: int = 0
    _settle: Settle | None = field(default=None, repr=False, compare=False)

    @property
    def id(self) -> str:
        """Equal ids are always the same event."""
        return str(self.cloudevent["id"])

    @property
    def type(self) -> str:
        """Without prefix and version: `reading`, `state`, `input`, `device.unavailable`, ..."""
        return str(self.cloudevent["type"]).removeprefix(TYPE_PREFIX).removesuffix(TYPE_SUFFIX)

    @property
    def subject(self) -> str:
        """`<device>/<channel>`, `<device>`, `sink/<id>` or `gateway`."""
        return str(self.cloudevent["subject"])

    @property
    def time(self) -> datetime:
        """When it happened, UTC."""
        return datetime.fromisoformat(self.cloudevent["time"])

    @property
    def recorded(self) -> datetime:
        """When it was committed to the log, UTC."""
        return datetime.fromisoformat(self.cloudevent["recordedtime"])

    @property
    def offset(self) -> int:
        """Its place in the log."""
        return int(self.cloudevent["sequence"])

    @property
    def previous(self) -> int | None:
        """The offset of the event before it in this consumer's selection; None where there is none."""
        previous = self.cloudevent.get("previous")
        return None if previous is None else int(previous)

    @property
    def value(self) -> Value:
        """None for a bad reading, and for events without a value."""
        value: Value = self.cloudevent["data"].get("value")
        return value

    @property
    def unit(self) -> str | None:
        """SenML's name of the unit: `Cel`, `%RH`, `Pa`, ..."""
        unit: str | None = self.cloudevent["data"].get("unit")
        return unit

    @property
    def quality(self) -> Quality | None:
        quality: Quality | None = self.cloudevent["data"].get("quality")
        return quality

    @property
    def reason(self) -> str:
        return str(self.cloudevent["data"].get("reason", ""))

    @property
    def data(self) -> dict[str, Any]:
        """Everything that the event says, as CloudEvents' `data`."""
        data: dict[str, Any] = self.cloudevent["data"]
        return data

    async def ack(self) -> None:
        """It is dealt with. With `ack="cursor"` everything before it is, too."""
        await self._answer("acks", self.offset)

    async def nak(self, wait_s: float | None = None) -> None:
        """Give it again: after the consumer's back-off, or after `wait_s` seconds. Needs `ack="each"`."""
        await self._answer("naks", [self.offset, wait_s])

    async def reject(self, reason: str) -> None:
        """Give it up: it goes to the consumer's dead letters, and an `event.refused` names it. Needs `ack="each"`."""
        await self._answer("rejects", [self.offset, reason])

    async def _answer(self, verdict: str, answer: object) -> None:
        if self._settle is None:
            raise RuntimeError("this event was only looked at: what `consume` gives can be acknowledged")
        await self._settle(verdict, answer)


class _Asked(Protocol):
    """Something that answers one question after the other."""

    async def ask(self, op: str, args: dict[str, Any], timeout_s: float = ANSWER_WITHIN_S) -> dict[str, Any]: ...


class Connection:
    """A gateway that runs, or an open log: made by `connect` and `open_log`."""

    def __init__(self, source: _Source) -> None:
        self._source = source
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    async def ask(
        self, op: str, args: dict[str, Any] | None = None, timeout_s: float = ANSWER_WITHIN_S
    ) -> dict[str, Any]:
        """One operation of the log (`gateway/log_answers.py` lists them).

        Raises:
            NotRunning, ControlError: nobody answers, or the answer is an error.
        """
        return await self._source.ask(op, args or {}, timeout_s)

    def stream(self, op: str, args: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """The parts of an operation that has many. Close it to cancel (`contextlib.aclosing`)."""
        return self._source.stream(op, args)

    @property
    def alone(self) -> bool:
        """Whether this is an open log, without a gateway."""
        return isinstance(self._source, _Here)

    async def log(self) -> dict[str, Any]:
        """What `gateway log` shows: bounds, packing, consumers and how far they are."""
        return await self.ask("log")

    async def forget(self, name: str) -> None:
        """Forget a consumer, its place and its dead letters."""
        await self.ask("forget", {"name": name})

    def consume(
        self,
        name: str,
        *,
        start: str = "latest",
        types: Sequence[str] | None = None,
        subjects: Sequence[str] | None = None,
        quality: Sequence[Quality] | None = None,
        ack: Literal["cursor", "each"] = "cursor",
        ack_within_s: float = 30.0,
        deliveries_max: int = 5,
        backoff_s: Sequence[float] = (1.0, 5.0, 30.0, 300.0),
        in_flight_max: int = 100,
        protect: bool = False,
        prefetch: int | None = None,
        reconnect: bool = True,
    ) -> Consumption:
        """The events for the consumer `name`, from where it left off; then each as it is committed.

        A new consumer begins at `start`: `earliest`, `latest`, `last` (the newest value of each subject, then what
        comes), `offset:1234` or `time:2026-11-23T06:00:00Z`. `types` and `subjects` are patterns as under `events:` of
        a sink.

        With `ack="cursor"` an acknowledgement counts for all events before it too, and order is kept. With `ack="each"`
        every event stands for itself: without an answer within `ack_within_s`, or after `nak`, it comes again, and
        after `deliveries_max` deliveries it is a dead letter. At most `in_flight_max` events are open at a time.

        `protect` makes the log keep what this consumer has not read (up to the log's size); others find a `log.gap`.
        `prefetch` events are asked for at a time (100; 1 with `ack="each"`, where each has its time limit).
        `reconnect` waits for a gateway that restarts, instead of raising `NotRunning`.
        """
        spec = ConsumerSpec(
            None if types is None else tuple(types),
            None if subjects is None else tuple(subjects),
            None if quality is None else tuple(quality),
            ack,
            float(ack_within_s),
            deliveries_max,
            tuple(map(float, backoff_s)),
            in_flight_max,
            protect,
        )
        return self.attend(name, start, spec, prefetch=prefetch, reconnect=reconnect)

    def attend(
        self, name: str, start: str, spec: ConsumerSpec | None, *, prefetch: int | None = None, reconnect: bool = True
    ) -> Consumption:
        """`consume` with a spec in one piece; None leaves a consumer that exists as it is."""
        return Consumption(self._source, self._open, name, start, spec, prefetch=prefetch, reconnect=reconnect)

    async def read(
        self,
        start: str = "earliest",
        end: str = "latest",
        *,
        types: Sequence[str] | None = None,
        subjects: Sequence[str] | None = None,
        quality: Sequence[Quality] | None = None,
    ) -> AsyncIterator[Received]:
        """Recorded events from `start` up to, not including, `end`. Only looks: nothing is remembered."""
        wanted = {"types": types, "subjects": subjects, "quality": quality}
        chosen = {key: list(value) for key, value in wanted.items() if value is not None}
        span = await self.ask("span", {"from": start, "to": end})
        async for page in self.pages(span["first"], span["next"], chosen):
            if page["gap"] is not None:
                yield gap_event(*page["gap"])
            for event in page["events"]:
                yield Received(event)

    async def pages(self, first: int, upto: int, chosen: dict[str, list[str]]) -> AsyncIterator[dict[str, Any]]:
        """The pages of [first, upto): {events, next, gap}, asked for one by one."""
        async with self._source.lane() as lane:
            while first < upto:
                page = await lane.ask("page", {"from": first, "upto": upto, **chosen}, ANSWER_WITHIN_S)
                yield page
                if page["next"] <= first:
                    break
                first = page["next"]

    async def tail(self) -> AsyncIterator[Received]:
        """Each event as it is committed, from now on. Only looks: nothing is remembered."""
        offset = (await self.ask("span", {"from": "latest"}))["first"]
        while True:
            async for page in self.pages(offset, 2**62, {}):
                offset = page["next"]
                if page["gap"] is not None:
                    yield gap_event(*page["gap"])
                for event in page["events"]:
                    yield Received(event)
            await self.ask("wait", {"offset": offset, "wait_s": FETCH_WAIT_S}, FETCH_WAIT_S + ANSWER_WITHIN_S)


class Consumption:
    """An endless iterator over the events of one consumer."""

    def __init__(
        self,
        source: _Source,
        stack: AsyncExitStack,
        name: str,
        start: str,
        spec: ConsumerSpec | None,
        *,
        prefetch: int | None,
        reconnect: bool,
    ) -> None:
        self.name = name
        self.created = False
        self.spec: ConsumerSpec | None = spec
        self._source, self._stack, self._reconnect = source, stack, reconnect
        self._start, self._wish, self._prefetch = start, spec, prefetch
        self._session: str | None = None
        self._lanes: AsyncExitStack | None = None
        self._fetching: _Asked | None = None
        self._settling: _Asked | None = None
        self._ready: deque[Received] = deque()
        self._attempts = 0
        self._warned = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Received:
        while not self._ready:
            await self._more()
        return self._ready.popleft()

    async def begin(self) -> Self:
        """Begin now, instead of with the first event that is asked for.

        Raises:
            NotRunning: nobody answers. ControlError: the consumer cannot be as it is wanted.
        """
        if self._session is None:
            await self._begin()
        return self

    async def _more(self) -> None:
        try:
            await self.begin()
            args = {"name": self.name, "session": self._session, "limit": self._limit, "wait_s": FETCH_WAIT_S}
            assert self._fetching is not None
            found = await self._fetching.ask("fetch", args, FETCH_WAIT_S + ANSWER_WITHIN_S)
        except (Disconnected, NotRunning):
            if not self._reconnect:
                raise
            await self._again()
            return
        self._attempts = 0
        self._ready.extend(gap_event(first, last, self._no_answer) for first, last in found["gaps"])
        self._ready.extend(Received(one["event"], one["deliveries"], self._settle) for one in found["events"])
        self._warn(full=found["full"])

    @property
    def _limit(self) -> int:
        each = self.spec is not None and self.spec.ack == "each"
        return self._prefetch or (1 if each else 100)

    async def _begin(self) -> None:
        spec = None if self._wish is None else msgspec.to_builtins(self._wish)
        lanes = AsyncExitStack()
        try:
            self._fetching = await lanes.enter_async_context(self._source.lane())
            self._settling = await lanes.enter_async_context(self._source.lane())
            args = {"name": self.name, "from": self._start, "spec": spec}
            begun = await self._fetching.ask("consume", args, ANSWER_WITHIN_S)
        except BaseException:
            await lanes.aclose()
            raise
        self._lanes = lanes
        self._stack.push_async_callback(lanes.aclose)
        self._session, self.created = begun["session"], begun["created"]
        self.next_offset: int = begun["next_offset"]
        self.spec = msgspec.convert(begun["spec"], ConsumerSpec)

    async def _again(self) -> None:
        """The gateway has gone. What it gave and we have not handled will be given again."""
        if self._attempts == 0:
            logger.warning("the gateway has gone; waiting for it")
        if self._lanes is not None:
            await self._lanes.aclose()
        self._session, self._lanes = None, None
        self._ready.clear()
        wait_s = min(AGAIN_MAX_S, AGAIN_FIRST_S * 2.0 ** min(self._attempts, 10))
        self._attempts += 1
        await asyncio.sleep(Random().uniform(wait_s / 2, wait_s))

    async def _settle(self, verdict: str, answer: object) -> None:
        """An answer that the gateway does not get any more counts for nothing: the event comes again."""
        if self._session is None or self._settling is None:
            return
        args = {"name": self.name, "session": self._session, verdict: [answer]}
        try:
            await self._settling.ask("settle", args, ANSWER_WITHIN_S)
        except (Disconnected, NotRunning):
            if not self._reconnect:
                raise

    async def _no_answer(self, verdict: str, answer: object) -> None:
        """A gap is no event of the log: there is nothing to settle."""

    def _warn(self, *, full: bool) -> None:
        if full and not self._ready and not self._warned:
            self._warned = True
            logger.warning(
                "%s: nothing more comes until some of its open events are acknowledged (`await event.ack()`)", self.name
            )


def gap_event(first: int, last: int, settle: Settle | None = None) -> Received:
    """What stands for events that the log holds no more."""
    told = {"first": sequence(first), "last": sequence(last), "count": last - first + 1, "reason": "trimmed"}
    return Received(
        {
            "specversion": "1.0",
            "id": "",
            "type": f"{TYPE_PREFIX}log.gap{TYPE_SUFFIX}",
            "subject": "gateway",
            "time": "1970-01-01T00:00:00.000000Z",
            "recordedtime": "1970-01-01T00:00:00.000000Z",
            "sequence": sequence(last),
            "datacontenttype": "application/json",
            "data": told,
        },
        _settle=settle,
    )


# -- where answers come from ------------------------------------------------------------------------------------------


class _Source(Protocol):
    """Something that answers questions about a log."""

    async def ask(self, op: str, args: dict[str, Any], timeout_s: float) -> dict[str, Any]: ...

    def lane(self) -> contextlib.AbstractAsyncContextManager[_Asked]: ...

    def stream(self, op: str, args: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]: ...


class _Service:
    """A gateway that runs."""

    def __init__(self, path: Path) -> None:
        self._client = ControlClient(path)

    async def ask(self, op: str, args: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        return await self._client.call(op, args, timeout_s)

    def lane(self) -> contextlib.AbstractAsyncContextManager[Lane]:
        return self._client.lane()

    def stream(self, op: str, args: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        return self._client.stream(op, args)


class _Here:
    """A log that is open in this process. Answers pass through JSON, as those of a gateway do."""

    def __init__(self, answers: LogAnswers) -> None:
        self._answers = answers

    async def ask(self, op: str, args: dict[str, Any], timeout_s: float = ANSWER_WITHIN_S) -> dict[str, Any]:
        del timeout_s
        told: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(args))
        answer: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(await self._answers.calls[op](told)))
        return answer

    @asynccontextmanager
    async def lane(self) -> AsyncIterator[Self]:
        yield self

    async def stream(self, op: str, args: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        async for part in self._answers.streams[op](args):
            yield part


@asynccontextmanager
async def connect(gateway_id: str | None = None, *, socket: Path | None = None) -> AsyncIterator[Connection]:
    """The gateway that runs on this machine: the only one, the one of that id, or the one on that control socket.

    Raises:
        NotRunning: there is none. ControlError: there are several, or this user may not ask it.
    """
    path = socket or choose(await running(), gateway_id).path
    async with Connection(_Service(path)) as connection:
        await connection.ask("span")
        yield connection


@asynccontextmanager
async def open_log(path: str | Path, *, gateway_id: str | None = None) -> AsyncIterator[Connection]:
    """The log at `path`, while no gateway runs on it. `gateway_id` is for the `source` of its events.

    Raises:
        LogLocked: a gateway writes it: `connect` instead. StoreUnavailable, LogCorrupt, LogTooNew: it cannot be read.
    """
    async with open_answers(Path(path), gateway_id) as answers, Connection(_Here(answers)) as connection:
        yield connection


@asynccontextmanager
async def open_answers(path: Path, gateway_id: str | None = None) -> AsyncIterator[LogAnswers]:
    """The operations on a log that this process opens. See `open_log`."""
    if not path.is_file():  # noqa: ASYNC240 - a look, before anything else runs
        raise StoreUnavailable(f"there is no log at {path}: look at `buffer.path` in the configuration")
    clock = JudgedClock(SystemClock())
    log = await EventLog.open(path, clock, size_bytes_max=SIZE_BYTES_MAX, keep_for_s=NEVER_S)
    clock.has_seen(log.newest_ns)
    recorder = Recorder(log, clock, commit_within_s=1.0, protected=lambda: log.first_offset)
    recording = asyncio.create_task(recorder.run())
    try:
        consumers = Consumers(log, recorder, clock)
        await consumers.load()
        parts = Parts(gateway_id or path.stem, log, consumers, clock, alone=True)
        yield LogAnswers(lambda: parts)
    finally:
        await recorder.stop()
        await recording
        await log.close()
