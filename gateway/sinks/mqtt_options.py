"""What a user may say about an MQTT broker, and what an address means. Needs no paho: `gateway check` reads this."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, WithJsonSchema, model_validator

from gateway.options import Duration, Options

PORTS: Final = {"mqtt": 1883, "mqtts": 8883}
EXPECTED: Final = "expected mqtt://host, mqtts://host or mqtts://host:port"

_NAME: Final = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,62})(?:\.[A-Za-z0-9_-]{1,63})*\.?")
_BASE: Final = re.compile(r"[^/+#$\x00-\x1f][^+#\x00-\x1f]*")


class Address(NamedTuple):
    """Where a broker listens."""

    host: str
    port: int
    tls: bool

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
    return Address(host, port or PORTS[parts.scheme], parts.scheme == "mqtts")


def _check_shape(url: str, parts: SplitResult) -> None:
    if "://" not in url:
        raise ValueError(f"no scheme: {EXPECTED}")
    if parts.scheme not in PORTS:
        raise ValueError(f"scheme {parts.scheme!r} is not MQTT: {EXPECTED} (mqtts is MQTT over TLS)")
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
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


Version = Annotated[
    Literal["5", "3.1.1"],
    BeforeValidator(_read_version),
    WithJsonSchema({"enum": [5, "5", "3.1.1"]}),
]


class MqttOptions(Options):
    """Options of `sink: mqtt`."""

    url: Annotated[str, AfterValidator(_check_url)] = Field(
        description="where the broker listens: mqtts://host[:8883] with TLS, mqtt://host[:1883] without",
        examples=["mqtts://broker.local", "mqtt://127.0.0.1:1883"],
    )
    username: str | None = Field(None, min_length=1, max_length=65535, description="login name, where the broker asks")
    password: SecretStr | None = Field(None, description="login password; write `!secret name`")
    ca: Annotated[Path, Field(strict=False)] | None = Field(
        None, description="PEM file of the authority that signed the broker's certificate; default: the system's list"
    )
    version: Version = Field("5", description="protocol version; 3.1.1 cannot report that a broker refused an event")
    keepalive_s: Annotated[Duration, Field(ge=1, le=65535)] = Field(
        30.0, alias="keepalive", description="ask for a sign of life after this much silence"
    )
    client_id: Annotated[str, Field(min_length=1, max_length=65535)] | None = Field(
        None, description="name towards the broker, different for every connection to it; default: the gateway's id"
    )
    base: Annotated[str, AfterValidator(_check_base)] = Field(
        "gateway", description="all topics begin with <base>/<gateway id>/"
    )
    window: Annotated[int, Field(ge=1, le=65535)] = Field(
        100, description="events sent but not yet acknowledged; raise it for fast links with a long round trip"
    )

    @property
    def address(self) -> Address:
        return parse_url(self.url)

    @model_validator(mode="after")
    def _fits_together(self) -> MqttOptions:
        if self.password is not None and self.username is None:
            raise ValueError("`password` without `username`: brokers ask for both")
        if self.ca is not None and not self.address.tls:
            raise ValueError("`ca` has no meaning without TLS: write mqtts:// in `url`, or remove `ca`")
        return self


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
    if options.password is not None and not options.address.tls and not options.address.loopback:
        found.append(
            ("url", "the password crosses the network in the clear: use mqtts:// for another machine's broker")
        )
    return tuple(found)
