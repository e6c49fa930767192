"""Makes outputs safe without a gateway: what `gateway outputs safe` does when the one that had them is gone.

Devices are done side by side, those that share a bus one after the other, each on a daemon thread: one that hangs keeps
nobody else from being made safe, and nobody from ending.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from gateway.acquire.worker import sentence
from gateway.config.model import DeviceConfig
from gateway.driver import OutputDriver
from gateway.event import Value

WITHIN_S = 5.0
"""systemd gives a service 10 s to be gone; the start of Python takes its part of that."""


class Made(NamedTuple):
    """What came of one device: its channels as they were when it was given back, or why it is not safe."""

    device_id: str
    levels: tuple[tuple[str, Value], ...] = ()
    trouble: str = ""


def outputs(devices: Iterable[DeviceConfig]) -> list[DeviceConfig]:
    """Those that act."""
    return [device for device in devices if issubclass(device.driver, OutputDriver)]


def make_safe(devices: Sequence[DeviceConfig], within_s: float = WITHIN_S) -> list[Made]:
    """Claim each output, make it safe, and give it back. Raises nothing: what failed is in the result."""
    lanes: dict[str, list[DeviceConfig]] = {}
    for device in devices:
        lanes.setdefault(f"bus {device.bus}" if device.bus is not None else f"device {device.id}", []).append(device)
    made: dict[str, Made] = {}
    done = threading.Condition()

    def run(lane: Sequence[DeviceConfig]) -> None:
        for device in lane:
            one = _make_safe(device)
            with done:
                made[device.id] = one
                done.notify_all()

    for name, lane in lanes.items():
        threading.Thread(target=run, args=(lane,), name=f"safe {name}", daemon=True).start()
    with done:
        done.wait_for(lambda: len(made) == len(devices), within_s)
        late = f"no answer for {within_s:g} s"
        return [made.get(device.id) or Made(device.id, trouble=late) for device in devices]


def _make_safe(device: DeviceConfig) -> Made:
    try:
        driver = device.driver.create(device.options)
        assert isinstance(driver, OutputDriver), "only outputs are made safe"
        try:
            told = driver.safe()
        finally:
            driver.close()
        return Made(device.id, tuple((reading.channel, reading.value) for reading in told))
    except Exception as error:  # noqa: BLE001 - the edge of a driver: one that fails must not keep others from being safe
        return Made(device.id, trouble=sentence(error))
