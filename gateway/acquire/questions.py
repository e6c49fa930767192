"""Those who want to know what a device says.

One that is read is read for them. One that pushes says nothing when it is asked: of a state or an output the level that
it told last is the answer, and for everything else they wait for what it says next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from gateway.config.model import DeviceConfig
from gateway.errors import DeviceError
from gateway.event import Event, Reading
from gateway.normalize import Instant, Normalizer

Answer = list[tuple[Reading, Event | None]]
"""Raw readings, each with the event it would become; None where the driver did not declare the channel."""


class Questions:
    """All that ask one device."""

    def __init__(self, config: DeviceConfig, *, simulated: bool, keeps_levels: bool) -> None:
        self._config, self._simulated = config, simulated
        self._asking: list[asyncio.Future[Answer]] = []
        self._level_names = {c.name for c in config.declared if keeps_levels and c.kind in {"state", "output"}}
        self._levels: dict[str, Reading] = {}

    def add(self, asked: asyncio.Future[Answer]) -> None:
        self._asking.append(asked)
        asked.add_done_callback(self._asking.remove)

    def answer(self, readings: Sequence[Reading], now: Instant) -> None:
        """The device said this: tell everybody, and keep the levels for those who ask later."""
        self._levels |= {reading.channel: reading for reading in readings if reading.channel in self._level_names}
        self._tell(readings, now)

    def answer_from_levels(self, now: Instant) -> bool:
        """Tell everybody the levels that are known; False where none is."""
        if self._levels:
            self._tell(list(self._levels.values()), now)
        return bool(self._levels)

    def forget_levels(self) -> None:
        """The device is gone: what it told last may not be so any more."""
        self._levels.clear()

    def _tell(self, readings: Sequence[Reading], now: Instant) -> None:
        """Events come from a normalizer that remembers nothing: no deadband hides them."""
        if not self._asking:
            return
        normalize = Normalizer(self._config, simulated=self._simulated, at_once=True)
        answer: Answer = []
        for reading in readings:
            events = normalize([reading], now)
            answer.append((reading, events[0] if events else None))
        for asked in self._asking:
            if not asked.done():
                asked.set_result(answer)

    def fail(self, reason: str) -> None:
        for asked in self._asking:
            if not asked.done():
                asked.set_exception(DeviceError(f"device {self._config.id}: {reason}"))
