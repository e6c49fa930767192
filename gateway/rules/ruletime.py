"""Rule time: what `at` means, made from the records alone. Pure.

Rule time R runs with the boot clock, from the record `gateway.started` on: R = mono + (R - mono at the start). It
never runs backwards: an event whose sensor was read 3 ms before its neighbour's is judged at the newest R. So
durations are right whatever is done to the wall clock, and nothing is dropped.

    gateway.started   R goes on where the last record was, plus `gap_ns`; not known how long: R stands still meanwhile.
                      The first of a log begins at the wall clock's time.
    clock.step        R does not notice. What the wall clock is ahead of R changes: epoch-aligned windows that open from
                      here on, time of day in guards, and the `time` of derived events follow it.

A clock that is set to 2046 and back therefore moves a few windows and freezes nothing: R itself never takes a value
from the wall clock after the first record of a log.

The log's own notion, max(R, mono + anchor), would stand still for twenty years after such a step. `time` of a derived
event is what the wall clock said at that rule time, uncorrected like that of every record; the log corrects it when
read.
"""

from __future__ import annotations

from gateway.event import Event
from gateway.rules.context import Context


class RuleTime:
    """Keeps a context's clocks. `last` is the rule time of the newest record, judged or not."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.last = 0

    def of(self, event: Event) -> int:
        """The rule time of an ordinary event; it may lie before that of the record before it."""
        if not self.last:
            self._begin(event, event.time)
        self.last = event.mono + self._context.mono_ns
        return self.last

    def started(self, event: Event) -> int:
        """A `gateway.started`: rule time goes on. Returns how long the gateway did not run, as far as it is known."""
        if not self.last:
            self._begin(event, event.time)
            return 0
        gap = event.data.get("gap_ns")
        gap_ns = max(gap, 0) if isinstance(gap, int) else 0
        if gap_ns or gap is None:  # known to be nothing: nothing was missed
            self._context.gap_from, self._context.gap_until = self.last, self.last + gap_ns
        self._begin(event, self.last + gap_ns)
        return gap_ns

    def stepped(self, event: Event) -> None:
        """A `clock.step`: the wall clock says something else from here on."""
        self._context.wall_ns = event.time - (event.mono + self._context.mono_ns)

    def _begin(self, event: Event, at: int) -> None:
        self.last = at
        self._context.mono_ns = at - event.mono
        self._context.wall_ns = event.time - at
