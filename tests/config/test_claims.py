"""Two sinks that would end each other's connection are warned about, where the second one stands."""

import pytest

from gateway.config import parse_config
from gateway.plugins import Plugins
from gateway.sinks.mqtt import MqttSink
from tests.config.parts import HOST

PLUGINS = Plugins(sinks={"mqtt": MqttSink})


def warnings(first: str, second: str) -> tuple[str, ...]:
    text = f"gateway: {{id: pi}}\nsinks:\n  - {{id: a, sink: mqtt, {first}}}\n  - {{id: b, sink: mqtt, {second}}}\n"
    return parse_config(text, "gateway.yaml", PLUGINS, host=HOST).warnings


def test_one_name_at_one_broker_is_warned_about_at_its_place():
    (warning,) = warnings("url: mqtt://127.0.0.1, client_id: x", "url: mqtt://127.0.0.1, client_id: x")
    assert warning == (
        "gateway.yaml:4:48 sinks[1].client_id: the client_id 'x' at 127.0.0.1:1883 is sink 'a''s already (line 3), "
        "and only one of the two can be connected: give each a `client_id` of its own"
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("url: mqtt://b", "url: mqtt://b"),
        ("url: mqtt://b", "url: mqtt://b, client_id: pi"),
        ("url: [mqtt://a, mqtt://b]", "url: [mqtt://c, mqtt://b]"),
        ("url: mqtt://b", "url: mqtt://B:1883"),
    ],
)
def test_the_same_name_is_noticed_however_it_is_written(first, second):
    (warning,) = warnings(first, second)
    assert "the client_id 'pi' at b:1883 is sink 'a''s already" in warning


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("url: mqtt://b", "url: mqtt://c"),
        ("url: mqtt://b", "url: mqtt://b:1884"),
        ("url: mqtt://b", "url: mqtt://b, client_id: other"),
    ],
)
def test_other_names_or_brokers_are_not(first, second):
    assert warnings(first, second) == ()
