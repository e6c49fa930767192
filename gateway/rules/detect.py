"""Detection: a batch of events becomes the batch that is recorded, derived events in their places. Pure.

Where it stands: `normalize -> detect -> record`. What the recorder has to do:

1.  After opening the log: `begin_run(..)`, then restore the newest checkpoint and read every record after it through
    a `Fold`; record what `Fold.finish` returns. With no checkpoint, read from the first record there is.
2.  Record `gateway.started` first, then, at start and after each reload, one `rule.started` or `rule.stopped` for
    each of `announcements()`. They pass through `detect` like every event; the rules begin when they do. A reload
    makes a new detector for the new rules, which takes `restore(old.checkpoint())` and `begin_run`: rules that are
    the same go on.
3.  `batch = detector.detect(taken, next_offset)` when a batch is taken, in place of `taken`. Append exactly that; a
    failed append is repeated with the same events, and nothing is detected meanwhile. A batch longer than one append
    takes may be cut: what a crash leaves out is derived again by the next start's `Fold`.
4.  Wake at `deadline_mono()` and put `tick(mono_ns, next_offset)` behind the batch that is taken then, if it is not
    empty. Calling it more often, or late, changes nothing but when things are said.
5.  If a batch is given up for good (which no ordinary fault does), the engine is ahead of the log: make a new one,
    and read the log as in 1. That costs at most what a start costs, and no copy has to be made for every batch.
6.  Keep `checkpoint()` in the log together with the offset after the batch that it follows, when re-reading would
    take too long.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from gateway.event import Event
from gateway.rules.engine import Engine, SnapshotUnfit
from gateway.rules.idle import Announcement, announced
from gateway.rules.ruletime import RuleTime

TICK_GRACE_NS: Final = 10_000_000
"""How much later than a deadline `tick` is to be called: events that happened before it may still be on their way."""

CONTROL: Final = frozenset({"gateway.started", "clock.step", "rule.started", "rule.stopped"})
"""Records that tell the engine something beside what rules select."""


class Detector:
    """An engine between normalize and record."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.time = RuleTime(engine.context)
        self.in_force: dict[str, str] = {}
        """Rule id -> hash, of every rule that the records say is in force, configured or not."""

    def begin_run(self, run: str, next_offset: int) -> None:
        """The log was opened for writing: events from `next_offset` on belong to `run`."""
        self.engine.context.begin_run(run, next_offset)

    def announcements(self) -> list[Announcement]:
        """What must be recorded so that the configured rules are in force, and no others."""
        return announced(self.in_force, {part.rule.id: part.rule.hash for part in self.engine.parts.values()})

    def detect(self, events: Sequence[Event], first_offset: int) -> list[Event]:
        """The batch to be recorded from `first_offset` on: `events`, with what is derived from them in its places.

        An event that no rule selects costs two look-ups. Derived events carry their offset; the log stamps it again.
        """
        engine, out = self.engine, list[Event]()
        if not events:
            return out
        here, routes, append = engine.context, engine.routes, out.append
        timers, run = here.timers, engine.run
        if not self.time.last and events[0].type not in CONTROL:
            self.time.of(events[0])
        ahead_ns, dirty = here.mono_ns, bool(engine.aside)
        for event in events:
            try:
                judges = routes[event.subject][event.type]
            except KeyError:
                judges = engine.judges(event)
            if event.type in CONTROL:
                here.number = first_offset + len(out)
                self.control(event, out)
                ahead_ns = here.mono_ns
                continue
            at = event.mono + ahead_ns
            if dirty or at >= timers.next_due:
                here.number = first_offset + len(out)
                engine.until(at, out)
                dirty = False
            if not judges:
                append(event)
                continue
            if at < (now := engine.now):
                at = now
                engine.late += 1
            else:
                engine.now = at
            here.offset = offset = first_offset + len(out)
            here.number = offset + 1
            append(event)
            here.event = event
            run(judges, event, at)
            if here.fresh:
                engine.settle(at, out)
        self.time.last = out[-1].mono + here.mono_ns
        return out

    def control(self, event: Event, out: list[Event]) -> None:
        """One of the records that move time, or bring rules into force."""
        engine, here = self.engine, self.engine.context
        if out:
            self.time.last = out[-1].mono + here.mono_ns
        if event.type == "gateway.started":
            offset = self._place(event, out)
            if gap_ns := self.time.started(event):
                engine.pause(gap_ns)
            at = self.time.last
            engine.until(at, out)  # what was due meanwhile stands behind the record that tells of it
        else:
            at = max(self.time.of(event), engine.now)
            engine.until(at, out)
            offset = self._place(event, out)
            if event.type == "clock.step":
                self.time.stepped(event)
            self.announced(event, at)
        engine.hear(event, max(at, engine.now), offset)
        if here.fresh:
            engine.settle(at, out)

    def _place(self, event: Event, out: list[Event]) -> int:
        out.append(event)
        offset, self.engine.context.number = self.engine.context.number, self.engine.context.number + 1
        return offset

    def announced(self, event: Event, at: int) -> None:
        """Bring a rule into force, or out of it, if the event says so."""
        if event.type not in {"rule.started", "rule.stopped"}:
            return
        rule, rule_hash = str(event.data.get("rule", "")), str(event.data.get("hash", ""))
        if event.type == "rule.started":
            self.in_force[rule] = rule_hash
            self.engine.begin(rule, rule_hash, at)
        else:
            self.in_force.pop(rule, None)
            self.engine.end(rule)

    def tick(self, mono_ns: int, first_offset: int) -> list[Event]:
        """What is due at this boot time: derived events to be recorded from `first_offset` on, mostly none."""
        here = self.engine.context
        here.number = first_offset
        out = self.engine.advance(mono_ns + here.mono_ns)
        if out:
            self.time.last = out[-1].mono + here.mono_ns
        return out

    def deadline_mono(self) -> int | None:
        """The boot time (ns) at which `tick` is worth calling, None while nothing waits for time."""
        deadline = self.engine.deadline
        return None if deadline is None else deadline - self.engine.context.mono_ns + TICK_GRACE_NS

    def checkpoint(self) -> bytes:
        """Everything there is to know, after a batch that `detect` or `tick` returned."""
        return msgspec.msgpack.encode([self.time.last, self.in_force, self.engine.snapshot()])

    def restore(self, checkpoint: bytes) -> None:
        """Go on from a checkpoint.

        Raises:
            SnapshotUnfit: it is of another version, or damaged; nothing has changed.
        """
        try:
            last, in_force, state = msgspec.msgpack.decode(checkpoint)
        except (msgspec.DecodeError, ValueError, TypeError) as error:
            raise SnapshotUnfit(f"the checkpoint of the rules cannot be read: {error}") from error
        self.engine.restore(state)
        self.time = RuleTime(self.engine.context)
        self.time.last, self.in_force = last, in_force
