"""The sink `mqtt`: events, retained state and birth to an MQTT broker, version 5 or 3.1.1, over TCP, TLS or WebSocket.

How the parts fit: `mqtt_options` reads the YAML, `mqtt_dial` reaches the broker, `mqtt_stream` is the socket,
`mqtt_wire` speaks MQTT through paho, `mqtt_topics` names topics and conflates state, `mqtt_session` settles events.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, ClassVar

from gateway.errors import LinkError
from gateway.options import Options
from gateway.sink import Identity, Listener, Message, Report, Session, Sink, Verdict
from gateway.sinks.mqtt_options import MqttOptions, cautions, claims, client_id
from gateway.sinks.mqtt_topics import Topics, farewell, state_bytes, value_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.sinks.mqtt_dial import Dialler
    from gateway.sinks.mqtt_options import Address
    from gateway.sinks.mqtt_session import Manner, MqttSession
    from gateway.sinks.mqtt_websocket import Frames
    from gateway.sinks.mqtt_wire import Login

logger = logging.getLogger("gateway.sinks.mqtt")


class MqttSink(Sink):
    """One broker, at one of several addresses. Between connections it keeps its diallers, whose threads may hang."""

    name: ClassVar[str] = "mqtt"
    summary: ClassVar[str] = "an MQTT broker (5 or 3.1.1; TCP, TLS or WebSocket)"
    Options: ClassVar[type[Options]] = MqttOptions
    publishes: ClassVar[bool] = True

    def __init__(self, options: MqttOptions, identity: Identity) -> None:
        self._options = options
        self._identity = identity
        self._client_id = client_id(options, identity)
        self._topics = Topics(options.base, identity.gateway_id, options.topics.model_dump())
        self._diallers: tuple[Dialler, ...] = ()
        self._manner: Manner | None = None
        self._session: MqttSession | None = None
        self._turn = 0
        self._complained = False

    @classmethod
    def create(cls, options: MqttOptions, identity: Identity) -> MqttSink:
        return cls(options, identity)

    @classmethod
    def where(cls, options: Any) -> str:
        return ", ".join(options.url)

    @classmethod
    def cautions(cls, options: Any) -> tuple[tuple[str, str], ...]:
        return cautions(options)

    @classmethod
    def listener(cls, options: Any, gateway_id: str) -> Listener | None:
        from gateway.sinks.mqtt_listen import MqttListener  # noqa: PLC0415 - as in `_prepare`

        return MqttListener(options, gateway_id)

    @classmethod
    def claims(cls, options: Any, gateway_id: str) -> tuple[tuple[str, str], ...]:
        return claims(options, gateway_id)

    async def connect(self, report: Report) -> Session:
        """The first address that works. One that gives no answer in time has the next in its place the next time."""
        self._prepare()
        troubles: list[LinkError] = []
        while self._turn < len(self._diallers):
            dialler = self._diallers[self._turn]
            self._turn += 1
            try:
                session = await self._open(dialler, report)
            except LinkError as error:
                troubles.append(error)
            except BaseException:
                self._turn %= len(self._diallers)
                raise
            else:
                self._turn = 0
                return session
        self._turn = 0
        raise _together(troubles)

    @property
    def base(self) -> str:
        return self._options.base

    def publish(self, message: Message, told: Callable[[Verdict | None, str], None]) -> None:
        """As `gateway.sink.Publisher`: over the connection that events have, if there is one."""
        if self._session is None or not self._session.is_open:
            raise LinkError("there is no connection to the broker")
        self._session.publish(message, told)

    def _prepare(self) -> None:
        # paho, TLS and what they bring: only those who connect pay for the import.
        from gateway.sinks.mqtt_dial import Dialler, Papers  # noqa: PLC0415
        from gateway.sinks.mqtt_session import JSON, TEXT, Manner  # noqa: PLC0415
        from gateway.sinks.mqtt_sweep import Sweep  # noqa: PLC0415

        options = self._options
        if self._manner is None:
            papers = Papers(options.ca, options.cert, options.key)
            self._diallers = tuple(Dialler(address, papers) for address in options.addresses)
            encode, kind = (value_bytes, TEXT) if options.payload == "value" else (state_bytes, JSON)
            self._manner = Manner(self._topics, Sweep(self._topics.ours()), self._complain, encode, kind)

    async def _open(self, dialler: Dialler, report: Report) -> Session:
        from gateway.sinks.mqtt_session import JSON, MqttSession  # noqa: PLC0415 - as in `_prepare`
        from gateway.sinks.mqtt_wire import Message, Wire  # noqa: PLC0415

        assert self._manner is not None, "_prepare comes first"
        connected = await dialler.dial()
        session = MqttSession(self._manner, self._identity, report)
        will = None
        if not self._identity.probe:
            will = Message(self._topics.status, farewell(self._identity.run), JSON, retain=True)
        wire = Wire(connected, self._login(), will, session, _frames(dialler.address))
        await session.open(wire, self._options.window)
        self._session = session
        return session

    def _complain(self, topic: str, why: str) -> None:
        """A refused retained message harms nobody who reads events: it is said once, and that is all."""
        if not self._complained:
            self._complained = True
            logger.warning("the broker refuses %s: %s (said once; other topics may be refused too)", topic, why)

    def _login(self) -> Login:
        from gateway.sinks.mqtt_wire import Login  # noqa: PLC0415 - as in `connect`

        options = self._options
        return Login(
            client_id=self._client_id,
            username=options.username,
            password=options.password.get_secret_value() if options.password else None,
            keepalive_s=round(options.keepalive_s),
            version_5=options.version == "5",
        )


def _frames(address: Address) -> Frames | None:
    if address.path is None:
        return None
    from gateway.sinks.mqtt_websocket import Frames  # noqa: PLC0415 - only where `url:` asks for one

    return Frames()


def _together(troubles: list[LinkError]) -> LinkError:
    """One error that says what each address answered. What the first asks us to wait counts."""
    reasons = dict.fromkeys(trouble.reason for trouble in troubles)
    return LinkError("; ".join(reasons), retry_after_s=troubles[0].retry_after_s) if troubles else LinkError("no URL")
