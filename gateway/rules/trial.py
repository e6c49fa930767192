"""What one rule did in a backtest, now and then, within bounds. Pure.

Two events are the same if the rule said the same kind of thing about the same key at the same moment of the boot
clock, give or take 100 ms: a gateway with more rules judges an event that came late some milliseconds later.

The first events are kept one by one, the rest is counted; the timeline has so many cells.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

import msgspec

from gateway.clock import NS_PER_S
from gateway.event import Value
from gateway.rules.model import RuleConfig

KEPT_MAX: Final = 1000
CELLS: Final = 60
SUBJECTS_MAX: Final = 4096
"""(type, subject) pairs that are counted one by one."""

TOGETHER_NS: Final = NS_PER_S // 10
UNMATCHED_MAX: Final = 64
"""Events of one key and kind that wait for their like from the log, which follows at once if there is one."""

AGAIN: Final = "again"


class Firing(msgspec.Struct):
    """One event that a rule derived: now, or then. Times are ns UTC; `mono` within `boot`.

    `ended` is when what was raised was cleared or became unknown (`end` says which), None while it is raised, and for
    what is never raised or was only said again (`end` is `again`). `now` and `recorded` say who said it.
    """

    kind: str
    time: int
    key: str
    value: Value
    unit: str | None
    data: dict[str, Any]
    mono: int
    boot: str
    now: bool
    recorded: bool
    ended: int | None = None
    end: str = ""
    id: str = ""
    """Of the event in the log, where it is there."""


class Trial:
    """What one rule did, now and then."""

    def __init__(self, config: RuleConfig) -> None:
        self.config = config
        self.fired = self.recorded = self.same = 0
        self.kept: list[Firing] = []
        self.cells, self.recorded_cells = [0] * CELLS, [0] * CELLS
        self.raised_cells = bytearray(CELLS)
        self.open: dict[str, Firing] = {}
        self.before: list[str] = []
        """Keys that were raised already when the range began."""
        self.failed = ""
        self._unmatched: dict[tuple[str, str], deque[Firing]] = {}

    def now(self, firing: Firing) -> None:
        """It fires, in the range."""
        self.fired += 1
        self._keep(firing)
        known = self._unmatched
        if len(known) >= SUBJECTS_MAX:
            known.clear()
        known.setdefault((firing.kind, firing.key), deque(maxlen=UNMATCHED_MAX)).append(firing)

    def raise_(self, firing: Firing) -> None:
        """It is raised; where it was raised before and not cleared, it is said again."""
        if firing.key in self.open:
            firing.end = AGAIN
            return
        if len(self.open) >= SUBJECTS_MAX:
            del self.open[next(iter(self.open))]
        self.open[firing.key] = firing

    def then(self, firing: Firing) -> None:
        """It fired, as the log says."""
        self.recorded += 1
        waiting = self._unmatched.get((firing.kind, firing.key), ())
        near = [one for one in waiting if one.boot == firing.boot and abs(one.mono - firing.mono) <= TOGETHER_NS]
        near = [one for one in near if not one.recorded]
        if not near:
            self._keep(firing)
            return
        like = min(near, key=lambda one: abs(one.mono - firing.mono))
        like.recorded, like.id = True, firing.id
        self.same += 1

    def _keep(self, firing: Firing) -> None:
        if len(self.kept) < KEPT_MAX:
            self.kept.append(firing)

    @property
    def only_now(self) -> int:
        return self.fired - self.same

    @property
    def only_recorded(self) -> int:
        return self.recorded - self.same
