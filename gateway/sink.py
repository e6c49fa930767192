"""The sink contract: where events leave.

A `Sink` is one configured destination; a `Session` is one connection to it. The forwarder (`deliver.py`) owns
everything that is the same for all sinks: reading the log, the window, order, back-off, dead letters and the
cursor. A sink owns the wire. Each connection is a new `Session`, because the log is the only memory of what was
sent.

What a session promises:

* `send` hands one event to the wire and returns at once. The forwarder never has more than `window_max` events
  unsettled.
* Every event that was sent is settled once, by `report.settled(offset, verdict, reason)`, or the session ends by
  `report.lost(reason)`, which settles nothing: all that is unsettled will be sent again, in order, over a new
  session.
* `report` is called on the event loop's thread, never from within `send`; after `lost` or `close` it is not called
  again.
* `close` lets what is in flight settle for at most `timeout_s`, says goodbye, and never raises.

A verdict says whose fault a refusal is. `accepted`: the destination took responsibility. `refused`: this event will
never be taken (too large, wrong format); it goes to the sink's dead letters and the next one follows. `held`: the
destination takes nothing of this kind now (quota, no permission); the event is kept and sent again after a wait.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

from gateway.event import Event
from gateway.options import Options

Verdict = Literal["accepted", "refused", "held"]


class Outgoing(NamedTuple):
    """An event on its way to one sink. `previous` is the offset of the preceding event in this sink's selection."""

    event: Event
    previous: int | None


class Report(Protocol):
    """The forwarder's ear: what a session tells."""

    def settled(self, offset: int, verdict: Verdict, reason: str = "") -> None:
        """The destination answered for one event."""

    def lost(self, reason: str, retry_after_s: float | None = None, *, unrelated: bool = False) -> None:
        """The connection is gone. `retry_after_s` is a wait that the reason itself asks for, None for the usual one.

        `unrelated` says that what was sent had nothing to do with it: the destination said so, or it fell silent.
        """


class Present(Protocol):
    """What is true now, for sinks that show it (MQTT's retained topics). Everything in it is committed."""

    def values(self) -> Iterable[Event]:
        """The newest event of each `reading` and `state` subject, `value` None while its device is unavailable."""

    def availability(self) -> Iterable[tuple[str, bool]]:
        """(device id, whether it answers), for devices that have said so."""

    def status(self) -> dict[str, Any]:
        """The birth document: version, configuration hash, devices, clock, labels."""

    def configured(self) -> Mapping[str, Collection[str]]:
        """Device id -> its channels: all that the configuration has, whether it has spoken or not."""

    def watch(
        self, changed: Callable[[Event], None], forgotten: Callable[[str], None] | None = None
    ) -> Callable[[], None]:
        """Call `changed` with each new value and availability event, also with the values that an outage takes away,
        and `forgotten` with each device and subject that the configuration loses; returns what ends the watch.
        """


class Nothing:
    """A `Present` of a gateway without devices: for a probe, and for tests."""

    def values(self) -> Iterable[Event]:
        return ()

    def availability(self) -> Iterable[tuple[str, bool]]:
        return ()

    def status(self) -> dict[str, Any]:
        return {}

    def configured(self) -> Mapping[str, Collection[str]]:
        return {}

    def watch(
        self, changed: Callable[[Event], None], forgotten: Callable[[str], None] | None = None
    ) -> Callable[[], None]:
        del changed, forgotten
        return lambda: None


@dataclass(frozen=True, slots=True)
class Identity:
    """Who we are towards a sink. `run` is new at each opening of the log.

    `probe` asks for a connection beside the gateway's own, which may be up at the same time: it carries events and
    says nothing of what is true now. `role` tells such connections apart. `simulated`: our world is, and a real gateway
    may use the same YAML.
    """

    gateway_id: str
    run: str
    present: Present
    probe: bool = False
    simulated: bool = False
    role: str = "test"


class Session(ABC):
    """One connection to a destination."""

    window_max: int
    """How many events may be unsettled at a time. At least 1; known once `connect` returned."""

    @abstractmethod
    def send(self, outgoing: Outgoing) -> None:
        """Hand one event to the wire. Never blocks, never raises for trouble on the wire (`report.lost` tells)."""

    def flush(self) -> None:  # noqa: B027 - for sinks that write what several `send` gave at once
        """No more `send` will follow in this turn of the event loop."""

    @abstractmethod
    async def close(self, timeout_s: float) -> None:
        """Let what is in flight settle, say goodbye, release everything."""

    @abstractmethod
    def abort(self) -> None:
        """Release everything at once, without a goodbye. The forwarder does so when nothing settles for too long."""


class Destination(Protocol):
    """What a forwarder moves the log to: a sink, or an action of a rule."""

    @property
    def name(self) -> str:
        """What kind it is, for `gateway status`."""

    async def connect(self, report: Report) -> Session:
        """As `Sink.connect`."""


class Message(NamedTuple):
    """Something to publish that is no event of the log."""

    topic: str
    payload: bytes
    content_type: str
    retain: bool = False


class Publisher(Protocol):
    """A sink through which others publish, over the connection that it has."""

    @property
    def base(self) -> str:
        """What the names of its topics begin with."""

    def publish(self, message: Message, told: Callable[[Verdict | None, str], None]) -> None:
        """Hand one message to the wire. `told` hears (verdict, reason) later, once; None where the connection ended.

        Raises:
            LinkError: there is no connection now.
        """


class Sink(ABC):
    """One configured destination. `name` is what the YAML says after `sink:`."""

    name: ClassVar[str]
    summary: ClassVar[str]
    Options: ClassVar[type[Options]] = Options
    publishes: ClassVar[bool] = False
    """Whether it is a `Publisher` too."""

    @classmethod
    @abstractmethod
    def create(cls, options: Any, identity: Identity) -> Sink:
        """The sink for these options. Cheap: nothing is connected, nothing heavy imported, before `connect`."""

    @classmethod
    def where(cls, options: Any) -> str:
        """Where events go, as a person would say it. Holds no secret."""
        del options
        return ""

    @classmethod
    def cautions(cls, options: Any) -> tuple[tuple[str, str], ...]:
        """(option name, sentence) for options that work but weaken a promise: `gateway check` warns with them."""
        del options
        return ()

    @classmethod
    def listener(cls, options: Any, gateway_id: str) -> Listener | None:
        """A subscriber to what this sink publishes; None where nothing can be heard of it."""
        del options, gateway_id
        return None

    @classmethod
    def claims(cls, options: Any, gateway_id: str) -> tuple[tuple[str, str], ...]:
        """(option name, what it names) for what a destination gives to one connection at a time.

        `gateway check` warns where two sinks of a gateway claim the same.
        """
        del options, gateway_id
        return ()

    @abstractmethod
    async def connect(self, report: Report) -> Session:
        """Open a session. The forwarder allows 3 s and cancels after that.

        Raises:
            LinkError: not reachable, or refused; the text is what `gateway status` shows.
        """


class Listener(ABC):
    """A subscriber of its own, at the place where a sink's events come out: what `gateway verify` hears with.

    Plain and blocking; it shares no connection and no code path with the sink's sessions, so that it sees what any
    consumer would see.
    """

    @abstractmethod
    def open(self) -> None:
        """Connect, and hear everything from here on.

        Raises:
            LinkError: not reachable, or not permitted.
        """

    @abstractmethod
    def hear(self, timeout_s: float) -> Sequence[bytes]:
        """What arrived: structured CloudEvents in JSON, perhaps among other messages. Empty after `timeout_s`.

        Raises:
            LinkError: the connection was lost; what came meanwhile was not heard.
        """

    @abstractmethod
    def close(self) -> None:
        """Release everything. Called once more than needed is fine."""
