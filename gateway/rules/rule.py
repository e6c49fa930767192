"""One rule that is in force: who it is, and how it speaks. Pure.

Whatever an operator finds becomes an event here. A derived event is about `rule/<id>`, has the logical time of what
it tells (that of the completing event, or of the deadline), and carries a `rulekey` that is the same whenever the
same log is judged again: `<rule>:<hash>:<key>:<rule time ns>:<n>`, where n counts what the rule says at one instant.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from gateway.event import Event, Quality, Value
from gateway.rules.context import Context
from gateway.rules.guards import Guards
from gateway.rules.model import EmitConfig, RuleConfig

Kind = Literal["raised", "cleared", "matched", "window", "timeout", "unknown"]

GUARDED: Final = frozenset({"raised", "matched", "window", "timeout"})
"""What `only_if` may forbid. What is cleared or unknown follows what was raised."""

TOLD_ONCE: Final = frozenset({"raised", "matched", "window"})

MATCHED_MAX: Final = 32
"""Ids that a derived event lists; of more, the first and the last half."""


class Rule:
    """A rule's voice. `hash` is of all that decides what it derives."""

    __slots__ = (
        "_at", "_done", "_n", "_once", "_timeout", "_words", "config", "context", "derived", "forgotten", "guarded",
        "guards", "hash", "id", "subject",
    )  # fmt: skip

    def __init__(self, config: RuleConfig, context: Context, guards: Guards) -> None:
        self.config, self.context, self.guards = config, context, guards
        self.id, self.hash, self.subject = config.id, config.hash, f"rule/{config.id}"
        self._words = _words(config.emit, config.id)
        self._timeout = _words(config.on_timeout.emit, config.emit.name or config.id) if config.on_timeout else {}
        self._once, self._done = config.once, dict[str, None]()
        self._at = self._n = 0
        self.derived = 0
        self.guarded = 0
        """How often `only_if` forbade an event."""
        self.forgotten = 0
        """Keys that had spoken their `once`, and may speak again because there was no room to remember them."""

    def speak(
        self,
        kind: Kind,
        key: str,
        at: int,
        own: Mapping[str, Any],
        *,
        value: Value = None,
        unit: str | None = None,
        quality: Quality | None = None,
        cause: int = 0,
    ) -> bool:
        """Derive an event at rule time `at`, unless a guard or `once` forbids it. `cause` is an offset, 0 for none."""
        if self._once and kind in TOLD_ONCE and key in self._done:
            return False
        if kind in GUARDED and not self.guards.allow(at):
            self.guarded += 1
            return False
        if self._once and kind in TOLD_ONCE:
            self._remember(key)
        self._n = self._n + 1 if at == self._at else 0
        self._at = at
        here = self.context
        data: dict[str, Any] = {"rulekey": f"{self.id}:{self.hash}:{key}:{at}:{self._n}"}
        data.update(self._timeout if kind == "timeout" else self._words)
        if key:
            data["key"] = key
        data.update(own)
        if here.gap_from < at <= here.gap_until:
            data["gap"] = True
        offset = here.number
        here.number += 1
        here.fresh.append(
            Event(
                f"rule.{kind}",
                self.subject,
                at + here.wall_ns,
                at - here.mono_ns,
                value,
                unit,
                quality,
                "",
                here.id_of(cause) if cause else "",
                data,
                here.event.synced,
                here.event.simulated,
                kind != "window",  # that tells of the past, and can wait for company on its way to the disk
                offset,
            )
        )
        self.derived += 1
        return True

    def may_speak(self, key: str, at: int) -> bool:
        """Whether a guarded event about the key could be derived at `at`. Changes nothing."""
        return not (self._once and key in self._done) and self.guards.allow(at)

    def matched(self, offsets: list[int]) -> list[str]:
        """The ids of matched events, no more than fit."""
        if len(offsets) > MATCHED_MAX:
            offsets = offsets[: MATCHED_MAX // 2] + offsets[-MATCHED_MAX // 2 :]
        return list(map(self.context.id_of, offsets))

    def snapshot(self) -> list[Any]:
        return [self._at, self._n, self.derived, self.guarded, list(self._done)]

    def restore(self, state: list[Any]) -> None:
        self._at, self._n, self.derived, self.guarded, done = state
        self._done = dict.fromkeys(done)

    def _remember(self, key: str) -> None:
        if len(self._done) >= self.config.keys_max:
            del self._done[next(iter(self._done))]
            self.forgotten += 1
        self._done[key] = None


def rule_time_of(event: Event) -> int:
    """The rule time (ns) at which a recorded event was derived.

    Raises:
        ValueError: the event has no rulekey.
    """
    rulekey = event.data.get("rulekey")
    if not isinstance(rulekey, str) or rulekey.count(":") < 4:
        raise ValueError(f"{event.type} {event.id} has no rulekey")
    return int(rulekey.rsplit(":", 2)[1])


def hash_of(event: Event) -> str:
    """The hash of the rule that derived a recorded event; empty where there is none."""
    parts = str(event.data.get("rulekey", "")).split(":", 2)
    return parts[1] if len(parts) == 3 else ""


def _words(emit: EmitConfig, otherwise: str) -> dict[str, Any]:
    return {"name": emit.name or otherwise, "severity": emit.severity, **emit.data}
