"""The sink `mqtt`: events, retained state and birth to an MQTT broker, version 5 or 3.1.1, over TCP or TLS.

How the parts fit: `mqtt_options` reads the YAML, `mqtt_dial` reaches the broker, `mqtt_stream` is the socket,
`mqtt_wire` speaks MQTT through paho, `mqtt_topics` names topics and conflates state, `mqtt_session` settles events.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, ClassVar

from gateway.options import Options
from gateway.sink import Identity, Report, Session, Sink
from gateway.sinks.mqtt_options import MqttOptions, cautions
from gateway.sinks.mqtt_topics import Topics, farewell

if TYPE_CHECKING:
    from gateway.sinks.mqtt_dial import Dialler
    from gateway.sinks.mqtt_wire import Login

logger = logging.getLogger("gateway.sinks.mqtt")


class MqttSink(Sink):
    """One broker. Between connections it keeps only its dialler, whose thread may hang."""

    name: ClassVar[str] = "mqtt"
    summary: ClassVar[str] = "an MQTT broker (5 or 3.1.1, TCP or TLS)"
    Options: ClassVar[type[Options]] = MqttOptions

    def __init__(self, options: MqttOptions, identity: Identity) -> None:
        self._options = options
        self._identity = identity
        self._client_id = options.client_id or identity.gateway_id
        self._topics = Topics(options.base, identity.gateway_id)
        self._dialler: Dialler | None = None
        self._complained = False

    @classmethod
    def create(cls, options: MqttOptions, identity: Identity) -> MqttSink:
        return cls(options, identity)

    @classmethod
    def cautions(cls, options: Any) -> tuple[tuple[str, str], ...]:
        return cautions(options)

    async def connect(self, report: Report) -> Session:
        # paho, TLS and what they bring: only those who connect pay for the import.
        from gateway.sinks.mqtt_dial import Dialler  # noqa: PLC0415
        from gateway.sinks.mqtt_session import JSON, MqttSession  # noqa: PLC0415
        from gateway.sinks.mqtt_wire import Message, Wire  # noqa: PLC0415

        if self._dialler is None:
            self._dialler = Dialler(self._options.address, self._options.ca)
        session = MqttSession(self._topics, self._identity, report, self._complain)
        will = Message(self._topics.status, farewell(self._identity.run), JSON, retain=True)
        wire = Wire(await self._dialler.dial(), self._login(), will, session)
        await session.open(wire, self._options.window)
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
