"""Names of topics from the YAML."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import gateway.sinks
from gateway.sinks.mqtt import MqttSink
from gateway.sinks.mqtt_options import MqttOptions
from gateway.sinks.mqtt_templates import DEFAULTS, FIELDS, read_template, topic_filter, topic_pattern
from gateway.sinks.mqtt_topics import Topics, value_bytes
from tests.sinks.parts import event

OURS = {"base": "site/{a}", "gateway": "pi"}

WRONG = [
    ("event", "a/+/{subject}", r"'\+' cannot stand in a topic"),
    ("event", "a/#", "'#' cannot stand"),
    ("event", "$SYS/{subject}", r"'\$' cannot stand"),
    ("event", "a\x00/{subject}", "cannot stand"),
    ("event", "{base}/{sbject}", r"unknown field {sbject} \(did you mean 'subject'\?\)"),
    ("event", "{device}/x", "unknown field {device}"),
    ("event", "{subject!r}", "stands alone"),
    ("event", "{subject:>10}", "stands alone"),
    ("event", "{subject", "braces do not match"),
    ("event", "{}", "unknown field {}"),
    ("event", "/{subject}", "a level of the topic is empty"),
    ("event", "{subject}/", "a level of the topic is empty"),
    ("event", "a//{subject}", "a level of the topic is empty"),
    ("event", "", "1 to 200 bytes"),
    ("event", "ä" * 101, "1 to 200 bytes"),
    ("state", "{base}/{gateway}/state", "expected {subject} or {channel} and {device} in it"),
    ("state", "{base}/{device}", "expected {subject} or {channel} and {device} in it"),
    ("availability", "{base}/{gateway}/availability", "expected {device} in it"),
    ("status", "{base}/{device}", "unknown field {device}"),
]


@pytest.mark.parametrize(("kind", "text", "sentence"), WRONG)
def test_a_wrong_template_is_explained_when_the_yaml_is_read(kind: str, text: str, sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        MqttOptions.model_validate({"url": "mqtt://b", "topics": {kind: text}})


def test_the_example_on_the_page_is_right() -> None:
    page = (Path(gateway.sinks.__file__).parent / "README.md").read_text("utf-8")
    [example] = [
        text for text in re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL) if "topics:" in text
    ]
    options = MqttOptions.model_validate({"url": "mqtt://b", **yaml.safe_load(example)})
    assert [option for option, _ in MqttSink.cautions(options)] == []
    assert options.topics.event == "{base}/{gateway}/{type}/{subject}"


def test_two_kinds_cannot_share_a_topic() -> None:
    topics = {"event": "x/{subject}", "state": "x/{device}/{channel}"}
    with pytest.raises(ValidationError, match="`event` and `state` have the same topics"):
        MqttOptions.model_validate({"url": "mqtt://b", "topics": topics})


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        MqttOptions.model_validate({"url": "mqtt://b", "topics": {"evnt": "x"}})


def test_templates_name_topics() -> None:
    templates = {
        "event": "{base}/{type}/{subject}",
        "state": "home/{gateway}/{device}-{channel}/value",
        "availability": "home/{device}/alive",
        "status": "home/{gateway}",
    }
    topics = Topics("b", "pi", templates)
    assert topics.event(event("air/temperature")) == "b/reading/air/temperature"
    assert topics.state("air/temperature") == "home/pi/air-temperature/value"
    assert topics.availability("air") == "home/air/alive"
    assert topics.status == "home/pi"


def test_a_base_with_braces_is_a_base() -> None:
    topics = Topics("{subject}{{", "pi")
    assert topics.status == "{subject}{{/pi/status"
    assert topics.event(event("a/b")) == "{subject}{{/pi/event/a/b"
    assert topics.state("a/b") == "{subject}{{/pi/state/a/b"


templates = st.lists(
    st.sampled_from(["{base}", "{gateway}", "{device}", "{channel}", "{subject}", "x", "-", "/", "/", "é"]), max_size=8
).map("".join)
ids = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,5}", fullmatch=True)


@given(templates, ids, ids)
def test_a_state_template_that_is_taken_names_publishable_topics_that_its_own_filter_finds(
    text: str, device: str, channel: str
) -> None:
    try:
        template = read_template("state", text)
    except ValueError:
        return
    topic = Topics(OURS["base"], OURS["gateway"], {**DEFAULTS, "state": text}).state(f"{device}/{channel}")
    assert topic
    assert not re.search(r"[+#$]|//|^/|/$", topic)
    wanted = topic_filter(template, OURS)
    assert passes(wanted, topic)
    assert topic_pattern(template, OURS).fullmatch(topic)


def passes(wanted: str, topic: str) -> bool:
    """MQTT 5.0 section 4.7.1, for `+`."""
    levels, names = wanted.split("/"), topic.split("/")
    return len(levels) == len(names) and all(level in {"+", name} for level, name in zip(levels, names, strict=True))


def test_what_may_belong_to_another_gateway_is_never_looked_for() -> None:
    mixed = Topics("b", "pi", {**DEFAULTS, "state": "home/{device}/{channel}"})
    assert list(mixed.ours()) == ["b/pi/availability/+"]
    [(option, sentence)] = MqttSink.cautions(
        MqttOptions.model_validate({"url": "mqtt://b", "topics": {"state": "home/{subject}"}})
    )
    assert option == "topics"
    assert "stays there" in sentence


def test_every_kind_has_its_fields_and_a_default_that_is_right() -> None:
    assert DEFAULTS.keys() == FIELDS.keys()
    for kind, text in DEFAULTS.items():
        read_template(kind, text)


@pytest.mark.parametrize(
    ("value", "text"),
    [(21.5, b"21.5"), (True, b"true"), (None, b"null"), (7, b"7"), ("single", b"single"),
     ("", b'""'), ("grün", "grün".encode())],
)  # fmt: skip
def test_a_plain_value_is_what_a_person_expects_and_never_empty(value: object, text: bytes) -> None:
    assert value_bytes(event("a/b", value)) == text
