"""What became of every offset that a sink passed. Pure.

Each offset from the sink's first on is exactly one of

    delivered        the destination took responsibility
    not selected     the sink does not want it
    dead-lettered    refused for good, by reason
    evicted          gone from the log before the sink had read it, by reason
    pending          not one of these yet: everything from the cursor on

`Book` is told as it happens, in the order of settlement, and closes an offset when the cursor passes it. So the counts
always add up to the cursor (`Ledger.next_offset`), in memory and in the file, where they are written in the transaction
that writes the cursor: a crash repeats events, and counts each once.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

REASONS_MAX: Final = 16
"""Different reasons that are counted apart; further ones are `other`."""

OTHER: Final = "other"
UNACCOUNTED: Final = "unaccounted"
"""The reason of an offset that the cursor passed without anybody saying why: a defect of ours, and no secret."""

_NOT_SELECTED: Final = "not selected"


class Ledger(msgspec.Struct, frozen=True, array_like=True):
    """Counts of the offsets from `first` up to the cursor. New fields may only be appended, with defaults."""

    first: int
    delivered: int = 0
    not_selected: int = 0
    dead_lettered: Mapping[str, int] = {}
    evicted: Mapping[str, int] = {}

    @property
    def next_offset(self) -> int:
        """The cursor that belongs to these counts."""
        lost = sum(self.dead_lettered.values()) + sum(self.evicted.values())
        return self.first + self.delivered + self.not_selected + lost


class _Stretch(NamedTuple):
    """Offsets [first, end) of which the same is to be said."""

    first: int
    end: int
    what: str
    evicted: bool = False


class Book:
    """The ledger of one sink while it is being written. Offsets below the cursor are closed."""

    def __init__(self, ledger: Ledger) -> None:
        self._first, self._delivered, self._not_selected = ledger.first, ledger.delivered, ledger.not_selected
        self._dead, self._evicted = Counter(ledger.dead_lettered), Counter(ledger.evicted)
        self._at = ledger.next_offset
        self._stretches: deque[_Stretch] = deque()  # in order: nobody wants these, or they are gone
        self._settled: dict[int, str | None] = {}  # None: delivered, else why it is a dead letter

    @property
    def ledger(self) -> Ledger:
        return Ledger(self._first, self._delivered, self._not_selected, dict(self._dead), dict(self._evicted))

    def delivered(self, offset: int) -> None:
        self._settled[offset] = None

    def dead_lettered(self, offset: int, reason: str) -> None:
        """`reason` as in the dead letter; what follows a colon or a parenthesis in it is detail."""
        self._settled[offset] = reason.split(": ", 1)[0].split(" (", 1)[0]

    def not_selected(self, offset: int) -> None:
        """Offsets come in order here, until `begin_again`."""
        last = self._stretches[-1] if self._stretches else None
        if last is not None and last.end == offset and not last.evicted:
            self._stretches[-1] = last._replace(end=offset + 1)
        else:
            self._stretches.append(_Stretch(offset, offset + 1, _NOT_SELECTED))

    def evicted(self, first: int, last: int, reason: str) -> None:
        """The offsets `first` to `last` are no more in the log."""
        self._stretches.append(_Stretch(first, last + 1, reason, evicted=True))

    def begin_again(self) -> None:
        """The log is read once more from the cursor on: what was said of offsets behind it will be said again."""
        self._stretches.clear()
        self._settled.clear()

    def close(self, next_offset: int) -> None:
        """The cursor is at `next_offset` now."""
        while self._at < next_offset:
            if self._at in self._settled:
                self._count(self._settled.pop(self._at))
            elif self._stretches and self._stretches[0].first <= self._at:
                self._close_stretch(next_offset)
            else:
                _add(self._evicted, UNACCOUNTED, 1)
                self._at += 1

    def _count(self, refused: str | None) -> None:
        if refused is None:
            self._delivered += 1
        else:
            _add(self._dead, refused, 1)
        self._at += 1

    def _close_stretch(self, next_offset: int) -> None:
        stretch = self._stretches[0]
        end = min(stretch.end, next_offset)
        if end > self._at:
            if stretch.evicted:
                _add(self._evicted, stretch.what, end - self._at)
            else:
                self._not_selected += end - self._at
            self._at = end
        if stretch.end <= self._at:
            self._stretches.popleft()


def _add(counts: Counter[str], reason: str, number: int) -> None:
    counts[reason if reason in counts or len(counts) < REASONS_MAX else OTHER] += number
