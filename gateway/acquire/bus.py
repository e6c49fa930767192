"""Turns at a bus that several devices share. No thread waits here: who is in line has not been asked anything yet.

One device *holds* the bus while a task of its thread runs, the others stand in line, first come, first served. A holder
whose task hangs *blocks* the bus: it stays the holder until the task returns, however long that takes, and everybody
else is told, once when it begins and once when it is over. All calls belong to the event loop's thread.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol


class Member(Protocol):
    """A device, as its bus sees it."""

    @property
    def id(self) -> str: ...

    def entered(self) -> None:
        """The bus is yours until you leave."""

    def blocked(self, by: str) -> None:
        """The device of that id hangs in the bus."""

    def freed(self) -> None:
        """It returned. Whoever is in line keeps its place."""


class Bus:
    """One bus. Who is in line stands there once, so nothing here grows beyond the number of devices."""

    def __init__(self) -> None:
        self._members: list[Member] = []
        self._line: deque[Member] = deque()
        self._holder: Member | None = None
        self._blocked = False

    def join(self, member: Member) -> None:
        """Hear of blocks from now on, and of one that is there already."""
        self._members.append(member)
        if self._blocked and self._holder is not None:
            member.blocked(self._holder.id)

    def part(self, member: Member) -> None:
        """Hear nothing more, and lose the place in line. A task that still runs holds the bus until `leave`."""
        if member in self._members:
            self._members.remove(member)
        if member in self._line:
            self._line.remove(member)

    def enter(self, member: Member) -> None:
        """Ask for a turn; `entered` is called with it, at once where nobody holds the bus."""
        if member is not self._holder and member not in self._line:
            self._line.append(member)
        self._next()

    def leave(self, member: Member) -> None:
        """The member's task returned. Without a turn this changes nothing."""
        if member is not self._holder:
            return
        was_blocked, self._blocked, self._holder = self._blocked, False, None
        if was_blocked:
            for other in self._others(member):
                other.freed()
        self._next()

    def block(self, member: Member) -> None:
        """The member's task hangs."""
        if member is self._holder and not self._blocked:
            self._blocked = True
            for other in self._others(member):
                other.blocked(member.id)

    def _others(self, member: Member) -> list[Member]:
        return [other for other in self._members if other is not member]

    def _next(self) -> None:
        if self._holder is None and self._line:
            self._holder = self._line.popleft()
            self._holder.entered()
