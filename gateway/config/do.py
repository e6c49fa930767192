"""What the actions of rules need of the rest of the configuration: outputs that exist, sinks that publish, names."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from gateway.action import ActionConfig, Phase, problems
from gateway.config.findings import Findings
from gateway.config.model import DeviceConfig, SinkConfig
from gateway.config.nodes import Path, Place
from gateway.driver import Channel, OutputDriver

PlaceOf = Callable[[Phase, int, str], tuple[Place, Path]]
"""Where the YAML says that key of an action: the phase it stands in, its position there, and the key."""


class Unread(NamedTuple):
    """The ids of entries that are wrong themselves, so that nothing else is known of them."""

    devices: Collection[str] = ()
    sinks: Collection[str] = ()


def outputs_of(devices: Iterable[DeviceConfig]) -> dict[str, Sequence[Channel]]:
    """The channels of every device that acts, by its id."""
    return {device.id: device.declared for device in devices if issubclass(device.driver, OutputDriver)}


def publishers_of(sinks: Iterable[SinkConfig]) -> list[str]:
    """The ids of the sinks through which rules can publish, in the order of the configuration."""
    return [sink.id for sink in sinks if sink.sink.publishes]


def check_actions(
    findings: Findings,
    actions: Mapping[Phase, Sequence[ActionConfig]],
    place: PlaceOf,
    *,
    operator: str,
    further: Iterable[str],
    devices: Sequence[DeviceConfig],
    sinks: Sequence[SinkConfig],
    notifier: bool,
    unread: Unread | None = None,
) -> None:
    """Note every action of one rule that cannot work. `further` are names that its events have besides the operator's:
    the words of `emit.data`, the aggregates of a window. What is only `unread` is not said to be missing.
    """
    outputs, publishers, names = outputs_of(devices), publishers_of(sinks), tuple(further)
    missing = unread or Unread()
    for phase, listed in actions.items():
        for index, action in enumerate(listed):
            wrong = problems(
                action,
                phase,
                operator=operator,
                further=names,
                outputs=outputs,
                publishers=[*publishers, *missing.sinks],
                notifier=notifier,
            )
            for key, sentence in wrong:
                if key == "output" and str(action.output).partition("/")[0] in missing.devices:
                    continue
                findings.problem(*place(phase, index, key), sentence)
