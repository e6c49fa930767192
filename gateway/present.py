"""What is true now: the newest value of every subject and who is available. Pure; fed with committed events only."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from gateway.errors import StateUnfit
from gateway.event import Event
from gateway.selection import Selection
from gateway.sink import Present

SHOWN = frozenset({"reading", "state", "output.changed"})
"""Types with a value that stays true until the next one; an `input` is over when it happened."""

AVAILABILITY = {"device.available": True, "device.unavailable": False}


class _Watcher(NamedTuple):
    changed: Callable[[Event], None]
    forgotten: Callable[[str], None] | None


class _Picture(msgspec.Struct, array_like=True):
    """What a checkpoint keeps."""

    values: list[Event]
    available: dict[str, bool]


class Latest:
    """Implements `gateway.sink.Present`. One entry for each subject, so it is as bounded as the configuration."""

    def __init__(
        self,
        birth: Callable[[], dict[str, Any]],
        devices: Callable[[], Mapping[str, Collection[str]]] = dict,
        dated: Callable[[list[Event]], list[Event]] = lambda events: events,
    ) -> None:
        """`birth` makes the status document, `devices` tells what the configuration in force has: id -> channels.

        `dated` corrects the times of events after a `clock.step`.
        """
        self._birth, self._devices, self._dated = birth, devices, dated
        self._configured = devices()
        self._values: dict[str, Event] = {}
        self._available: dict[str, bool] = {}
        self._watchers: list[_Watcher] = []

    def configure(self, devices: Mapping[str, Collection[str]]) -> None:
        """Take in what the configuration has: device id -> its channels. What it lost is forgotten, and told."""
        before, after = _names(self._configured), _names(devices)
        self._configured = devices
        for name in sorted(before - after):
            self._values.pop(name, None)
            self._available.pop(name, None)
            for watcher in tuple(self._watchers):
                if watcher.forgotten is not None:
                    watcher.forgotten(name)

    # -- a fold of the log (`gateway.folds.Fold`) ---------------------------------------------------------------------

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode(_Picture(list(self._values.values()), self._available))

    def restore(self, state: bytes | None) -> None:
        try:
            picture = msgspec.msgpack.decode(state, type=_Picture) if state is not None else _Picture([], {})
        except msgspec.DecodeError as error:
            raise StateUnfit(f"the latest values cannot be read: {error}") from None
        self._values = {event.subject: event for event in picture.values}
        self._available = dict(picture.available)

    def fold(self, events: Iterable[Event]) -> None:
        self.apply(events)

    def recovered(self) -> None:
        """The log's end is reached: what the configuration does not have is forgotten, and times are put right."""
        known = _names(self._configured)
        self._values = {subject: event for subject, event in self._values.items() if subject in known}
        self._available = {device: up for device, up in self._available.items() if device in known}
        self._redate()

    # -- what sinks are shown (`gateway.sink.Present`) ----------------------------------------------------------------

    def configured(self) -> Mapping[str, Collection[str]]:
        return self._configured

    def values(self) -> Iterable[Event]:
        return tuple(self._values.values())

    def availability(self) -> Iterable[tuple[str, bool]]:
        return tuple(self._available.items())

    def status(self) -> dict[str, Any]:
        return self._birth()

    def watch(
        self, changed: Callable[[Event], None], forgotten: Callable[[str], None] | None = None
    ) -> Callable[[], None]:
        watcher = _Watcher(changed, forgotten)
        self._watchers.append(watcher)

        def end() -> None:
            if watcher in self._watchers:
                self._watchers.remove(watcher)

        return end

    def apply(self, events: Iterable[Event]) -> None:
        """Take in what was committed."""
        for event in events:
            if event.type == "clock.step":
                self._redate()
            elif event.type in SHOWN:
                self._values[event.subject] = event
                self._tell(event)
            elif event.type in AVAILABILITY:
                self._available[event.subject] = AVAILABILITY[event.type]
                self._tell(event)
                if event.type == "device.unavailable":
                    self._blank(event)
            elif event.type == "config.loaded":  # the last words about what it lost stand before it in the log
                self.configure(self._devices())
                self._tell(event)

    def _redate(self) -> None:
        """What time it was is known now: tell the values that stand at a wrong one again."""
        wrong = [event for event in self._values.values() if not event.synced]
        for event, right in zip(wrong, self._dated(wrong), strict=True):
            if right.time != event.time:
                self._values[right.subject] = right
                self._tell(right)

    def _blank(self, unavailable: Event) -> None:
        """A device that does not answer has no values: say so, rather than let the last ones stand."""
        channels = f"{unavailable.subject}/"
        for subject, event in self._values.items():
            if subject.startswith(channels) and event.value is not None:
                blank = msgspec.structs.replace(
                    event,
                    value=None,
                    quality="bad",
                    reason="unavailable",
                    time=unavailable.time,
                    mono=unavailable.mono,
                    synced=unavailable.synced,
                )
                self._values[subject] = blank
                self._tell(blank)

    def _tell(self, event: Event) -> None:
        for watcher in tuple(self._watchers):
            watcher.changed(event)


def _names(devices: Mapping[str, Collection[str]]) -> set[str]:
    return {*devices, *(f"{device}/{channel}" for device, channels in devices.items() for channel in channels)}


class Chosen:
    """The part of a `Present` that one sink's selection shows. What is configured stays whole: of what another sink
    may show on the same broker nothing is cleared.
    """

    def __init__(self, present: Present, selection: Selection) -> None:
        self._present, self._selection = present, selection

    def values(self) -> Iterable[Event]:
        return (event for event in self._present.values() if self._shows(event))

    def availability(self) -> Iterable[tuple[str, bool]]:
        return ((device, up) for device, up in self._present.availability() if self._shows_device(device))

    def status(self) -> dict[str, Any]:
        return self._present.status()

    def configured(self) -> Mapping[str, Collection[str]]:
        return self._present.configured()

    def watch(
        self, changed: Callable[[Event], None], forgotten: Callable[[str], None] | None = None
    ) -> Callable[[], None]:
        def look(event: Event) -> None:
            if self._shows(event):
                changed(event)

        return self._present.watch(look, forgotten)

    def _shows(self, event: Event) -> bool:
        if event.type == "config.loaded":
            return True
        if event.type in AVAILABILITY:
            return self._shows_device(event.subject)
        return self._selection.names(event.type, event.subject)

    def _shows_device(self, device: str) -> bool:
        """A device is shown with any of its channels."""
        subjects = [device, *(f"{device}/{channel}" for channel in self._present.configured().get(device, ()))]
        return any(map(self._selection.names_subject, subjects))


def chosen(present: Present, selection: Selection) -> Present:
    """What a sink with this selection shows."""
    return present if selection.everything else Chosen(present, selection)
