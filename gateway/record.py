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
from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from gateway.clock import NS_PER_S, Clock, read_together
from gateway.detection import Detection
from gateway.errors import LogError, LogFull, LogMoved, StoreUnavailable
from gateway.event import Event, sequence
from gateway.eventlog import MAX_BATCH_EVENTS, Cursor, DeadLetter, EventLog, Riders
from gateway.folds import Folds
from gateway.gathering import Gathering
from gateway.outage import Outage
from gateway.riding import Riding, Snapshot
from gateway.steps import StepWatch
from gateway.urgency import PER_S_MAX, STORM_S, Urgency
from gateway.wakeup import Wakeup
from gateway.watchdog import Stage

logger = logging.getLogger("gateway.record")

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
        self._detection, self._folds = detection or Detection((), ()), folds
        self._gathering = Gathering(
            log, clock, self._detection, folds, folded_from or log.next_offset, self._own, self._tell
        )
        self._urgent = False
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
        self.stage = Stage(self._forgotten)

    # -- what others call ---------------------------------------------------------------------------------------------

    def watch(self, committed: Committed) -> Callable[[], None]:
        """Call `committed` with the stamped events of each commit; returns what ends that."""
        self._watchers.append(committed)
        return lambda: self._watchers.remove(committed)

    @property
    def pending(self) -> int:
        """Events that are not accepted yet, and not held in memory either."""
        return len(self._gathering)

    @property
    def dropped_total(self) -> int:
        """Events that were let go of, because too many waited or a full log refused them. Each is told in a gap."""
        return self._gathering.dropped_total

    @property
    def settled(self) -> bool:
        """Whether everything offered so far is on the disk."""
        return not (self.trouble or self.pending or self._log.held)

    def offer(self, events: Sequence[Event]) -> None:
        """Take events in. Never blocks and never raises: over the bound the oldest pending events go, counted."""
        if not events:
            return
        self._gathering.offer(events)
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
        self._gathering.begin_with(left)
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

    async def quiet(self, within_s: float) -> None:
        """Return when nothing is pending, but no later than that, and at once while the disk is in trouble."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self.flush()

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
        return self._offered or self._gathering.unmarked

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

    # -- a commit -----------------------------------------------------------------------------------------------------

    async def _commit_if_due(self) -> None:
        ailing = self._log.ailing  # then there is something to be written, whatever else there is
        batch = self._gathering
        if batch.waiting:
            self.look_at_clock()
        derived = await batch.gather(last=self._stopping)
        self._urgent = self._urgent and bool(batch.waiting)
        if self._may_hurry(derived) or self._commit_due or batch.full or batch.tried or ailing:
            self._commit_due = False
            await self._commit(ailing=ailing)
        elif batch.batch:
            self._commit_timer.within(self.commit_within_s)
        self._plan_rules()

    async def _commit(self, *, ailing: bool) -> None:
        """Commit the batch with what rides along; then tell who watches."""
        batch = self._gathering
        riders = self._riding.aboard(batch.checkpoint, last=self._stopping)
        if not batch.batch and not riders and not ailing:
            return
        stamped = await self._append(riders)
        batch.committed(stamped)
        self._riding.rode(riders)
        self._recovered()
        self._show(stamped)
        await self._trim()

    async def _append(self, riders: Riders) -> list[Event]:
        """A log that is full and set to refuse takes what is urgent, or only what rides along: cursors make room.

        What is due then, and cannot be recorded, is derived again with the next commit.
        """
        batch, urgent_too = self._gathering, False
        while True:
            part = await batch.next_part()
            try:
                return await self._log.append(part, riders, at=batch.at)
            except LogFull as full:
                batch.refused(full, urgent=urgent_too)
                if urgent_too:
                    return await self._log.append([], riders)
                urgent_too = True
            except LogMoved as moved:
                logger.debug("%s", moved)
                batch.moved()

    async def _hold(self, wait_s: float) -> None:
        """Take events in memory only, until the disk is asked again. Riders wait."""
        batch = self._gathering
        batch.gather_in_memory()
        while batch.batch:
            stamped = await self._log.keep_in_memory(batch.batch[:MAX_BATCH_EVENTS], batch.at)
            batch.held(stamped)
            self._show(stamped)
        self._commit_timer.within(wait_s)
        self._plan_rules()

    def _show(self, stamped: list[Event]) -> None:
        """Tell who watches, and go on with what came meanwhile."""
        self._tell(stamped)
        if self._gathering.batch:
            self._hurry()
        elif self._gathering.waiting:
            self._plan()

    def _tell(self, stamped: list[Event]) -> None:
        for fold in self._folds.values():
            fold.fold(stamped)
        for committed in tuple(self._watchers):
            committed(stamped)

    def _plan_rules(self) -> None:
        """Be there when something is due. While a batch is being tried nothing can be said: the next turn plans it."""
        if not self._gathering.tried and (due_ns := self._detection.deadline_mono()) is not None:
            self._rules_timer.within(max(0.0, (due_ns - self._clock.mono_ns()) / NS_PER_S))

    def _own(self, event_type: str, data: dict[str, Any], reason: str = "") -> Event:
        """An event about the gateway itself, of now."""
        now, mono = read_together(self._clock)
        synced, simulated = self._clock.synced(), self._simulated
        return Event(event_type, "gateway", now, mono, reason=reason, data=data, synced=synced, simulated=simulated)

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
        if self._urgent or self._gathering.waiting >= MAX_BATCH_EVENTS:
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
            self.trim_soon()  # what was held got in beyond the bounds
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
        if self._clock.mono_ns() >= self._trim_at_ns and not self._gathering.batch:
            self._trim_at_ns = self._clock.mono_ns() + round(TRIM_EVERY_S * NS_PER_S)
            if await self._log.trim(self._protected()):
                self.trim_soon()

    def trim_soon(self) -> None:
        """The log is to be trimmed with one of the next commits: its bounds are narrower now."""
        self._trim_at_ns = self._clock.mono_ns() + round(TRIM_AGAIN_S * NS_PER_S)
