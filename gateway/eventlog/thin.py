"""Thinning: old readings become minima, means and maxima, so that a full log keeps a longer history.

Theory of operation
-------------------
`when_full: thin` spends detail before it spends history. At the byte bound the oldest batches are rewritten, some at a
time; only when nothing is left to rewrite do the oldest go, as with `evict`.

*What changes.* Periodic readings become one `reading.thin` per minute, subject, unit and quality, with `min`, `mean`,
`max`, how many they were (`count`, outside also CloudEvents' `sampledrate`) and how long they took (`span_s`).
Everything else is copied word for word: states, inputs, whatever was urgent, readings that are no numbers, what the
gateway said of itself. A reading that is alone in its minute stays itself.

*Offsets and ids.* A summary takes the offset of its last reading, and the id `<run>-<offset>~<count>`. So offsets stay
unique and rising, no id ever means two things, and whoever got a reading can tell it from its summary. The
offsets in between are empty from then on, which is no gap: each is counted by the summary that follows it.

*The file.* A stretch of neighbouring batches of one run becomes one batch of codec `SPARSE`, in one transaction that
deletes the old rows and writes the new one: after a crash there are the old ones or the new one, never both or none.
The new row keeps the instants of the last one, so that age takes it when its youngest event is old enough. A log is
thinned once: what is rewritten is not rewritten again.

*What readers see.* Pages as ever, with fewer events. Whoever reads by a cursor gets whole summaries only: no stretch
reaches over a cursor. `previous` chains what the log holds, so a sink that was away gets the summaries in an unbroken
chain, and whoever selects `reading` gets `reading.thin` with it.

Looking up a time finds the beginning of the batch that holds it, so in old stretches some minutes early.

*What is never touched.* Events in flight: those that a consumer was given and has not settled, from its committed
cursor on (`Holds`), because it would otherwise get them again as a summary. What the newest checkpoint still needs. The
newest batches, which are in memory as well. The exception: which events were on the wire when the process was
killed is not known; a start counts `HELD_AT_START` events from each cursor as such.

*What it costs.* Each byte of history is written once more, at about a tenth of its size. A step takes in at most
`thinning.EVENTS_MAX` events, and other work goes on between steps.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Final

from gateway.errors import LogCorrupt
from gateway.event import THINNED, Event
from gateway.eventlog import codec, writes
from gateway.eventlog.batches import decode
from gateway.eventlog.head import Head
from gateway.eventlog.queries import BatchHead
from gateway.eventlog.tail import TAIL_EVENTS_MAX
from gateway.eventlog.thinning import stretch, summed_up
from gateway.figures import Tally

logger = logging.getLogger("gateway.eventlog")

ROWS_MAX = 512
"""Batches that one step looks at."""

STEPS_MAX = 8
"""Rewrites between two looks at whether there is room now."""

HELD_AT_START: Final = 10_000
"""Events from its cursor on that a consumer may have been given before the process was killed."""

SAVES_MIN = 0.1
"""A rewrite that saves a smaller part than this is not worth the bytes it would write."""

Holds = Callable[[], Iterable[tuple[int, int]]]
"""Tells which ranges [begin, end) of offsets consumers have in their hands."""


class Thinner:
    """Rewrites the old batches of one log. Its caller holds the log's turn."""

    def __init__(self, head: Head, tally: Tally) -> None:
        self._head, self._tally = head, tally
        self._upto = 0
        self.holds: set[Holds] = set()

    async def load(self) -> None:
        """Learn how far the last run came."""
        self._upto = max(self._upto, await self._head.store.thinned())

    async def make_room(self, wanted_bytes: float, limit: int) -> bool:
        """Rewrite until this much is saved, at most `STEPS_MAX` times; False where there is nothing left to rewrite.

        `limit` is the offset from which on nothing may change.
        """
        limit = min(limit, self._head.next_offset - TAIL_EVENTS_MAX)
        held = [one for hold in self.holds for one in hold()]
        moved = False
        for _ in range(STEPS_MAX):
            if wanted_bytes <= 0 or (saved := await self._step(limit, held)) is None:
                break
            moved, wanted_bytes = True, wanted_bytes - saved
        return moved

    async def _step(self, limit: int, held: Iterable[tuple[int, int]]) -> int | None:
        """Rewrite the next stretch; the bytes that it saved, None at the limit."""
        begin = max(self._upto, self._head.first_offset)
        rows = await self._head.store.heads_from(begin, ROWS_MAX)
        if not rows or rows[0].last_offset >= limit:
            return None
        cursors = [at.next_offset for at in self._head.cursors.values()]
        low, high, upto = stretch(rows, limit=limit, cursors=cursors, held=held, thinned=codec.SPARSE)
        saved = await self._rewrite(rows[low:high], upto) if low < high else 0
        self._upto = upto
        return saved

    async def _rewrite(self, heads: list[BatchHead], upto: int) -> int:
        events: list[Event] = []
        rows = await self._head.store.batches_from(heads[0].base_offset, len(heads))
        for row in rows:
            try:
                events += decode(row)
            except LogCorrupt:  # left as it is: whoever reads it tells of it
                return 0
            await asyncio.sleep(0)
        left, first, last = summed_up(events), rows[0], rows[-1]
        blob = codec.pack_sparse(left, base_offset=first.base_offset, recorded=last.recorded, mono=last.mono)
        before = sum(len(row.records) for row in rows)
        saved = before - len(blob)
        if saved < SAVES_MIN * before:
            return 0
        checked = codec.checksum(blob)
        await self._head.store.transaction(
            [
                (writes.DROP_ROWS, (first.base_offset, last.base_offset)),
                (writes.REWRITE, (first.base_offset, len(left), codec.SPARSE, checked, blob, last.base_offset)),
                (writes.KEEP_THINNED, (upto,)),
            ]
        )
        self._tally.thinned += sum(event.stands_for for event in left if event.type == THINNED)
        logger.debug("thinned offsets %d to %d: %d bytes saved", first.base_offset, last.last_offset, saved)
        return saved
