"""What a program asks a gateway, or an open log: events to consume, to read, to watch."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack
from typing import Any, Literal, Self

from gateway.client.consumption import FETCH_WAIT_S, Consumption
from gateway.client.received import Received, gap_event
from gateway.client.records import Records
from gateway.client.sources import ANSWER_WITHIN_S, Here, Source
from gateway.event import Quality
from gateway.eventlog import ConsumerSpec


class Connection:
    """A gateway that runs, or an open log: made by `connect` and `open_log`."""

    def __init__(self, source: Source) -> None:
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
        return isinstance(self._source, Here)

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

    def records(self, first: int, upto: int) -> Records:
        """The records of [first, upto) as they were recorded: with the boot clock, and no time corrected since."""
        return Records(self._source, first, upto)

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
