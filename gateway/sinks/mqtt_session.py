"""One connection to a broker, as the forwarder sees it: events one by one, the retained picture beside them.

Two flows share the broker's Receive Maximum. Events have the window; retained topics a few places of their own, so that
a storm of values never delays an event for long, nor the other way round.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Collection
from typing import Final, NamedTuple

from gateway.errors import LinkError
from gateway.event import CloudEventEncoder, Event
from gateway.sink import Identity, Outgoing, Report, Session, Verdict
from gateway.sinks.mqtt_codes import FAILURE, SESSION_TAKEN_OVER, TAKEN_OVER_RETRY_S, UNRELATED, verdict_of
from gateway.sinks.mqtt_properties import Limits
from gateway.sinks.mqtt_sweep import Sweep
from gateway.sinks.mqtt_topics import (
    AVAILABILITY,
    AVAILABILITY_TYPES,
    CLEAR,
    STATE_TYPES,
    Retained,
    Topics,
    birth,
    farewell,
    snapshot,
    state_bytes,
)
from gateway.sinks.mqtt_wire import Message, Wire

logger = logging.getLogger("gateway.sinks.mqtt")

JSON: Final = "application/json"
TEXT: Final = "text/plain; charset=utf-8"
ONLINE_OFFLINE: Final = frozenset(AVAILABILITY.values())
RETAINED_IN_FLIGHT_MAX: Final = 10
SNAPSHOT_WAIT_S: Final = 1.0
"""How long events wait for the picture of a new connection to be handed over, where it exceeds the Receive Maximum."""


def places(window: int, limits: Limits) -> tuple[int, int]:
    """(events, retained messages) that may be in flight. A broker that allows one message lets them take turns."""
    retained = min(RETAINED_IN_FLIGHT_MAX, max(1, limits.in_flight_max // 5))
    return min(window, max(1, limits.in_flight_max - retained)), retained


Told = Callable[[Verdict | None, str], None]


class Manner(NamedTuple):
    """How a sink speaks: what is the same for all its sessions."""

    topics: Topics
    sweep: Sweep
    complain: Callable[[str, str], None]
    """Hears (topic, why) of retained messages that the broker refuses."""
    encode_state: Callable[[Event], bytes] = state_bytes
    state_type: str = JSON


class MqttSession(Session):
    """`report` hears of events."""

    def __init__(self, manner: Manner, identity: Identity, report: Report) -> None:
        self._loop = asyncio.get_running_loop()
        self._topics, self._sweep, self._complain = manner.topics, manner.sweep, manner.complain
        self._state_type = manner.state_type
        self._identity = identity
        self._report = report
        self._encode = CloudEventEncoder(identity.gateway_id).encode
        self._content_type = CloudEventEncoder.content_type
        self._wire: Wire | None = None
        self._limits = Limits()
        self._events: dict[int, int] = {}  # message number -> offset
        self._waiting: deque[tuple[int, Message]] = deque()  # events that found the Receive Maximum reached
        self._asides: dict[int, Told] = {}  # message number -> who published it beside the log
        self._asides_waiting: deque[tuple[Message, Told]] = deque()
        self._too_large: set[int] = set()  # offsets whose refusal is about to be reported
        self._pictures: dict[int, str] = {}  # message number -> retained topic
        self._retained = Retained(manner.encode_state)
        self._retained_max = 0
        self._unwatch: Callable[[], None] = lambda: None
        self._change: asyncio.Event = asyncio.Event()
        self._connected = False
        self._failure: LinkError | None = None

    async def open(self, wire: Wire, window: int) -> None:
        """Birth, availability and state first; then the session is ready for events.

        Raises:
            LinkError: the broker refused us or went away; everything is released then.
        """
        self._wire = wire
        try:
            self._limits = await wire.open()
            self.window_max, few = places(window, self._limits)
            if not self._identity.probe:
                await self._tell_everything()
            self._retained_max = few
        except BaseException:
            self.abort()
            raise
        self._connected = True
        if self._limits.retains and self._limits.wildcards and not self._identity.probe:
            self._sweep.begin(wire)

    async def _tell_everything(self) -> None:
        """The whole picture, in order. What the Receive Maximum holds back for long goes out beside the events."""
        if self._failure is not None:
            raise self._failure
        self._retained_max = self._limits.in_flight_max
        self._unwatch = self._identity.present.watch(self._changed, self._forgotten)
        for topic, content in snapshot(self._topics, self._identity.present, self._identity.run):
            self._retained.want(topic, content)
        self._pump()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SNAPSHOT_WAIT_S):
                await self._until(lambda: not self._retained.ready)
        if self._failure is not None:
            raise self._failure

    def send(self, outgoing: Outgoing) -> None:
        wire = self._wire
        if wire is None:
            return
        event = outgoing.event
        payload = self._encode(event, outgoing.previous)
        message = Message(self._topics.event(event), payload, self._content_type)
        if wire.packet_bytes(message) > self._limits.packet_bytes_max:
            self._too_large.add(event.offset)
            self._loop.call_soon(self._refuse, event.offset, wire.packet_bytes(message))
        elif self._full or self._waiting:
            self._waiting.append((event.offset, message))
        else:
            self._events[wire.publish(message)] = event.offset

    def flush(self) -> None:
        if self._wire is not None:
            self._wire.flush()

    @property
    def _full(self) -> bool:
        return len(self._events) + len(self._pictures) + len(self._asides) >= self._limits.in_flight_max

    def _refuse(self, offset: int, size_bytes: int) -> None:
        if self._wire is not None:
            self._too_large.discard(offset)
            limit = self._limits.packet_bytes_max
            self._report.settled(
                offset, "refused", f"too large: {size_bytes} bytes; the broker takes packets of {limit}"
            )
            self.told()

    def publish(self, message: Message, told: Told) -> None:
        """A message beside the log. `told` is called once, not from within here."""
        if self._wire is None:
            raise LinkError("the connection has ended")
        size, limit = self._wire.packet_bytes(message), self._limits.packet_bytes_max
        if size > limit:
            self._loop.call_soon(told, "refused", f"{size} bytes; the broker takes packets of {limit}")
            return
        self._asides_waiting.append((message, told))
        self._send_waiting()
        self.flush()

    @property
    def is_open(self) -> bool:
        return self._wire is not None and self._connected

    # What the wire tells

    def answered(self, number: int, code: int, text: str) -> None:
        if self._wire is None:
            return
        offset = self._events.pop(number, None)
        if offset is not None:
            self._report.settled(offset, verdict_of(code), text)
        elif (aside := self._asides.pop(number, None)) is not None:
            aside(verdict_of(code), text)
        elif (topic := self._pictures.pop(number, None)) is not None:
            self._retained.settle(topic, accepted=code < FAILURE)
            if code >= FAILURE:
                self._complain(topic, text)
            self._send_waiting()  # the place of a retained message goes to an event first; `told` does it the other way

    def told(self) -> None:
        self._pump()
        self._send_waiting()
        self.flush()
        self._change.set()

    def ended(self, reason: str, code: int) -> None:
        """Two that use one client id throw each other out for ever, unless one waits long."""
        retry_after_s = TAKEN_OVER_RETRY_S if code == SESSION_TAKEN_OVER else None
        self.abort()
        if self._connected:
            self._report.lost(reason, retry_after_s, unrelated=code in UNRELATED)
        else:
            self._failure = LinkError(reason, retry_after_s=retry_after_s)

    def _send_waiting(self) -> None:
        while self._waiting and not self._full and self._wire is not None:
            offset, message = self._waiting.popleft()
            self._events[self._wire.publish(message)] = offset
        while self._asides_waiting and not self._full and self._wire is not None:
            message, told = self._asides_waiting.popleft()
            self._asides[self._wire.publish(message)] = told

    # The retained picture

    def _changed(self, event: Event) -> None:
        if self._wire is None:
            return
        if event.type in STATE_TYPES:
            self._retained.want(self._topics.state(event.subject), event)
        elif event.type in AVAILABILITY_TYPES:
            self._retained.want(self._topics.availability(event.subject), AVAILABILITY[AVAILABILITY_TYPES[event.type]])
        else:  # another configuration: another birth
            self._retained.want(self._topics.status, birth(self._identity.present, self._identity.run))
        self._pump()

    def _forgotten(self, subject: str) -> None:
        """The configuration has this device or channel no more: what was announced of it goes."""
        topic = self._topics.state(subject) if "/" in subject else self._topics.availability(subject)
        self._retained.want(topic, CLEAR)
        self._pump()

    def found(self, topics: list[str]) -> None:
        """What the broker holds of ours, seen by the sweep."""
        for topic in self._sweep.lost(topics, self._expected):
            self._retained.want(topic, CLEAR)
        self._pump()
        self.flush()

    def _expected(self) -> Collection[str]:
        present = self._identity.present
        values = {self._topics.state(event.subject) for event in present.values()}
        devices = {self._topics.availability(device) for device, _ in present.availability()}
        return self._topics.retained(present.configured()) | values | devices

    def _pump(self) -> None:
        """Hand retained messages to the wire while they have places."""
        wire = self._wire
        while wire is not None and self._retained.ready and len(self._pictures) < self._retained_max and not self._full:
            wanted = self._retained.take()
            if wanted is None:
                return
            topic, payload = wanted
            message = Message(topic, payload, self._type_of(topic, payload), self._limits.retains)
            if wire.packet_bytes(message) > self._limits.packet_bytes_max:
                self._retained.settle(topic, accepted=False)
                self._complain(topic, f"the broker takes packets of {self._limits.packet_bytes_max} bytes")
            else:
                self._pictures[wire.publish(message)] = topic

    def _type_of(self, topic: str, payload: bytes) -> str:
        if topic == self._topics.status:
            return JSON
        return TEXT if payload in ONLINE_OFFLINE else self._state_type

    # The end

    async def close(self, timeout_s: float) -> None:
        wire = self._wire
        if wire is None:
            return
        self._unwatch()
        if not self._identity.probe:
            self._retained.only(self._topics.status, farewell(self._identity.run))
            self._pump()
        self.flush()
        try:
            async with asyncio.timeout(timeout_s):
                await self._until(self._settled)
            wire.goodbye()
        except TimeoutError:
            logger.debug("no goodbye: the broker is silent, and will publish our last will, which says the same")
        finally:
            self.abort()

    def _settled(self) -> bool:
        asides = self._asides or self._asides_waiting
        return not (
            asides or self._events or self._waiting or self._too_large or self._pictures or self._retained.ready
        )

    async def _until(self, done: Callable[[], bool]) -> None:
        while self._wire is not None and not done():
            self._change.clear()
            await self._change.wait()

    def abort(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            self._unwatch()
            self._sweep.end()
            wire.abort()
            self._change.set()
            for told in [*self._asides.values(), *(told for _, told in self._asides_waiting)]:
                self._loop.call_soon(told, None, "the connection ended")
            self._asides.clear()
            self._asides_waiting.clear()
