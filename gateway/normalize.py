"""Reading -> Event: what a driver reported becomes a record that needs no further explanation. Pure.

A `Normalizer` serves one device. Each reading is *judged* first (type, unit, range), then *passed* or held back:

    what was found                                   becomes
    ------------------------------------------------ -------------------------------
    None, NaN, infinite, wrong type, too long        value null, bad / sensor
    a unit that the quantity does not know           value null, bad / config
    outside the quantity's plausible range           value null, bad / range
    the driver itself calls it bad                   value null, bad / its reason
    anything else                                    canonical unit, the driver's quality

    kind      passes
    --------- ------------------------------------------------------------------
    input     always: each one is an occurrence
    state     when level, quality or reason differ from those of the last record
    reading   always; with a `deadband` or `heartbeat` only when it changed (by at least the deadband), or its quality
              or reason did

`state` and `reading` also pass when the heartbeat is over, and the first time after the start or after an outage
(`forget`). A value is null if, and only if, its quality is bad: a consumer can never take rubbish for a measurement.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from gateway.clock import NS_PER_S
from gateway.config.model import ChannelConfig, DeviceConfig
from gateway.driver import Channel, Kind
from gateway.event import URGENT_TYPES, Event, Quality, Reading, Value
from gateway.units import Quantity, UnknownUnit, to_canonical

HEARTBEAT_S: Final = 300.0
"""Heartbeat of a channel that has a deadband and names none."""

TEXT_CHARACTERS_MAX: Final = 4096
REASON_CHARACTERS_MAX: Final = 200
INTEGER_MAX: Final = 2**53 - 1
"""RFC 7493 (I-JSON) section 2.2: beyond this, receivers of JSON disagree about the number."""

_VALUE_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "contact": (bool,),
    "text": (str,),
    "occurrence": (bool, int, float, str),
}
"""What the quantities without a unit may carry. All others are numbers."""


class Instant(NamedTuple):
    """One moment on both clocks, read together. `synced` as `Clock.synced()` says."""

    wall_ns: int
    mono_ns: int
    synced: bool = True


class Judged(NamedTuple):
    """A value in its canonical unit; null if, and only if, the quality is bad."""

    value: Value
    quality: Quality
    reason: str


class Normalizer:
    """Turns the readings of one device into events, in their order, at most one event per reading. Never raises."""

    def __init__(self, device: DeviceConfig, *, simulated: bool) -> None:
        self._lanes = {
            channel.name: _Lane(device, channel, device.channels.get(channel.name, ChannelConfig()))
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
            judged = judge(reading, lane.quantity)
            mono_ns = min(reading.mono_ns, now.mono_ns) if reading.mono_ns > 0 else now.mono_ns
            if lane.passes(judged, mono_ns):
                events.append(self._event(lane, judged, mono_ns, now))
        return events

    def heartbeats(self, now: Instant) -> list[Event]:
        """The levels whose heartbeat is over, recorded anew: for a device that speaks only when something changes."""
        return [
            self._event(lane, level, now.mono_ns, now)
            for lane in self._lanes.values()
            if (level := lane.beat(now.mono_ns)) is not None
        ]

    def heartbeat_due_ns(self) -> int | None:
        """When `heartbeats` has something to say next, on the boot clock; None for never."""
        return min((due_ns for lane in self._lanes.values() if (due_ns := lane.due_ns()) is not None), default=None)

    def forget(self) -> None:
        """An outage began: whatever comes after it is worth a record, changed or not."""
        for lane in self._lanes.values():
            lane.forget()

    def inherit(self, former: Normalizer) -> None:
        """Go on where the former normalizer of the same source stood, in the channels whose rules are the same."""
        for name, lane in self._lanes.items():
            if name in former._lanes and former._lanes[name].rules == lane.rules:
                self._lanes[name] = former._lanes[name]

    def _event(self, lane: _Lane, judged: Judged, mono_ns: int, now: Instant) -> Event:
        return Event(
            lane.kind,
            lane.subject,
            now.wall_ns - (now.mono_ns - mono_ns),
            mono_ns,
            judged.value,
            lane.quantity.unit,
            judged.quality,
            judged.reason,
            synced=now.synced,
            simulated=self._simulated,
            urgent=lane.urgent,
        )


class _Lane:
    """One channel's rules, and what it passed last."""

    def __init__(self, device: DeviceConfig, channel: Channel, config: ChannelConfig) -> None:
        self.kind: Kind = channel.kind
        self.subject = f"{device.id}/{channel.name}"
        self.quantity = channel.measures
        self.urgent = channel.kind in URGENT_TYPES if config.urgent is None else config.urgent
        self._always = channel.kind == "input" or (
            channel.kind == "reading" and config.deadband is None and config.heartbeat_s is None
        )
        self._deadband = config.deadband or 0.0
        self._heartbeat_ns = _heartbeat_ns(config, device.every_s)
        self.rules = (self.subject, channel, config, self._heartbeat_ns)  # all that this lane is made from
        self._passed: Judged | None = None
        self._passed_ns = 0

    def passes(self, judged: Judged, mono_ns: int) -> bool:
        last = self._passed
        if not (self._always or last is None or self._changed(judged, last) or self._overdue(mono_ns)):
            return False
        self._passed, self._passed_ns = judged, mono_ns
        return True

    def beat(self, mono_ns: int) -> Judged | None:
        """The level, if it holds and is due again. A measurement does not hold: it is as old as it is."""
        due_ns = self.due_ns()
        if due_ns is None or mono_ns < due_ns:
            return None
        self._passed_ns = mono_ns
        return self._passed

    def due_ns(self) -> int | None:
        if self._passed is None or self._heartbeat_ns is None or self.kind != "state":
            return None
        return self._passed_ns + self._heartbeat_ns

    def forget(self) -> None:
        self._passed = None

    def _changed(self, judged: Judged, last: Judged) -> bool:
        if judged.quality != last.quality or judged.reason != last.reason:
            return True
        if not (isinstance(judged.value, float) and isinstance(last.value, float)):
            return judged.value != last.value
        change = abs(judged.value - last.value)
        # 20.2 - 20.0 is a little less than 0.2, and a sensor with steps of 0.1 must not notice.
        return change > 0.0 and (change >= self._deadband or math.isclose(change, self._deadband))

    def _overdue(self, mono_ns: int) -> bool:
        return self._heartbeat_ns is not None and mono_ns - self._passed_ns >= self._heartbeat_ns


def judge(reading: Reading, quantity: Quantity) -> Judged:
    """Whether the value can be believed, and what it is in the quantity's canonical unit."""
    if reading.quality not in ("good", "uncertain"):
        return _bad(_reason(reading, "sensor"))
    if reading.value is None:
        return _bad(_reason(reading, "sensor"))
    return _number(reading, quantity) if quantity.unit is not None else _plain(reading, quantity)


def _number(reading: Reading, quantity: Quantity) -> Judged:
    value = reading.value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return _bad("sensor")
    try:
        number = to_canonical(float(value), reading.unit or quantity.unit or "", quantity)
    except UnknownUnit:
        return _bad("config")
    except OverflowError:  # an integer beyond all floats
        return _bad("sensor")
    if not math.isfinite(number):
        return _bad("sensor")
    if quantity.plausible is not None and not quantity.plausible[0] <= number <= quantity.plausible[1]:
        return _bad("range")
    return _good(reading, number + 0.0)  # -0.0 + 0.0 is 0.0: a minus sign before nothing only puzzles


def _plain(reading: Reading, quantity: Quantity) -> Judged:
    value = reading.value
    if not isinstance(value, _VALUE_TYPES.get(quantity.name, ())):
        return _bad("sensor")
    if reading.unit is not None:
        return _bad("config")
    if isinstance(value, str):
        return _good(reading, str.__str__(value)) if _is_text(value) else _bad("sensor")
    if isinstance(value, float):
        return _good(reading, float(value) + 0.0) if math.isfinite(value) else _bad("sensor")
    if isinstance(value, bool):
        return _good(reading, value)
    return _good(reading, int(value)) if value is not None and abs(value) <= INTEGER_MAX else _bad("range")


def _is_text(text: str) -> bool:
    """Short enough for a record, and free of lone surrogates, which no encoding can carry."""
    return len(text) <= TEXT_CHARACTERS_MAX and not any("\ud800" <= character <= "\udfff" for character in text)


def _reason(reading: Reading, otherwise: str) -> str:
    """The driver's reason, cut to size; `otherwise` where it gave none that can be written down."""
    reason = reading.reason
    return str.__str__(reason)[:REASON_CHARACTERS_MAX] if reason and _is_text(reason) else otherwise


def _heartbeat_ns(config: ChannelConfig, every_s: float | None) -> int | None:
    """The age at which an unchanged value is recorded again, None for never.

    Half a poll interval is taken off: a read that comes a millisecond early for a heartbeat of 30 s must not let it
    wait for the next one, 10 s too late.
    """
    heartbeat_s = HEARTBEAT_S if config.heartbeat_s is None else config.heartbeat_s
    if config.heartbeat_s is None and config.deadband is None:
        return None
    return round((heartbeat_s - min(every_s or 0.0, heartbeat_s) / 2) * NS_PER_S)


def _good(reading: Reading, value: Value) -> Judged:
    """Believed as far as the driver believes it: its doubt is kept."""
    return Judged(value, reading.quality, _reason(reading, ""))


def _bad(reason: str) -> Judged:
    return Judged(None, "bad", reason)
