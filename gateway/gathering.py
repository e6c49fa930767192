"""From what is offered to a batch that can be committed: taken in order, admitted by the log, judged by the rules.

    offer ──> pending ──take──> taken ──admit──> detect ──> batch, made to stand at `at`
              (bounded)         (what the log refuses      (inputs, each with what follows from it)
                                is counted)

Derived events name others by id, so a batch is made for one place in the log, and may grow until somebody tries to
commit it; from then on it stays as it is, because nobody may know what became of an attempt. Where the log goes on
elsewhere after all, because it had to be opened anew, had something to say itself, or was full, the rules are brought
back to the log's end, as at a start, and judge once more what was taken in (`again`).

Events that the log recorded by itself (`log.gap`) are heard by the rules like any record, between two batches.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec

from gateway.clock import Clock
from gateway.detection import Detection, is_derived
from gateway.errors import LogFull
from gateway.event import Event
from gateway.eventlog import MAX_BATCH_EVENTS, Checkpoint, EventLog, told
from gateway.folds import Folds, due, pack, recover
from gateway.refused import Refused

logger = logging.getLogger("gateway.record")

PENDING_EVENTS_MAX = 20_000

Own = Callable[[str, dict[str, Any], str], Event]
"""Makes an event about the gateway itself, of now: type, data, reason."""


class Gathering:
    """What waits to be committed. Its owner tells it when a batch begins, is tried, and stands in the log."""

    def __init__(
        self,
        log: EventLog,
        clock: Clock,
        detection: Detection,
        folds: Folds,
        folded_from: int,
        own: Own,
        tell: Callable[[list[Event]], None],
    ) -> None:
        """`folds` were read from the log from `folded_from` on. `tell` is told what the log recorded by itself."""
        self._log, self._clock, self._own, self._tell = log, clock, own, tell
        self._detection, self._folds = detection, folds
        self._pending: deque[Event] = deque()
        self._taken: list[Event] = []  # not yet seen by the rules
        self.batch: list[Event] = []
        self.at = log.end
        self.tried = False
        """Somebody tried to commit the batch: it must not change."""
        self._astray = False  # the rules have seen what will not be recorded like that
        self._dropped: Counter[str] = Counter()
        self.dropped_total = 0
        """Events that were let go of, because too many waited or a full log refused them. Each is told in a gap."""
        self._refused = Refused()
        self._marked = folded_from
        self.checkpoint: Checkpoint | None = None
        """One that is to be written with the next commit."""

    def __len__(self) -> int:
        """Events that are in nobody else's hands."""
        return len(self._pending) + len(self._taken) + len(self.batch)

    @property
    def waiting(self) -> int:
        """Of those, the ones that were offered and not taken yet."""
        return len(self._pending)

    @property
    def unmarked(self) -> bool:
        """Whether a checkpoint of the log's end is missing, or not written."""
        return bool(self._folds) and (self._marked != self._log.next_offset or self.checkpoint is not None)

    @property
    def full(self) -> bool:
        return len(self.batch) >= MAX_BATCH_EVENTS

    # -- in -----------------------------------------------------------------------------------------------------------

    def offer(self, events: Iterable[Event]) -> None:
        """Over the bound the oldest events that wait go, counted."""
        self._pending.extend(events)
        while len(self._pending) > PENDING_EVENTS_MAX:
            self._dropped[self._pending.popleft().subject] += 1
            self.dropped_total += 1

    def begin_with(self, left: Sequence[Event]) -> None:
        """What the run before this one had derived and not recorded stands first."""
        self.batch, self.at = list(left), self._log.end

    async def gather(self, *, last: bool) -> list[Event]:
        """Have the batch hold what was offered, what follows from it, and what is due; returns what was derived.

        `last`: there will be no other.

        Raises:
            StoreUnavailable: the disk refuses, and until it does not, nobody knows where events would stand.
        """
        if self.tried:
            return []
        derived = [] if self.batch else self._hear_own()
        if not self.batch:
            self._mark(last=last)
        self._take(last=last)
        await self._admit()
        if not self.batch:
            derived += self._hear_own()
        return derived + self._detect()

    def gather_in_memory(self) -> None:
        """As `gather`, while the disk refuses: the batch will be held."""
        if not self.batch:
            self.at = self._log.end_in_memory
        if not self.tried:
            self._take(last=False)
            self._detect()

    def _hear_own(self) -> list[Event]:
        """Between two batches: what the log recorded by itself is told and heard; what follows begins the batch."""
        own = self._log.take_own()
        self.at = self._log.end
        if own:
            self._tell(own)
            self.batch = self._detection.hear(own)
        return list(self.batch)

    def _mark(self, *, last: bool) -> None:
        """Between two batches: whether a checkpoint of what was before the next one goes with it."""
        at, since = self._log.next_offset, self._log.next_offset - self._marked
        last = last and not len(self)
        if self._folds and since and (last or due(since, at - self._log.first_offset)):
            self._marked, self.checkpoint = at, Checkpoint(at, pack(self._folds))

    def _take(self, *, last: bool) -> None:
        """Go on to what was offered, as far as it fits."""
        room = MAX_BATCH_EVENTS - len(self.batch) - len(self._taken)
        if room <= 0:
            return
        self._taken += self._gaps(last=last)
        for _ in range(min(room, len(self._pending))):
            self._taken.append(self._pending.popleft())

    def _gaps(self, *, last: bool) -> Iterator[Event]:
        """What is to be told of events that are not in the log."""
        if self._dropped:
            data, self._dropped = told(self._dropped.total(), self._dropped), Counter()
            yield self._own("log.gap", data, "overload")
        new = not (self.batch or self._taken)  # what was refused counts as told once such a batch is taken
        if new and (refused := self._refused.to_tell(self._clock.mono_ns(), last=last)) is not None:
            yield msgspec.structs.replace(self._own("log.gap", refused, "full"), urgent=True)
        if (lost := self._log.faults.take_lost()) is not None:
            yield self._own("log.gap", lost, "memory")

    async def _admit(self) -> None:
        """What a full log refuses goes before rules see it: they must know what is recorded, and nothing else."""
        ready = self._log.admit if self.batch else self._log.prepare
        for urgent_too in (False, True):
            try:
                return await ready(self._taken)
            except LogFull as full:
                self._taken = self._left(full, self._taken, urgent=urgent_too)
        return None

    def _detect(self) -> list[Event]:
        """Show what was taken to the rules; returns what they say."""
        seen = len(self.batch)
        at = self.at._replace(offset=self.at.offset + seen)
        self.batch += self._detection.detect(self._taken, at, self._judged_until_ns())
        self._taken = []
        return [event for event in self.batch[seen:] if is_derived(event)]

    def _judged_until_ns(self) -> int:
        """The boot time until which rules know everything: what still waits here happened before it is told late."""
        now = self._clock.mono_ns()
        return min(now, self._pending[0].mono) if self._pending else now

    # -- and out ------------------------------------------------------------------------------------------------------

    async def next_part(self) -> list[Event]:
        """What the next transaction is to hold. From here on the batch stays as it is.

        Raises:
            StoreUnavailable: the rules have to begin again, and the log cannot be read.
        """
        if self._astray:
            await self._again()
        self.tried = True
        return self.batch[:MAX_BATCH_EVENTS]

    def committed(self, part: Sequence[Event]) -> None:
        """That part stands in the log, and the checkpoint with it."""
        self._refused.taken(part, self._clock.mono_ns())
        self.checkpoint = None
        self.held(part)

    def held(self, part: Sequence[Event]) -> None:
        """That part is held in memory. The rest is as good as new."""
        self.batch, self.tried = self.batch[len(part) :], False
        self.at = self.at._replace(offset=self.at.offset + len(part))

    def moved(self) -> None:
        """The log goes on elsewhere than the batch was made for."""
        self._astray = True

    def refused(self, full: LogFull, *, urgent: bool) -> None:
        """The log is full for what is in the batch and not urgent, or also for what is.

        What follows from it is neither recorded nor counted: from what is left the rules derive it again.
        """
        offered = [event for event in self.batch if not is_derived(event)]
        self.batch = self._left(full, offered, urgent=urgent)
        self._astray = True

    def _left(self, full: LogFull, events: list[Event], *, urgent: bool) -> list[Event]:
        if not self._refused.full:
            logger.error("%s", full)
        left = self._refused.without(events, urgent=urgent)
        self.dropped_total += len(events) - len(left)
        return left

    async def _again(self) -> None:
        """Bring the rules to the log's end, and have them judge once more what the batch was made of."""
        fresh = self._detection.fresh()
        if own := {name: fresh for name, fold in self._folds.items() if fold is self._detection}:
            await recover(self._log, own)
        if heard := self._log.take_own():  # the rules have just read it
            self._tell(heard)
        self._detection.become(fresh)
        self.at, self._astray, self.tried = self._log.end, False, False
        left = self._detection.recovered(self.at)
        offered = [event for event in self.batch if not is_derived(event)]
        at = self.at._replace(offset=self.at.offset + len(left))
        self.batch = left + self._detection.detect(offered, at, self._judged_until_ns())
