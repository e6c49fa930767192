"""What a configuration is, once it is known to be right. Every value is frozen; units are in the names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict

from pydantic import AfterValidator, Field, StringConstraints

from gateway.config.channel import ChannelConfig
from gateway.config.nodes import Place
from gateway.driver import Channel, Driver, Signal
from gateway.event import Quality
from gateway.options import Duration, Identifier, Options, Size, SizePerDay
from gateway.selection import Selection, check_subject, check_type
from gateway.sink import Sink

if TYPE_CHECKING:  # who writes no rules does not pay for what they are made of
    from gateway.action import NotifierConfig
    from gateway.rules.model import RuleConfig

__all__ = [
    "BufferConfig",
    "ChannelConfig",
    "Config",
    "DeviceConfig",
    "DeviceEntry",
    "GatewayConfig",
    "HttpConfig",
    "KeepConfig",
    "SinkConfig",
    "SinkEntry",
]

_PORT = re.compile(r"[0-9]{1,5}")

WhenFull = Literal["evict", "refuse", "thin"]


class KeepArguments(TypedDict):
    """Arguments of `eventlog.EventLog.open` and `keep`."""

    size_bytes_max: int
    keep_for_s: float
    events_max: int | None
    when_full: WhenFull


Label = Annotated[str, StringConstraints(min_length=1, max_length=255)]


def _check_file_name(path: Path) -> Path:
    if not path.name:
        raise ValueError("expected the name of a file")
    return path


class GatewayConfig(Options):
    """`gateway:` who this gateway is."""

    id: Identifier = Field(description="name of this gateway in topics and events; default: the host name")
    labels: dict[Identifier, Label] = Field(
        {}, max_length=32, description="free words that go into the birth document and the metrics"
    )


class KeepConfig(Options):
    """`buffer.keep:` how much history the log holds."""

    for_s: Annotated[Duration, Field(gt=0)] = Field(
        30 * 86400.0, alias="for", description="forget what is older and was read by every sink"
    )
    size_bytes_max: Annotated[Size, Field(ge=1_000_000)] = Field(
        512_000_000, alias="size", description="the file never grows beyond this, at least 1MB"
    )
    events_max: Annotated[int, Field(ge=1000)] | None = Field(
        None,
        alias="count",
        description="forget what is beyond so many events and was read by every sink, at least 1000",
    )
    when_full: WhenFull = Field(
        "evict",
        description="at `size`: evict the oldest events, refuse new readings, or thin old readings to one a minute",
    )

    @property
    def arguments(self) -> KeepArguments:
        """As the event log wants them."""
        return KeepArguments(
            size_bytes_max=self.size_bytes_max,
            keep_for_s=self.for_s,
            events_max=self.events_max,
            when_full=self.when_full,
        )


class BufferConfig(Options):
    """`buffer:` the event log."""

    path: Annotated[Path, Field(strict=False), AfterValidator(_check_file_name)] = Field(
        description="where the log lies, relative to this file; default: $STATE_DIRECTORY or /var/lib/gateway"
    )
    keep: KeepConfig = Field(KeepConfig(), description="how much history the log holds")
    commit_within_s: Annotated[Duration, Field(gt=0, le=60)] = Field(
        1.0, alias="commit_within", description="periodic readings may wait this long for a common commit, at most 1m"
    )
    wear_bytes_per_day: Annotated[SizePerDay, Field(ge=10_000_000)] | None = Field(
        None,
        alias="wear",
        description="have readings wait longer, up to 1m, so that no more is written; at least 10MB/day",
        examples=["200MB/day"],
    )


def _check_listen(text: str) -> str:
    host, _, port = text.rpartition(":")
    address = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        version: int = 4 if host == "localhost" else ip_address(address).version
    except ValueError:
        version = 0
    if version != (6 if address != host else 4) or not _PORT.fullmatch(port) or not 0 < int(port) < 65536:
        raise ValueError("expected an address and a port, such as 127.0.0.1:8080, 0.0.0.0:8080 or [::1]:8080")
    return text


class HttpConfig(Options):
    """`http:` figures and health for whoever asks. Off unless it is there."""

    listen: Annotated[str, AfterValidator(_check_listen)] = Field(
        description="address and port where /metrics, /healthz and /status are served", examples=["127.0.0.1:8080"]
    )

    @property
    def host(self) -> str:
        """The address, without brackets. `localhost` is the IPv4 one, so that no resolver is asked."""
        host = self.listen.rpartition(":")[0].strip("[]")
        return "127.0.0.1" if host == "localhost" else host

    @property
    def port(self) -> int:
        return int(self.listen.rpartition(":")[2])

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        return ip_address(self.host).is_loopback


class DeviceEntry(Options):
    """What every entry of `devices:` may say; its other keys are the driver's options."""

    id: Identifier = Field(description="name of the device, the first word of its topics", examples=["air"])
    driver: str = Field(description="what kind of device it is; `gateway drivers` lists them")
    every_s: Annotated[Duration, Field(ge=0.01, le=7 * 86400)] | None = Field(
        None, alias="every", description="how often it is read, 10ms to 7d; default: the driver's", examples=["10s"]
    )
    timeout_s: Annotated[Duration, Field(ge=0.01, le=300)] = Field(
        5.0, alias="timeout", description="a device that takes longer to open or to answer is unavailable, 10ms to 5m"
    )
    channels: dict[Identifier, ChannelConfig] = Field({}, description="how single channels are recorded")
    simulate: Literal[False] | dict[Identifier, Any] | None = Field(
        None, description="signals for channels, used with --simulate only; false keeps the device real"
    )


class EventsConfig(Options):
    """`events:` of a sink: which it gets. `log.gap` and `event.refused` pass always."""

    types: Annotated[list[Annotated[str, AfterValidator(check_type)]], Field(min_length=1, max_length=64)] | None = (
        Field(None, description="of these types, such as reading or device.*; default: all")
    )
    subjects: (
        Annotated[list[Annotated[str, AfterValidator(check_subject)]], Field(min_length=1, max_length=256)] | None
    ) = Field(None, description="about these subjects, such as air/*, */temperature or air/**; default: all")
    quality: Annotated[list[Quality], Field(min_length=1, max_length=3)] | None = Field(
        None, description="where an event has a quality, of these: good, uncertain, bad; default: all"
    )

    @property
    def selection(self) -> Selection:
        return Selection(self.types, self.subjects, self.quality)


class SinkEntry(Options):
    """What every entry of `sinks:` says; its other keys are the sink's options."""

    id: Identifier = Field(description="name of the sink; what it has read of the log is remembered under this name")
    sink: str = Field(description="what kind of sink it is")
    events: EventsConfig = Field(EventsConfig(), description="which events it gets")


@dataclass(frozen=True, slots=True)
class DeviceConfig:
    """One entry of `devices:`. `options` is an instance of `driver.Options`.

    `simulate` has a signal for every channel of a device that is simulated; None means real hardware, which is so for
    every device without `--simulate`. `channels` has an entry for every channel, `declared` tells what each one is.
    `bus` is the word of the bus that it shares with other devices, None for none.
    """

    id: str
    driver: type[Driver]
    options: Options
    every_s: float | None
    timeout_s: float
    declared: tuple[Channel, ...]
    channels: Mapping[str, ChannelConfig]
    simulate: Mapping[str, Signal] | None
    bus: str | None = None


@dataclass(frozen=True, slots=True)
class SinkConfig:
    """One entry of `sinks:`. `options` is an instance of `sink.Options`."""

    id: str
    sink: type[Sink]
    options: Options
    events: EventsConfig = field(default_factory=EventsConfig)


@dataclass(frozen=True, slots=True)
class Config:
    """A whole configuration. `hash` identifies its meaning: secrets and comments do not change it.

    `warnings` are sentences with their place (`file:line:col path: …`): what works, but weakens a promise. `places` say
    where `gateway.id` and `buffer.path` stand, which a reload must refuse to change.
    """

    gateway: GatewayConfig
    devices: tuple[DeviceConfig, ...]
    sinks: tuple[SinkConfig, ...]
    buffer: BufferConfig
    hash: str
    files: tuple[Path, ...]
    warnings: tuple[str, ...] = ()
    places: Mapping[str, Place] = field(default_factory=dict)
    http: HttpConfig | None = None
    rules: tuple[RuleConfig, ...] = ()
    notify: NotifierConfig | None = None
