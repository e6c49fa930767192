"""Signals by the world's clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from drivers.signal.driver import SignalOptions, Source
from gateway.driver import Signal, World
from gateway.units import QUANTITIES


def sources(options: SignalOptions, world: World) -> Mapping[str, Source]:
    """What each channel's value is now. Its signals stand in the options, so the world gives only the time."""
    return {
        channel: _by_clock(spec.signal(QUANTITIES[spec.quantity]), world.now_s)
        for channel, spec in options.signals.items()
    }


def _by_clock(signal: Signal, now_s: Callable[[], float]) -> Source:
    return lambda: signal(now_s())
