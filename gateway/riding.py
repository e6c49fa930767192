"""What rides along in the commits of the recorder: cursors, named consumers, dead letters.

At one event a second a cursor in every commit would be a third of all bytes written. So it rides once it stands for 20
acknowledgements or is 5 s old, and goes alone when nothing else comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from gateway.clock import NS_PER_S, Clock
from gateway.eventlog import Checkpoint, ConsumerState, Cursor, DeadLetter, Riders

CURSOR_AFTER_S: Final = 5.0
CURSOR_AFTER_ACKS: Final = 20
CURSOR_ALONE_ACKS: Final = 10_000
LETTERS_MAX: Final = 10_000
"""Dead letters that wait for a disk that refuses. Beyond them the oldest go: their `event.refused` stays."""

Snapshot = Callable[[], ConsumerState | None]
"""What is to be stored of a named consumer, as it is when the commit begins; None forgets it."""


class Riding:
    """What waits for a commit to ride in. Ask `aboard` for it, and say `rode` when that commit stands."""

    def __init__(
        self,
        clock: Clock,
        hurry: Callable[[], None],
        within: Callable[[float], None],
        commit_within: Callable[[], float],
    ) -> None:
        """`hurry` has a commit made at once, `within` after so many seconds at the latest. Readings wait for their
        commit for `commit_within()` seconds.
        """
        self._clock, self._hurry, self._within, self._commit_within = clock, hurry, within, commit_within
        self.letters: list[DeadLetter] = []
        self._cursors: dict[str, Cursor] = {}
        self._consumers: dict[str, tuple[int, Snapshot]] = {}  # name -> (how manieth ride, snapshot)
        self._aboard: dict[str, tuple[int, Snapshot]] = {}
        self._rides = 0
        self._hurried = False  # somebody waits for what rides
        self._acks = self._acks_aboard = 0
        self._since_ns = 0
        self._keeping: list[tuple[str, Cursor, asyncio.Future[None]]] = []

    def __bool__(self) -> bool:
        """Whether something waits."""
        return bool(self._cursors or self._consumers or self.letters)

    # -- getting on ---------------------------------------------------------------------------------------------------

    def cursor(self, name: str, cursor: Cursor, acks: int) -> None:
        """A consumer's cursor moved on by `acks` events."""
        self._begin()
        self._cursors[name] = cursor
        self._count(acks)

    def consumer(self, name: str, snapshot: Snapshot, acks: int) -> None:
        """A named consumer settled `acks` events; what `snapshot` says when the commit begins is written."""
        self._begin()
        self._rides += 1
        self._consumers[name] = self._rides, snapshot
        self._count(acks)

    def letter(self, letter: DeadLetter) -> None:
        self.letters.append(letter)
        del self.letters[:-LETTERS_MAX]

    async def keep(self, name: str, cursor: Cursor) -> None:
        """Return when this cursor is committed, at once and not when it suits: what follows must not happen twice."""
        kept: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._keeping.append((name, cursor, kept))
        self.cursor(name, cursor, 1)
        self._hurry()
        await kept

    @property
    def _after_s(self) -> float:
        """How long a cursor waits before it goes alone: a commit that readings wait for longer takes it along."""
        return max(CURSOR_AFTER_S, self._commit_within())

    @property
    def newest(self) -> int:
        """The newest ride of any named consumer."""
        return self._rides

    def hurries(self, name: str, upto: int) -> bool:
        """Whether a ride of that named consumer, up to the given one, is not written; if so it goes with the next."""
        ride = self._consumers.get(name)
        waits = ride is not None and ride[0] <= upto
        self._hurried = self._hurried or waits
        return waits

    def _begin(self) -> None:
        if not self._cursors and not self._consumers:
            self._since_ns = self._clock.mono_ns()

    def _count(self, acks: int) -> None:
        self._acks += acks
        if self._acks >= CURSOR_ALONE_ACKS:
            self._hurry()
        else:
            self._within(self._after_s)

    # -- and off ------------------------------------------------------------------------------------------------------

    def aboard(self, checkpoint: Checkpoint | None, *, last: bool) -> Riders:
        """What goes with the commit that begins now. `last`: there will be no other."""
        letters = tuple(self.letters)
        age_ns = self._clock.mono_ns() - self._since_ns
        self._acks_aboard = self._acks
        ripe = last or self._acks >= CURSOR_AFTER_ACKS or age_ns >= CURSOR_AFTER_S * NS_PER_S
        if not (ripe or self._hurried or self._keeping):
            if self._cursors or self._consumers:  # an earlier timer may have been the one that woke us
                self._within(self._after_s - age_ns / NS_PER_S)
            return Riders({}, letters, checkpoint)
        self._aboard = dict(self._consumers)
        consumers = {name: snapshot() for name, (_, snapshot) in self._consumers.items()}
        return Riders(dict(self._cursors), letters, checkpoint, consumers)

    def rode(self, riders: Riders) -> None:
        """That commit stands."""
        del self.letters[: len(riders.dead_letters)]
        if riders.cursors or riders.consumers:
            self._cursors = {name: at for name, at in self._cursors.items() if at != riders.cursors.get(name)}
            self._kept(riders.cursors)
            rode, self._hurried = self._aboard, False
            self._consumers = {name: ride for name, ride in self._consumers.items() if ride != rode.get(name)}
            self._acks -= self._acks_aboard  # not to nothing: some came while the commit ran
            self._since_ns = self._clock.mono_ns()
        if self._acks >= CURSOR_ALONE_ACKS:
            self._hurry()
        elif self._cursors or self._consumers:
            self._within(self._after_s)

    def _kept(self, committed: Mapping[str, Cursor]) -> None:
        waiting, self._keeping = self._keeping, []
        for name, cursor, kept in waiting:
            if name in committed and committed[name].next_offset >= cursor.next_offset:
                if not kept.done():
                    kept.set_result(None)
            elif not kept.done():
                self._keeping.append((name, cursor, kept))
