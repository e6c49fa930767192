"""Actions that need no connection of their own: `log`, `publish` through a sink, and what a rehearsal only says."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import msgspec

from gateway.action import LogConfig, PublishConfig, values_of
from gateway.actions.deed import Deed, Held, Refused
from gateway.errors import LinkError
from gateway.event import CloudEventEncoder, Event
from gateway.sink import Message, Publisher, Verdict
from gateway.template import Template, fill_tree

logger = logging.getLogger("gateway.actions")

JSON: Final = "application/json"
PLAIN: Final = "text/plain; charset=utf-8"
TOPIC_BYTES_MAX: Final = 512
ENDINGS_MAX: Final = 3
LEVELS: Final = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

FindPublisher = Callable[[], Publisher | None]
"""The sink that publishes, as the configuration in force has it."""


def log_line(config: LogConfig, gateway_id: str) -> Deed:
    text, level = Template(config.text), LEVELS[config.level]

    async def write(event: Event) -> None:
        logger.log(level, "%s: %s", event.subject, text.fill(values_of(event, gateway=gateway_id)))

    return Deed("log", write)


class Envelopes:
    """Events as they are sent, for deeds that send them whole."""

    def __init__(self, gateway_id: str) -> None:
        self._encoder = CloudEventEncoder(gateway_id)
        self.content_type = CloudEventEncoder.content_type

    def bytes(self, event: Event) -> bytes:
        return self._encoder.encode(event, None)

    def tree(self, event: Event) -> Any:
        return msgspec.to_builtins(self._encoder.envelope(event, None))


def publication(config: PublishConfig, event: Event, base: str, gateway_id: str) -> Message:
    """The message that an event becomes.

    Raises:
        Refused: its topic is none.
    """
    envelopes = Envelopes(gateway_id)
    values = values_of(event, envelopes.tree(event), base=base, gateway=gateway_id)
    topic = Template(config.topic).fill(values)
    if any(character in topic for character in "+#\0") or not 0 < len(topic.encode()) <= TOPIC_BYTES_MAX:
        raise Refused(f"{topic[:80]!r} is no topic: expected 1 to {TOPIC_BYTES_MAX} bytes, none of them + or #")
    if config.text is not None:
        return Message(topic, Template(config.text).fill(values).encode(), PLAIN, config.retain)
    if config.data is not None:
        return Message(topic, msgspec.json.encode(fill_tree(config.data, values)), JSON, config.retain)
    return Message(topic, envelopes.bytes(event), envelopes.content_type, config.retain)


def publishing(config: PublishConfig, gateway_id: str, find: FindPublisher) -> Deed:
    """Through a sink's own connection. Done when the broker has acknowledged it.

    A message that ends that connection ends it for all events of the sink: after three times it is refused.
    """
    endings = Counter[int]()

    async def publish(event: Event) -> None:
        publisher = find()
        if publisher is None:
            raise LinkError("there is no sink that publishes")
        answer: asyncio.Future[tuple[Verdict | None, str]] = asyncio.get_running_loop().create_future()

        def told(verdict: Verdict | None, reason: str) -> None:
            if not answer.done():
                answer.set_result((verdict, reason))

        publisher.publish(publication(config, event, publisher.base, gateway_id), told)
        verdict, reason = await answer
        if verdict is None:
            endings[event.offset] += 1
            if endings[event.offset] >= ENDINGS_MAX:
                del endings[event.offset]
                raise Refused(f"{reason}, each of {ENDINGS_MAX} times that it was sent")
            raise LinkError(reason)
        endings.pop(event.offset, None)
        if verdict == "refused":
            raise Refused(reason)
        if verdict == "held":
            raise Held(reason)

    return Deed("publish", publish)


def rehearsed(kind: str, would: Callable[[Event], str]) -> Deed:
    """Does nothing but say what it would do."""

    async def say(event: Event) -> None:
        logger.info("%s: would %s", event.subject, would(event))

    return Deed(kind, say)
