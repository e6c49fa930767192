"""What a rule does when it speaks, as it is written: the models of `do:`, `on_cleared:` and `on_timeout.do`.

A model checks what one entry shows by itself. What only the rest of the configuration can show is in `check`.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from gateway.options import Duration, Identifier, Options
from gateway.template import Template, templates_in

Phase = Literal["do", "on_cleared", "on_timeout"]
Kind = Literal["publish", "webhook", "log", "notify", "output"]

KINDS: Final[tuple[Kind, ...]] = ("publish", "webhook", "log", "notify", "output")

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
