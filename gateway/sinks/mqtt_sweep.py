"""Clearing what the configuration lost: retained topics of devices and channels that are no more.

The broker itself remembers what was announced, also what a gateway before this one announced under the same name. So
once after a start we ask it, with a subscription to our own retained topics that lasts a moment, and clear what the
configuration does not have. A subscription that is not allowed finds nothing, and some brokers end the connection for
it: it is tried twice and no more.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection, Mapping
from typing import Final

from gateway.sinks.mqtt_wire import Wire

ATTEMPTS_MAX: Final = 2
QUIET_S: Final = 1.0
"""The broker has told all that it holds when it told nothing for this long."""

ROUNDS_MAX: Final = 10
TOPICS_MAX: Final = 10_000
"""Beyond this the rest waits for the next start."""


class Sweep:
    """One sink's sweep: at most one for each start of the gateway that runs to its end."""

    def __init__(self, ours: Mapping[str, re.Pattern[str]]) -> None:
        """`ours` is topic filter -> what passes it and is ours; see `Topics.ours`."""
        self._ours = ours
        self._attempts = 0
        self._done = not ours
        self._rounds = 0
        self._heard = False
        self._topics = 0
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, wire: Wire) -> None:
        """Ask, unless that was done."""
        if self._done or self._attempts >= ATTEMPTS_MAX:
            return
        self._attempts += 1
        self._rounds, self._topics, self._heard = ROUNDS_MAX, 0, False
        wire.look_for(self._ours)
        self._wait(wire)

    def lost(self, found: Collection[str], expected: Callable[[], Collection[str]]) -> list[str]:
        """Those of the topics found that are ours and not among the expected: to be cleared."""
        self._heard = True
        known = expected()
        gone = [
            topic
            for topic in found
            if topic not in known and any(pattern.fullmatch(topic) for pattern in self._ours.values())
        ]
        kept = gone[: max(0, TOPICS_MAX - self._topics)]
        self._topics += len(kept)
        return kept

    def end(self) -> None:
        """The connection is gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self, wire: Wire) -> None:
        self._timer = asyncio.get_running_loop().call_later(QUIET_S, self._look, wire)

    def _look(self, wire: Wire) -> None:
        self._timer = None
        self._rounds -= 1
        if self._heard and self._rounds > 0:
            self._heard = False
            self._wait(wire)
        else:
            self._done = True
            wire.look_away(self._ours)
