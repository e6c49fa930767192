"""Re-reading: the state of all rules from a checkpoint and the records after it, outputs muted. Pure.

Inputs are judged as they were when they were recorded. What the engine derives from them is not believed but
*expected*: the recorded derived events that follow drive time and the rules that hear them, and each is compared with
its expectation by `rulekey`. So what is in the log is what happened, whatever a newer version would say; a difference
is counted and named.

A rule is in force from its `rule.started` on, if that has the hash of today's rule: what an older version of it said
is read, not judged.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Final

import msgspec

from gateway.event import Event
from gateway.rules.detect import CONTROL, Detector
from gateway.rules.idle import DERIVED
from gateway.rules.rule import hash_of, rule_time_of

MISMATCHES_NAMED_MAX: Final = 20

ANNOUNCING: Final = frozenset({"rule.started", "rule.stopped"})
"""Records that tell which rules are in force, one after the other."""


class Fold:
    """Reads records, in order and without holes, into a detector's engine. `finish` ends it."""

    def __init__(self, detector: Detector) -> None:
        self._detector, self._engine = detector, detector.engine
        self._engine.expected = []
        self._gap: tuple[Event, int] | None = None  # a start whose downtime is still being told
        self.records = 0
        self._end = 0
        self.mismatches = 0
        """Derived events that are in the log and were not derived again, or the other way round, or differ."""
        self.named: list[str] = []
        """The first few of them, as sentences."""

    def read_all(self, events: Iterable[Event]) -> None:
        for event in events:
            self.read(event)

    def read(self, event: Event) -> None:
        """One record."""
        self.records += 1
        self._end = event.offset + 1
        engine, here = self._engine, self._engine.context
        here.begin_run(event.run, event.offset)
        if event.type in DERIVED:
            self._derived(event)
            return
        self._end_gap([])
        if event.type not in ANNOUNCING:
            self._missing()
        here.number = event.offset
        if event.type in CONTROL:
            self._control(event)
            return
        at = self._detector.time.of(event)
        if at < engine.now:
            at = engine.now
            engine.late += bool(engine.judges(event))  # as the detector counts them
        engine.until(at, [])
        here.number = event.offset  # what was due has none yet: it is not recorded
        engine.judge(event, at, [])

    def finish(self, next_offset: int | None = None) -> list[Event]:
        """The end of the log. Returns what a crash left unrecorded, to be recorded now: mostly nothing.

        It will stand from `next_offset` on; that of the last record + 1 unless told. From here on the engine derives
        for real.
        """
        engine, here = self._engine, self._engine.context
        left, engine.expected = engine.expected or [], None
        out: list[Event] = []
        here.number = next_offset or self._end
        for at, said in groupby(left, rule_time_of):
            engine.until(at, out)  # what those before have set off
            for event in said:
                here.fresh.append(msgspec.structs.replace(event, offset=here.number))
                here.number += 1
            engine.settle(at, out)
        self._end_gap(out)
        if out:  # the next start goes on from the last record, which is one of these then
            self._detector.time.last = out[-1].mono + here.mono_ns
        return out

    def _control(self, event: Event) -> None:
        """As `Detector.control`, but what the downtime brought follows in the records, and so does its effect."""
        detector, engine = self._detector, self._engine
        if event.type != "gateway.started":
            detector.control(event, [])
            if event.type in ANNOUNCING:
                self._ended(event)
            return
        if gap_ns := detector.time.started(event):
            engine.pause(gap_ns)
        self._gap = (event, detector.time.last)

    def _end_gap(self, out: list[Event]) -> None:
        """All that the downtime brought has been read, but for what a crash left out: that follows."""
        if self._gap is None:
            return
        (event, at), self._gap = self._gap, None
        engine = self._engine
        engine.until(at, out)
        engine.hear(event, max(at, engine.now))
        engine.settle(at, out)

    def _derived(self, event: Event) -> None:
        engine, here = self._engine, self._engine.context
        try:
            at = rule_time_of(event)
        except ValueError as error:
            self._differs(str(error))
            return
        if self._gap is not None and at >= self._gap[1]:
            self._end_gap([])
        here.number = event.offset
        engine.until(at, [])
        self._detector.time.last = event.mono + here.mono_ns
        if event.type == "rule.failed":
            self._failed(event)
        else:
            self._take(event)
        here.number = event.offset + 1
        engine.hear(event, at)
        engine.settle(at, [])

    def _failed(self, event: Event) -> None:
        """The rule broke here, whether or not it breaks again: what it was about to say was not said."""
        expected = self._engine.expected
        assert expected is not None
        expected[:] = [one for one in expected if one.subject != event.subject]
        self._engine.end(str(event.data.get("rule", "")))

    def _take(self, event: Event) -> None:
        """Find the recorded event among what was expected."""
        rulekey, expected = event.data.get("rulekey"), self._engine.expected
        assert expected is not None
        for index, one in enumerate(expected):
            if one.data["rulekey"] == rulekey:
                del expected[index]
                if _content(one) != _content(event):
                    was, now = _content(event), _content(one)
                    self._differs(f"{rulekey} was recorded as {was}, and is {now} when read again")
                return
        part = self._engine.parts.get(event.subject.removeprefix("rule/"))
        if part is not None and part.active and part.rule.hash == hash_of(event):
            self._differs(f"{rulekey} was recorded, and is not derived when read again")

    def _ended(self, event: Event) -> None:
        """A rule that is no longer in force did not say what was due when it ended: nobody knew it any more then.

        That is so from the start or the reload on that brought other rules; the announcement comes a little later.
        """
        part, expected = self._engine.parts.get(str(event.data.get("rule", ""))), self._engine.expected
        assert expected is not None
        if part is None or not part.active:
            expected[:] = [one for one in expected if one.subject != event.subject]

    def _missing(self) -> None:
        """An input follows: what is still expected was not recorded."""
        expected = self._engine.expected
        assert expected is not None
        for event in expected:
            self._differs(f"{event.data['rulekey']} is derived when read again, and was not recorded")
        expected.clear()

    def _differs(self, sentence: str) -> None:
        self.mismatches += 1
        if len(self.named) < MISMATCHES_NAMED_MAX:
            self.named.append(sentence)


def _content(event: Event) -> tuple[object, ...]:
    """What a derived event says, and of which event; not where it stands, nor what was known of the clock."""
    return event.type, event.value, event.unit, event.quality, event.cause, event.data
