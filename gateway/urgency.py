"""Who may ask for a commit at once. A channel that asks too often, for too long, loses that until it is quiet. Pure.

A commit of its own costs an event kilobytes on the card instead of some twenty bytes. For a press of a button that is
well spent; a contact that flutters all day would wear the card out. So:

    urgent ──more than 20/s, in each of 10 seconds on end──> demoted ──10 s without such a second──> urgent
"""

from __future__ import annotations

from typing import Final, Literal

from gateway.clock import NS_PER_S

PER_S_MAX: Final = 20
STORM_S: Final = 10
QUIET_S: Final = 10
SUBJECTS_MAX: Final = 4096
"""How many subjects are watched; beyond that the one that was seen first is forgotten, and starts anew."""

Verdict = Literal["urgent", "demoted", "storm", "quiet"]
"""`storm` and `quiet` are the turning points: from here on demoted, from here on urgent again."""


class _Subject:
    """One subject's current second, and what came before it."""

    __slots__ = ("count", "demoted", "loud_seconds", "loud_until", "second")

    def __init__(self, second: int) -> None:
        self.second, self.count = second, 0
        self.loud_seconds = 0  # seconds on end with more than the bound, the current one included
        self.loud_until = second - 1  # the last such second
        self.demoted = False


class Urgency:
    """Judges urgent events by the boot clock. Costs a few counters for each subject that has urgent events."""

    def __init__(self) -> None:
        self._subjects: dict[str, _Subject] = {}
        self.storms = 0
        """How often a subject lost its urgency."""

    @property
    def demoted(self) -> list[str]:
        """Subjects that have no urgency now."""
        return [name for name, subject in self._subjects.items() if subject.demoted]

    def judge(self, name: str, now_ns: int) -> Verdict:
        """Whether this urgent event of the subject may have a commit at once: unless `demoted` or `storm`."""
        second = now_ns // NS_PER_S
        subject = self._subjects.get(name)
        if subject is None:
            subject = self._remember(name, second)
        elif second != subject.second:
            subject.second, subject.count = second, 0
        quiet = subject.demoted and second - subject.loud_until > QUIET_S
        if quiet:
            subject.demoted = False
        if self._storms(subject):
            return "storm"
        return "quiet" if quiet else "demoted" if subject.demoted else "urgent"

    def _storms(self, subject: _Subject) -> bool:
        """Count the event; says whether it is the one too many."""
        subject.count += 1
        if subject.count != PER_S_MAX + 1:
            return False
        subject.loud_seconds = subject.loud_seconds + 1 if subject.second == subject.loud_until + 1 else 1
        subject.loud_until = subject.second
        if subject.demoted or subject.loud_seconds < STORM_S:
            return False
        subject.demoted = True
        self.storms += 1
        return True

    def _remember(self, name: str, second: int) -> _Subject:
        if len(self._subjects) >= SUBJECTS_MAX:
            del self._subjects[next(iter(self._subjects))]
        subject = self._subjects[name] = _Subject(second)
        return subject
