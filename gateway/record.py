"""The recorder: puts events into the log, a group at a time, and never lets go of one silently.

Detection comes first. What rules select is shown to them as soon as no commit is under way, and what they derive stands
in the batch behind its cause: an alarm that follows from a periodic reading does not wait for the reading's commit.

Commit policy. An *urgent* event (a state, an input, an alarm, whatever the YAML marks) commits everything that is
pending as soon as the writer is idle; periodic readings wait up to `commit_within_s` for company. While one commit
runs, the next one gathers. A subject that storms loses its urgency until it is quiet (`urgency`). What else rides in a
commit is in `riding`.

Derived events name others by id, so a batch is made for one place in the log (`LogEnd`). Where the log goes on
elsewhere, because it had to be opened anew, had something to say itself, or was full, the rules are brought back to the
log's end, as at a start, and judge what was taken in once more.

Before each batch, and every few seconds, the recorder compares the clocks: a step of the wall clock becomes a
`clock.step`, which stands behind the events that were taken in before it was seen.

When the disk refuses, the batch is kept and tried again with the same events. Where that lasts (`outage`), events are
held in memory, delivered from there, and appended when the disk takes them again. What gathers meanwhile is bounded:
over the bound the oldest events are dropped, and a `log.gap` counts them by subject. A log that is full and set to
refuse is another matter: what it does not take is counted, and not kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from gateway.clock import NS_PER_S, Clock, read_together
from gateway.detection import Detection, is_derived
from gateway.errors import LogError, LogFull, LogMoved, StoreUnavailable
from gateway.event import Event, sequence
from gateway.eventlog import MAX_BATCH_EVENTS, Checkpoint, Cursor, DeadLetter, EventLog, Riders, told
from gateway.folds import Folds, due, pack, recover
from gateway.outage import Outage
from gateway.refused import Refused
from gateway.riding import Riding, Snapshot
from gateway.steps import StepWatch
from gateway.urgency import PER_S_MAX, STORM_S, Urgency
from gateway.wakeup import Wakeup
from gateway.watchdog import Stage

logger = logging.getLogger("gateway.record")

PENDING_EVENTS_MAX = 20_000
TRIM_EVERY_S = 600.0
TRIM_AGAIN_S = 1.0
LOOK_EVERY_S = 2.0
"""How often an idle gateway compares its clocks."""

Committed = Callable[[list[Event]], None]


class Recorder:
    """Owns the order of events and the writing side of the log. `offer` may be called from `start` to `stop`."""

    def __init__(
        self,
        log: EventLog,
        clock: Clock,
        *,
        commit_within_s: float,
        protected: Callable[[], int],
        simulated: bool = False,
        folds: Folds = MappingProxyType({}),
        folded_from: int | None = None,
        detection: Detection | None = None,
    ) -> None:
        """`protected` tells the lowest offset that some sink has still to read. `simulated` marks our own events.

        `folds` are at the log's end, and had to read it from `folded_from` on; they follow every commit, and their
        checkpoints are kept. `detection`, one of them, sees events before they are recorded, and adds to them.
        """
        self._log, self._clock, self._protected = log, clock, protected
        self.commit_within_s = commit_within_s
        self._simulated = simulated
        self._detection = detection or Detection((), ())
        self._pending: deque[Event] = deque()
        self._taken: list[Event] = []  # not yet seen by the detection
        self._batch: list[Event] = []  # seen by the detection, and made to stand at `_at`
        self._at = log.end
        self._tried = False  # to append the batch: from then on it must not change
        self._ahead = False  # the detection has seen what will not be recorded like that: it begins again
        self._urgent = False
        self._dropped: Counter[str] = Counter()
        self._folds, self._checkpoint = folds, Checkpoint(folded_from or log.next_offset, b"")
        self._checkpoint_due = False
        self._refused = Refused()
        self._wake = asyncio.Event()
        self._commit_due = False
        self._commit_timer, self._rules_timer = Wakeup(self._hurry), Wakeup(self._wake.set)
        self._riding = Riding(clock, self._hurry, self._commit_timer.within, lambda: self.commit_within_s)
        self._turned, self._ended = asyncio.Event(), asyncio.Event()
        self._watchers: list[Committed] = []
        self._stopping = False
        self._trim_at_ns = clock.mono_ns() + round(TRIM_EVERY_S * NS_PER_S)
        wall_ns, mono_ns = read_together(clock)
        self._steps = StepWatch(wall_ns, mono_ns, synced=clock.synced())
        self.urgency = Urgency()
        self.trouble: str | None = None
        """Why the disk refuses, None while it does not."""
        self._outage = Outage()
        self._short = False
        self.dropped_total = 0
        self.stage = Stage(self._forgotten)

    # -- what others call ---------------------------------------------------------------------------------------------

    def watch(self, committed: Committed) -> Callable[[], None]:
        """Call `committed` with the stamped events of each commit; returns what ends that."""
        self._watchers.append(committed)
        return lambda: self._watchers.remove(committed)

    @property
    def pending(self) -> int:
        """Events that are not accepted yet, and not held in memory either."""
        return len(self._pending) + len(self._taken) + len(self._batch)

    @property
    def settled(self) -> bool:
        """Whether everything offered so far is on the disk."""
        return not (self.trouble or self.pending or self._log.held)

    def offer(self, events: Sequence[Event]) -> None:
        """Take events in. Never blocks and never raises: over the bound the oldest pending events go, counted."""
        if not events:
            return
        self._pending.extend(events)
        while len(self._pending) > PENDING_EVENTS_MAX:
            self._dropped[self._pending.popleft().subject] += 1
            self.dropped_total += 1
        self._urgent = self._may_hurry(events) or self._urgent
        self._plan()
        if self._detection.listens(events):
            self._wake.set()

    def note(
        self, event_type: str, data: dict[str, Any], *, about: str = "gateway", reason: str = "", cause: str = ""
    ) -> None:
        """Offer an event about the gateway itself."""
        told = self._own(event_type, data, reason)
        self.offer([msgspec.structs.replace(told, subject=about, cause=cause, urgent=True)])

    def look_at_clock(self) -> None:
        """Offer a `clock.step` if the wall clock was stepped, or is synchronised at last."""
        wall, mono = read_together(self._clock)
        synced = self._clock.synced()
        step = self._steps.look(wall, mono, synced=synced)
        if step is None:
            return
        step_ns = step.after_ns - step.before_ns
        logger.warning("the wall clock was %s: %+.3f s", step.why, step_ns / NS_PER_S)
        data = {"boot": self._clock.boot_id, "before_ns": step.before_ns, "after_ns": wall, "step_ns": step_ns}
        told = Event("clock.step", "gateway", wall, mono, reason=step.why, data=data, synced=synced, urgent=True)
        self.offer([msgspec.structs.replace(told, simulated=self._simulated)])

    def ride(self, name: str, cursor: Cursor, acks: int) -> None:
        """A consumer's cursor moved on by `acks` events; it is written before long."""
        self._riding.cursor(name, cursor, acks)

    def ride_consumer(self, name: str, snapshot: Snapshot, acks: int) -> None:
        """A named consumer settled `acks` events; what `snapshot` then says is written before long."""
        self._riding.consumer(name, snapshot, acks)

    async def keep(self, name: str, cursor: Cursor) -> None:
        """Return when this cursor is committed, at once and not when it suits: what follows must not happen twice."""
        await self._riding.keep(name, cursor)

    async def written(self, name: str) -> None:
        """Return once what rides of that named consumer is committed.

        Raises:
            StoreUnavailable: the disk refuses; it goes on riding.
        """
        upto = self._riding.newest
        while self._riding.hurries(name, upto):
            if self.trouble:
                raise StoreUnavailable(self.trouble)
            await self._next_turn()

    def bury(self, letter: DeadLetter) -> None:
        """An event was refused for good: its dead letter and the `event.refused` that names it are one transaction."""
        self._riding.letter(letter)
        event = letter.event
        if event.type == "event.refused":  # a sink that refuses these would otherwise never run out of them
            self._hurry()
            return
        refused = {"sequence": sequence(event.offset), "type": event.type, "subject": event.subject}
        whole = "/" in letter.consumer  # rule/.. and consumer/<name> stand as they are
        about = letter.consumer if whole else f"sink/{letter.consumer}"
        self.note("event.refused", {"refused": refused}, about=about, reason=letter.reason, cause=event.id)

    def resume(self, left: Sequence[Event]) -> None:
        """What the run before this one had derived and not recorded is recorded first. Before `run`."""
        self._batch, self._at = list(left), self._log.end
        if left:
            self._hurry()

    # -- life ---------------------------------------------------------------------------------------------------------

    async def stop(self) -> None:
        """Let `run` commit everything that is pending and end. What a refusing disk does not take is said."""
        self._stopping = True
        self._hurry()
        await self._ended.wait()

    async def flush(self) -> None:
        """Return when everything offered so far is accepted, or the disk is in trouble."""
        while self.pending and not self.trouble:
            await self._next_turn()

    async def _next_turn(self) -> None:
        """Have a commit made, and wait for it."""
        self._turned.clear()
        self._hurry()
        await self._turned.wait()

    async def watch_clock(self) -> None:
        """Compare the clocks now and then, until `stop`: also when nothing happens that would be committed.

        On the way the log tells what it had to let go.
        """
        while not self._stopping:
            self.look_at_clock()
            if self._log.owes:
                self._hurry()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), LOOK_EVERY_S)

    async def run(self) -> None:
        """Detect and commit whenever it is time, until `stop`."""
        try:
            while not self._stopping or self._unwritten:
                await self.stage.idle(self._wake.wait())
                self._wake.clear()
                await self._turn()
                self._turned.set()
                if self._stopping:
                    if self.trouble:
                        break
                    self._hurry()
        finally:
            self._end()

    @property
    def _unwritten(self) -> bool:
        unmarked = bool(self._folds) and self._checkpoint.offset != self._log.next_offset
        return self._offered or unmarked or self._checkpoint_due

    @property
    def _offered(self) -> bool:
        """Whether something that others gave us is not written. A wake-up is planned whenever it is."""
        return bool(self.pending or self._log.held or self._riding)

    def _forgotten(self) -> bool:
        """Whether a wake-up was lost: something is to be written and nothing is planned for it."""
        return self._offered and not self._commit_timer and not self._wake.is_set()

    def _hurry(self) -> None:
        """Commit as soon as the writer is idle."""
        self._commit_due = True
        self._wake.set()

    async def _turn(self) -> None:
        """Detect, and commit if it is time. After a refusal a pause; where that lasts, events are held in memory."""
        now = asyncio.get_running_loop().time()
        try:
            if self._outage.lasts(now) and not self._stopping and (wait_s := self._outage.asks_again_in(now)):
                await self._hold(wait_s)
            else:
                await self._commit_if_due()
        except LogError as error:
            now = asyncio.get_running_loop().time()
            wait_s = self._outage.refused(now)
            self._degraded(str(error))
            if not self._outage.lasts(now):
                await self._pause(wait_s)
            self._hurry()

    def _end(self) -> None:
        self._commit_timer.cancel()
        self._rules_timer.cancel()
        if unstored := self.pending + self._log.held:
            logger.error("%d events could not be stored before the stop: %s", unstored, self.trouble)
        self.stage.end()
        self._ended.set()

    async def _pause(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while not self._stopping and (left := until - loop.time()) > 0:
            self._wake.clear()
            self._commit_timer.within(left)
            await self.stage.idle(self._wake.wait())

    # -- a batch ------------------------------------------------------------------------------------------------------

    async def _commit_if_due(self) -> None:
        ailing = self._log.ailing  # then there is something to be written, whatever else there is
        await self._gather()
        full = len(self._batch) >= MAX_BATCH_EVENTS
        if self._commit_due or full or self._tried or ailing:
            self._commit_due = False
            await self._commit(ailing=ailing)
        elif self._batch:
            self._commit_timer.within(self.commit_within_s)
        self._plan_rules()

    async def _gather(self) -> None:
        """Have the batch hold what was offered, what follows from it, and what is due by now.

        Raises:
            StoreUnavailable: the disk refuses, and until it does not, nobody knows where events would stand.
        """
        if self._tried:
            return
        if not self._batch:
            self._tell_own()
            self._at = self._log.end
        if not self._batch:
            self._mark()
        self._take()
        await self._admit()
        if not self._batch:
            self._tell_own()
            self._at = self._log.end
        self._detect()

    def _take(self) -> None:
        """Go on to what was offered, as far as it fits."""
        if self._pending:
            self.look_at_clock()
        room = MAX_BATCH_EVENTS - len(self._batch) - len(self._taken)
        if room <= 0:
            return
        self._taken += self._gaps()
        for _ in range(min(room, len(self._pending))):
            self._taken.append(self._pending.popleft())
        self._urgent = self._urgent and bool(self._pending)

    def _gaps(self) -> Iterator[Event]:
        """What is to be told of events that are not in the log."""
        if self._dropped:
            data, self._dropped = told(self._dropped.total(), self._dropped), Counter()
            yield self._own("log.gap", data, "overload")
        new = not (self._batch or self._taken)  # what was refused counts as told once such a batch is taken
        if new and (refused := self._refused.to_tell(self._clock.mono_ns(), last=self._stopping)) is not None:
            yield msgspec.structs.replace(self._own("log.gap", refused, "full"), urgent=True)
        if (lost := self._log.faults.take_lost()) is not None:
            yield self._own("log.gap", lost, "memory")

    async def _admit(self) -> None:
        """What a full log refuses goes before rules see it: they must know what is recorded, and nothing else."""
        ready = self._log.admit if self._batch else self._log.prepare
        for urgent_too in (False, True):
            try:
                return await ready(self._taken)
            except LogFull as full:
                self._taken = self._left(full, self._taken, urgent=urgent_too)
        return None

    def _detect(self) -> None:
        """Show what was taken to the rules. What they have to say may be urgent."""
        seen = len(self._batch)
        at = self._at._replace(offset=self._at.offset + seen)
        self._batch += self._detection.detect(self._taken, at, self._judged_until_ns())
        self._taken = []
        if self._may_hurry([event for event in self._batch[seen:] if is_derived(event)]):
            self._commit_due = True

    async def _detect_again(self) -> None:
        """The batch stands elsewhere than it was made for, or without some of its events: begin at the log's end.

        Raises:
            StoreUnavailable: it cannot be read; nothing has changed.
        """
        fresh = self._detection.fresh()
        if own := {name: fresh for name, fold in self._folds.items() if fold is self._detection}:
            await recover(self._log, own)
        self._tell_own(heard=True)
        self._detection.become(fresh)
        self._at, self._ahead, self._tried = self._log.end, False, False
        left = self._detection.recovered(self._at)
        offered = [event for event in self._batch if not is_derived(event)]
        at = self._at._replace(offset=self._at.offset + len(left))
        self._batch = left + self._detection.detect(offered, at, self._judged_until_ns())

    def _judged_until_ns(self) -> int:
        """The boot time until which rules know everything: what still waits here happened before it is told late."""
        now = self._clock.mono_ns()
        return min(now, self._pending[0].mono) if self._pending else now

    def _plan_rules(self) -> None:
        if (due_ns := self._detection.deadline_mono()) is not None:
            self._rules_timer.within(max(0.0, (due_ns - self._clock.mono_ns()) / NS_PER_S))

    def _mark(self) -> None:
        """Between two batches: whether a checkpoint of what was before the next one goes with it."""
        at, since = self._log.next_offset, self._log.next_offset - self._checkpoint.offset
        last = self._stopping and not self.pending
        if self._folds and since and (last or due(since, at - self._log.first_offset)):
            self._checkpoint, self._checkpoint_due = Checkpoint(at, pack(self._folds)), True

    def _own(self, event_type: str, data: dict[str, Any], reason: str = "") -> Event:
        """An event about the gateway itself, of now."""
        now, mono = read_together(self._clock)
        synced, simulated = self._clock.synced(), self._simulated
        return Event(event_type, "gateway", now, mono, reason=reason, data=data, synced=synced, simulated=simulated)

    # -- a commit -----------------------------------------------------------------------------------------------------

    async def _commit(self, *, ailing: bool) -> None:
        """Commit the batch with what rides along; then tell who watches."""
        checkpoint = self._checkpoint if self._checkpoint_due else None
        riders = self._riding.aboard(checkpoint, last=self._stopping)
        if not self._batch and not riders and not ailing:
            return
        stamped = await self._append(riders)
        self._batch, self._tried = self._batch[len(stamped) :], False
        self._at = self._at._replace(offset=self._at.offset + len(stamped))
        self._riding.rode(riders)
        self._checkpoint_due = False
        self._recovered()
        self._show(stamped)
        await self._trim()

    async def _append(self, riders: Riders) -> list[Event]:
        """The first part of the batch that fits. A log that is full and set to refuse takes what is urgent, or nothing.

        Then rules must not have seen the rest: what is left is detected again.
        """
        urgent_too = False
        while True:
            if self._ahead:
                await self._detect_again()
            self._tried = True
            some = self._batch[:MAX_BATCH_EVENTS]
            try:
                stamped = await self._log.append(some, riders, at=self._at)
            except LogFull as full:
                self._batch = self._left(full, self._batch, urgent=urgent_too)
                urgent_too = self._ahead = True
            except LogMoved as moved:
                logger.debug("%s", moved)
                self._ahead = True
            else:
                self._refused.taken(some, self._clock.mono_ns())
                return stamped

    async def _hold(self, wait_s: float) -> None:
        """Take the batch in memory only, until the disk is asked again. Riders wait."""
        if not self._batch:
            self._at = self._log.end_in_memory
        if not self._tried:
            self._take()
            self._detect()
        while self._batch:
            some = self._batch[:MAX_BATCH_EVENTS]
            stamped = await self._log.keep_in_memory(some, self._at)
            self._batch, self._tried = self._batch[len(some) :], False
            self._at = self._at._replace(offset=self._at.offset + len(some))
            self._show(stamped)
        self._commit_timer.within(wait_s)
        self._plan_rules()

    def _tell_own(self, *, heard: bool = False) -> None:
        """The log recorded something by itself: who watches is told, and the rules unless they have `heard` it."""
        own = self._log.take_own()
        if not own:
            return
        self._tell(own)
        if not heard:
            self._at = self._log.end
            self._batch += self._detection.hear(own)

    def _show(self, stamped: list[Event]) -> None:
        """Tell who watches, and go on with what came meanwhile."""
        self._tell(stamped)
        if self._batch:
            self._hurry()
        elif self._pending:
            self._plan()

    def _tell(self, stamped: list[Event]) -> None:
        for fold in self._folds.values():
            fold.fold(stamped)
        for committed in tuple(self._watchers):
            committed(stamped)

    def _left(self, full: LogFull, events: list[Event], *, urgent: bool) -> list[Event]:
        if not self._refused.full:
            logger.error("%s", full)
        left = self._refused.without(events, urgent=urgent)
        self.dropped_total += len(events) - len(left)
        return left

    # -- urgency ------------------------------------------------------------------------------------------------------

    def _may_hurry(self, events: Sequence[Event]) -> bool:
        """Whether one of the urgent events among these may have a commit at once. All are counted."""
        now_ns, may = 0, False
        for event in events:
            if not event.urgent:
                continue
            now_ns = now_ns or self._clock.mono_ns()
            verdict = self.urgency.judge(event.subject, now_ns)
            may = may or verdict in {"urgent", "quiet"}
            if verdict == "storm":
                logger.warning(
                    "%s: more than %d urgent events a second for %d s; until it is quiet they wait up to %g s",
                    event.subject,
                    PER_S_MAX,
                    STORM_S,
                    self.commit_within_s,
                )
            elif verdict == "quiet":
                logger.info("%s is quiet, its events are urgent again", event.subject)
        return may

    def _plan(self) -> None:
        """What is pending goes at once, or waits for company."""
        if self._urgent or len(self._pending) >= MAX_BATCH_EVENTS:
            self._hurry()
        else:
            self._commit_timer.within(self.commit_within_s)

    # -- trouble and upkeep -------------------------------------------------------------------------------------------

    def _degraded(self, reason: str) -> None:
        if self.trouble is None:
            logger.error("the disk refuses events, they are held in memory until it takes them: %s", reason)
            self.trouble = reason
            self.note("store.degraded", {}, reason=reason)
        self.trouble = reason

    def _recovered(self) -> None:
        self._outage.over()
        if self.trouble is not None:
            logger.warning("the disk takes events again")
            self.trouble = None
            self.note("store.recovered", {})

    def look_at_room(self) -> None:
        """Say when others fill the disk, so that the log has less room than it might, and when that is over."""
        shortage = self._log.faults.shortage
        if shortage and not self._short:
            self.note("store.degraded", {}, reason=shortage)
        elif self._short and not shortage:
            self.note("store.recovered", {})
        self._short = bool(shortage)

    def try_disk(self) -> None:
        """The disk was found not to take writes: ask it at once, although there may be nothing to write."""
        self._hurry()

    async def ends_within(self, seconds: float) -> bool:
        """Wait for the end, but not longer than that; says whether it has come."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ended.wait(), seconds)
        return self._ended.is_set()

    async def _trim(self) -> None:
        """Forget what is beyond the bounds, now and then, while no batch waits: the log may have something to say."""
        if self._clock.mono_ns() >= self._trim_at_ns and not self._batch:
            self._trim_at_ns = self._clock.mono_ns() + round(TRIM_EVERY_S * NS_PER_S)
            if await self._log.trim(self._protected()):
                self.trim_soon()

    def trim_soon(self) -> None:
        """The log is to be trimmed with one of the next commits: its bounds are narrower now."""
        self._trim_at_ns = self._clock.mono_ns() + round(TRIM_AGAIN_S * NS_PER_S)
