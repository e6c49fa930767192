"""What `{value}`, `{held}` and the other names in the texts of an action stand for, and which operator has which."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from gateway.event import Event, rfc3339
from gateway.template import Duration as Seconds

_ALWAYS: Final = (
    "event",
    "id",
    "rule",
    "type",
    "time",
    "subject",
    "value",
    "unit",
    "quality",
    "name",
    "severity",
    "key",
)
_OWN: Final[Mapping[str, tuple[str, ...]]] = {
    "hold": ("since", "held"),
    "rate": ("since", "held"),
    "absent": ("since", "gap", "heard"),
    "count": ("n", "first", "matched"),
    "window": ("start", "end", "n"),
    "sequence": ("first", "last", "matched"),
}
_DURATIONS: Final = {"held": "held_s", "gap": "gap_s"}


def known_names(operator: str, further: Iterable[str] = ()) -> frozenset[str]:
    """The names that a text of a rule with that operator may mention, and `further` ones: aggregates, `emit.data`."""
    return frozenset({*_ALWAYS, *_OWN.get(operator, ()), *further})


def values_of(event: Event, envelope: Any = None, **further: Any) -> dict[str, Any]:
    """What the names stand for. `envelope` is the event as it would be sent, for `{event}`."""
    data = event.data
    values = {
        **data,
        "event": envelope,
        "id": event.id,
        "rule": event.subject.removeprefix("rule/"),
        "type": event.type,
        "time": rfc3339(event.time),
        "subject": data.get("subject") or data.get("key") or event.subject,
        "value": event.value,
        "unit": event.unit,
        "quality": event.quality,
        **further,
    }
    for name, field in _DURATIONS.items():
        if isinstance(data.get(field), (int, float)):
            values[name] = Seconds(data[field])
    return values
