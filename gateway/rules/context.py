"""What all rules of an engine share while it runs: timers, where it stands in the log, and what it derives. Pure."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any, Final

from gateway.event import Event, rfc3339
from gateway.rules.timers import Timers

RUNS_MAX: Final = 256
"""Runs whose offsets can be told from those of others; a state that survives more restarts names an id too new."""

SNAPSHOT_VERSION: Final = 2
"""Of what an engine keeps of itself."""

_NO_EVENT: Final = Event("", "", 0, 0)


class Context:
    """One engine's surroundings. All times are ns of rule time.

    `offset` is that of the event being judged, `number` the one that the next derived event will get. `wall_ns` is what
    the wall clock is ahead of rule time, `mono_ns` what rule time is ahead of the boot clock. `gap_from` and
    `gap_until` are the last stretch in which the gateway did not run.
    """

    __slots__ = (
        "_runs", "event", "expr_errors", "fresh", "gap_from", "gap_until", "mono_ns", "number", "offset", "timers",
        "wall_ns",
    )  # fmt: skip

    def __init__(self) -> None:
        self.timers = Timers()
        self.fresh: list[Event] = []
        """Derived events that nobody has seen yet, in order."""
        self.offset, self.number = 0, 1
        self.wall_ns = self.mono_ns = 0
        self.gap_from = self.gap_until = 0
        self.event: Event = _NO_EVENT
        """The newest event that some rule judged: what was known of the clock, and whether the world is simulated."""
        self.expr_errors = 0
        """Expressions that had no result for an event, such as a comparison of a text with a number."""
        self._runs: list[tuple[int, str]] = []

    def expr_failed(self) -> None:
        self.expr_errors += 1

    def begin_run(self, run: str, offset: int) -> None:
        """From this offset on, events belong to that run of the log."""
        if self._runs and self._runs[-1][1] == run:
            return
        while self._runs and self._runs[-1][0] >= offset:  # a run that wrote nothing
            self._runs.pop()
        self._runs.append((offset, run))
        del self._runs[:-RUNS_MAX]

    def id_of(self, offset: int) -> str:
        """The id of the event with that offset. Offsets are never reused, so it is known without the run."""
        index = bisect_right(self._runs, offset, key=lambda known: known[0])
        return f"{self._runs[max(index - 1, 0)][1]}-{offset}" if self._runs else f"-{offset}"

    def told(self, at: int) -> str:
        """A rule time as the wall clock would have said it, RFC 3339."""
        return rfc3339(at + self.wall_ns)

    def spans_gap(self, start: int, end: int) -> bool:
        """Whether the gateway did not run in some of that time."""
        return start < self.gap_until and end > self.gap_from

    def snapshot(self) -> list[Any]:
        return [
            self.wall_ns,
            self.mono_ns,
            self.gap_from,
            self.gap_until,
            self.event.synced,
            self.event.simulated,
            self._runs,
        ]

    def restore(self, state: list[Any]) -> None:
        self.wall_ns, self.mono_ns, self.gap_from, self.gap_until, synced, simulated, runs = state
        self.event = Event("", "", 0, 0, synced=synced, simulated=simulated)
        self._runs = [(offset, run) for offset, run in runs]
