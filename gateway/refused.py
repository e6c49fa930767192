"""What a full log did not take under `when_full: refuse`, counted until it is told. Pure.

Readings are refused first; urgent events have the last twentieth of the file to themselves, and are refused when that
is used up too. Neither waits: the log may stay full for weeks. What was refused is told in a `log.gap` with the reason
`full`: at once, then at most every 5 minutes, and when the log takes events again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from gateway.clock import NS_PER_S
from gateway.event import Event
from gateway.eventlog import TELL_EVERY_S, told


class Refused:
    """Counts by subject what was refused. `full` is True from the first refusal until readings are taken again."""

    def __init__(self) -> None:
        self._subjects: Counter[str] = Counter()
        self._telling: Counter[str] = Counter()
        self._told_ns: int | None = None
        self.full = False

    def without(self, batch: Sequence[Event], *, urgent: bool) -> list[Event]:
        """What is left of the batch when its readings, or also its urgent events, are refused. The rest is counted."""
        left = [event for event in batch if event.urgent and not urgent]
        for event in batch:
            if event.type == "log.gap":
                self._keep_tale(event, refused=urgent or not event.urgent)
            elif urgent or not event.urgent:
                self._subjects[event.subject] += 1
        self.full = True
        return left

    def _keep_tale(self, gap: Event, *, refused: bool) -> None:
        """What a refused `log.gap` told of is still to be told."""
        if refused and gap.reason == "full":
            self._telling = Counter()
        elif refused:
            self._subjects.update(gap.data["subjects"])
            self._subjects[gap.subject] += gap.data["rest"]

    def to_tell(self, now_ns: int, *, last: bool = False) -> dict[str, Any] | None:
        """`data` of the `log.gap` that is due, None where none is. It is told once `taken` was called behind it.

        `last` says that there will be no later chance.
        """
        due = self._told_ns is None or now_ns - self._told_ns >= TELL_EVERY_S * NS_PER_S
        if not self._subjects or not (due or last or not self.full):
            return None
        self._telling = self._subjects.copy()
        return told(self._telling.total(), self._telling)

    def taken(self, batch: Sequence[Event], now_ns: int) -> None:
        """The log took this batch."""
        if self._telling:
            self._subjects -= self._telling
            self._telling, self._told_ns = Counter(), now_ns
        if any(not event.urgent for event in batch):
            self.full = False
