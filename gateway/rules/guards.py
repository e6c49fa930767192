"""`only_if`: what must be so when a rule wants to speak. Pure.

Guards read three things: the last value of channels, the time of day, and when an event of some kind was last seen.
The first and the last are kept here, for the subjects that guards name and no others; the engine tells of their
events. A guard is asked once, at the moment when the rule would speak: what it forbids does not come later.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from gateway.clock import NS_PER_S
from gateway.event import Event
from gateway.rules.context import Context
from gateway.rules.model import GuardConfig, TimeOfDay
from gateway.rules.select import Previous, fit, names

SUBJECTS_MAX: Final = 1000
"""Subjects whose last value one guard remembers."""

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

Judge = Callable[[Event, int], None]


class Guards:
    """All guards of one rule."""

    def __init__(self, configs: list[GuardConfig], context: Context) -> None:
        self._guards = [_GUARDS[config.kind](config, context) for config in configs]

    def allow(self, at: int) -> bool:
        """Whether the rule may speak at rule time `at`."""
        return all(guard.allows(at) for guard in self._guards)

    def listeners(self, event_type: str, subject: str, *, before: bool) -> list[Judge]:
        """Who wants to see such events: `before` the rules judge them, or after."""
        return [guard.see for guard in self._guards if guard.sees_before is before and guard.wants(event_type, subject)]

    @property
    def evicted(self) -> int:
        """Subjects whose last values there was no room for."""
        return sum(guard.evicted for guard in self._guards)

    def snapshot(self) -> list[Any]:
        return [guard.snapshot() for guard in self._guards]

    def restore(self, state: list[Any]) -> None:
        for guard, kept in zip(self._guards, state, strict=True):
            guard.restore(kept)


class Guard:
    """One entry of `only_if`."""

    sees_before = True

    def __init__(self, config: GuardConfig, context: Context) -> None:
        self._config, self._context = config, context

    @property
    def evicted(self) -> int:
        return 0

    def wants(self, event_type: str, subject: str) -> bool:
        """Whether it wants to see such events."""
        del event_type, subject
        return False

    def see(self, event: Event, at: int) -> None:
        raise NotImplementedError

    def allows(self, at: int) -> bool:
        raise NotImplementedError

    def snapshot(self) -> Any:
        return None

    def restore(self, state: Any) -> None:
        del state


class _Last(Guard):
    """The newest event of each subject that the selector names must fit, and there must be one."""

    def __init__(self, config: GuardConfig, context: Context) -> None:
        super().__init__(config, context)
        self._names = names(config)
        self._fits = fit(config, failed=context.expr_failed)
        self._age_ns = None if config.max_age_s is None else round(config.max_age_s * NS_PER_S)
        self._known: dict[str, tuple[int, bool]] = {}
        self._evicted = 0

    @property
    def evicted(self) -> int:
        return self._evicted

    def wants(self, event_type: str, subject: str) -> bool:
        return self._names(event_type, subject)

    def see(self, event: Event, at: int) -> None:
        if event.quality == "bad":  # not a value: the last one stays the last
            return
        if event.subject not in self._known and len(self._known) >= SUBJECTS_MAX:
            del self._known[next(iter(self._known))]
            self._evicted += 1
        self._known[event.subject] = (at, self._fits(event))

    def allows(self, at: int) -> bool:
        oldest = None if self._age_ns is None else at - self._age_ns
        return bool(self._known) and all(
            fits and (oldest is None or seen > oldest) for seen, fits in self._known.values()
        )

    def snapshot(self) -> Any:
        return [[subject, at, fits] for subject, (at, fits) in self._known.items()]

    def restore(self, state: Any) -> None:
        self._known = {subject: (at, fits) for subject, at, fits in state}


class _TimeOfDay(Guard):
    """The wall clock's time of day, in a zone of the rule's own."""

    def __init__(self, config: GuardConfig, context: Context) -> None:
        super().__init__(config, context)
        assert config.time is not None
        self._time: TimeOfDay = config.time
        self._zone = ZoneInfo(config.time.zone)

    def allows(self, at: int) -> bool:
        now = datetime.fromtimestamp((at + self._context.wall_ns) // NS_PER_S, UTC).astimezone(self._zone)
        after, before, days = self._time.after, self._time.before, self._time.days
        clock = now.time()
        late = after is None or clock >= after
        early = before is None or clock < before
        past_midnight = after is not None and before is not None and before <= after
        if not (late or early if past_midnight else late and early):
            return False
        if days is None:
            return True
        weekday = now.weekday()
        if past_midnight and not late:  # the small hours belong to the evening before
            weekday -= 1
        return _DAYS[weekday] in days


class _PrecededBy(Guard):
    """Whether an event that fits was seen within a time. The event being judged does not count."""

    sees_before = False
    wanted = True

    def __init__(self, config: GuardConfig, context: Context) -> None:
        super().__init__(config, context)
        selector = config.preceded_by or config.not_preceded_by
        assert selector is not None
        assert config.within_s is not None
        self._names = names(selector)
        self._previous = Previous(SUBJECTS_MAX)
        self._fits = fit(selector, self._previous, failed=context.expr_failed)
        self._within_ns = round(config.within_s * NS_PER_S)
        self._seen: int | None = None

    @property
    def evicted(self) -> int:
        return self._previous.evicted

    def wants(self, event_type: str, subject: str) -> bool:
        return self._names(event_type, subject)

    def see(self, event: Event, at: int) -> None:
        if self._fits(event):
            self._seen = at

    def allows(self, at: int) -> bool:
        recent = self._seen is not None and at - self._seen < self._within_ns
        return recent is self.wanted

    def snapshot(self) -> Any:
        return [self._seen, self._previous.snapshot()]

    def restore(self, state: Any) -> None:
        self._seen, previous = state
        self._previous.restore(previous)


class _NotPrecededBy(_PrecededBy):
    wanted = False


_GUARDS: Final[dict[str, type[Guard]]] = {
    "last": _Last,
    "time": _TimeOfDay,
    "preceded_by": _PrecededBy,
    "not_preceded_by": _NotPrecededBy,
}
