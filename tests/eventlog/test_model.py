"""The log against a simple model: appends, failures, acknowledgements, crashes, trims, thins and reads in any order.

The model is a dictionary from offset to event, a cursor for each consumer, and nothing else. A crash is an image of the
files as they lie on the disk, opened elsewhere: nothing is closed, checkpointed or told before it.
"""

import asyncio
import contextlib
import math
import shutil
import sqlite3
import tempfile
from collections import defaultdict
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from gateway.clock import NS_PER_S
from gateway.errors import StoreUnavailable
from gateway.event import THINNED, Event
from gateway.eventlog import Cursor, EventLog, Riders, retention, thin
from gateway.eventlog.tail import Tail
from gateway.eventlog.thinning import MINUTE_NS, of_low_priority
from gateway.selection import Selection
from tests.clocks import ManualClock

TAIL = 12
CONSUMERS = ("near", "far")
AGE_S, COUNT = 600.0, 60

kinds = st.sampled_from(["reading", "urgent", "state"])
bunches = st.lists(st.tuples(kinds, st.sampled_from(["a/b", "c/d"]), st.integers(-5, 5)), min_size=1, max_size=15)


class Faulty:
    """A connection whose next transaction fails: before it took effect, or after."""

    def __init__(self, inner, *, after):
        self._inner, self._after = inner, after

    def __getattr__(self, name):
        return getattr(self._inner, name)

    async def transaction(self, statements):
        if self._after:
            await self._inner.transaction(statements)
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorname = "SQLITE_IOERR_FSYNC"
        raise error


class LogModel(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.clock, self.crashes = ManualClock(), 0
        self.stack = contextlib.ExitStack()
        self.stack.enter_context(mock.patch.object(thin, "TAIL_EVENTS_MAX", TAIL))
        self.stack.enter_context(mock.patch.object(retention, "TRIM_STEP", 0.0001))
        self.path = Path(self.folder.name) / "0" / "events.db"
        self.events: dict[int, Event] = {}  # accepted, by offset, as they were stamped
        self.first = self.next = 1
        self.cursors: dict[str, int] = {}
        self.checkpoint: int | None = None
        self.hand = (0, 0)

    def run_(self, coroutine):
        return self.loop.run_until_complete(coroutine)

    @initialize()
    def begin(self):
        self.open()

    def open(self):
        self.log = self.run_(EventLog.open(self.path, self.clock, keep_for_s=AGE_S, events_max=COUNT, when_full="thin"))
        self.log._head.tail = Tail(TAIL)
        self.log.hold(lambda: [self.hand])

    def teardown(self):
        if hasattr(self, "log"):
            self.run_(self.log.close())
        self.loop.close()
        self.stack.close()
        self.folder.cleanup()

    def event(self, kind, subject, value):
        wall, mono = self.clock.wall_ns(), self.clock.mono_ns()
        kind, urgent = ("reading", True) if kind == "urgent" else (kind, kind != "reading")
        event = Event(kind, subject, wall, mono, float(value), "Cel", "good", urgent=urgent)
        self.clock.pass_s(1.5)
        return event

    # -- writing ------------------------------------------------------------------------------------------------------

    def accepted(self, given, stamped):
        """An append said yes: the next offsets, the given events, one run."""
        assert [e.offset for e in stamped] == list(range(stamped[0].offset, stamped[0].offset + len(given)))
        self.told(stamped[0].offset)
        assert stamped[0].offset == self.next
        for before, after in zip(given, stamped, strict=True):
            assert (before.type, before.subject, before.value, before.mono) == (
                after.type, after.subject, after.value, after.mono
            )  # fmt: skip
        self.learn(stamped)

    def learn(self, events):
        for event in events:
            assert event.offset not in self.events, "an offset is never given twice"
            self.events[event.offset] = event
            self.next = event.offset + 1

    def told(self, upto=10**9):
        """`log.gap` events before this offset, which the log wrote by itself."""
        page = self.run_(self.log.read(self.next, 1000))
        own = [event for event in page.events if event.offset < upto]
        assert all(event.type == "log.gap" for event in own)
        self.learn(own)

    @rule(bunch=bunches, name=st.none() | st.sampled_from(CONSUMERS), part=st.floats(0, 1))
    def append(self, bunch, name, part):
        given = [self.event(*one) for one in bunch]
        moved = self.moves(name, part) if name else {}
        self.accepted(given, self.run_(self.log.append(given, Riders(moved))))
        self.cursors.update({n: at.next_offset for n, at in moved.items()})

    def moves(self, name, part):
        at = self.cursors.get(name, 1)
        return {name: Cursor(at + int(part * (self.next - at)), None)}

    @rule(name=st.sampled_from(CONSUMERS), part=st.floats(0, 1))
    def acknowledge(self, name, part):
        moved = self.moves(name, part)
        assert self.run_(self.log.append([], Riders(moved))) == []
        self.told()
        self.cursors.update({n: at.next_offset for n, at in moved.items()})

    @rule(bunch=bunches, after=st.booleans())
    def append_that_fails_and_is_tried_again(self, bunch, after):
        given, before = [self.event(*one) for one in bunch], self.log.next_offset
        self.log._head.store._writer = Faulty(self.log._head.store._writer, after=after)
        with pytest.raises(StoreUnavailable):
            self.run_(self.log.append(given))
        assert self.log.next_offset == before
        self.accepted(given, self.run_(self.log.append(given)))

    @rule(bunch=bunches, after=st.booleans())
    def append_that_fails_before_a_crash(self, bunch, after):
        """Nobody was told that it was accepted, so it may be there or not, but whole."""
        given = [self.event(*one) for one in bunch]
        self.log._head.store._writer = Faulty(self.log._head.store._writer, after=after)
        with pytest.raises(StoreUnavailable):
            self.run_(self.log.append(given))
        self.crash()
        found = self.run_(self.log.read(self.next, 1000)).events
        kinds = [event.type for event in found]
        assert kinds in (([event.type for event in given], ["log.gap"]) if after else ([],))
        self.learn(found)

    # -- the end of a run ---------------------------------------------------------------------------------------------

    @rule()
    def crash(self):
        self.crashes += 1
        image = self.path.parent.with_name(str(self.crashes))
        image.mkdir()
        for file in self.path.parent.glob("events.db*"):
            if file.suffix not in {".db-shm", ".lock"}:
                shutil.copy(file, image)
        self.run_(self.log._head.store.close())
        self.log._lock.release()
        self.path = image / "events.db"
        self.open()

    @rule(reboot=st.booleans())
    def restart(self, reboot):
        self.run_(self.log.close())
        if reboot:
            self.clock.reboot()
        self.open()
        self.told()

    # -- forgetting ---------------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([1.0, 30.0, 400.0]))
    def time_passes(self, seconds):
        self.clock.pass_s(seconds)

    @rule(part=st.floats(0, 1))
    def take_a_checkpoint(self, part):
        self.checkpoint = max(self.checkpoint or 0, self.first + int(part * (self.next - self.first)))
        statement = "INSERT OR REPLACE INTO checkpoint(offset, codec, crc, state) VALUES (?, 1, 0, x'')"
        self.run_(self.log._head.store.transaction([(statement, (self.checkpoint,))]))

    def needed(self):
        return self.next if self.checkpoint is None else self.checkpoint

    @rule()
    def trim(self):
        unread = min(self.cursors.values(), default=self.next)
        self.run_(self.log.trim(unread))
        assert self.log.first_offset <= max(self.first, min(unread, self.needed()))
        old = [o for o, e in self.events.items() if o >= self.log.first_offset and o < min(unread, self.needed())]
        assert sum(o >= self.first for o in old) <= COUNT + 4096, "bounded by the count, give or take a batch"
        self.first = self.log.first_offset
        self.told()

    @rule()
    def evict(self):
        """As at the byte bound: what somebody had not read is named by what the log has to tell."""
        keep = self.log._retention.keep
        self.log._retention.keep = retention.Keep(keep.for_s, keep.size_bytes_max, keep.events_max, "evict")
        self.run_(self.log._retention.make_room())
        self.log._retention.keep = keep
        former, self.first = self.first, self.log.first_offset
        self.told()
        assert self.first <= max(former, self.needed())
        unread = [at for at in self.cursors.values() if at < self.first]
        lost = set(range(max(former, min(unread)), self.first)) if unread else set()
        assert lost <= self.named(), "every unread loss is told, or counted to be told"

    def named(self):
        owed = self.log._retention._loss
        ranges = [range(owed.first, owed.last + 1)] if owed else []
        for offset, event in self.events.items():
            if event.type == "log.gap" and offset >= self.first:
                ranges.append(range(int(event.data["first"]), int(event.data["last"]) + 1))
        return {offset for one in ranges for offset in one}

    @precondition(lambda self: self.next > TAIL)
    @rule(begin=st.floats(0, 1), length=st.integers(0, 20))
    def thin(self, begin, length):
        start = self.first + int(begin * (self.next - self.first))
        self.hand = (start, start + length)
        before = self.everything()
        self.run_(self.log._retention.thinner.make_room(10**6, self.needed()))
        after = self.everything()
        in_hand = range(*self.hand)
        assert [e for e in before if e.offset in in_hand] == [e for e in after if e.offset in in_hand]
        assert [e for e in before if e.offset >= self.needed()] == [e for e in after if e.offset >= self.needed()]
        for at in self.cursors.values():
            behind = max(at, self.first)
            assert self.stand_for(before, behind) == self.stand_for(after, behind), "no sum reaches over a cursor"

    def stand_for(self, events, offset):
        return sum(event.stands_for for event in events if event.offset >= offset)

    # -- reading ------------------------------------------------------------------------------------------------------

    @rule(
        part=st.floats(0, 1.1),
        limit=st.integers(1, 50),
        types=st.none() | st.lists(st.sampled_from(["reading", "state"]), min_size=1, max_size=1),
        subjects=st.none() | st.just(["a/*"]),
    )
    def read(self, part, limit, types, subjects):
        offset = 1 + int(part * (self.next - 1))
        selection = Selection(types, subjects)
        page = self.run_(self.log.read(offset, limit, selection=selection))
        start = max(offset, self.first)
        assert page.gap == ((offset, start - 1) if start > offset else None)
        whole = [event for event in self.everything() if start <= event.offset < page.next_offset]
        assert page.events == [event for event in whole if selection.selects(event)]
        assert page.next_offset > offset or offset >= self.next

    def everything(self):
        events, offset = [], self.log.first_offset
        while offset < self.log.next_offset:
            page = self.run_(self.log.read(offset, 7))
            assert page.gap is None
            assert page.next_offset > offset, "every page moves on"
            events, offset = events + page.events, page.next_offset
        return events

    # -- what always holds --------------------------------------------------------------------------------------------

    @invariant()
    def cursors_are_those_that_were_committed(self):
        if hasattr(self, "log"):
            assert {name: at.next_offset for name, at in self.log.cursors.items()} == self.cursors

    @invariant()
    def every_accepted_event_is_there_or_in_a_sum(self):
        if not hasattr(self, "log"):
            return
        assert (self.log.first_offset, self.log.next_offset) == (self.first, self.next)
        found = self.everything()
        raw = {event.offset: event for event in found if event.type != THINNED}
        assert [e.offset for e in found] == sorted({e.offset for e in found})
        groups = defaultdict(list)
        for offset, event in self.events.items():
            if offset >= self.first and offset not in raw:
                assert of_low_priority(event), f"offset {offset} is missing"
                groups[event.subject, event.time // MINUTE_NS].append(event)
        for event in raw.values():
            assert event == self.events[event.offset]
        for event in (event for event in found if event.type == THINNED):
            group = groups[event.subject, event.time // MINUTE_NS]
            summed, rest = group[: event.stands_for], group[event.stands_for :]
            groups[event.subject, event.time // MINUTE_NS] = rest
            values = [e.value for e in summed]
            assert len(summed) == event.stands_for
            assert event.offset == summed[-1].offset
            assert (event.data["min"], event.data["max"]) == (min(values), max(values))
            assert math.isclose(event.data["mean"], sum(values) / len(values), abs_tol=1e-9)
            assert event.data["span_s"] == (summed[-1].mono - summed[0].mono) / NS_PER_S
        assert not any(groups.values()), "every event that is not there is in a sum"


TOLD_AT_ONCE = [Phase.explicit, Phase.reuse, Phase.generate]
"""To shrink a history on a real disk takes longer than a test may; the seed that pytest prints plays it again."""

CONFIG = settings(max_examples=25, stateful_step_count=40, deadline=None, phases=TOLD_AT_ONCE)


def test_the_log_behaves_as_its_model():
    run_state_machine_as_test(LogModel, settings=CONFIG)
