"""A device of every kind of channel, and a clock that stands where the test says."""

from __future__ import annotations

from gateway.clock import NS_PER_S
from gateway.config.channel import ChannelConfig
from gateway.config.model import DeviceConfig
from gateway.driver import Channel, PolledDriver
from gateway.event import Event, Reading
from gateway.normalize import Instant, Normalizer
from gateway.options import Options

WALL_NS = 1_764_000_000 * NS_PER_S
DECLARED = (
    Channel("temperature", "temperature", "a number with a plausible range"),
    Channel("pressure", "pressure", "a number that people write in another unit"),
    Channel("voltage", "voltage", "a number without a plausible range"),
    Channel("open", "contact", "a level", kind="state"),
    Channel("mode", "text", "a level that is a word", kind="state"),
    Channel("label", "text", "a word that is measured"),
    Channel("click", "occurrence", "something that happens", kind="input"),
)


def normalizer(
    every_s: float | None = None, simulated: bool = False, at_once: bool = False, **channels: ChannelConfig
) -> Normalizer:
    all_channels = {channel.name: channels.get(channel.name, ChannelConfig()) for channel in DECLARED}
    device = DeviceConfig("air", PolledDriver, Options(), every_s, 5.0, DECLARED, all_channels, None)
    return Normalizer(device, simulated=simulated, at_once=at_once)


def at(seconds: float) -> Instant:
    ns = round(seconds * NS_PER_S)
    return Instant(WALL_NS + ns, 1000 * NS_PER_S + ns)


def one(reading: Reading, **channels: ChannelConfig) -> Event:
    (event,) = normalizer(**channels)([reading], at(0))
    return event


def found(event: Event) -> tuple[object, object, str]:
    return event.value, event.quality, event.reason


def recorded(normalize: Normalizer, channel: str, *said: tuple[float, object]) -> list[object]:
    """The values that pass of (seconds, value) pairs."""
    return [event.value for s, value in said for event in normalize([Reading(channel, value)], at(s))]


def told(normalize: Normalizer, channel: str, *said: tuple[float, object]) -> list[tuple[object, object, str]]:
    """(value, quality, reason) of what passes of (seconds, value) pairs."""
    return [found(event) for s, value in said for event in normalize([Reading(channel, value)], at(s))]
