"""What is true now: the newest value of every subject and who is available. Pure; fed with committed events only."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

import msgspec

from gateway.event import Event

SHOWN = frozenset({"reading", "state"})
"""Types with a value that stays true until the next one; an `input` is over when it happened."""

AVAILABILITY = {"device.available": True, "device.unavailable": False}


class Latest:
    """Implements `gateway.sink.Present`. One entry for each subject, so it is as bounded as the configuration."""

    def __init__(
        self, birth: Callable[[], dict[str, Any]], subjects: Callable[[], Collection[str]] | None = None
    ) -> None:
        """`birth` makes the status document, `subjects` tells all that the configuration in force can speak of."""
        self._birth, self._subjects = birth, subjects
        self._values: dict[str, Event] = {}
        self._available: dict[str, bool] = {}
        self._watchers: list[Callable[[Event], None]] = []

    def values(self) -> Iterable[Event]:
        return tuple(self._values.values())

    def availability(self) -> Iterable[tuple[str, bool]]:
        return tuple(self._available.items())

    def status(self) -> dict[str, Any]:
        return self._birth()

    def watch(self, changed: Callable[[Event], None]) -> Callable[[], None]:
        self._watchers.append(changed)

        def end() -> None:
            if changed in self._watchers:
                self._watchers.remove(changed)

        return end

    def apply(self, events: Iterable[Event]) -> None:
        """Take in what was committed."""
        for event in events:
            if event.type in SHOWN:
                self._values[event.subject] = event
                self._tell(event)
            elif event.type in AVAILABILITY:
                self._available[event.subject] = AVAILABILITY[event.type]
                self._tell(event)
                if event.type == "device.unavailable":
                    self._blank(event)
            elif event.type == "config.loaded":
                self._forget()
                self._tell(event)

    def _forget(self) -> None:
        """What the configuration lost is present no more. Its last events stand before this one in the log."""
        if self._subjects is not None:
            known = self._subjects()
            self._values = {subject: event for subject, event in self._values.items() if subject in known}
            self._available = {device: up for device, up in self._available.items() if device in known}

    def _blank(self, unavailable: Event) -> None:
        """A device that does not answer has no values: say so, rather than let the last ones stand."""
        channels = f"{unavailable.subject}/"
        for subject, event in self._values.items():
            if subject.startswith(channels) and event.value is not None:
                blank = msgspec.structs.replace(
                    event, value=None, quality="bad", reason="unavailable", time=unavailable.time
                )
                self._values[subject] = blank
                self._tell(blank)

    def _tell(self, event: Event) -> None:
        for changed in tuple(self._watchers):
            changed(event)
