"""Small drivers and sinks, so that these tests stand alone; and a machine that is always the same."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import yaml
from pydantic import AfterValidator, Field, SecretStr, model_validator

from gateway.config.host import Host
from gateway.config.load import parse_config
from gateway.config.model import Config
from gateway.driver import Channel, Emit, PolledDriver, PushDriver, World
from gateway.errors import ConfigError, Problem
from gateway.event import Reading
from gateway.options import Duration, Options, Pin, Size
from gateway.plugins import Plugins
from gateway.sink import Identity, Report, Session, Sink

HERE = Path(__file__).parent
BROKEN = HERE / "broken"
PARSERS = [yaml.BaseLoader, *([yaml.CBaseLoader] if yaml.__with_libyaml__ else [])]
WHOLE = """
gateway: {id: greenhouse-pi, labels: {site: north, floor: two}}
devices:
  - id: air
    driver: chip
    every: 30s
    timeout: 2s
    channels: {temperature: {deadband: 0.2}, humidity: {heartbeat: 1h, urgent: true}}
    simulate: {temperature: {sine: {min: 18, max: 26, period: 1h}}}
  - {id: door, driver: key, pin: 17, bounce: 20ms}
sinks:
  - {id: home, sink: post, url: posts://broker.local, username: pi}
buffer: {path: log/events.db, keep: {for: 30d, size: 512MB}, commit_within: 2s}
"""

HOST = Host({"HOME": "/home/pi"}, "Greenhouse", "0123456789abcdef0123456789abcdef")


class ChipOptions(Options):
    address: Annotated[int, Field(ge=3, le=119, description="I2C address")] = 0x76
    oversampling: Literal[1, 2, 4, 8, 16] = 1
    filter: Literal["off", "light", "strong"] = "off"
    bias: Annotated[float, Field(description="added to each temperature, in kelvin")] = 0.0
    fahrenheit: bool = False
    settle_s: Duration = Field(0.01, alias="settle")
    chunk_bytes: Annotated[Size, Field(ge=64, le=65536)] = Field(1024, alias="chunk")
    note: Annotated[str, Field(max_length=20)] = ""
    taps: list[int] = Field([], max_length=3)
    level: int | bool = 0


class Chip(PolledDriver):
    name = "chip"
    summary = "a weather chip"
    Options = ChipOptions
    every_s: ClassVar[float | None] = 10.0

    @classmethod
    def channels(cls, options: Any) -> tuple[Channel, ...]:
        return (
            Channel("temperature", "temperature", "air", rest=21.0),
            Channel("humidity", "humidity", "air", rest=40.0),
        )

    @classmethod
    def claims(cls, options: Any) -> tuple[str, ...]:
        return (f"I2C address {options.address}",)

    @classmethod
    def create(cls, options: Any) -> Chip:
        return cls()

    @classmethod
    def simulate(cls, options: Any, world: World) -> Chip:
        return cls()

    def read(self) -> Sequence[Reading]:
        return []


class KeyOptions(Options):
    pin: Pin
    pull: Literal["up", "down", "none"] = "up"
    active: bool = True
    bounce_s: Annotated[Duration, Field(ge=0, le=1)] = Field(0.02, alias="bounce")


class Key(PushDriver):
    name = "key"
    summary = "a push button"
    Options = KeyOptions

    @classmethod
    def channels(cls, options: Any) -> tuple[Channel, ...]:
        return (Channel("state", "contact", "pressed or not", kind="state", rest=False),)

    @classmethod
    def claims(cls, options: Any) -> tuple[str, ...]:
        return (f"GPIO {options.pin}",)

    @classmethod
    def create(cls, options: Any) -> Key:
        return cls()

    @classmethod
    def simulate(cls, options: Any, world: World) -> Key:
        return cls()

    def open(self, emit: Emit) -> None:
        pass


class Buggy(Key):
    name = "buggy"

    @classmethod
    def channels(cls, options: Any) -> tuple[Channel, ...]:
        raise ZeroDivisionError("division by zero")


class BuggyBus(Key):
    name = "buggybus"

    @classmethod
    def bus(cls, options: Any) -> str | None:
        raise KeyError("bus")


def _check_url(url: str) -> str:
    if not url.startswith(("post://", "posts://")):
        raise ValueError("expected post://host or posts://host:port")
    return url


class PostOptions(Options):
    url: Annotated[str, AfterValidator(_check_url)]
    username: str | None = None
    password: SecretStr | None = None
    window: Annotated[int, Field(ge=1, le=1000)] = 100

    @model_validator(mode="after")
    def _fits_together(self) -> PostOptions:
        if self.password is not None and self.username is None:
            raise ValueError("`password` without `username`: both are asked for")
        return self


class Post(Sink):
    name = "post"
    summary = "sends events away"
    Options = PostOptions

    @classmethod
    def create(cls, options: Any, identity: Identity) -> Post:
        return cls()

    @classmethod
    def cautions(cls, options: Any) -> tuple[tuple[str, str], ...]:
        return (("url", "post:// is not encrypted"),) if options.url.startswith("post://") else ()

    async def connect(self, report: Report) -> Session:
        raise NotImplementedError


@cache
def plugins() -> Plugins:
    """Reading what is installed takes longer than most tests."""
    return Plugins(drivers={"chip": Chip, "key": Key, "buggy": Buggy, "buggybus": BuggyBus}, sinks={"post": Post})


def parse(text: str | bytes, file: str | Path = "gateway.yaml", **more: Any) -> Config:
    return parse_config(text, str(file), plugins(), **{"host": HOST, **more})


def wrong(text: str | bytes, file: str | Path = "gateway.yaml", **more: Any) -> tuple[Problem, ...]:
    """The problems of a text that is wrong."""
    try:
        config = parse(text, file, **more)
    except ConfigError as error:
        return error.problems
    raise AssertionError(f"this was taken as right: {config}")
