"""The chain of a device's channels: from the readings of one moment to the events of that moment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from gateway.clock import NS_PER_S
from gateway.config.channel import ChannelConfig, quantity_of
from gateway.config.model import DeviceConfig
from gateway.driver import Channel
from gateway.event import URGENT_TYPES, Event, Reading
from gateway.normalize.correct import correction
from gateway.normalize.filters import Average, SpikeGuard, Stage, sliding
from gateway.normalize.gate import Dated, Gate
from gateway.normalize.judge import REASON_CHARACTERS_MAX, Judged, Sense, judge


class Instant(NamedTuple):
    """One moment on both clocks, read together. `synced` as `Clock.synced()` says."""

    wall_ns: int
    mono_ns: int
    synced: bool = True


class Normalizer:
    """Turns the readings of one device into events, in their order, at most one event per reading. Never raises.

    With `at_once` it has no memory: each reading becomes an event by itself, past filters, averages and deadbands.
    """

    def __init__(self, device: DeviceConfig, *, simulated: bool, at_once: bool = False) -> None:
        self._lanes = {
            channel.name: _Lane(device, channel, device.channels.get(channel.name, ChannelConfig()), at_once=at_once)
            for channel in device.declared
        }
        self._simulated = simulated
        self.rejected = 0
        """Readings of channels that the driver did not declare. They become no events."""
        self.rejected_channel = ""
        """The first such channel, for the one message about it."""

    def __call__(self, readings: Sequence[Reading], now: Instant) -> list[Event]:
        """The events of these readings. `now` is when they arrived; no event lies after it."""
        events = []
        for reading in readings:
            lane = self._lanes.get(reading.channel)
            if lane is None:
                self.rejected_channel = self.rejected_channel or str(reading.channel)[:REASON_CHARACTERS_MAX]
                self.rejected += 1
                continue
            mono_ns = min(reading.mono_ns, now.mono_ns) if reading.mono_ns > 0 else now.mono_ns
            judged = lane.take(reading, mono_ns)
            if judged is not None:
                events.append(self._event(lane, judged, mono_ns, now))
        return events

    def heartbeats(self, now: Instant) -> list[Event]:
        """What is due without a further reading: levels whose heartbeat is over, averages that end, facts that waited
        for their time. For a device that speaks only when something changes; one that is polled speaks often enough.
        """
        return [
            self._event(lane, judged, mono_ns, now)
            for lane in self._lanes.values()
            for judged, mono_ns in lane.due(now.mono_ns)
        ]

    def heartbeat_due_ns(self) -> int | None:
        """When `heartbeats` has something to say next, on the boot clock; None for never."""
        return min((due_ns for lane in self._lanes.values() if (due_ns := lane.due_ns()) is not None), default=None)

    def forget(self) -> None:
        """An outage began: whatever comes after it is worth a record, changed or not, and filters begin anew."""
        for lane in self._lanes.values():
            lane.forget()

    def inherit(self, former: Normalizer) -> None:
        """Go on where the former normalizer of the same source stood, in the channels whose rules are the same."""
        for name, lane in self._lanes.items():
            if name in former._lanes and former._lanes[name].rules == lane.rules:
                self._lanes[name] = former._lanes[name]

    def take_dropped(self) -> int:
        """How many occurrences a rate limit dropped since the last call."""
        dropped = 0
        for lane in self._lanes.values():
            dropped, lane.gate.dropped = dropped + lane.gate.dropped, 0
        return dropped

    def _event(self, lane: _Lane, judged: Judged, mono_ns: int, now: Instant) -> Event:
        return Event(
            lane.type,
            lane.subject,
            now.wall_ns - (now.mono_ns - mono_ns),
            mono_ns,
            judged.value,
            lane.unit,
            judged.quality,
            judged.reason,
            synced=now.synced,
            simulated=self._simulated,
            urgent=lane.urgent,
        )


class _Lane:
    """One channel's chain."""

    def __init__(self, device: DeviceConfig, channel: Channel, config: ChannelConfig, *, at_once: bool) -> None:
        self.type = channel.event_type
        self.subject = f"{device.id}/{channel.name}"
        self.urgent = self.type in URGENT_TYPES if config.urgent is None else config.urgent
        measured = channel.kind == "reading" and channel.measures.unit is not None
        quantity = quantity_of(channel, config) if measured else channel.measures
        self.unit = quantity.unit
        factor, addend = quantity.conversion(config.unit or quantity.unit or "") if measured else (1.0, 0.0)
        self._sense = Sense(channel.measures, correction(channel, config) if measured else None, quantity)
        self._average = _average(config, device.every_s) if measured and not at_once else None
        self._stages = _stages(config, self._average, factor) if measured and not at_once else ()
        bounds = config.range if measured else None
        self._range = None if bounds is None else (bounds[0] * factor + addend, bounds[1] * factor + addend)
        self.gate = Gate(channel.kind, config, device.every_s, factor)
        self._at_once = at_once
        self.rules = (self.subject, channel, config, device.every_s)  # all that this lane is made from

    def take(self, reading: Reading, mono_ns: int) -> Judged | None:
        """What this reading leads to, None for nothing now."""
        judged = judge(reading, self._sense)
        if judged.value is not None:
            for stage in self._stages:
                smoothed = stage(judged, mono_ns)
                if smoothed is None:
                    return None
                judged = smoothed
        return self._passed(judged, mono_ns)

    def due_ns(self) -> int | None:
        gate_ns, average_ns = self.gate.due_ns(), self._average.due_ns if self._average else None
        if gate_ns is None or average_ns is None:
            return average_ns if gate_ns is None else gate_ns
        return min(gate_ns, average_ns)

    def due(self, mono_ns: int) -> Iterator[Dated]:
        """What is to be said now without a reading, oldest first."""
        if self._average is not None:
            ended_ns = self._average.due_ns or 0
            ended = self._average.due(mono_ns)
            judged = self._passed(ended, ended_ns) if ended is not None else None
            if judged is not None:
                yield Dated(judged, ended_ns)
        dated = self.gate.due(mono_ns)
        if dated is not None:
            yield dated

    def forget(self) -> None:
        self.gate.forget()
        for stage in self._stages:
            stage.forget()

    def _passed(self, judged: Judged, mono_ns: int) -> Judged | None:
        if self._range is not None and isinstance(judged.value, float):
            lowest, highest = self._range
            if not lowest <= judged.value <= highest:
                judged = Judged(judged.value, "uncertain", "range")
        return judged if self._at_once or self.gate.passes(judged, mono_ns) else None


def _stages(config: ChannelConfig, average: Average | None, unit: float) -> tuple[Stage, ...]:
    spike = SpikeGuard(config.spike, unit) if config.spike else None
    smooth = sliding(config.filter) if config.filter else None
    return tuple(stage for stage in (spike, smooth, average) if stage is not None)


def _average(config: ChannelConfig, every_s: float | None) -> Average | None:
    """Ends half a poll early at most: with the read that is nearest to its end."""
    if config.average_s is None:
        return None
    slack_s = min(every_s or 0.0, config.average_s) / 2
    return Average(round(config.average_s * NS_PER_S), round(slack_s * NS_PER_S))
