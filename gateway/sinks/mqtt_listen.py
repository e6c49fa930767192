"""Hears what a broker passes on of one gateway's events, as any other subscriber would: with paho alone.

The subscription is made anew with each connection (Clean Start), so what passes while there is none is not heard; that
is said by a `LinkError` and not repaired.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from secrets import token_hex
from typing import Any, Final

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from gateway.errors import LinkError
from gateway.sink import Listener
from gateway.sinks.mqtt_options import Address, MqttOptions
from gateway.sinks.mqtt_topics import Topics

OPEN_WITHIN_S: Final = 5.0
STEP_S: Final = 0.1
SUFFIX: Final = "-verify"


class MqttListener(Listener):
    """Subscribes to the event topics of one gateway, at the first address that answers."""

    def __init__(self, options: MqttOptions, gateway_id: str) -> None:
        self._options = options
        self._client_id = f"{options.client_id or gateway_id}{SUFFIX}-{token_hex(4)}"  # two may listen at once
        self._filter = Topics(options.base, gateway_id, options.topics.model_dump()).events
        self._client: paho.Client | None = None
        self._heard: deque[bytes] = deque()
        self._ready = False
        self._trouble: str | None = None

    def open(self) -> None:
        reasons = []
        for address in self._options.addresses:
            try:
                return self._open(address)
            except LinkError as error:
                self.close()
                reasons.append(f"{address}: {error.reason}")
        raise LinkError("; ".join(reasons))

    def _open(self, address: Address) -> None:
        self._ready, self._trouble = False, None
        client = self._client = self._made(address)
        try:
            client.connect(address.host, address.port, keepalive=round(self._options.keepalive_s), **self._clean())
        except (OSError, ValueError) as error:
            raise LinkError(str(error) or type(error).__name__) from None
        for _ in range(round(OPEN_WITHIN_S / STEP_S)):
            self._step(STEP_S)
            if self._ready:
                return
        raise LinkError(f"no subscription within {OPEN_WITHIN_S:g} s")

    def _made(self, address: Address) -> paho.Client:
        options = self._options
        version = MQTTProtocolVersion.MQTTv5 if options.version == "5" else MQTTProtocolVersion.MQTTv311
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            protocol=version,
            transport="tcp" if address.path is None else "websockets",
            clean_session=None if options.version == "5" else True,
            reconnect_on_failure=False,
        )
        if address.path is not None:
            client.ws_set_options(path=address.path)
        if options.username is not None:
            client.username_pw_set(options.username, options.password.get_secret_value() if options.password else None)
        if address.tls:
            ca, cert, key = (str(path) if path else None for path in (options.ca, options.cert, options.key))
            client.tls_set(ca, cert, key)
        client.on_connect, client.on_subscribe = self._connected, self._subscribed
        client.on_message, client.on_disconnect = self._message, self._disconnected
        return client

    def _clean(self) -> dict[str, Any]:
        return {"clean_start": True} if self._options.version == "5" else {}

    def hear(self, timeout_s: float) -> Sequence[bytes]:
        if not self._heard:
            self._step(timeout_s)
        heard = list(self._heard)
        self._heard.clear()
        return heard

    def _step(self, timeout_s: float) -> None:
        if self._client is None:
            raise LinkError("not connected")
        code = self._client.loop(timeout_s)
        if self._trouble is None and code != paho.MQTT_ERR_SUCCESS:
            self._trouble = paho.error_string(code)
        if self._trouble is not None:
            raise LinkError(self._trouble)

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.disconnect()
            client.loop(0)  # lets the goodbye out

    # What paho calls

    def _connected(self, client: paho.Client, _: object, __: object, code: Any, ___: object) -> None:
        if code.is_failure:
            self._trouble = f"refused: {code}"
        else:
            client.subscribe(self._filter, qos=1)

    def _subscribed(self, _: object, __: object, ___: object, codes: Sequence[Any], ____: object) -> None:
        if codes[0].is_failure:
            self._trouble = f"may not subscribe to {self._filter}: {codes[0]}"
        self._ready = True

    def _message(self, _: object, __: object, message: paho.MQTTMessage) -> None:
        if not message.retain:  # a retained one is from before
            self._heard.append(bytes(message.payload))

    def _disconnected(self, _: object, __: object, ___: object, code: Any, ____: object) -> None:
        if self._trouble is None:
            self._trouble = f"the connection ended: {code}"
