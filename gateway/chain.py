"""Proof that a subscriber missed nothing: follows `previous` from event to event. Pure.

Every event names the one before it in its sink's selection of the log. So whoever has an event and not the one that it
names has a hole, and knows its end; its beginning is behind the last event before it that did arrive. A hole is filled
when its events follow, and closed when a `log.gap` or an `event.refused` names them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from gateway.event import TYPE_PREFIX, TYPE_SUFFIX

CloudEvent = Mapping[str, Any]


class Span(NamedTuple):
    """Offsets `first` to `last`, both within."""

    first: int
    last: int


class Missing(NamedTuple):
    """Events that a subscriber did not get, and why: `lost` where nobody says so."""

    first: int
    last: int
    events: int
    why: str


class Chain:
    """What one subscriber heard of one sink."""

    def __init__(self) -> None:
        self._previous: dict[int, int | None] = {}
        self.named: list[tuple[Span, str]] = []
        """(offsets, why) of what events told to be missing for good."""
        self.repeats = self.altered = 0
        """Events that came again with the same id, and with another one: the first is normal, the second never."""
        self._ids: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._previous)

    def __contains__(self, offset: int) -> bool:
        return offset in self._previous

    def hear(self, event: CloudEvent) -> None:
        """One CloudEvent arrived.

        Raises:
            KeyError, ValueError: it is none of a gateway's.
        """
        offset = int(event["sequence"])
        if offset in self._previous:
            self.repeats += self._ids[offset] == event["id"]
            self.altered += self._ids[offset] != event["id"]
            return
        self._previous[offset] = int(event["previous"]) if "previous" in event else None
        self._ids[offset] = event["id"]
        self.named += _named(event)

    def holes(self, since: int, until: int) -> list[Span]:
        """Where events of [since, until) are missing that an event which arrived proves to exist, in order."""
        arrived = sorted(self._previous)
        ends = {previous for previous in self._previous.values() if previous is not None}
        spans = []
        for end in sorted(end for end in ends if end not in self._previous and since <= end < until):
            before = bisect_left(arrived, end)
            first = max(since, arrived[before - 1] + 1 if before else since)
            if not any(span.first <= end <= span.last for span, _ in self.named):
                spans.append(Span(first, end))
        return spans


def short_type(text: str) -> str:
    """`reading` for `io.….reading.v1`."""
    return text.removeprefix(TYPE_PREFIX).removesuffix(TYPE_SUFFIX)


def _named(event: CloudEvent) -> list[tuple[Span, str]]:
    kind, told = short_type(event["type"]), event.get("data") or {}
    if kind == "log.gap" and "first" in told:
        return [(Span(int(told["first"]), int(told["last"])), f"evicted ({told.get('reason') or 'no reason told'})")]
    if kind == "event.refused":
        offset = int(told["refused"]["sequence"])
        return [(Span(offset, offset), f"dead letter ({told.get('reason') or 'no reason told'})")]
    return []


def missing(expected: Iterable[int], chain: Chain, cursor: int) -> list[Missing]:
    """The offsets of `expected` that were not heard, as ranges with a reason.

    `expected` is what the log holds for this sink, rising.
    `cursor` is the first offset that the sink has not settled: what is missing from there on is still to come.
    """
    found: list[Missing] = []
    for offset in expected:
        if offset in chain:
            continue
        why = "pending" if offset >= cursor else _why(offset, chain)
        if found and found[-1].why == why and not _heard_between(chain, found[-1].last, offset):
            found[-1] = found[-1]._replace(last=offset, events=found[-1].events + 1)
        else:
            found.append(Missing(offset, offset, 1, why))
    return found


def _why(offset: int, chain: Chain) -> str:
    return next((why for span, why in chain.named if span.first <= offset <= span.last), "lost")


def _heard_between(chain: Chain, last: int, offset: int) -> bool:
    return any(between in chain for between in range(last + 1, min(offset, last + 1000)))
