"""What a configuration will cost: events, bytes to the card, days of outage, years of the card. Pure.

Theory. The log appends to SQLite's write-ahead log and flushes it at each commit. The kernel writes whole pages of
4 KiB, and the last one of a commit is written again by the next: so a commit costs one such page on top of its own
bytes, whatever it holds. Later the same bytes are folded into the database, and at the end of their life their pages
are freed. Four figures describe all of it, measured as `write_bytes` of the process (proc(5)) over commits of 1 to 1000
readings:

    COMMIT_BYTES for each commit  +  EVENT_BYTES for each event  +  CURSOR_BYTES for each commit that carries cursors
    + TRIM_BYTES for each event that leaves a log that is full or old enough

How many commits? Readings that arrive within `commit_within` of the first share one, an urgent event makes its own. So
there are at most as many as there are reads of devices, and at most one each `commit_within`, and one for each urgent
event. What comes to a commit is never less than that, so the estimate errs towards more.

How many events a deadband or a contact will make, nobody can know from the YAML. So there are two cases: `quiet`, where
nothing changes and only heartbeats are recorded, and `busy`, where every reading passes its deadband and every level,
input and output changes as often as is assumed. Checkpoints, one for each 10 000 events, are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from gateway.config import Config, DeviceConfig
from gateway.config.channel import ChannelConfig, paces
from gateway.driver import Channel
from gateway.urgency import PER_S_MAX
from gateway.wear import DAY_S, WAIT_S_MAX

COMMIT_BYTES: Final = 5450.0
EVENT_BYTES: Final = 45.0
CURSOR_BYTES: Final = 1050.0
TRIM_BYTES: Final = 40.0
STORED_COMMIT_BYTES: Final = 57.0
STORED_EVENT_BYTES: Final = 23.0
"""Room in the file for a commit and for each event in it. The file is called full at `FULL` of its bound."""

FULL: Final = 0.95
CURSOR_EVERY_S, CURSOR_ACKS = 5.0, 20
"""A cursor rides once it is so old or stands for so many acknowledgements (`record`)."""

CHANGES_PER_HOUR: Final = 20.0
OVERWRITES: Final = 500.0
"""How often a cheap card can be overwritten as a whole. Video cards claim twice that and more (117 TB for 128 GB)."""

AMPLIFICATION: Final = 10.0
"""Bytes that a card writes to its flash for each byte that it is given, where it is given little at a time."""

Case = Literal["quiet", "busy"]


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What the YAML cannot say. `changes_per_hour` is that of each level, input and output, in the busy case."""

    changes_per_hour: float = CHANGES_PER_HOUR
    overwrites: float = OVERWRITES
    amplification: float = AMPLIFICATION


class Rate(NamedTuple):
    """Of one device, per second: `events`; `readings`, times at which some of them may wait; `urgent`, commits."""

    events: float
    readings: float
    urgent: float


class Traffic(NamedTuple):
    """Of all devices together, per second."""

    events: float
    readings: float
    urgent: float
    sinks: int


@dataclass(frozen=True, slots=True)
class Cost:
    """One case. `met` is False where `buffer.wear` is exceeded although readings wait as long as they may."""

    events_per_s: float
    commits_per_s: float
    commit_within_s: float
    written_bytes_per_day: float
    stored_bytes_per_day: float
    met: bool
    outage_s: float
    """How long the log takes in everything while a sink is away, from empty to full."""
    history_s: float
    """How far back the log goes once every sink has read it."""
    card_s: float
    """Until this gateway alone has worn out the card."""


def device_rate(device: DeviceConfig, case: Case, assumed: Assumptions) -> Rate:
    """What one device will do."""
    polls = None if device.every_s is None else 1 / device.every_s
    waiting = urgent = 0.0
    for channel in device.declared:
        config = device.channels[channel.name]
        events = channel_rate(channel, config, polls, case, assumed)
        if is_urgent(channel, config) and events <= PER_S_MAX:  # beyond that it loses its urgency
            urgent += events
        else:
            waiting += events
    readings = waiting if polls is None else min(waiting, polls)
    return Rate(waiting + urgent, readings, urgent if polls is None else min(urgent, polls))


def channel_rate(
    channel: Channel, config: ChannelConfig, polls_per_s: float | None, case: Case, assumed: Assumptions
) -> float:
    """Events per second of one channel; `polls_per_s` is None for a device that speaks by itself."""
    changes = assumed.changes_per_hour / 3600 if case == "busy" else 0.0
    heartbeat = 1 / config.heartbeat_s if config.heartbeat_s is not None else 0.0
    if channel.kind == "reading" and polls_per_s is not None:
        sparse = config.deadband is not None or config.heartbeat_s is not None
        events = heartbeat if sparse and case == "quiet" else polls_per_s
    else:
        events = max(changes, heartbeat if channel.kind != "input" else 0.0)
    limits = [1 / between_s for _, between_s in paces(config)]
    return min([events, *limits, *([] if polls_per_s is None else [polls_per_s])])


def is_urgent(channel: Channel, config: ChannelConfig) -> bool:
    return channel.kind != "reading" if config.urgent is None else config.urgent


def traffic(rates: Sequence[Rate], sinks: int) -> Traffic:
    return Traffic(
        sum(rate.events for rate in rates),
        sum(rate.readings for rate in rates),
        sum(rate.urgent for rate in rates),
        sinks,
    )


def commits_per_s(load: Traffic, commit_within_s: float) -> float:
    """At most so many commits with events."""
    return min(load.readings, 1 / commit_within_s) + load.urgent


def written_bytes(commits: float, events: float, cursors: float = 0.0, trimmed: float = 0.0) -> float:
    """What so many commits with so many events write, `cursors` of them with cursors, while `trimmed` events leave."""
    return commits * COMMIT_BYTES + events * EVENT_BYTES + cursors * CURSOR_BYTES + trimmed * TRIM_BYTES


def written_bytes_per_day(load: Traffic, commit_within_s: float) -> float:
    """What reaches the card in a day of a log that forgets as much as it takes in."""
    commits, cursors = commits_per_s(load, commit_within_s), 0.0
    if load.sinks:
        if commits < 1 / max(CURSOR_EVERY_S, commit_within_s):  # nothing comes that cursors could ride in
            commits, cursors = 2 * commits, commits
        else:
            cursors = min(commits, max(1 / CURSOR_EVERY_S, load.events * load.sinks / CURSOR_ACKS))
    return written_bytes(commits, load.events, cursors, trimmed=load.events) * DAY_S


def stored_bytes_per_day(load: Traffic, commit_within_s: float) -> float:
    """By how much the log's file grows in a day."""
    return (commits_per_s(load, commit_within_s) * STORED_COMMIT_BYTES + load.events * STORED_EVENT_BYTES) * DAY_S


def wait_s(load: Traffic, commit_within_s: float, limit_bytes_per_day: float | None) -> tuple[float, bool]:
    """How long readings must wait so that the limit is kept, and whether it is kept at all."""
    if limit_bytes_per_day is None or written_bytes_per_day(load, commit_within_s) <= limit_bytes_per_day:
        return commit_within_s, True
    if written_bytes_per_day(load, WAIT_S_MAX) > limit_bytes_per_day:
        return WAIT_S_MAX, False
    low, high = commit_within_s, WAIT_S_MAX
    while high - low > 0.01:
        middle = (low + high) / 2
        if written_bytes_per_day(load, middle) > limit_bytes_per_day:
            low = middle
        else:
            high = middle
    return high, True


def cost(config: Config, case: Case, assumed: Assumptions, card_bytes: int) -> Cost:
    """Everything about one case, with `buffer.wear` at work."""
    buffer = config.buffer
    load = traffic([device_rate(device, case, assumed) for device in config.devices], len(config.sinks))
    waits_s, met = wait_s(load, buffer.commit_within_s, buffer.wear_bytes_per_day)
    written, stored = written_bytes_per_day(load, waits_s), stored_bytes_per_day(load, waits_s)
    outage_s = FULL * buffer.keep.size_bytes_max / stored * DAY_S if stored else float("inf")
    counted_s = buffer.keep.events_max / load.events if buffer.keep.events_max and load.events else float("inf")
    endures_bytes = card_bytes * assumed.overwrites / assumed.amplification
    return Cost(
        events_per_s=load.events,
        commits_per_s=commits_per_s(load, waits_s),
        commit_within_s=waits_s,
        written_bytes_per_day=written,
        stored_bytes_per_day=stored,
        met=met,
        outage_s=outage_s,
        history_s=min(buffer.keep.for_s, outage_s, counted_s),
        card_s=endures_bytes / written * DAY_S if written else float("inf"),
    )
