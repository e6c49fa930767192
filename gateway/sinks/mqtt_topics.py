"""Topics and retained state: what is published where. Pure: events go in, topics and bytes come out.

Under `<base>/<gateway id>/` lie `event/<subject>` (every event), `state/<device>/<channel>` (the latest value),
`availability/<device>` and `status`; the last three are retained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

import msgspec

from gateway.event import Event, rfc3339
from gateway.sink import Present

STATE_TYPES: Final = frozenset({"reading", "state"})
"""Event types whose newest value is worth keeping. An `input` is over as soon as it happened."""

AVAILABILITY_TYPES: Final[Mapping[str, bool]] = {"device.available": True, "device.unavailable": False}
AVAILABILITY: Final = {True: b"online", False: b"offline"}

CLEARED: Final = b""
"""An empty retained message: the broker forgets the topic (MQTT 5, section 3.3.1.3)."""

Content = Event | bytes
"""What a retained topic is to hold: a finished text, or an event whose value is encoded when its turn comes."""

_encode: Callable[[object], bytes] = msgspec.json.encode


class Topics:
    """The names below one gateway's prefix."""

    def __init__(self, base: str, gateway_id: str) -> None:
        prefix = f"{base}/{gateway_id}/"
        self.status = f"{prefix}status"
        self._event = f"{prefix}event/"
        self._state = f"{prefix}state/"
        self._availability = f"{prefix}availability/"

    def event(self, subject: str) -> str:
        return self._event + subject

    def state(self, subject: str) -> str:
        return self._state + subject

    def availability(self, device: str) -> str:
        return self._availability + device


def content_bytes(content: Content) -> bytes:
    """Bytes of a retained topic: `{"value":21.5,"unit":"Cel","quality":"good","time":"…"}` for an event."""
    if isinstance(content, bytes):
        return content
    return _encode(
        {
            "value": content.value,
            "unit": content.unit,
            "quality": content.quality,
            "time": rfc3339(content.time),
        }
    )


def birth(present: Present, run: str) -> bytes:
    """What `status` says while we are connected."""
    return _encode({**present.status(), "state": "online", "session": run})


def farewell(run: str) -> bytes:
    """What `status` says when we are gone: the last will, and the goodbye of a clean stop."""
    return _encode({"state": "offline", "session": run})


def snapshot(topics: Topics, present: Present, run: str) -> Iterator[tuple[str, Content]]:
    """Everything retained, in the order in which a new connection tells it: birth, availability, state."""
    yield topics.status, birth(present, run)
    for device, available in present.availability():
        yield topics.availability(device), AVAILABILITY[available]
    for event in present.values():
        if event.type in STATE_TYPES:
            yield topics.state(event.subject), event


class Retained:
    """Conflation: each topic has one wanted content, at most one message in flight, and never a backlog.

    `want` says what a topic is to hold, `take` gives the next message to send, `settle` tells how the broker answered.
    What equals the last acknowledged content of this connection is not sent again. Bounded by the number of topics.
    """

    def __init__(self) -> None:
        self._ready: dict[str, Content] = {}
        self._flying: dict[str, bytes] = {}
        self._next: dict[str, Content] = {}
        self._told: dict[str, bytes] = {}

    @property
    def flying(self) -> Mapping[str, bytes]:
        """Topic -> content that is sent and not yet answered."""
        return self._flying

    @property
    def topics(self) -> frozenset[str]:
        """Every topic that holds something, or is about to."""
        return frozenset({*self._told, *self._flying, *self._ready, *self._next})

    @property
    def ready(self) -> bool:
        """Whether `take` may have something."""
        return bool(self._ready)

    def told(self, topic: str) -> bytes | None:
        """The content that the broker last acknowledged."""
        return self._told.get(topic)

    def want(self, topic: str, content: Content) -> None:
        (self._next if topic in self._flying else self._ready)[topic] = content

    def only(self, topic: str, content: Content) -> None:
        """Forget everything else that is wanted: this is the last word."""
        self._ready.clear()
        self._next.clear()
        self.want(topic, content)

    def take(self) -> tuple[str, bytes] | None:
        """The next message; it counts as in flight until `settle`."""
        while self._ready:
            topic = next(iter(self._ready))
            payload = content_bytes(self._ready.pop(topic))
            if self._told.get(topic) != payload:
                self._flying[topic] = payload
                return topic, payload
        return None

    def settle(self, topic: str, *, accepted: bool) -> None:
        """A refused content is not repeated; the next different one is tried."""
        payload = self._flying.pop(topic)
        if accepted and payload == CLEARED:
            self._told.pop(topic, None)
        elif accepted:
            self._told[topic] = payload
        if topic in self._next:
            self._ready[topic] = self._next.pop(topic)
