"""`rules:` of the configuration: each rule judged by its model and by what it compiles to, then all together.

What only shows beside the rest of the file: channels that no device has, rules that feed each other in a circle, and
patience that is shorter than a channel's heartbeat.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final, NamedTuple

from gateway.action import Phase
from gateway.config.channel import Silence, silence_of
from gateway.config.devices import check_ids
from gateway.config.do import PlaceOf, Unread, check_actions
from gateway.config.findings import Findings
from gateway.config.model import DeviceConfig, SinkConfig
from gateway.config.nodes import ListNode, MapNode, Node, Path, Place, ScalarNode, at
from gateway.errors import PluginError
from gateway.options import did_you_mean, duration_text
from gateway.rules import cel
from gateway.rules.graph import RuleCycle, RulesTooDeep, in_order
from gateway.rules.model import RuleConfig
from gateway.rules.operators.following import conditions, pattern
from gateway.rules.select import names
from gateway.rules.select_model import Predicates, Source
from gateway.rules.sequence import PatternError
from gateway.rules.sequence_model import COMPARISONS, SequenceConfig

PATIENCE: Final = 1.5
"""How many heartbeats a rule must wait before silence means something: one may come late."""


@dataclass(frozen=True, slots=True)
class _Placed:
    """A rule, and where it stands."""

    rule: RuleConfig
    node: MapNode
    path: Path

    def place(self, *steps: str | int) -> tuple[Place, Path]:
        """Where the key at `steps` stands; the nearest thing above it that is written."""
        node, taken = at(self.node, steps)
        if taken == len(steps) and steps:
            above, _ = at(self.node, steps[:-1])
            if isinstance(above, MapNode):
                return above.keys[str(steps[-1])], (*self.path, *steps)
        return node.place, (*self.path, *steps[:taken])


class _Written(NamedTuple):
    """A selector of a rule, and the steps that lead to it."""

    source: Source
    steps: tuple[str | int, ...]


def read_rules(
    findings: Findings,
    node: Node | None,
    devices: Sequence[DeviceConfig] | None = None,
    devices_node: Node | None = None,
    sinks: Sequence[SinkConfig] = (),
    sinks_node: Node | None = None,
    *,
    notifier: bool = False,
) -> tuple[RuleConfig, ...]:
    """Every rule that is right. What is wrong is in the findings. Without `devices` no channel or output is looked up.

    What is missing only because its own entry is wrong is not said again. `notifier` says whether the configuration
    has a `notify:` section.
    """
    entries = findings.entries(
        node, ("rules",) if devices is not None else (), "a rule: a mapping with `id` and `when`"
    )
    check_ids(findings, entries, "rule")
    placed = []
    for entry, path in entries:
        rule = findings.check(RuleConfig, entry, path)
        if rule is not None:
            placed.append(_Placed(rule, entry, path))
    ids = _ids(node)
    for one in placed:
        _compiles(findings, one)
        _rules_exist(findings, one, ids)
        if devices is not None:
            unread = frozenset(_ids(devices_node)) - {device.id for device in devices}
            _channels_exist(findings, one, devices, unread)
            _is_patient(findings, one, devices, devices_node)
            unread_sinks = [id_ for id_ in _ids(sinks_node) if id_ not in {sink.id for sink in sinks}]
            _check_duties(findings, one, devices, sinks, Unread(unread, unread_sinks), notifier=notifier)
    _ordered(findings, placed)
    return tuple(one.rule for one in placed)


def _check_duties(
    findings: Findings,
    placed: _Placed,
    devices: Sequence[DeviceConfig],
    sinks: Sequence[SinkConfig],
    unread: Unread,
    *,
    notifier: bool,
) -> None:
    """Note every action of the rule that cannot work with these devices and sinks."""
    rule, window, timeout = placed.rule, placed.rule.when.window, placed.rule.on_timeout
    further = {*rule.emit.data, *(window.of if window is not None else ())}
    check_actions(
        findings,
        {"do": rule.do, "on_cleared": rule.on_cleared, "on_timeout": timeout.do if timeout is not None else []},
        _place_of(placed),
        operator=rule.when.operator,
        further=further if timeout is None else {*further, *timeout.emit.data},
        devices=devices,
        sinks=sinks,
        unread=unread,
        notifier=notifier,
    )


def _place_of(placed: _Placed) -> PlaceOf:
    def place(phase: Phase, index: int, key: str) -> tuple[Place, Path]:
        steps = ("on_timeout", "do") if phase == "on_timeout" else (phase,)
        return placed.place(*steps, index, *((key,) if key else ()))

    return place


def written(rule: RuleConfig) -> Iterator[_Written]:
    """Every selector of the rule, with its place in the rule."""
    operator = rule.when.operator
    if rule.when.sequence is not None:
        yield from _of_sequence(rule.when.sequence)
    else:
        yield _Written(getattr(rule.when, operator), ("when", operator))
    for n, guard in enumerate(rule.only_if):
        if guard.kind == "last":
            yield _Written(guard, ("only_if", n))
        elif (selector := guard.preceded_by or guard.not_preceded_by) is not None:
            yield _Written(selector, ("only_if", n, guard.kind))


def _of_sequence(config: SequenceConfig) -> Iterator[_Written]:
    for n, step in enumerate(config.steps):
        steps = ("when", "sequence", "steps", n)
        if isinstance(step.not_, Source):
            yield _Written(step.not_, (*steps, "not"))
        elif step.kind == "event":
            yield _Written(step, steps)
        for group in ("all", "any"):
            for m, branch in enumerate(getattr(step, group) or ()):
                yield _Written(branch, (*steps, group, m))


# -- each rule by itself -----------------------------------------------------------------------------------------------


def _compiles(findings: Findings, placed: _Placed) -> None:
    """Expressions, and the steps of a sequence."""
    for source, steps in written(placed.rule):
        if isinstance(source, Predicates) and source.expr is not None:
            _check_expr(findings, placed, (*steps, "expr"), source.expr)
    sequence = placed.rule.when.sequence
    if sequence is None:
        return
    order = list(conditions(sequence))
    wrong = _check_where(findings, placed, sequence, order)
    if wrong or any(comparison.expr for comparison in sequence.where):
        sequence = sequence.model_copy(update={"where": []})
    try:
        pattern(sequence)
    except PatternError as error:
        steps = ("when", "sequence", "steps") if error.step is None else ("when", "sequence", "steps", error.step)
        findings.problem(*placed.place(*steps), str(error))


def _check_where(findings: Findings, placed: _Placed, sequence: SequenceConfig, order: list[str]) -> bool:
    """Whether something is wrong with `where`."""
    wrong = False
    for n, comparison in enumerate(sequence.where):
        steps = ("when", "sequence", "where", n)
        if comparison.expr is not None:
            _check_expr(findings, placed, (*steps, "expr"), comparison.expr, order)
            continue
        assert comparison.left is not None
        named = comparison.left.partition(".")[0]
        if named not in order:
            wrong = True
            message = f"no step is called {named!r}{did_you_mean(named, order)}; steps are: {', '.join(order)}"
            findings.problem(*placed.place(*steps, "left"), message)
        word = next(name for name in COMPARISONS if getattr(comparison, name) is not None)
        right = getattr(comparison, word)
        near = did_you_mean(right.partition(".")[0], order) if isinstance(right, str) and "." in right else ""
        if near and right.partition(".")[0] not in order:
            wrong = True
            message = f"no step is called {right.partition('.')[0]!r}{near}; steps are: {', '.join(order)}"
            findings.problem(*placed.place(*steps, word.rstrip("_")), message)
    return wrong


def _check_expr(
    findings: Findings, placed: _Placed, steps: tuple[str | int, ...], text: str, order: Iterable[str] | None = None
) -> None:
    """An expression's own place is added to that of its text, where that stands on one line."""
    node, _ = at(placed.node, steps)
    try:
        cel.check(text, order)
    except cel.ExprError as error:
        place = node.place
        if isinstance(node, ScalarNode) and node.text == text and error.line == 1:
            quote = 1 if node.quoted else 0
            place = Place(place.file, place.line, place.column + quote + error.column - 1)
        findings.problem(place, (*placed.path, *steps), f"in the expression: {error}")
    except PluginError as error:
        findings.problem(node.place, (*placed.path, *steps), str(error))


# -- beside the others ------------------------------------------------------------------------------------------------


def _rules_exist(findings: Findings, placed: _Placed, ids: list[str]) -> None:
    for source, steps in written(placed.rule):
        if source.rule is not None and source.rule not in ids:
            listed = f"; rules are: {', '.join(ids)}"
            message = f"there is no rule {source.rule!r}{did_you_mean(source.rule, ids)}{listed}"
            findings.problem(*placed.place(*steps, "rule"), message)


def _ordered(findings: Findings, placed: Sequence[_Placed]) -> None:
    by_id = {one.rule.id: one for one in placed}
    if len(by_id) < len(placed):
        return
    try:
        in_order([one.rule for one in placed])
    except (RuleCycle, RulesTooDeep) as error:
        findings.problem(*by_id[error.ids[0]].place("when"), str(error))


def _ids(node: Node | None) -> list[str]:
    """The ids that stand in a section, whether or not the entries are right."""
    entries = node.nodes if isinstance(node, ListNode) else []
    found = [entry.nodes.get("id") for entry in entries if isinstance(entry, MapNode)]
    return [str(name.value) for name in found if isinstance(name, ScalarNode)]


def _channels_exist(
    findings: Findings, placed: _Placed, devices: Sequence[DeviceConfig], unread: Collection[str]
) -> None:
    """`unread` are devices that the configuration names and that are wrong: nothing is known of their channels."""
    known = [f"{device.id}/{channel.name}" for device in devices for channel in device.declared]
    for source, steps in written(placed.rule):
        if _may_be_of(source, unread):
            continue
        if source.device is not None and source.device not in (ids := [device.id for device in devices]):
            message = f"there is no device {source.device!r}{did_you_mean(source.device, ids)}"
            findings.problem(*placed.place(*steps, "device"), message)
        elif source.channel is not None and source.type is None and not _watched(source, devices):
            what = "no channel fits" if "*" in source.channel or "?" in source.channel else "there is no channel"
            message = f"{what} {source.channel!r}{did_you_mean(source.channel, known)}"
            findings.problem(*placed.place(*steps, "channel"), f"{message}; `gateway check` lists them")


def _may_be_of(source: Source, devices: Collection[str]) -> bool:
    """Whether the selector may select a channel of one of these devices, whatever channels they have."""
    if source.device is not None:
        return source.device in devices
    first, _, _ = (source.channel or "").partition("/")
    return any(fnmatchcase(id_, first) for id_ in devices)


def _watched(source: Source, devices: Sequence[DeviceConfig]) -> list[tuple[DeviceConfig, str]]:
    """(device, channel) of what the selector selects."""
    wants = names(source)
    return [
        (device, channel.name)
        for device in devices
        for channel in device.declared
        if wants(channel.kind, f"{device.id}/{channel.name}")
    ]


# -- patience ----------------------------------------------------------------------------------------------------------


def _is_patient(
    findings: Findings, placed: _Placed, devices: Sequence[DeviceConfig], devices_node: Node | None
) -> None:
    """`for` and `max_gap` against the silence of every channel that the rule watches: both lines are named."""
    operator = placed.rule.when.operator
    if operator not in {"hold", "rate", "absent"}:
        return
    config = getattr(placed.rule.when, operator)
    for key in ("for", "max_gap"):
        patience_s = getattr(config, f"{key}_s", None)
        if patience_s is None:
            continue
        for device, channel in _watched(config, devices):
            silence = _silence(device, channel, judged=operator != "absent" and key == "for")
            if silence is None or patience_s >= PATIENCE * silence.seconds:
                continue
            place, path = placed.place("when", operator, key)
            where = _silence_place(devices_node, device.id, channel, silence.key)
            beside = f" ({where.seen_from(place)})" if where else ""
            least = duration_text(PATIENCE * silence.seconds)
            findings.problem(
                place,
                path,
                f"{device.id}/{channel} may be silent for {duration_text(silence.seconds)}, its {silence.key}{beside}: "
                f"expected at least {least}, one and a half of it, or a shorter {silence.key} there",
            )
            break


def _silence(device: DeviceConfig, channel: str, *, judged: bool) -> Silence | None:
    """The silence that matters. A level is known exactly in between, a measured value only within its deadband."""
    kind = next(one.kind for one in device.declared if one.name == channel)
    if (judged and kind != "reading") or channel not in device.channels:
        return None
    return silence_of(device.channels[channel])


def _silence_place(devices_node: Node | None, device_id: str, channel: str, key: str) -> Place | None:
    """Where the key stands that allows the channel's silence, or the deadband that implies it."""
    if not isinstance(devices_node, ListNode):
        return None
    for entry in devices_node.nodes:
        name = entry.nodes.get("id") if isinstance(entry, MapNode) else None
        if isinstance(entry, MapNode) and isinstance(name, ScalarNode) and name.value == device_id:
            section, taken = at(entry, ("channels", channel))
            if taken == 2 and isinstance(section, MapNode):
                return section.keys.get(key) or section.keys.get("deadband") or section.place
    return None


def subjects_of(devices: Sequence[DeviceConfig]) -> list[tuple[str, str]]:
    """(type, subject) of every channel: what the engine is told is there."""
    return [(channel.kind, f"{device.id}/{channel.name}") for device in devices for channel in device.declared]
