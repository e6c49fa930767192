"""Whether a fact is worth a record, and whether now.

    kind      is worth a record
    --------- ------------------------------------------------------------------
    input     always: each one is an occurrence
    state,    when level, quality or reason differ from those of the last record
    output
    reading   always; with a `deadband` or `heartbeat` only when it changed (by at least the deadband), or its quality
              or reason did

`state` and `reading` also when the heartbeat is over, and the first time after the start or after an outage. What is
worth a record but comes too soon (`min_interval`, `rate_limit`) waits: the newest such fact takes the place of those
before it, and a return to what was recorded last ends the wait. An occurrence cannot wait: it is dropped and counted.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from gateway.clock import NS_PER_S
from gateway.config.channel import ChannelConfig, heartbeat_of
from gateway.driver import Kind
from gateway.normalize.judge import Judged


class Dated(NamedTuple):
    """A fact and the instant on the boot clock that it is of."""

    judged: Judged
    mono_ns: int


class Pace:
    """No more than so many records in so much time, for each of several (count, time)."""

    def __init__(self, limits: Sequence[tuple[int, int]]) -> None:
        self._limits = [(deque[int](maxlen=count), time_ns) for count, time_ns in limits]

    def open_ns(self) -> int | None:
        """The instant from which on the next record is allowed; None for any."""
        return max(
            (noted[0] + time_ns for noted, time_ns in self._limits if len(noted) == noted.maxlen),
            default=None,
        )

    def note(self, mono_ns: int) -> None:
        for noted, _ in self._limits:
            noted.append(mono_ns)


class Gate:
    """What one channel recorded last, and what waits. `unit` is the factor from the entry's unit to the canonical."""

    def __init__(self, kind: Kind, config: ChannelConfig, every_s: float | None, unit: float = 1.0) -> None:
        self.kind: Kind = kind
        self.dropped = 0
        """Occurrences beyond the rate limit. They become no events."""
        self._always = kind == "input" or (kind == "reading" and config.deadband is None and config.heartbeat_s is None)
        self._absolute = config.deadband.absolute * unit if config.deadband else 0.0
        self._part = config.deadband.percent / 100 if config.deadband else 0.0
        self._heartbeat_ns = _heartbeat_ns(config, every_s)
        limits = _limits(config, every_s)
        self._pace = Pace(limits) if limits else None
        self._passed: Judged | None = None
        self._passed_ns = 0
        self._waiting: Dated | None = None

    def passes(self, judged: Judged, mono_ns: int) -> bool:
        """Whether this fact becomes an event now."""
        last = self._passed
        if not (self._always or last is None or self._changed(judged, last) or self._overdue(mono_ns)):
            self._waiting = None
            return False
        if self._pace is not None and not self._is_open(self._pace, mono_ns):
            self._hold(judged, mono_ns)
            return False
        self._note(judged, mono_ns)
        return True

    def due_ns(self) -> int | None:
        """When there is something to say without a further reading, None for never."""
        if self._waiting is not None and self._pace is not None:
            return self._pace.open_ns()
        # A measurement does not hold: it is as old as it is. A level does.
        if self._passed is None or self._heartbeat_ns is None or self.kind != "state":
            return None
        return self._passed_ns + self._heartbeat_ns

    def due(self, mono_ns: int) -> Dated | None:
        """What waited, at its own time; or the level that holds, at this."""
        due_ns = self.due_ns()
        if due_ns is None or mono_ns < due_ns:
            return None
        dated = self._waiting
        if dated is None and self._passed is not None:
            dated = Dated(self._passed, mono_ns)
        if dated is not None:
            self._note(dated.judged, mono_ns)
        return dated

    def forget(self) -> None:
        """An outage began: whatever comes after it is worth a record, changed or not."""
        self._passed = self._waiting = None

    def _is_open(self, pace: Pace, mono_ns: int) -> bool:
        open_ns = pace.open_ns()
        return open_ns is None or mono_ns >= open_ns

    def _hold(self, judged: Judged, mono_ns: int) -> None:
        if self.kind == "input":
            self.dropped += 1
        else:
            self._waiting = Dated(judged, mono_ns)

    def _note(self, judged: Judged, mono_ns: int) -> None:
        self._passed, self._passed_ns, self._waiting = judged, mono_ns, None
        if self._pace is not None:
            self._pace.note(mono_ns)

    def _changed(self, judged: Judged, last: Judged) -> bool:
        if judged.quality != last.quality or judged.reason != last.reason:
            return True
        if not (isinstance(judged.value, float) and isinstance(last.value, float)):
            return judged.value != last.value
        change, least = abs(judged.value - last.value), self._absolute
        if self._part:
            least = max(least, self._part * abs(last.value))
        # 20.2 - 20.0 is a little less than 0.2, and a sensor with steps of 0.1 must not notice.
        return (change >= least and change > 0.0) or (least > 0.0 and math.isclose(change, least))

    def _overdue(self, mono_ns: int) -> bool:
        return self._heartbeat_ns is not None and mono_ns - self._passed_ns >= self._heartbeat_ns


def _heartbeat_ns(config: ChannelConfig, every_s: float | None) -> int | None:
    """The age at which an unchanged value is recorded again, None for never.

    Half the time between two facts is taken off: a read that comes a millisecond early for a heartbeat of 30 s must not
    let it wait for the next one, 10 s too late.
    """
    heartbeat_s = heartbeat_of(config)
    if heartbeat_s is None:
        return None
    between_s = config.average_s or every_s or 0.0
    return round((heartbeat_s - min(between_s, heartbeat_s) / 2) * NS_PER_S)


def _limits(config: ChannelConfig, every_s: float | None) -> list[tuple[int, int]]:
    """(records, time) of `min_interval` and `rate_limit`.

    A tenth of the time between two facts is taken off the interval, for the same reason as with the heartbeat, but here
    earlier is the wrong side to err on.
    """
    limits = []
    if config.min_interval_s is not None:
        slack_s = min(config.average_s or every_s or 0.0, config.min_interval_s) / 10
        limits.append((1, round((config.min_interval_s - slack_s) * NS_PER_S)))
    if config.rate_limit is not None:
        limits.append((config.rate_limit.events, round(config.rate_limit.per_s * NS_PER_S)))
    return limits
