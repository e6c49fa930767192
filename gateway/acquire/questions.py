"""Those who wait for what a device says next."""

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

    def __init__(self, config: DeviceConfig, *, simulated: bool) -> None:
        self._config, self._simulated = config, simulated
        self._asking: list[asyncio.Future[Answer]] = []

    def add(self, asked: asyncio.Future[Answer]) -> None:
        self._asking.append(asked)
        asked.add_done_callback(self._asking.remove)

    def answer(self, readings: Sequence[Reading], now: Instant) -> None:
        """Tell everybody. Events come from a normalizer that remembers nothing: no deadband hides them."""
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
