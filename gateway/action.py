"""What a rule does when it speaks: `do:`, `on_cleared:` and `on_timeout.do` as models. Pure.

    {publish: {topic: "home/alarm", data: {temperature: "{value}"}}}    any topic, through a sink that can
    {webhook: "https://example.org/hook"}                               the event as a CloudEvent, or your own `json:`
    {log: "{subject} is {value}"}                                       a line in the gateway's log
    {notify: "Cellar {value} °C for {held}"}                            a push message
    {output: fan, set: on, ensure: true}                                set, toggle or pulse

`duties` names them: one consumer of the log for each. Publish, webhook, log and notify are done at least once: their
cursor moves when they have succeeded. An output is told at most once: its cursor moves before it is told.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, NamedTuple
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from gateway.driver import Channel
from gateway.event import Event, Value, rfc3339
from gateway.options import Duration, Identifier, Options, did_you_mean
from gateway.template import Duration as Seconds
from gateway.template import Template, templates_in, unknown_name
from gateway.units import UnknownUnit, to_canonical

Phase = Literal["do", "on_cleared", "on_timeout"]
Kind = Literal["publish", "webhook", "log", "notify", "output"]

KINDS: Final[tuple[Kind, ...]] = ("publish", "webhook", "log", "notify", "output")

TYPES: Final[Mapping[Phase, frozenset[str]]] = {
    "do": frozenset({"rule.raised", "rule.matched", "rule.window"}),
    "on_cleared": frozenset({"rule.cleared"}),
    "on_timeout": frozenset({"rule.timeout"}),
}
"""Which events of its rule start an action. `rule.unknown` starts none."""

STATEFUL: Final = frozenset({"hold", "rate", "absent"})
"""Operators that raise and clear: what `ensure` can follow."""

_ALWAYS: Final = (
    "event",
    "id",
    "rule",
    "type",
    "time",
    "subject",
    "value",
    "unit",
    "quality",
    "name",
    "severity",
    "key",
)
_OWN: Final[Mapping[str, tuple[str, ...]]] = {
    "hold": ("since", "held"),
    "rate": ("since", "held"),
    "absent": ("since", "gap", "heard"),
    "count": ("n", "first", "matched"),
    "window": ("start", "end", "n"),
    "sequence": ("first", "last", "matched"),
}
_DURATIONS: Final = {"held": "held_s", "gap": "gap_s"}

_QUANTITY = re.compile(r"(-?\d+(?:\.\d+)?) ?([^\d\s.][^\s]*)")
_HEADER = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$"


def _template(text: str) -> str:
    Template(text)
    return text


def _tree(tree: Any) -> Any:
    list(templates_in(tree))
    return tree


def _no_wildcards(topic: str) -> str:
    literal = Template(topic).fill({})
    if any(character in literal for character in "+#\0") or not literal or literal.startswith("$"):
        raise ValueError("expected a topic without + # or a leading $, such as home/alarm/{rule}")
    return topic


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("expected a URL such as https://example.org/hook")
    if parts.username or parts.password:
        raise ValueError("no login in the URL, which is shown in logs: write token: !secret NAME")
    return text


def _short(key: str) -> BeforeValidator:
    """`{log: text}` for `{log: {text: text}}`."""
    return BeforeValidator(lambda written: {key: written} if isinstance(written, str) else written)


Text = Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(_template)]
Url = Annotated[str, Field(max_length=2048), AfterValidator(_url)]


class PublishConfig(Options):
    """`publish:` a message of your own."""

    topic: Annotated[
        str, Field(min_length=1, max_length=200), AfterValidator(_template), AfterValidator(_no_wildcards)
    ] = Field(description="topic, with names such as {base}, {gateway} and {rule}", examples=["home/alarm/{rule}"])
    data: Annotated[Any, AfterValidator(_tree)] = Field(None, description="what is sent as JSON; default: the event")
    text: Text | None = Field(None, description="a plain text in place of JSON")
    retain: bool = Field(False, description="the broker keeps it for who subscribes later")
    sink: Identifier | None = Field(None, description="which sink publishes it; default: the first one that can")

    @model_validator(mode="after")
    def _one_body(self) -> PublishConfig:
        if self.data is not None and self.text is not None:
            raise ValueError("found data and text: expected one of them")
        return self


class WebhookConfig(Options):
    """`webhook:` an HTTP request. Done when the answer is 2xx."""

    url: Url = Field(description="where to, https:// or http://")
    method: Literal["POST", "PUT"] = Field("POST", description="POST or PUT")
    json_: Annotated[Any, AfterValidator(_tree)] = Field(
        None,
        alias="json",
        description="what is sent; default: the event as a CloudEvent",
        examples=[{"text": "{name}"}],
    )
    headers: Annotated[
        dict[Annotated[str, Field(pattern=_HEADER)], Annotated[str, Field(max_length=1024)]], Field(max_length=16)
    ] = Field({}, description="further headers, as they are")
    token: SecretStr | None = Field(None, description="sent as Authorization: Bearer; write !secret NAME")
    timeout_s: Annotated[Duration, Field(ge=0.1, le=60)] = Field(
        10.0, alias="timeout", description="an answer that takes longer counts as none, 100ms to 1m"
    )
    max_age_s: Annotated[Duration, Field(gt=0)] | None = Field(
        None, alias="max_age", description="what is older is not sent any more; default: everything is sent"
    )


class LogConfig(Options):
    """`log:` a line in the gateway's own log."""

    text: Text = Field(description="the line")
    level: Literal["info", "warning", "error"] = Field("info", description="how loud")


class NotifyConfig(Options):
    """`notify:` a push message: a POST of the text to a URL, as ntfy and its like take it."""

    text: Text = Field(description="the message")
    title: Text | None = Field(None, description="its title; default: the name of what happened")
    priority: Annotated[int, Field(ge=1, le=5)] | None = Field(
        None, description="1 to 5; default: by severity, info 3, warning 4, error and critical 5"
    )
    url: Url | None = Field(None, description="another place than `notify:` of the configuration names")
    token: SecretStr | None = Field(None, description="for that place; write !secret NAME")
    max_age_s: Annotated[Duration, Field(gt=0)] = Field(
        86400.0, alias="max_age", description="what is older is not sent any more"
    )


class NotifierConfig(Options):
    """`notify:` of the configuration: where push messages go that name no place."""

    url: Url = Field(description="where to POST them", examples=["https://ntfy.sh/my-secret-topic"])
    token: SecretStr | None = Field(None, description="sent as Authorization: Bearer; write !secret NAME")


class ActionConfig(Options):
    """One entry of `do:`. Exactly one of publish, webhook, log, notify and output; the other keys are the output's."""

    publish: PublishConfig | None = Field(None, description="publish a message of your own")
    webhook: Annotated[WebhookConfig, _short("url")] | None = Field(None, description="send an HTTP request")
    log: Annotated[LogConfig, _short("text")] | None = Field(None, description="write a line into the gateway's log")
    notify: Annotated[NotifyConfig, _short("text")] | None = Field(None, description="send a push message")
    output: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*(/[a-z0-9][a-z0-9_-]*)?$")] | None = Field(
        None, description="have a device act: its id, with /channel where it has several", examples=["fan"]
    )
    set_: bool | float | Annotated[str, Field(max_length=64)] | None = Field(
        None, alias="set", description="on, off, a number, or a number with its unit such as 50 %"
    )
    toggle: Literal[True] | None = Field(None, description="true: the other one of on and off")
    pulse_s: Annotated[Duration, Field(ge=0.001, le=86400)] | None = Field(
        None, alias="pulse", description="on for this long"
    )
    for_s: Annotated[Duration, Field(ge=0.001, le=7 * 86400)] | None = Field(
        None, alias="for", description="with `set` or `toggle`: then back to what it was before"
    )
    max_age_s: Annotated[Duration, Field(ge=0.1, le=86400)] = Field(
        5.0, alias="max_age", description="an output that could not be told by then is not told any more"
    )
    ensure: bool = Field(
        False, description="the output follows the rule: set again at start and when the device returns"
    )

    @model_validator(mode="after")
    def _one(self) -> ActionConfig:
        kinds: list[str] = [name for name in KINDS if getattr(self, name) is not None]
        if len(kinds) != 1:
            raise ValueError(f"found {' and '.join(kinds) or 'none'}: expected one of {', '.join(KINDS)}")
        own = self.model_fields_set - set(kinds)
        if self.output is None:
            if own:
                raise ValueError(f"`{min(own).removesuffix('_s').rstrip('_')}` goes with output, not with {kinds[0]}")
            return self
        acts = [name for name in ("set_", "toggle", "pulse_s") if getattr(self, name) is not None]
        if len(acts) != 1:
            raise ValueError("an output needs exactly one of `set`, `toggle` and `pulse`")
        if self.pulse_s is not None and self.for_s is not None:
            raise ValueError("`for` goes with `set` and `toggle`; a pulse has its time already")
        if self.ensure and (acts != ["set_"] or self.for_s is not None):
            raise ValueError("`ensure` keeps a level: it goes with `set`, without `for`")
        if self.ensure and "max_age_s" in self.model_fields_set:
            raise ValueError("`max_age` does not go with `ensure`: the output follows the rule, whenever it can")
        return self

    @property
    def kind(self) -> Kind:
        return next((name for name in KINDS if getattr(self, name) is not None), "output")

    def names(self) -> tuple[str, ...]:
        """Every name that its texts mention."""
        texts: list[Any] = []
        if self.publish is not None:
            texts = [self.publish.topic, self.publish.data, self.publish.text]
        elif self.webhook is not None:
            texts = [self.webhook.json_]
        elif self.log is not None:
            texts = [self.log.text]
        elif self.notify is not None:
            texts = [self.notify.text, self.notify.title]
        return tuple(dict.fromkeys(name for text in texts for one in templates_in(text) for name in one.names))


class Duty(NamedTuple):
    """One action of one rule, and the name of the consumer that does it."""

    name: str
    rule: str
    phase: Phase
    action: ActionConfig

    def wants(self, event: Event) -> bool:
        return event.type in TYPES[self.phase] and event.subject == f"rule/{self.rule}"


def duties(rule_id: str, actions: Mapping[Phase, Sequence[ActionConfig]]) -> list[Duty]:
    """A consumer for each action: `rule/cellar-hot/do/webhook`, the second one of that kind `webhook-2`.

    So a cursor stays with its action when its URL is mended, or when an action of another kind is put before it.
    """
    found = []
    for phase, listed in actions.items():
        seen: Counter[str] = Counter()
        for action in listed:
            seen[action.kind] += 1
            which = f"{action.kind}-{seen[action.kind]}" if seen[action.kind] > 1 else action.kind
            found.append(Duty(f"rule/{rule_id}/{phase}/{which}", rule_id, phase, action))
    return found


def known_names(operator: str, further: Iterable[str] = ()) -> frozenset[str]:
    """The names that a text of a rule with that operator may mention, and `further` ones: aggregates, `emit.data`."""
    return frozenset({*_ALWAYS, *_OWN.get(operator, ()), *further})


def values_of(event: Event, envelope: Any = None, **further: Any) -> dict[str, Any]:
    """What the names stand for. `envelope` is the event as it would be sent, for `{event}`."""
    data = event.data
    values = {
        **data,
        "event": envelope,
        "id": event.id,
        "rule": event.subject.removeprefix("rule/"),
        "type": event.type,
        "time": rfc3339(event.time),
        "subject": data.get("subject") or data.get("key") or event.subject,
        "value": event.value,
        "unit": event.unit,
        "quality": event.quality,
        **further,
    }
    for name, field in _DURATIONS.items():
        if isinstance(data.get(field), (int, float)):
            values[name] = Seconds(data[field])
    return values


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
