"""What a user may say about an MQTT broker, and what an address means. Needs no paho: `gateway check` reads this."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Final, Literal, NamedTuple
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, WithJsonSchema, model_validator

from gateway.options import Duration, LocalFile, Options
from gateway.sink import Identity
from gateway.sinks.mqtt_templates import CLEARED, DEFAULTS, read_template

PORTS: Final = {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}
SECURE: Final = frozenset({"mqtts", "wss"})
WEBSOCKETS: Final = frozenset({"ws", "wss"})
WEBSOCKET_PATH: Final = "/mqtt"
EXPECTED: Final = "expected mqtt://host, mqtts://host or mqtts://host:port, or ws:// or wss:// with a path"
URLS_MAX: Final = 8

_PATH: Final = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@%/-]{0,255}")
_NAME: Final = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,62})(?:\.[A-Za-z0-9_-]{1,63})*\.?")
_BASE: Final = re.compile(r"[^/+#$\x00-\x1f][^+#\x00-\x1f]*")


class Address(NamedTuple):
    """Where a broker listens. `path` is that of a WebSocket, None for plain MQTT."""

    host: str
    port: int
    tls: bool
    path: str | None = None

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether what is sent there never leaves this machine."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def parse_url(url: str) -> Address:
    """The address that a broker's URL names.

    Raises:
        ValueError: not a broker's URL; the sentence never repeats what may be a password.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(f"the host or port cannot be read: {EXPECTED}, with a port from 1 to 65535") from None
    if "@" in parts.netloc:
        raise ValueError("a URL holds no login: write `username:` and `password: !secret name` beside `url:`")
    _check_shape(url, parts)
    host = parts.hostname or ""
    _check_host(host)
    if port == 0:
        raise ValueError("port 0 cannot be reached: expected a port from 1 to 65535")
    path = (parts.path or WEBSOCKET_PATH) if parts.scheme in WEBSOCKETS else None
    return Address(host, port or PORTS[parts.scheme], parts.scheme in SECURE, path)


def _check_shape(url: str, parts: SplitResult) -> None:
    if "://" not in url:
        raise ValueError(f"no scheme: {EXPECTED}")
    if parts.scheme not in PORTS:
        raise ValueError(f"scheme {parts.scheme!r} is not MQTT: {EXPECTED} (mqtts is MQTT over TLS)")
    if parts.query or parts.fragment:
        raise ValueError(f"nothing may follow the port or path: {EXPECTED}")
    if parts.scheme in WEBSOCKETS:
        if parts.path and not _PATH.fullmatch(parts.path):
            raise ValueError(f"the path cannot be read: {EXPECTED}, without blanks")
    elif parts.path not in {"", "/"}:
        raise ValueError(f"nothing may follow the port: {EXPECTED}; topics are named by `base:`")


def _check_host(host: str) -> None:
    if not host:
        raise ValueError(f"no host: {EXPECTED}")
    if ":" in host:
        ipaddress.IPv6Address(host.partition("%")[0])
    elif not _NAME.fullmatch(host):
        raise ValueError(f"{host!r} is not a host name: {EXPECTED}")


def _check_url(url: str) -> str:
    parse_url(url)
    return url


def _check_base(base: str) -> str:
    if not _BASE.fullmatch(base) or base.endswith("/") or len(base.encode()) > 200:
        raise ValueError("expected a topic such as `gateway` or `site/north`, without + # $, at most 200 bytes")
    return base


def _read_version(version: object) -> object:
    if version == 5 and isinstance(version, int):
        return "5"
    if isinstance(version, float):
        raise ValueError(f"MQTT has no version {version}: expected 5 or 3.1.1")  # noqa: TRY004 - pydantic wants ValueError
    return version


def _as_list(urls: object) -> object:
    return [urls] if isinstance(urls, str) else urls


Urls = Annotated[
    list[Annotated[str, AfterValidator(_check_url)]],
    Field(min_length=1, max_length=URLS_MAX),
    BeforeValidator(_as_list),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": URLS_MAX},
            ]
        }
    ),
]

Version = Annotated[
    Literal["5", "3.1.1"],
    BeforeValidator(_read_version),
    WithJsonSchema({"enum": [5, "5", "3.1.1"]}),
]


def _template(kind: str) -> AfterValidator:
    def check(text: str) -> str:
        read_template(kind, text)
        return text

    return AfterValidator(check)


class TopicsOptions(Options):
    """`topics:` of `sink: mqtt`. Templates; which fields each may name stands in `mqtt_templates.FIELDS`."""

    event: Annotated[str, _template("event")] = Field(
        DEFAULTS["event"], description="of each event; fields: base, gateway, subject, type"
    )
    state: Annotated[str, _template("state")] = Field(
        DEFAULTS["state"],
        description="of the newest value, retained; fields: base, gateway, subject, device, channel",
    )
    availability: Annotated[str, _template("availability")] = Field(
        DEFAULTS["availability"],
        description="of `online` and `offline`, retained; fields: base, gateway, device",
    )
    status: Annotated[str, _template("status")] = Field(
        DEFAULTS["status"], description="of the birth document and last will, retained; fields: base, gateway"
    )

    @model_validator(mode="after")
    def _differ(self) -> TopicsOptions:
        names: dict[str, str] = {}
        for kind in TopicsOptions.model_fields:
            text = getattr(self, kind).replace("{device}/{channel}", "{subject}")
            if (other := names.setdefault(text, kind)) != kind:
                raise ValueError(f"`{other}` and `{kind}` have the same topics: give each its own")
        return self


class MqttOptions(Options):
    """Options of `sink: mqtt`."""

    url: Urls = Field(
        description=(
            "where the broker listens: mqtts://host[:8883] with TLS, mqtt://host[:1883] without, wss://host/path or "
            "ws://host/path through a WebSocket; or a list of such, tried in order"
        ),
        examples=["mqtts://broker.local", "mqtt://127.0.0.1:1883", ["mqtts://one.local", "mqtts://two.local"]],
    )
    username: str | None = Field(None, min_length=1, max_length=65535, description="login name, where the broker asks")
    password: SecretStr | None = Field(None, description="login password; write `!secret name`")
    ca: LocalFile | None = Field(
        None, description="PEM file of the authority that signed the broker's certificate; default: the system's list"
    )
    cert: LocalFile | None = Field(
        None, description="PEM file of our own certificate, where the broker asks for one (mutual TLS)"
    )
    key: LocalFile | None = Field(
        None, description="PEM file of the key of `cert`, without a passphrase; default: it stands in the same file"
    )
    version: Version = Field("5", description="protocol version; 3.1.1 cannot report that a broker refused an event")
    keepalive_s: Annotated[Duration, Field(ge=1, le=65535)] = Field(
        30.0, alias="keepalive", description="ask for a sign of life after this much silence"
    )
    client_id: Annotated[str, Field(min_length=1, max_length=65535)] | None = Field(
        None, description="name towards the broker, different for every connection to it; default: the gateway's id"
    )
    base: Annotated[str, AfterValidator(_check_base)] = Field(
        "gateway", description="all topics begin with <base>/<gateway id>/, unless `topics` says otherwise"
    )
    topics: TopicsOptions = Field(TopicsOptions(), description="other names for topics")
    payload: Literal["cloudevents", "value"] = Field(
        "cloudevents",
        description="what state topics hold: JSON with value, unit, quality and time, or with `value` the bare value",
    )
    window: Annotated[int, Field(ge=1, le=65535)] = Field(
        100, description="events sent but not yet acknowledged; raise it for fast links with a long round trip"
    )

    @property
    def addresses(self) -> tuple[Address, ...]:
        """All brokers, in order."""
        return tuple(map(parse_url, self.url))

    @model_validator(mode="after")
    def _fits_together(self) -> MqttOptions:
        if self.password is not None and self.username is None:
            raise ValueError("`password` without `username`: brokers ask for both")
        if self.key is not None and self.cert is None:
            raise ValueError("`key` without `cert`: the key belongs to a certificate")
        for name in ("ca", "cert"):
            if getattr(self, name) is not None and not any(address.tls for address in self.addresses):
                raise ValueError(
                    f"`{name}` has no meaning without TLS: write mqtts:// or wss:// in `url`, or remove `{name}`"
                )
        return self


SIMULATED_SUFFIX: Final = "-sim"
_NOT_CLEARED: Final = "what the broker retains of a removed device stays there: another gateway might own it"


def cautions(options: MqttOptions) -> tuple[tuple[str, str], ...]:
    """(option name, sentence) for what works but weakens a promise."""
    found: list[tuple[str, str]] = []
    if options.version == "3.1.1":
        found.append(
            (
                "version",
                "a 3.1.1 broker cannot say that it refused an event: what it refuses counts as delivered",
            )
        )
    if options.password is not None and any(not one.tls and not one.loopback for one in options.addresses):
        found.append(
            ("url", "the password crosses the network in the clear: use mqtts:// for another machine's broker")
        )
    shared = [kind for kind in CLEARED if "gateway" not in read_template(kind, getattr(options.topics, kind)).fields]
    if shared:
        found.append(("topics", f"without {{gateway}} in `{'` and `'.join(shared)}` {_NOT_CLEARED}"))
    return tuple(found)


def client_id(options: MqttOptions, identity: Identity) -> str:
    """Our name towards the broker. Who only looks, or simulates, must not end production's connection.

    A gateway that simulates has an id of its own, so only a name that the YAML gives needs the suffix.
    """
    suffixes = (
        SIMULATED_SUFFIX if identity.simulated and options.client_id else "",
        f"-{identity.role}" * identity.probe,
    )
    return (options.client_id or identity.gateway_id) + "".join(suffixes)


def claims(options: MqttOptions, gateway_id: str) -> tuple[tuple[str, str], ...]:
    """A broker ends the connection of a client when another one comes with its name."""
    name = options.client_id or gateway_id
    places = dict.fromkeys(f"{address.host}:{address.port}" for address in options.addresses)
    return tuple(("client_id", f"the client_id {name!r} at {place}") for place in places)
