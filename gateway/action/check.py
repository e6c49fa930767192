"""What is wrong with an action that only the rest of the configuration can show: names, sinks, outputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from gateway.action.model import ActionConfig, Phase
from gateway.action.names import known_names
from gateway.action.outputs import target
from gateway.driver import Channel
from gateway.options import did_you_mean
from gateway.template import unknown_name

STATEFUL: Final = frozenset({"hold", "rate", "absent"})
"""Operators that raise and clear: what `ensure` can follow."""


def problems(
    action: ActionConfig,
    phase: Phase,
    *,
    operator: str,
    further: Iterable[str],
    outputs: Mapping[str, Sequence[Channel]],
    publishers: Sequence[str],
    notifier: bool,
) -> Iterator[tuple[str, str]]:
    """(key, sentence) for what only the rest of the configuration can show.

    `further` are names that this rule's events have besides its operator's, `publishers` the ids of sinks that can
    publish, `notifier` whether the configuration has `notify:`.
    """
    known = known_names(operator, further) | ({"base", "gateway"} if action.kind == "publish" else {"gateway"})
    for name in action.names():
        if name not in known:
            yield action.kind, unknown_name(name, known)
    if action.publish is not None:
        wanted = action.publish.sink
        if not publishers:
            yield "publish", "no sink of this configuration publishes: it needs one with sink: mqtt"
        elif wanted is not None and wanted not in publishers:
            near = did_you_mean(wanted, publishers)
            yield "publish", f"no sink {wanted!r} publishes{near}; those that do: {', '.join(publishers)}"
    if action.notify is not None and action.notify.url is None and not notifier:
        yield (
            "notify",
            "nobody is told where to: add notify: {url: https://ntfy.sh/TOPIC} to the configuration, or url here",
        )
    if action.output is not None:
        try:
            target(action, outputs)
        except ValueError as error:
            yield "output", str(error)
        if action.ensure and (operator not in STATEFUL or phase == "on_timeout"):
            yield "ensure", f"`ensure` follows a rule that is raised and cleared: hold, rate or absent, not {operator}"
