"""A device made of signals: sensors that one does not own yet, load for a broker, a heartbeat.

There never is hardware behind it, so it is the same with and without `--simulate`, and its events always say that they
are simulated.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from gateway.driver import Channel, Kind, PolledDriver, World
from gateway.errors import PluginError
from gateway.event import Reading, Value
from gateway.options import Identifier, Options, did_you_mean
from gateway.simulate.signals import SignalSpec
from gateway.units import QUANTITIES

Source = Callable[[], Value]
"""Where a channel's value comes from, now."""

_KINDS: dict[str, Kind] = {"contact": "state", "text": "state", "occurrence": "input"}
"""Kinds of channels that are not measured, by quantity."""


def _known(quantity: str) -> str:
    if quantity not in QUANTITIES:
        near = did_you_mean(quantity, QUANTITIES)
        raise ValueError(f"unknown quantity {quantity!r}{near}; expected one of {', '.join(QUANTITIES)}")
    return quantity


class SignalChannel(SignalSpec):
    """One channel: what it seems to measure, and the signal that it follows."""

    quantity: Annotated[str, AfterValidator(_known), WithJsonSchema({"type": "string", "enum": list(QUANTITIES)})] = (
        Field(description="what the values mean; they are in its canonical unit")
    )

    @model_validator(mode="after")
    def _suits(self) -> SignalChannel:
        self.signal(QUANTITIES[self.quantity])
        return self


class SignalOptions(Options):
    signals: dict[Identifier, SignalChannel] = Field(
        min_length=1, max_length=100, description="channel names, and for each its quantity and one signal"
    )


class SignalDevice(PolledDriver):
    name = "signal"
    summary = "a device made of signals only, for trying things out"
    Options = SignalOptions
    synthetic = True

    def __init__(self, sources: Mapping[str, Source], occurrences: Collection[str] = ()) -> None:
        """`occurrences` are the channels on which an empty word means that nothing occurs."""
        self._sources, self._occurrences = sources, occurrences

    @classmethod
    def channels(cls, options: Any) -> tuple[Channel, ...]:
        return tuple(
            Channel(name, spec.quantity, QUANTITIES[spec.quantity].summary, kind=_KINDS.get(spec.quantity, "reading"))
            for name, spec in options.signals.items()
        )

    @classmethod
    def create(cls, options: SignalOptions) -> SignalDevice:
        del options
        raise PluginError("signal: there is no hardware behind it; the gateway always simulates such a device")

    @classmethod
    def simulate(cls, options: SignalOptions, world: World) -> SignalDevice:
        from drivers.signal.simulator import sources  # noqa: PLC0415 - only where something is simulated

        occurrences = {name for name, spec in options.signals.items() if spec.quantity == "occurrence"}
        return cls(sources(options, world), occurrences)

    def read(self) -> Sequence[Reading]:
        values = [(channel, source()) for channel, source in self._sources.items()]
        return tuple(Reading(name, value) for name, value in values if value != "" or name not in self._occurrences)
