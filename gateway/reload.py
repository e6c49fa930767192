"""What a new configuration changes, one device and one sink at a time. Pure.

Devices and sinks are known by their ids and compared by meaning: comments, the order of entries, and another way to
write the same value change nothing. What is the same goes on untouched; what changed stops and starts again.

Two things make the gateway another one: `gateway.id`, under which everybody knows it, and `buffer.path`, where its
memory lies. They need a restart. A configuration that changes them is refused as a whole, like one with mistakes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from gateway.changes import Words, device_changes, options_changes, sink_changes
from gateway.config import Config
from gateway.config.model import HttpConfig
from gateway.config.nodes import Place
from gateway.errors import ConfigError, Problem

if TYPE_CHECKING:
    from gateway.action import NotifierConfig


class _Entry(Protocol):
    @property
    def id(self) -> str: ...


E = TypeVar("E", bound=_Entry)

_FIXED: Final[Mapping[tuple[str, str], Callable[[Config], str]]] = {
    ("gateway", "id"): lambda config: config.gateway.id,
    ("buffer", "path"): lambda config: str(config.buffer.path),
}
"""What only a restart can change."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The ids of two lists, each in exactly one place. `changed` says what is different."""

    added: Words = ()
    removed: Words = ()
    changed: Mapping[str, Words] = field(default_factory=dict)
    untouched: Words = ()

    @property
    def stopping(self) -> frozenset[str]:
        """What runs now and must not go on as it is."""
        return frozenset({*self.removed, *self.changed})

    @property
    def counts(self) -> dict[str, int]:
        return {"added": len(self.added), "removed": len(self.removed), "changed": len(self.changed)}


@dataclass(frozen=True, slots=True)
class ReloadPlan:
    """What a reload has to do. With `problems` it must do nothing at all.

    `gateway`, `buffer`, `http` and `notify` say what is different in those sections; it applies to the running gateway
    as it is.
    """

    devices: Comparison
    sinks: Comparison
    gateway: Words = ()
    buffer: Words = ()
    http: Words = ()
    problems: tuple[Problem, ...] = ()
    rules: Comparison = Comparison()
    notify: Words = ()


def plan_reload(old: Config, new: Config) -> ReloadPlan:
    """What there is to do so that a gateway that runs with `old` runs with `new`."""
    return ReloadPlan(
        _compared(old.devices, new.devices, device_changes),
        _compared(old.sinks, new.sinks, sink_changes),
        options_changes(old.gateway, new.gateway),
        options_changes(old.buffer, new.buffer),
        _http_changes(old.http, new.http),
        tuple(_needs_restart(old, new)),
        _compared(old.rules, new.rules, options_changes),
        _notify_changes(old.notify, new.notify),
    )


def _notify_changes(old: NotifierConfig | None, new: NotifierConfig | None) -> Words:
    """The URL may be a secret in itself: it is not shown."""
    if old == new:
        return ()
    return ("begins",) if old is None else ("ends",) if new is None else ("changed",)


def _http_changes(old: HttpConfig | None, new: HttpConfig | None) -> Words:
    if old is not None and new is not None:
        return options_changes(old, new)
    return () if old is new else (f"listen {old.listen if old else 'nothing'} -> {new.listen if new else 'nothing'}",)


def _compared(old: Sequence[E], new: Sequence[E], changes: Callable[[E, E], Words]) -> Comparison:
    before, after = {entry.id: entry for entry in old}, {entry.id: entry for entry in new}
    different = {id_: changes(before[id_], entry) for id_, entry in after.items() if id_ in before}
    return Comparison(
        added=tuple(id_ for id_ in after if id_ not in before),
        removed=tuple(id_ for id_ in before if id_ not in after),
        changed={id_: words for id_, words in different.items() if words},
        untouched=tuple(id_ for id_, words in different.items() if not words),
    )


def _needs_restart(old: Config, new: Config) -> list[Problem]:
    file = str(new.files[0]) if new.files else ""
    return [
        new.places.get(".".join(path), Place(file, 1, 1)).problem(
            path,
            f"found {value(new)!r}, but this gateway runs with {value(old)!r}: restart it, or change this back",
        )
        for path, value in _FIXED.items()
        if value(old) != value(new)
    ]


def report(plan: ReloadPlan, config: Config) -> dict[str, Any]:
    """What a reload did, as a document. `config` is the one that is in force now."""
    return {
        "ok": True,
        "config": str(config.files[0]) if config.files else "",
        "hash": config.hash,
        "gateway": list(plan.gateway),
        "buffer": list(plan.buffer),
        "http": list(plan.http),
        "devices": _listed(plan.devices),
        "sinks": _listed(plan.sinks),
        "rules": _listed(plan.rules),
        "notify": list(plan.notify),
        "warnings": list(config.warnings),
    }


def refusal(error: ConfigError) -> dict[str, Any]:
    """Why a reload did nothing, as a document: every problem."""
    problems = [
        {"file": p.file, "line": p.line, "column": p.column, "path": p.path, "message": p.message}
        for p in error.problems
    ]
    return {"ok": False, "problems": problems}


def _listed(compared: Comparison) -> dict[str, Any]:
    return {
        "added": list(compared.added),
        "removed": list(compared.removed),
        "changed": {id_: list(words) for id_, words in compared.changed.items()},
        "untouched": list(compared.untouched),
    }
