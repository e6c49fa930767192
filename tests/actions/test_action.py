"""What `do:` may say, and what is found wrong with it before anything happens."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from gateway.action import (
    ActionConfig,
    PublishConfig,
    duties,
    known_names,
    level,
    problems,
    target,
    values_of,
)
from gateway.driver import Channel
from gateway.event import Event

ON = Channel("on", "contact", "whether it is on", kind="output")
SPEED = Channel("speed", "ratio", "how fast", kind="output")
TEXT = Channel("line", "text", "what it shows", kind="output")
OUTPUTS = {"fan": (ON,), "motor": (ON, SPEED), "lamp": (SPEED,), "display": (TEXT,)}


def parsed(**written: Any) -> ActionConfig:
    return ActionConfig.model_validate(written)


def wrong(action: ActionConfig, phase: str = "do", operator: str = "hold", **also: Any) -> list[tuple[str, str]]:
    rest = {"further": (), "outputs": OUTPUTS, "publishers": ["home"], "notifier": True, **also}
    return list(problems(action, phase, operator=operator, **rest))


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        ({"publish": {"topic": "a/b"}}, "publish"),
        ({"webhook": "https://example.org/hook"}, "webhook"),
        ({"webhook": {"url": "http://10.0.0.1:8080", "json": {"a": "{value}"}, "timeout": "3s"}}, "webhook"),
        ({"log": "hello"}, "log"),
        ({"notify": "hello"}, "notify"),
        ({"output": "fan", "set": "on", "ensure": True}, "output"),
        ({"output": "motor/speed", "set": 0.5, "for": "30s", "max_age": "2s"}, "output"),
        ({"output": "fan", "toggle": True}, "output"),
        ({"output": "fan", "pulse": "500ms"}, "output"),
    ],
)
def test_what_the_reference_shows_is_right(written: dict[str, Any], kind: str) -> None:
    assert parsed(**written).kind == kind
    assert wrong(parsed(**written)) == []


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({}, "found none: expected one of publish, webhook, log, notify, output"),
        ({"log": "a", "notify": "b"}, "found log and notify"),
        ({"log": "a", "for": "1s"}, "`for` goes with output, not with log"),
        ({"log": "a", "set": "on"}, "`set` goes with output"),
        ({"log": "{"}, "a brace itself is written twice"),
        ({"logs": "a"}, "logs"),
        ({"output": "fan"}, "exactly one of `set`, `toggle` and `pulse`"),
        ({"output": "fan", "set": "on", "toggle": True}, "exactly one of"),
        ({"output": "fan", "toggle": False}, "toggle"),
        ({"output": "fan", "pulse": "1s", "for": "1s"}, "a pulse has its time already"),
        ({"output": "fan", "toggle": True, "ensure": True}, "`ensure` keeps a level"),
        ({"output": "fan", "set": "on", "for": "1s", "ensure": True}, "`ensure` keeps a level"),
        ({"output": "fan", "set": "on", "max_age": "1s", "ensure": True}, "`max_age` does not go with `ensure`"),
        ({"output": "fan", "set": "on", "for": 30}, "needs a unit"),
        ({"output": "Fan", "set": "on"}, "pattern"),
        ({"publish": {"topic": "a/#"}}, "without + #"),
        ({"publish": {"topic": "$SYS/a"}}, "leading $"),
        ({"publish": {"topic": "a", "data": {}, "text": "b"}}, "expected one of them"),
        ({"publish": {"topic": "a", "data": {"b": "{}"}}}, "expected a name"),
        ({"webhook": "ftp://example.org"}, "expected a URL"),
        ({"webhook": "https://me:secret@example.org"}, "no login in the URL"),
        ({"webhook": {"url": "https://example.org", "headers": {"a b": "c"}}}, "pattern"),
    ],
)
def test_what_nobody_can_mean_is_refused(written: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        parsed(**written)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("written", "operator", "also", "key", "said"),
    [
        ({"log": "{valeu}"}, "hold", {}, "log", "{valeu} (did you mean 'value'?)"),
        ({"log": "{held}"}, "count", {}, "log", "no event of this rule has {held}"),
        ({"log": "{base}"}, "hold", {}, "log", "no event of this rule has {base}"),
        ({"webhook": {"url": "https://x.example", "json": [{"a": "{nobody}"}]}}, "hold", {}, "webhook", "{nobody}"),
        ({"notify": "x"}, "hold", {"notifier": False}, "notify", "add notify: {url:"),
        ({"publish": {"topic": "a"}}, "hold", {"publishers": []}, "publish", "no sink of this configuration publishes"),
        ({"publish": {"topic": "a", "sink": "hoem"}}, "hold", {}, "publish", "(did you mean 'home'?)"),
        ({"output": "fam", "set": "on"}, "hold", {}, "output", "(did you mean 'fan'?); outputs are: fan,"),
        ({"output": "fan", "set": "on"}, "hold", {"outputs": {}}, "output", "no device of this configuration acts"),
        ({"output": "motor", "set": "on"}, "hold", {}, "output", "write one of motor/on, motor/speed"),
        ({"output": "fan/off", "set": "on"}, "hold", {}, "output", "has no channel 'off'"),
        ({"output": "fan", "set": 1}, "hold", {}, "output", "found 1.0, expected on or off"),
        ({"output": "lamp", "toggle": True}, "hold", {}, "output", "which is not on or off: write `set`"),
        ({"output": "lamp", "pulse": "1s"}, "hold", {}, "output", "which is not on or off"),
        ({"output": "fan", "set": "on", "ensure": True}, "count", {}, "ensure", "hold, rate or absent, not count"),
    ],
)  # fmt: skip
def test_what_the_rest_of_the_configuration_forbids_is_said(written, operator, also, key, said) -> None:
    ((found, sentence),) = wrong(parsed(**written), operator=operator, **also)
    assert found == key
    assert said in sentence


def test_names_of_the_rule_itself_may_be_used() -> None:
    assert wrong(parsed(log="{avg} {zone}"), operator="window", further=["avg", "zone"]) == []
    assert {"n", "start", "end", "value", "avg"} <= known_names("window", ["avg"])


@pytest.mark.parametrize(
    ("written", "channel", "value"),
    [
        ("on", ON, True),
        ("off", ON, False),
        (True, ON, True),
        (0.5, SPEED, 0.5),
        (1, SPEED, 1.0),
        ("50 %", SPEED, 0.5),
        ("50%", SPEED, 0.5),
        ("hello", TEXT, "hello"),
    ],
)
def test_a_level_is_read_as_its_channel_understands_it(written: Any, channel: Channel, value: Any) -> None:
    assert level(written, channel) == value


@pytest.mark.parametrize(
    ("written", "channel"),
    [
        ("open", ON),
        (1.0, ON),
        (1.5, SPEED),
        ("150 %", SPEED),
        ("5 V", SPEED),
        ("fast", SPEED),
        (True, SPEED),
        (1, TEXT),
    ],
)
def test_a_level_that_the_channel_cannot_have_is_refused(written: Any, channel: Channel) -> None:
    with pytest.raises(ValueError, match=r"expected|unit"):
        level(written, channel)


def test_targets() -> None:
    assert target(parsed(output="fan", toggle=True), OUTPUTS) == ("fan", "on", None, None)
    assert target(parsed(output="fan", pulse="500ms"), OUTPUTS) == ("fan", "on", True, 0.5)
    assert target(parsed(output="motor/speed", set="30 %", **{"for": "2m"}), OUTPUTS) == ("motor", "speed", 0.3, 120.0)


def test_a_consumer_keeps_its_name_when_an_action_of_another_kind_comes_before_it() -> None:
    log, hook = parsed(log="a"), parsed(webhook="https://a.example")
    before = [duty.name for duty in duties("r", {"do": [hook, hook], "on_cleared": [log]})]
    assert before == ["rule/r/do/webhook", "rule/r/do/webhook-2", "rule/r/on_cleared/log"]
    after = [duty.name for duty in duties("r", {"do": [log, hook, hook], "on_cleared": [log]})]
    assert set(before) <= set(after)


def test_each_phase_takes_its_own_events_of_its_own_rule() -> None:
    def wanted(phase: Any) -> set[str]:
        (duty,) = duties("r", {phase: [parsed(log="a")]})
        kinds = ["raised", "cleared", "matched", "window", "timeout", "unknown", "started", "failed"]
        assert not duty.wants(Event("rule.raised", "rule/other", 1, 1))
        return {kind for kind in kinds if duty.wants(Event(f"rule.{kind}", "rule/r", 1, 1))}

    assert wanted("do") == {"raised", "matched", "window"}
    assert wanted("on_cleared") == {"cleared"}
    assert wanted("on_timeout") == {"timeout"}


def test_the_values_of_a_derived_event() -> None:
    data = {"name": "cellar.hot", "severity": "warning", "key": "cellar/temp", "held_s": 300.0, "zone": "b"}
    event = Event("rule.raised", "rule/hot", 1_795_419_136_000_000_000, 1, 31.5, "Cel", data=data, run="a", offset=7)
    values = values_of(event, gateway="pi")
    assert {name: values[name] for name in ("id", "rule", "subject", "value", "zone", "gateway", "name")} == {
        "id": "a-7", "rule": "hot", "subject": "cellar/temp", "value": 31.5, "zone": "b", "gateway": "pi",
        "name": "cellar.hot",
    }  # fmt: skip
    assert parsed(log="{held} {subject}").names() == ("held", "subject")
    assert values["held"] == 300.0


def test_a_topic_may_hold_names() -> None:
    assert PublishConfig(topic="{base}/event/{rule}").topic == "{base}/event/{rule}"
