"""Steps of the wall clock, seen as changes of its distance from the boot clock. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

from gateway.clock import NS_PER_S

STEP_NS_MIN: Final = NS_PER_S // 2
"""Smaller changes are left to the wall clock's own word: NTP slews up to 0.128 s, and steps beyond."""


class Step(NamedTuple):
    """What the wall clock (ns UTC) would say had nobody set it, and what it says. `why`: stepped or synchronised."""

    before_ns: int
    after_ns: int
    why: str


class StepWatch:
    """Compares each look at the clocks with the last record that told the anchor of this boot.

    Against the record, not the last look: small steps that add up are a step. The first word that the clock is
    synchronised since a record of one that was not is told too, moved or not: from then on the boot's time is known.
    """

    def __init__(self, wall_ns: int, mono_ns: int, *, synced: bool) -> None:
        self._anchor, self._synced = wall_ns - mono_ns, synced

    def look(self, wall_ns: int, mono_ns: int, *, synced: bool) -> Step | None:
        """The step to be recorded now."""
        anchor = wall_ns - mono_ns
        stepped = abs(anchor - self._anchor) > STEP_NS_MIN
        found = synced and not self._synced
        if not (stepped or found):
            return None
        step = Step(mono_ns + self._anchor, wall_ns, "stepped" if stepped else "synchronised")
        self._anchor, self._synced = anchor, synced
        return step
