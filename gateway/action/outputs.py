"""What an action does to an output, in the words of the device: `fan: 50 %` is a channel and a number in its unit."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from gateway.action.model import ActionConfig
from gateway.driver import Channel
from gateway.event import Value
from gateway.options import did_you_mean
from gateway.units import UnknownUnit, to_canonical

_QUANTITY = re.compile(r"(-?\d+(?:\.\d+)?) ?([^\d\s.][^\s]*)")


class Target(NamedTuple):
    """What an output action is about, in the words of the device. `value` None: toggle."""

    device: str
    channel: str
    value: Value
    for_s: float | None


def target(action: ActionConfig, outputs: Mapping[str, Sequence[Channel]]) -> Target:
    """What the action sets. `outputs` has the channels of every device that acts.

    Raises:
        ValueError: there is no such output, or it cannot be set to that; a sentence for `gateway check`.
    """
    device, _, name = (action.output or "").partition("/")
    channels = {channel.name: channel for channel in outputs.get(device, ())}
    if not channels:
        known = f"outputs are: {', '.join(outputs)}" if outputs else "no device of this configuration acts"
        raise ValueError(f"no output {device!r}{did_you_mean(device, outputs)}; {known}")
    if not name and len(channels) > 1:
        raise ValueError(
            f"output {device!r} has several channels: write one of {', '.join(f'{device}/{c}' for c in channels)}"
        )
    channel = channels.get(name) if name else next(iter(channels.values()))
    if channel is None:
        raise ValueError(
            f"output {device!r} has no channel {name!r}{did_you_mean(name, channels)}: {', '.join(channels)}"
        )
    if action.set_ is not None:
        return Target(device, channel.name, level(action.set_, channel), action.for_s)
    if channel.measures.name != "contact":
        raise ValueError(f"{device}/{channel.name} is {channel.measures.name}, which is not on or off: write `set`")
    if action.toggle:
        return Target(device, channel.name, None, action.for_s)
    return Target(device, channel.name, True, action.pulse_s)


def level(written: bool | float | str, channel: Channel) -> Value:
    """What the channel is to be, in its canonical unit.

    Raises:
        ValueError: it cannot be that.
    """
    quantity = channel.measures
    if quantity.name == "contact":
        known = {"on": True, "off": False, True: True, False: False}
        if isinstance(written, (str, bool)) and written in known:
            return known[written]
        raise ValueError(f"found {written!r}, expected on or off")
    if quantity.unit is None:
        if isinstance(written, str):
            return written
        raise ValueError(f"found {written!r}, expected a text")
    low, high = quantity.plausible or (float("-inf"), float("inf"))
    expected = f"expected a number from {low:g} to {high:g} {quantity.unit}, or one with its unit"
    if isinstance(written, str):
        found = _QUANTITY.fullmatch(written)
        if found is None:
            raise ValueError(f"found {written!r}, {expected}")
        try:
            number = to_canonical(float(found[1]), found[2], quantity)
        except UnknownUnit as error:
            raise ValueError(str(error)) from None
    elif isinstance(written, bool):
        raise ValueError(f"found {'on' if written else 'off'}, {expected}")  # noqa: TRY004 - a sentence for the YAML
    else:
        number = float(written)
    if not low <= number <= high:
        raise ValueError(f"found {written!r}, {expected}")
    return number
