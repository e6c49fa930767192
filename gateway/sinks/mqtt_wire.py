"""paho-mqtt on the event loop: one client object for one connection.

paho holds the conversation (CONNECT, CONNACK, pings, DISCONNECT), we own the socket: it is connected and trusted before
paho sees it (`mqtt_dial`), buffered (`mqtt_stream`), and watched by the loop. Messages and their acknowledgements pass
beside paho (`mqtt_packets`). Everything here runs on the loop's thread. What paho's callbacks tell is noted and passed
on after paho has returned, because paho holds its locks while it calls.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from gateway.errors import LinkError
from gateway.sink import Message as Message  # noqa: PLC0414 - part of the wire's words
from gateway.sinks.mqtt_codes import FAILURE, with_advice
from gateway.sinks.mqtt_packets import (
    NUMBER_MAX,
    NUMBER_MIN,
    OTHER_BYTES_MAX,
    Ack,
    NotMqtt,
    publish_bytes,
    publish_packet,
)
from gateway.sinks.mqtt_properties import Limits, in_words, limits_of, pack, text_of, why
from gateway.sinks.mqtt_stream import Stream

if TYPE_CHECKING:
    from gateway.sinks.mqtt_websocket import Frames

logger = logging.getLogger("gateway.sinks.mqtt")

KEEPALIVE_TIMEOUT: Final = 0x8D
MISC_EVERY_S: Final = (0.25, 5.0)
"""Least and most time between two looks for silence, else a quarter of the keep-alive: coarse, to let the CPU sleep."""


@dataclass(frozen=True, slots=True)
class Login:
    """Who we say we are in CONNECT."""

    client_id: str
    username: str | None
    password: str | None
    keepalive_s: int
    version_5: bool


class Ear(Protocol):
    """What a wire tells, on the loop's thread and never from within a call to the wire."""

    def answered(self, number: int, code: int, text: str) -> None:
        """The broker acknowledged message `number`, or refused it: code >= 0x80, and why."""

    def told(self) -> None:
        """Everything that had arrived was passed on."""

    def found(self, topics: list[str]) -> None:
        """The broker holds retained messages of these topics; see `Wire.look_for`."""

    def ended(self, reason: str, code: int) -> None:
        """The connection is gone. `code` is that of the broker's DISCONNECT or of ours, 0 without one."""


class _Client(paho.Client):
    """paho over a stream that is open already, so that nothing in it ever blocks."""

    def __init__(self, stream: Stream, login: Login) -> None:
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id=login.client_id,
            clean_session=None if login.version_5 else True,
            protocol=MQTTProtocolVersion.MQTTv5 if login.version_5 else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
        )
        self._stream = stream

    def _create_socket(self) -> Stream:
        return self._stream


class Wire:
    """One MQTT connection over a socket that is connected already; `frames` where it is a WebSocket."""

    def __init__(
        self, connected: socket.socket, login: Login, will: Message | None, ear: Ear, frames: Frames | None = None
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._stream = Stream(connected, frames)
        self._fd = connected.fileno()
        self._login = login
        self._will = will
        self._ear: Ear | None = ear
        self._end: tuple[str, int] | None = None
        self._connack: asyncio.Future[Limits] = self._loop.create_future()
        self._properties: dict[str, bytes] = {}
        self._flying: set[int] = set()
        self._number = NUMBER_MIN
        self._writing = False
        self._flushing = False
        self._misc: asyncio.TimerHandle | None = None
        self._found: list[str] = []
        self._client = self._make_client()

    def _make_client(self) -> _Client:
        client = _Client(self._stream, self._login)
        client.username_pw_set(self._login.username, self._login.password)
        if (will := self._will) is not None:
            properties = text_of(PacketTypes.WILLMESSAGE, will.content_type) if self._login.version_5 else None
            client.will_set(will.topic, will.payload, qos=1, retain=will.retain, properties=properties)
        client.on_message = self._on_message
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_socket_open = lambda *_: self._loop.add_reader(self._fd, self._readable)
        client.on_socket_close = lambda *_: self._unwatch()
        client.on_socket_register_write = self._flush_soon
        return client

    async def open(self) -> Limits:
        """Says CONNECT and waits for CONNACK.

        Raises:
            LinkError: the broker refused, or closed the connection; the wire is closed then.
        """
        # Clean Start, and no Session Expiry Interval, which means 0: the log is the session.
        clean = True if self._login.version_5 else paho.MQTT_CLEAN_START_FIRST_ONLY  # paho wants no other for 3.1.1
        self._client.connect("broker", keepalive=self._login.keepalive_s, clean_start=clean, properties=self._bounds())
        try:
            limits = await self._connack
        except BaseException:
            self.abort()
            raise
        self._look_at_silence()
        return limits

    def _bounds(self) -> Properties | None:
        """What the broker may send us at most, where the version can say it."""
        if not self._login.version_5:
            return None
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call] # paho leaves it unannotated
        properties.MaximumPacketSize = OTHER_BYTES_MAX
        return properties

    def look_for(self, filters: Collection[str]) -> None:
        """Ask which retained topics pass the filters; `found` tells. `look_away` ends it."""
        if self._login.version_5:
            once = SubscribeOptions(qos=0, noLocal=True, retainAsPublished=False)
            self._client.subscribe([(one, once) for one in filters])
        else:
            self._client.subscribe([(one, 0) for one in filters])
        self._flush_soon()

    def look_away(self, filters: Collection[str]) -> None:
        if self._ear is not None:
            self._client.unsubscribe(list(filters))
            self._flush_soon()

    def publish(self, message: Message) -> int:
        """One QoS 1 message for the next flush. `answered` will name it by the number returned."""
        number = self._next_number()
        properties = self._properties_of(message.content_type)
        packet = publish_packet(message.topic.encode(), number, properties, message.payload, retain=message.retain)
        self._stream.send(packet)
        self._flush_soon()
        return number

    def _next_number(self) -> int:
        """A packet identifier that is not in flight: those still there from the last time round are passed over."""
        number = self._number
        while number in self._flying:
            number = number + 1 if number < NUMBER_MAX else NUMBER_MIN
        self._flying.add(number)
        self._number = number + 1 if number < NUMBER_MAX else NUMBER_MIN
        return number

    def _properties_of(self, content_type: str) -> bytes:
        """Encoded once for each kind of content. 3.1.1 has none."""
        packed = self._properties.get(content_type)
        if packed is None:
            packed = pack(text_of(PacketTypes.PUBLISH, content_type)) if self._login.version_5 else b""
            self._properties[content_type] = packed
        return packed

    def packet_bytes(self, message: Message) -> int:
        """Size of the message's packet, which the broker may limit."""
        return publish_bytes(message.topic, self._properties_of(message.content_type), message.payload)

    def _flush_soon(self, *_: object) -> None:
        """Many messages may follow in this turn of the loop; all leave together."""
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Everything that was published leaves now, in one write."""
        self._flushing = False
        if self._ear is None:
            return
        if self._client.want_write():
            self._client.loop_write()
        self._push()

    def _push(self) -> None:
        try:
            done = self._stream.push()
        except OSError as error:
            self._wait_writable(False)
            self._loop.call_soon(self._broken, error.strerror or str(error))  # never from within a call to us
            return
        self._wait_writable(not done)

    def _wait_writable(self, wait: bool) -> None:
        if wait != self._writing:
            self._writing = wait
            if wait:
                self._loop.add_writer(self._fd, self._push)
            else:
                self._loop.remove_writer(self._fd)

    def _readable(self) -> None:
        if self._ear is None:
            return
        try:
            acks = self._stream.fetch()
        except NotMqtt as error:
            self._end = (f"the broker sent what is not MQTT: {error}", 0)
        else:
            self._hear(acks)
            self._let_paho_read()
            if self._stream.owing:
                self._flush_soon()
        self._pass_on()

    def _let_paho_read(self) -> None:
        try:
            while self._ear is not None and self._stream.for_paho and self._end is None:
                self._client.loop_read()
        except Exception as error:
            # paho raises whatever its decoders meet in a malformed packet
            logger.debug("paho cannot read what the broker sent", exc_info=True)
            self._end = (f"the broker sent what is not MQTT: {error!r}", 0)

    def _hear(self, acks: list[Ack]) -> None:
        for number, code, properties in acks:
            if number in self._flying and self._ear is not None:
                self._flying.remove(number)
                self._ear.answered(number, code, "" if code < FAILURE else why(code, properties))
        if acks and self._ear is not None:
            self._ear.told()

    def _broken(self, reason: str) -> None:
        """A write failed. What the broker said before it closed may still be there to read, and says more."""
        self._readable()
        if self._ear is not None:
            self._end = (reason, 0)
            self._pass_on()

    def _look_at_silence(self) -> None:
        self._client.loop_misc()
        self.flush()
        self._pass_on()
        if self._ear is not None and self._client.keepalive:
            least_s, most_s = MISC_EVERY_S
            every_s = min(max(self._client.keepalive / 4, least_s), most_s)
            self._misc = self._loop.call_later(every_s, self._look_at_silence)

    def _pass_on(self) -> None:
        """Tell what paho's callbacks noted, now that paho has let go of its locks."""
        if self._found and self._ear is not None:
            found, self._found = self._found, []
            self._ear.found(found)
        if self._end is not None and self._ear is not None:
            self._over(*self._end)

    def _over(self, reason: str, code: int) -> None:
        ear = self._ear
        self.abort()
        if not self._connack.done():
            self._connack.set_exception(
                LinkError(f"no CONNACK: {reason}; is this an MQTT port, and TLS as `url:` says?")
            )
        elif ear is not None and not self._connack.cancelled() and self._connack.exception() is None:
            ear.ended(reason, code)

    def _on_connect(self, client: object, userdata: object, flags: object, reason: ReasonCode, properties: Any) -> None:
        del client, userdata, flags
        if self._connack.done():
            return
        try:
            self._connack.set_result(limits_of(reason, properties))
        except LinkError as error:
            self._connack.set_exception(error)

    def _on_message(self, client: object, userdata: object, message: paho.MQTTMessage) -> None:
        """`retain` tells what the broker held from what is published now."""
        del client, userdata
        if message.retain and message.payload:
            self._found.append(message.topic)

    def _on_disconnect(
        self, client: object, userdata: object, flags: paho.DisconnectFlags, reason: ReasonCode, properties: Any
    ) -> None:
        del client, userdata
        if self._end is not None:
            return
        if flags.is_disconnect_packet_from_server:
            text = f"the broker ended the connection: {with_advice(reason.value, in_words(reason, properties))}"
            self._end = text, reason.value
        elif reason.value == KEEPALIVE_TIMEOUT:
            self._end = f"the broker did not answer for {self._client.keepalive} s", KEEPALIVE_TIMEOUT
        else:
            self._end = self._stream.trouble or str(reason), 0

    def goodbye(self) -> None:
        """DISCONNECT, which tells the broker to forget our last will, and close."""
        if self._ear is None:
            return
        self._ear = None
        self._client.disconnect()
        self._client.loop_write()  # paho closes the stream behind DISCONNECT, and the stream pushes before it closes
        self.abort()

    def abort(self) -> None:
        """Release everything without a word. The broker then publishes our last will."""
        self._ear = None
        self._unwatch()
        if self._misc is not None:
            self._misc.cancel()
        self._stream.drop()
        client = self._client
        client.on_connect = client.on_disconnect = client.on_message = None
        client.on_socket_open = client.on_socket_close = client.on_socket_register_write = None

    def _unwatch(self) -> None:
        if self._stream.fileno() >= 0:
            self._loop.remove_reader(self._fd)
            self._loop.remove_writer(self._fd)
