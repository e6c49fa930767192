"""The recorder: puts events into the log, a group at a time, and never lets go of one silently.

Commit policy. An *urgent* event (a state, an input, whatever the YAML marks) commits everything that is pending as
soon as the writer is idle; periodic readings wait up to `commit_within_s` for company. While one commit runs, the
next one gathers. A subject that storms loses its urgency until it is quiet (`urgency`).

Before each commit, and every few seconds, the recorder compares the clocks: a step of the wall clock becomes a
`clock.step`, which stands behind the events that were taken in before it was seen.

Cursors ride in a commit that happens anyway. At one event a second a cursor in every commit would be a third of all
bytes written, so it rides once it stands for 20 acknowledgements or is 5 s old, and goes alone when nothing else
comes.

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
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from gateway.clock import NS_PER_S, Clock, read_together
from gateway.detection import Detection
from gateway.errors import LogError, LogFull, StoreUnavailable
from gateway.event import Event, sequence
from gateway.eventlog import MAX_BATCH_EVENTS, Checkpoint, ConsumerState, Cursor, DeadLetter, EventLog, Riders, told
from gateway.folds import Folds, due, pack
from gateway.outage import Outage
from gateway.refused import Refused
from gateway.steps import StepWatch
from gateway.urgency import PER_S_MAX, STORM_S, Urgency
from gateway.watchdog import Stage

logger = logging.getLogger("gateway.record")

PENDING_EVENTS_MAX = 20_000
CURSOR_AFTER_S = 5.0
CURSOR_AFTER_ACKS = 20
CURSOR_ALONE_ACKS = 10_000
TRIM_EVERY_S = 600.0
TRIM_AGAIN_S = 1.0
LETTERS_MAX = 10_000
"""Dead letters that wait for a disk that refuses. Beyond them the oldest go: their `event.refused` stays."""

LOOK_EVERY_S = 2.0
"""How often an idle gateway compares its clocks."""

Committed = Callable[[list[Event]], None]
Snapshot = Callable[[], ConsumerState | None]
"""What is to be stored of a named consumer, as it is when the commit begins; None forgets it."""


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
        checkpoints are kept. `detection` sees each batch before it is recorded, and adds to it.
        """
        self._log, self._clock, self._protected = log, clock, protected
        self.commit_within_s = commit_within_s
        self._simulated = simulated
        self._detection = detection
        self._pending: deque[Event] = deque()
        self._taken: list[Event] = []  # for the next batch, not yet seen by the detection
        self._batch: list[Event] = []
        self._urgent = False
        self._dropped: Counter[str] = Counter()
        self._cursors: dict[str, Cursor] = {}
        self._consumers: dict[str, tuple[int, Snapshot]] = {}  # name -> (how manieth ride, snapshot)
        self._consumers_riding: dict[str, tuple[int, Snapshot]] = {}
        self._rides = 0
        self._hurried = False  # somebody waits for what rides
        self._acks = self._acks_riding = 0
        self._cursors_since_ns = 0
        self._keeping: list[tuple[str, Cursor, asyncio.Future[None]]] = []
        self._letters: list[DeadLetter] = []
        self._folds, self._checkpoint = folds, Checkpoint(folded_from or log.next_offset, b"")
        self._checkpoint_due = False
        self._heard: list[Event] = []  # recorded by the log itself, not yet seen by the detection
        self._refused = Refused()
        self._wake = asyncio.Event()
        self._turned, self._ended = asyncio.Event(), asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")
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
        if urgent := [event.subject for event in events if event.urgent]:
            self._urgent = self._may_hurry(urgent) or self._urgent
        self._plan()

    def note(
        self, event_type: str, data: dict[str, Any], *, about: str = "gateway", reason: str = "", cause: str = ""
    ) -> None:
        """Offer an event about the gateway itself."""
        now, mono = read_together(self._clock)
        synced = self._clock.synced()
        self.offer(
            [
                Event(
                    event_type,
                    about,
                    now,
                    mono,
                    reason=reason,
                    cause=cause,
                    data=data,
                    synced=synced,
                    simulated=self._simulated,
                    urgent=True,
                )
            ]
        )

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
        self._ride_begins()
        self._cursors[name] = cursor
        self._ride_on(acks)

    def ride_consumer(self, name: str, snapshot: Snapshot, acks: int) -> None:
        """A named consumer settled `acks` events; what `snapshot` then says is written before long."""
        self._ride_begins()
        self._rides += 1
        self._consumers[name] = self._rides, snapshot
        self._ride_on(acks)

    async def written(self, name: str) -> None:
        """Return once what rides of that named consumer is committed.

        Raises:
            StoreUnavailable: the disk refuses; it goes on riding.
        """
        upto = self._rides
        while (ride := self._consumers.get(name)) is not None and ride[0] <= upto:
            if self.trouble:
                raise StoreUnavailable(self.trouble)
            self._hurried = True
            self._turned.clear()
            self._wake.set()
            await self._turned.wait()

    def _ride_begins(self) -> None:
        if not self._cursors and not self._consumers:
            self._cursors_since_ns = self._clock.mono_ns()

    def _ride_on(self, acks: int) -> None:
        self._acks += acks
        if self._acks >= CURSOR_ALONE_ACKS:
            self._wake.set()
        else:
            self._wake_within(self._cursor_after_s)

    async def keep(self, name: str, cursor: Cursor) -> None:
        """Return when this cursor is committed, at once and not when it suits: what follows must not happen twice."""
        kept: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._keeping.append((name, cursor, kept))
        self.ride(name, cursor, 1)
        self._wake.set()
        await kept

    def bury(self, letter: DeadLetter) -> None:
        """An event was refused for good: its dead letter and the `event.refused` that names it are one transaction."""
        self._letters.append(letter)
        del self._letters[:-LETTERS_MAX]
        event = letter.event
        if event.type == "event.refused":  # a sink that refuses these would otherwise never run out of them
            self._wake.set()
            return
        refused = {"sequence": sequence(event.offset), "type": event.type, "subject": event.subject}
        about = (
            letter.consumer if "/" in letter.consumer else f"sink/{letter.consumer}"
        )  # rule/.. and consumer/<name> stand
        self.note("event.refused", {"refused": refused}, about=about, reason=letter.reason, cause=event.id)

    def resume(self, left: Sequence[Event]) -> None:
        """What the run before this one had derived and not recorded is recorded first. Before `run`."""
        self._batch = list(left)
        if left:
            self._wake.set()

    # -- life ---------------------------------------------------------------------------------------------------------

    async def stop(self) -> None:
        """Let `run` commit everything that is pending and end. What a refusing disk does not take is said."""
        self._stopping = True
        self._wake.set()
        await self._ended.wait()

    async def flush(self) -> None:
        """Return when everything offered so far is accepted, or the disk is in trouble."""
        while self.pending and not self.trouble:
            self._turned.clear()
            self._wake.set()
            await self._turned.wait()

    async def watch_clock(self) -> None:
        """Compare the clocks now and then, until `stop`: also when nothing happens that would be committed.

        On the way the log tells what it had to let go.
        """
        while not self._stopping:
            self.look_at_clock()
            with contextlib.suppress(LogError):  # the next commit says what is wrong, and this is tried again
                if await self._log.tell_losses():
                    for committed in tuple(self._watchers):
                        committed([])
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), LOOK_EVERY_S)

    async def run(self) -> None:
        """Commit whenever it is time, until `stop`."""
        try:
            while not self._stopping or self._unwritten:
                await self.stage.idle(self._wake.wait())
                self._wake.clear()
                await self._turn()
                self._turned.set()
                if self._stopping:
                    if self.trouble:
                        break
                    self._wake.set()
        finally:
            self._end()

    @property
    def _unwritten(self) -> bool:
        unmarked = bool(self._folds) and self._checkpoint.offset != self._log.next_offset
        return self._offered or unmarked or self._checkpoint_due

    @property
    def _offered(self) -> bool:
        """Whether something that others gave us is not written. A wake-up is planned whenever it is."""
        return bool(self.pending or self._log.held or self._cursors or self._consumers or self._letters)

    def _forgotten(self) -> bool:
        """Whether a wake-up was lost: something is to be written and nothing is planned for it."""
        return self._offered and self._timer is None and not self._wake.is_set()

    async def _turn(self) -> None:
        """One commit. After a refusal a pause; where that lasts, the events are held in memory and nothing waits."""
        try:
            await self._commit()
        except LogError as error:
            now = asyncio.get_running_loop().time()
            wait_s = self._outage.refused(now)
            self._degraded(str(error))
            if not self._outage.lasts(now):
                await self._pause(wait_s)
            self._wake.set()

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if unstored := self.pending + self._log.held:
            logger.error("%d events could not be stored before the stop: %s", unstored, self.trouble)
        self.stage.end()
        self._ended.set()

    async def _pause(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while not self._stopping and (left := until - loop.time()) > 0:
            self._wake.clear()
            self._wake_within(left)
            await self.stage.idle(self._wake.wait())

    async def _commit(self) -> None:
        """Commit the kept batch or a new one, with what rides along; then tell who watches."""
        if not self._batch:
            await self._next_batch()
        now = asyncio.get_running_loop().time()
        if self._outage.lasts(now) and not self._stopping and (wait_s := self._outage.asks_again_in(now)):
            await self._hold(wait_s)
            return
        riders = self._riders()
        if not self._batch and not riders and not self._log.ailing:
            return
        rest = self._batch[MAX_BATCH_EVENTS:]
        self._batch = self._batch[:MAX_BATCH_EVENTS]
        try:
            stamped = await self._append(riders)
        except LogError:
            self._batch += rest
            raise
        self._batch = rest
        self._rode(riders)
        self._recovered()
        self._show(stamped)
        await self._trim()

    async def _hold(self, wait_s: float) -> None:
        """Take the batch in memory only, until the disk is asked again. Riders wait."""
        if self._batch:
            stamped, self._batch = await self._log.keep_in_memory(self._batch), []
            self._show(stamped)
        self._wake_within(wait_s)

    def _show(self, stamped: list[Event]) -> None:
        """Tell who watches, also of what the log recorded by itself, and go on with what came meanwhile."""
        own = self._log.take_own()
        self._heard += own
        if stamped := [*own, *stamped]:
            for fold in self._folds.values():
                fold.fold(stamped)
            for committed in tuple(self._watchers):
                committed(stamped)
        if self._batch:
            self._wake.set()
        elif self._pending:
            self._plan()

    async def _next_batch(self) -> None:
        """What was offered, with what rules derive from it and what is due by now."""
        if not self._taken:
            if self._pending:
                self.look_at_clock()
            self._mark()
            self._taken = self._take()
        if self._detection is None:
            self._batch, self._taken = self._taken, []
            return
        if not self._outage.lasts(asyncio.get_running_loop().time()):
            await self._admit()
        self._show([])  # what the log said just now
        log, heard = self._log, self._heard
        self._heard = []
        self._batch = self._detection.detect(heard, self._taken, log.run, log.next_offset, self._clock.mono_ns())
        self._taken = []
        if (due_ns := self._detection.deadline_mono()) is not None:
            self._wake_within(max(0.0, (due_ns - self._clock.mono_ns()) / NS_PER_S))

    async def _admit(self) -> None:
        """What a full log refuses goes before rules see it: they must know what is recorded, and nothing else."""
        for urgent_too in (False, True):
            try:
                return await self._log.prepare(self._taken)
            except LogFull as full:
                self._taken = self._left(full, self._taken, urgent=urgent_too)
        return None

    def _left(self, full: LogFull, events: list[Event], *, urgent: bool) -> list[Event]:
        if not self._refused.full:
            logger.error("%s", full)
        left = self._refused.without(events, urgent=urgent)
        self.dropped_total += len(events) - len(left)
        return left

    def _mark(self) -> None:
        """Between two batches: whether a checkpoint of what was before the next one goes with it."""
        at, since = self._log.next_offset, self._log.next_offset - self._checkpoint.offset
        last = self._stopping and not self.pending
        if self._folds and since and (last or due(since, at - self._log.first_offset)):
            self._checkpoint, self._checkpoint_due = Checkpoint(at, pack(self._folds)), True

    async def _append(self, riders: Riders) -> list[Event]:
        """A log that is full and set to refuse takes what is urgent, or only what rides along: see `refused`."""
        for urgent_too in (False, True):
            try:
                stamped = await self._log.append(self._batch, riders)
                break
            except LogFull as full:
                self._batch = self._left(full, self._batch, urgent=urgent_too)
        else:
            stamped = await self._log.append([], riders)
        self._refused.taken(self._batch, self._clock.mono_ns())
        return stamped

    def _take(self) -> list[Event]:
        batch = [self._gap()] if self._dropped else []
        if (refused := self._refused.to_tell(self._clock.mono_ns(), last=self._stopping)) is not None:
            batch.append(self._gap_of(refused, "full", urgent=True))
        if (lost := self._log.faults.take_lost()) is not None:
            batch.append(self._gap_of(lost, "memory"))
        while self._pending and len(batch) < MAX_BATCH_EVENTS:
            batch.append(self._pending.popleft())
        self._urgent = self._urgent and bool(self._pending)
        return batch

    def _gap(self) -> Event:
        data = told(self._dropped.total(), self._dropped)
        self._dropped = Counter()
        return self._gap_of(data, "overload")

    def _gap_of(self, data: dict[str, Any], reason: str, *, urgent: bool = False) -> Event:
        now, mono = read_together(self._clock)
        synced, simulated = self._clock.synced(), self._simulated
        told = Event("log.gap", "gateway", now, mono, reason=reason, data=data, synced=synced, simulated=simulated)
        return msgspec.structs.replace(told, urgent=urgent)

    def _may_hurry(self, subjects: Sequence[str]) -> bool:
        """Whether one of these urgent events may have a commit at once. All are counted."""
        now_ns = self._clock.mono_ns()
        may = False
        for subject in subjects:
            verdict = self.urgency.judge(subject, now_ns)
            may = may or verdict in {"urgent", "quiet"}
            if verdict == "storm":
                logger.warning(
                    "%s: more than %d urgent events a second for %d s; until it is quiet they wait up to %g s",
                    subject,
                    PER_S_MAX,
                    STORM_S,
                    self.commit_within_s,
                )
            elif verdict == "quiet":
                logger.info("%s is quiet, its events are urgent again", subject)
        return may

    def _plan(self) -> None:
        """What is pending goes at once, or waits for company."""
        if self._urgent or len(self._pending) >= MAX_BATCH_EVENTS:
            self._wake.set()
        else:
            self._wake_within(self.commit_within_s)

    # -- riders -------------------------------------------------------------------------------------------------------

    def _riders(self) -> Riders:
        letters = tuple(self._letters)
        age_ns = self._clock.mono_ns() - self._cursors_since_ns
        self._acks_riding = self._acks
        ripe = self._stopping or self._acks >= CURSOR_AFTER_ACKS or age_ns >= CURSOR_AFTER_S * NS_PER_S
        ripe = ripe or self._hurried or bool(self._keeping)
        checkpoint = self._checkpoint if self._checkpoint_due else None
        if not ripe:
            if self._cursors or self._consumers:  # an earlier timer may have been the one that woke us
                self._wake_within(self._cursor_after_s - age_ns / NS_PER_S)
            return Riders({}, letters, checkpoint)
        self._consumers_riding = dict(self._consumers)
        consumers = {name: snapshot() for name, (_, snapshot) in self._consumers.items()}
        return Riders(dict(self._cursors), letters, checkpoint, consumers)

    def _rode(self, riders: Riders) -> None:
        del self._letters[: len(riders.dead_letters)]
        self._checkpoint_due = False
        if riders.cursors or riders.consumers:
            self._cursors = {n: at for n, at in self._cursors.items() if at != riders.cursors.get(n)}
            self._kept(riders.cursors)
            rode, self._hurried = self._consumers_riding, False
            self._consumers = {n: ride for n, ride in self._consumers.items() if ride != rode.get(n)}
            self._acks -= self._acks_riding  # not to nothing: some came while the commit ran
            self._cursors_since_ns = self._clock.mono_ns()
        if self._acks >= CURSOR_ALONE_ACKS:
            self._wake.set()
        elif self._cursors or self._consumers:
            self._wake_within(self._cursor_after_s)

    @property
    def _cursor_after_s(self) -> float:
        """How long a cursor waits before it goes alone: a commit that readings wait for longer takes it along."""
        return max(CURSOR_AFTER_S, self.commit_within_s)

    def _kept(self, committed: Mapping[str, Cursor]) -> None:
        waiting, self._keeping = self._keeping, []
        for name, cursor, kept in waiting:
            if name in committed and committed[name].next_offset >= cursor.next_offset:
                if not kept.done():
                    kept.set_result(None)
            elif not kept.done():
                self._keeping.append((name, cursor, kept))

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
        self._wake.set()

    async def ends_within(self, seconds: float) -> bool:
        """Wait for the end, but not longer than that; says whether it has come."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ended.wait(), seconds)
        return self._ended.is_set()

    async def _trim(self) -> None:
        if self._clock.mono_ns() >= self._trim_at_ns:
            self._trim_at_ns = self._clock.mono_ns() + round(TRIM_EVERY_S * NS_PER_S)
            if await self._log.trim(self._protected()):
                self.trim_soon()

    def trim_soon(self) -> None:
        """The log is to be trimmed with one of the next commits: its bounds are narrower now."""
        self._trim_at_ns = self._clock.mono_ns() + round(TRIM_AGAIN_S * NS_PER_S)

    def _wake_within(self, seconds: float) -> None:
        """Wake no later than that. An earlier timer stays."""
        loop = asyncio.get_running_loop()
        at = loop.time() + seconds
        if at < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer, self._timer_at = loop.call_at(at, self._timer_fired), at

    def _timer_fired(self) -> None:
        self._timer, self._timer_at = None, float("inf")
        self._wake.set()
