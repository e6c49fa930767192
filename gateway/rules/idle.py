"""A detector without rules: only rule time goes on, and what is in force is remembered. Pure.

What it keeps is what a `Detector` keeps, so each can go on where the other was. It spares a gateway without rules the
memory of the whole engine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import msgspec

from gateway.event import Event
from gateway.rules.context import SNAPSHOT_VERSION, Context
from gateway.rules.ruletime import RuleTime

DERIVED: Final = frozenset({
    "rule.raised", "rule.cleared", "rule.matched", "rule.window", "rule.timeout", "rule.unknown", "rule.failed",
})  # fmt: skip
"""Types of events that rules make."""


class Announcement(NamedTuple):
    """`type` and `data` of an event that tells which rules are in force; its subject is `rule/<rule>`."""

    type: str
    rule: str
    hash: str

    @property
    def data(self) -> dict[str, str]:
        return {"rule": self.rule, "hash": self.hash}


def announced(in_force: Mapping[str, str], configured: Mapping[str, str]) -> list[Announcement]:
    """What must be recorded so that the configured rules are in force, and no others. Both are rule id -> hash."""
    gone = [(rule, old) for rule, old in in_force.items() if rule not in configured]
    stopped = [Announcement("rule.stopped", rule, old) for rule, old in gone]
    return stopped + [Announcement("rule.started", rule, new) for rule, new in configured.items()]


class Idle:
    """Hears every record. `in_force` is rule id -> hash, of rules that the records say are in force."""

    def __init__(self) -> None:
        self._context = Context()
        self._time = RuleTime(self._context)
        self.in_force: dict[str, str] = {}

    def begin_run(self, run: str, next_offset: int) -> None:
        """Events from `next_offset` on belong to `run`."""
        self._context.begin_run(run, next_offset)

    def hear(self, events: Iterable[Event]) -> None:
        """These are recorded, or about to be."""
        for event in events:
            if event.run:
                self.begin_run(event.run, event.offset)
            if event.type == "gateway.started":
                self._time.started(event)
                continue
            self._time.of(event)
            if event.type == "clock.step":
                self._time.stepped(event)
            elif event.type == "rule.started":
                self.in_force[event.data["rule"]] = event.data["hash"]
            elif event.type in {"rule.stopped", "rule.failed"}:
                self.in_force.pop(event.data["rule"], None)

    def checkpoint(self) -> bytes:
        context = self._context.snapshot()
        state = {"version": SNAPSHOT_VERSION, "now": 0, "counts": [0, 0, 0], "context": context, "rules": {}}
        return msgspec.msgpack.encode([self._time.last, self.in_force, state])

    def restore(self, checkpoint: bytes) -> None:
        """Go on from a checkpoint, its own or a detector's.

        Raises:
            ValueError, LookupError, TypeError, msgspec.DecodeError: it is not one.
        """
        last, in_force, state = msgspec.msgpack.decode(checkpoint)
        self._context.restore(state["context"])
        self._time = RuleTime(self._context)
        self._time.last, self.in_force = last, in_force
