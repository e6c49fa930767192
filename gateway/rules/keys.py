"""The keys of one rule: each partition has a state of its own, and there are not more of them than allowed. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from gateway.event import Event
from gateway.rules.timers import Timer, Timers

S = TypeVar("S", bound=Timer)

KEY_CHARACTERS_MAX = 256
KeyOf = Callable[[Event], str | None]


class Keys(Generic[S]):
    """Key -> state, least recently used first. Beyond `keys_max` that one is forgotten, with its timer, and counted."""

    __slots__ = ("_make", "_timers", "evicted", "keys_max", "states", "touch", "unkeyed")

    def __init__(self, keys_max: int, make: Callable[[str], S], timers: Timers) -> None:
        self.states: OrderedDict[str, S] = OrderedDict()
        self.touch = self.states.move_to_end
        self.keys_max, self._make, self._timers = keys_max, make, timers
        self.evicted = 0
        self.unkeyed = 0
        """Events that lack the attribute which the rule tells them apart by."""

    def __len__(self) -> int:
        return len(self.states)

    def __iter__(self) -> Iterator[S]:
        return iter(self.states.values())

    def make(self, key: str) -> S:
        """A new state for the key."""
        if len(self.states) >= self.keys_max:
            _, oldest = self.states.popitem(last=False)
            self._timers.forget(oldest)
            oldest.forgotten()
            self.evicted += 1
        state = self.states[key] = self._make(key)
        return state

    def clear(self) -> None:
        for state in self.states.values():
            self._timers.forget(state)
        self.states.clear()


def fixed_key(by: str, subject: str) -> str | None:
    """The key of all events of the subject; None where each event has to be asked."""
    match by:
        case "none":
            return ""
        case "channel":
            return subject
        case "device":
            return subject.partition("/")[0]
        case _:
            return None


def _text(value: object) -> str:
    """A level as true or false; 2.0 is 2."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.0f}" if isinstance(value, float) and value.is_integer() else str(value)


def key_of(by: str) -> KeyOf:
    """How an event is asked for its key; None is no key."""

    def key(event: Event) -> str | None:
        value = event.value if by == "value" else event.data.get(by)
        if value is None or isinstance(value, (list, dict)):
            return None
        text = value if isinstance(value, str) else _text(value)
        return text if len(text) <= KEY_CHARACTERS_MAX else None

    return key
