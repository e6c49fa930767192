"""Topics and retained state: what is published where. Pure: events go in, topics and bytes come out.

Under `<base>/<gateway id>/` lie `event/<subject>` (every event), `state/<device>/<channel>` (the latest value),
`availability/<device>` and `status`; the last three are retained. The YAML may give them other names.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Final

import msgspec

from gateway.event import Event, rfc3339
from gateway.sink import Present
from gateway.sinks.mqtt_templates import CLEARED, DEFAULTS, read_template, topic_filter, topic_pattern

STATE_TYPES: Final = frozenset({"reading", "state", "output.changed"})
"""Event types whose newest value is worth keeping. An `input` is over as soon as it happened."""

AVAILABILITY_TYPES: Final[Mapping[str, bool]] = {"device.available": True, "device.unavailable": False}
AVAILABILITY: Final = {True: b"online", False: b"offline"}

CLEAR: Final = b""
"""An empty retained message: the broker forgets the topic (MQTT 5.0 section 3.3.1.3)."""

Content = Event | bytes
"""What a retained topic is to hold: a finished text, or an event whose value is encoded when its turn comes."""

_encode: Callable[[object], bytes] = msgspec.json.encode


class Topics:
    """The names of one gateway's topics at one broker. `templates` is kind of topic -> template."""

    def __init__(self, base: str, gateway_id: str, templates: Mapping[str, str] = DEFAULTS) -> None:
        ours = {"base": base, "gateway": gateway_id}
        self._ours = ours
        self._templates = {kind: read_template(kind, templates[kind]) for kind in DEFAULTS}
        open_ = {kind: template.fill(ours) for kind, template in self._templates.items()}
        self.status = open_["status"].format()
        self._event, self._state, self._availability = open_["event"], open_["state"], open_["availability"]
        plain = self._event.removesuffix("{subject}")
        self._event_prefix = None if "{" in plain or plain == self._event else plain

    def event(self, event: Event) -> str:
        if self._event_prefix is not None:  # the usual shape: this runs for every event
            return self._event_prefix + event.subject
        return self._event.format(subject=event.subject, type=event.type)

    @property
    def events(self) -> str:
        """A topic filter that all events pass, other topics perhaps too: subjects have any number of levels."""
        fixed = itertools.takewhile(lambda level: "{" not in level, self._event.split("/"))
        levels = [level.format() for level in fixed]
        return "/".join(levels if len(levels) == self._event.count("/") + 1 else [*levels, "#"])

    def state(self, subject: str) -> str:
        device, _, channel = subject.partition("/")
        return self._state.format(subject=subject, device=device, channel=channel)

    def availability(self, device: str) -> str:
        return self._availability.format(device=device)

    def retained(self, devices: Mapping[str, Collection[str]]) -> set[str]:
        """Every retained topic that these devices and their channels may have."""
        states = (self.state(f"{device}/{channel}") for device, channels in devices.items() for channel in channels)
        return {self.status, *map(self.availability, devices), *states}

    def ours(self) -> dict[str, re.Pattern[str]]:
        """Topic filter -> what passes it and is certainly this gateway's own retained topic."""
        named = [self._templates[kind] for kind in CLEARED if "gateway" in self._templates[kind].fields]
        return {topic_filter(one, self._ours): topic_pattern(one, self._ours) for one in named}


def state_bytes(event: Event) -> bytes:
    """`{"value":21.5,"unit":"Cel","quality":"good","time":"…"}`."""
    return _encode(
        {
            "value": event.value,
            "unit": event.unit,
            "quality": event.quality,
            "time": rfc3339(event.time),
        }
    )


def value_bytes(event: Event) -> bytes:
    """`21.5`, `true`, `null`; a text as it is. An empty text is `""`, because an empty message clears its topic."""
    if isinstance(event.value, str) and event.value:
        return event.value.encode()
    return _encode(event.value)


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

    def __init__(self, encode: Callable[[Event], bytes] = state_bytes) -> None:
        self._encode = encode
        self._ready: dict[str, Content] = {}
        self._flying: dict[str, bytes] = {}
        self._next: dict[str, Content] = {}
        self._told: dict[str, bytes] = {}

    @property
    def flying(self) -> Mapping[str, bytes]:
        """Topic -> content that is sent and not yet answered."""
        return self._flying

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
            content = self._ready.pop(topic)
            payload = content if isinstance(content, bytes) else self._encode(content)
            if self._told.get(topic) != payload:
                self._flying[topic] = payload
                return topic, payload
        return None

    def settle(self, topic: str, *, accepted: bool) -> None:
        """A refused content is not repeated; the next different one is tried."""
        payload = self._flying.pop(topic)
        if accepted and payload == CLEAR:
            self._told.pop(topic, None)
        elif accepted:
            self._told[topic] = payload
        if topic in self._next:
            self._ready[topic] = self._next.pop(topic)
