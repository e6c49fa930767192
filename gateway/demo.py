"""The demo: a gateway on simulated hardware, a broker on this machine, and a witness that counts what really arrives.

The witness is an ordinary MQTT 5 subscriber. It shares nothing with the gateway but the broker, so what it reports is
what any consumer would have seen. It subscribes before the gateway starts, acknowledges an event only after it has
counted it, and lets the broker send no more than `RECEIVE_MAX` at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.app import Gateway
from gateway.broker import HOST
from gateway.clock import SystemClock
from gateway.config.model import Config, SinkConfig
from gateway.errors import GatewayError
from gateway.event import EVENT_TYPES, TYPE_PREFIX, TYPE_SUFFIX, Quality, Value
from gateway.plugins import Plugins

if TYPE_CHECKING:
    from paho.mqtt.client import Client, MQTTMessage

TOPICS = "gateway/+/event/#"
RECEIVE_MAX = 500
"""Events that the broker may have sent and the witness not yet acknowledged."""

AHEAD_MAX = 100_000
"""Offsets remembered beyond the first hole; past that the hole is taken for a loss."""

CONNECT_WITHIN_S = 5.0
ARRIVE_WITHIN_S = 5.0


class Seen(msgspec.Struct):
    """An event as the witness received it."""

    id: str
    type: str
    subject: str
    time: str
    sequence: str
    data: dict[str, Any] = {}
    simulated: bool = False
    causationid: str = ""

    @property
    def value(self) -> Value:
        return self.data.get("value")

    @property
    def unit(self) -> str | None:
        return self.data.get("unit")

    @property
    def quality(self) -> Quality | None:
        return self.data.get("quality")

    @property
    def reason(self) -> str:
        return str(self.data.get("reason", ""))

    @property
    def kind(self) -> str:
        """The type without its prefix and version: `reading`."""
        return self.type.removeprefix(TYPE_PREFIX).removesuffix(TYPE_SUFFIX)

    @property
    def offset(self) -> int:
        return int(self.sequence)

    @property
    def told(self) -> str:
        """What an event of this type means, for people."""
        return EVENT_TYPES.get(self.kind, self.kind)


class Ledger:
    """Which offsets arrived: how many, how often again, how many in the wrong order. Pure; its memory is bounded."""

    def __init__(self) -> None:
        self.duplicates = 0
        self.out_of_order = 0
        self._whole_to = 0  # every offset up to this one arrived, but for `_given_up`
        self._given_up = 0
        self._ahead: set[int] = set()
        self._highest = 0

    @property
    def distinct(self) -> int:
        return self._whole_to - self._given_up + len(self._ahead)

    def add(self, offset: int) -> bool:
        """Count one arrival; says whether it is the first of that offset. Order is judged on first arrivals."""
        if offset <= self._whole_to or offset in self._ahead:
            self.duplicates += 1
            return False
        self.out_of_order += offset < self._highest
        self._highest = max(self._highest, offset)
        self._ahead.add(offset)
        if len(self._ahead) > AHEAD_MAX:
            missing_to = min(self._ahead) - 1
            self._given_up += missing_to - self._whole_to
            self._whole_to = missing_to
        while self._whole_to + 1 in self._ahead:
            self._whole_to += 1
            self._ahead.remove(self._whole_to)
        return True


@dataclass(frozen=True, slots=True)
class Tally:
    """The account at one moment: what the log accepted, and what the witness has seen of it."""

    accepted: int
    delivered: int
    duplicates: int
    out_of_order: int

    @property
    def lost(self) -> int:
        """Accepted and not seen. While the gateway runs this is what is still under way."""
        return self.accepted - self.delivered


class Witness:
    """The subscriber. Lives on the event loop; paho's own thread only reads the socket."""

    def __init__(self, port: int, arrived: Callable[[Seen, bool], None]) -> None:
        """`arrived(event, first)` is called on the event loop for everything that comes."""
        self.ledger = Ledger()
        self._port = port
        self._arrived = arrived
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._subscribed = asyncio.Event()
        self._decode = msgspec.json.Decoder(Seen).decode
        self._client: Client | None = None

    async def start(self) -> None:
        """Connect and subscribe; returns when the broker has confirmed.

        Raises:
            GatewayError: the broker did not confirm in time.
        """
        self._client = client = self._make_client()
        client.connect_async(HOST, self._port, properties=_receive_max(), clean_start=True)
        client.loop_start()
        try:
            async with asyncio.timeout(CONNECT_WITHIN_S):
                await self._subscribed.wait()
        except TimeoutError:
            self.stop()
            raise GatewayError(f"the broker on {HOST}:{self._port} let nobody subscribe within 5 s") from None

    def stop(self) -> None:
        if self._client is not None:
            self._client.disconnect()
            self._client.loop_stop()
            self._client = None

    async def has_seen(self, count: int, timeout_s: float) -> None:
        """Wait until `count` different events have arrived, but no longer than `timeout_s`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self.ledger.distinct < count:
                    self._news.clear()
                    await self._news.wait()

    def _make_client(self) -> Client:
        from paho.mqtt import client as paho  # noqa: PLC0415 - only the demo pays for it
        from paho.mqtt.enums import CallbackAPIVersion  # noqa: PLC0415 - as above

        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id="gateway-demo-subscriber",
            protocol=paho.MQTTv5,
            manual_ack=True,
        )
        client.on_connect = lambda client, *_: client.subscribe(TOPICS, qos=1)
        client.on_subscribe = lambda *_: self._call(self._subscribed.set)
        client.on_message = lambda _client, _userdata, message: self._call(self._receive, message)
        return client

    def _call(self, function: Callable[..., None], *args: Any) -> None:
        """From paho's thread to the event loop. What it hands over is bounded by the broker's window."""
        self._loop.call_soon_threadsafe(function, *args)

    def _receive(self, message: MQTTMessage) -> None:
        event = self._decode(message.payload)
        self._arrived(event, self.ledger.add(event.offset))
        self._news.set()
        if self._client is not None:
            self._client.ack(message.mid, message.qos)


def _receive_max() -> Any:
    from paho.mqtt.packettypes import PacketTypes  # noqa: PLC0415 - only the demo pays for it
    from paho.mqtt.properties import Properties  # noqa: PLC0415 - as above

    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho leaves it without annotations
    properties.ReceiveMaximum = RECEIVE_MAX
    return properties


class Demo:
    """A gateway and its witness. Both run inside `running()`; `tally` may be asked before, meanwhile and afterwards."""

    def __init__(self, config: Config, port: int, folder: Path, arrived: Callable[[Seen, bool], None]) -> None:
        """`config` is any configuration, read with `simulate=True`; its sinks and its log are left alone."""
        self._gateway = Gateway(
            demo_config(config, port, folder, Plugins()),
            clock=SystemClock(),
            simulate=True,
            live_sinks=True,
            rehearse=True,
        )
        self._witness = Witness(port, arrived)
        self._started = False

    def tally(self) -> Tally:
        ledger = self._witness.ledger
        accepted = self._gateway.log.next_offset - 1 if self._started else 0
        return Tally(accepted, ledger.distinct, ledger.duplicates, ledger.out_of_order)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Gateway]:
        """The witness starts first, so that it misses nothing, and ends last, so that everything is accounted for."""
        await self._witness.start()
        try:
            async with self._gateway:
                self._started = True
                yield self._gateway
            await self._witness.has_seen(self.tally().accepted, ARRIVE_WITHIN_S)
        finally:
            self._witness.stop()


def demo_config(config: Config, port: int, folder: Path, plugins: Plugins) -> Config:
    """The same devices, with a log of its own in `folder` and the demo's broker as the only sink."""
    mqtt = plugins.sink("mqtt")
    sink = SinkConfig("demo", mqtt, mqtt.Options.model_validate({"url": f"mqtt://{HOST}:{port}"}))
    buffer = config.buffer.model_copy(update={"path": folder / "events.db"})
    return replace(config, sinks=(sink,), buffer=buffer)


def who_is_real(config: Config) -> tuple[list[str], list[str]]:
    """Device ids, simulated and real ones."""
    simulated = [device.id for device in config.devices if device.simulate is not None]
    return simulated, [device.id for device in config.devices if device.simulate is None]
