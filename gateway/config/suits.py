"""Which settings of `channels:` suit which channel: what nobody can mean is said by `gateway check`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from gateway.config.channel import ChannelConfig, paces, quantity_of
from gateway.driver import Channel
from gateway.options import did_you_mean, duration_text
from gateway.units import UnknownUnit

_OF_NUMBERS: Final = (
    "quantity", "unit", "expression", "scale", "bias", "calibration",
    "spike", "filter", "average", "range", "deadband",
)  # fmt: skip
_OF_LEVELS: Final = ("heartbeat", "min_interval")


def unsuitable(channel: Channel, written: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(key, sentence) for each key that makes no sense for such a channel, whatever its value. `written` has the keys
    that the YAML gives.
    """
    if channel.kind == "output":
        for key in written:
            if key != "urgent":
                yield key, f"channel {channel.name!r} is an output: it is set, not measured; remove `{key}`"
        return
    measured = channel.kind == "reading" and channel.measures.unit is not None
    refused = () if measured else _OF_NUMBERS
    if channel.kind == "input":
        refused = (*refused, *_OF_LEVELS)
    what = channel.kind if channel.kind != "reading" else channel.measures.name
    reason = "no level that lasts" if channel.kind == "input" else "no measured quantity"
    for key in refused:
        if key in written:
            why = "no measured quantity" if key in _OF_NUMBERS else reason
            yield key, f"channel {channel.name!r} is {why} ({what}): remove `{key}`"


def contradictions(channel: Channel, config: ChannelConfig, every_s: float | None) -> Iterator[tuple[str, str]]:
    """(key, sentence) for each value that cannot be meant, for a channel that `unsuitable` has nothing against."""
    for check in _CHECKS:
        yield from check(channel, config, every_s)


def _unit_is_known(channel: Channel, config: ChannelConfig, _every_s: float | None) -> Iterator[tuple[str, str]]:
    if config.unit is None:
        return
    quantity = quantity_of(channel, config)
    try:
        quantity.conversion(config.unit)
    except UnknownUnit as error:
        known = [*filter(None, [quantity.unit]), *quantity.other]
        yield "unit", f"{error}{did_you_mean(config.unit, known)}"


def _quantity_is_made(channel: Channel, config: ChannelConfig, _every_s: float | None) -> Iterator[tuple[str, str]]:
    if quantity_of(channel, config) is not channel.measures and not config.corrects:
        yield (
            "quantity",
            f"the driver measures {channel.measures.name}, and nothing makes it {config.quantity}: add an `expression`",
        )


def _range_is_possible(channel: Channel, config: ChannelConfig, _every_s: float | None) -> Iterator[tuple[str, str]]:
    quantity = quantity_of(channel, config)
    if config.range is None or quantity.plausible is None:
        return
    try:
        factor, addend = quantity.conversion(config.unit or quantity.unit or "")
    except UnknownUnit:
        return
    low, high = (bound * factor + addend for bound in config.range)
    lowest, highest = quantity.plausible
    if low > highest or high < lowest:
        yield (
            "range",
            f"{quantity.name} lies between {lowest:g} and {highest:g} {quantity.unit}: no value can be in this range",
        )


def _average_has_readings(channel: Channel, config: ChannelConfig, every_s: float | None) -> Iterator[tuple[str, str]]:
    if config.average_s is not None and every_s is not None and config.average_s < 2 * every_s:
        yield (
            "average",
            f"{channel.name!r} is read every {duration_text(every_s)}: expected at least {duration_text(2 * every_s)}",
        )


def _heartbeat_is_allowed(
    _channel: Channel, config: ChannelConfig, _every_s: float | None
) -> Iterator[tuple[str, str]]:
    for key, seconds in paces(config):
        if config.heartbeat_s is not None and config.heartbeat_s < seconds:
            yield (
                "heartbeat",
                f"`{key}` allows one record in {duration_text(seconds)}: expected a heartbeat of at least that",
            )


_CHECKS: Final[tuple[Callable[[Channel, ChannelConfig, float | None], Iterator[tuple[str, str]]], ...]] = (
    _unit_is_known,
    _quantity_is_made,
    _range_is_possible,
    _average_has_readings,
    _heartbeat_is_allowed,
)
