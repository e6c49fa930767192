"""What may be said about a broker in the YAML."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.sink import Identity, Nothing
from gateway.sinks.mqtt import MqttSink
from gateway.sinks.mqtt_options import Address, MqttOptions, client_id, parse_url


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("mqtt://broker.local", Address("broker.local", 1883, False)),
        ("mqtts://broker.local", Address("broker.local", 8883, True)),
        ("mqtt://127.0.0.1:1884/", Address("127.0.0.1", 1884, False)),
        ("mqtts://[fe80::1]:8884", Address("fe80::1", 8884, True)),
        ("MQTT://Broker", Address("broker", 1883, False)),
        ("ws://broker", Address("broker", 80, False, "/mqtt")),
        ("wss://broker:8443/some/path", Address("broker", 8443, True, "/some/path")),
        ("wss://broker/", Address("broker", 443, True, "/")),
    ],
)
def test_a_url_names_a_broker(url: str, address: Address) -> None:
    assert parse_url(url) == address


WRONG_URLS = [
    ("broker.local", "no scheme: expected mqtt://host"),
    ("http://broker.local", "scheme 'http' is not MQTT: expected mqtt://host"),
    ("mqtt://", "no host"),
    ("mqtt://:1883", "no host"),
    ("mqtt://broker:0", "port 0"),
    ("mqtt://broker:99999", "the host or port cannot be read"),
    ("mqtt://broker:abc", "the host or port cannot be read"),
    ("mqtt://[::1", "the host or port cannot be read"),
    ("mqtt://broker/topic", "nothing may follow the port"),
    ("mqtt://broker?x=1", "nothing may follow the port"),
    ("ws://broker/mqtt?token=x", "nothing may follow the port or path"),
    ("wss://broker/a b", "the path cannot be read"),
    ("wss://broker/a\r\nX: y", "the path cannot be read"),
    ("mqtt://bro ker", "is not a host name"),
    ("mqtt://a..b", "is not a host name"),
    ("mqtt://pi:hunter2@broker", "a URL holds no login: write `username:` and `password: !secret name`"),
    ("mqtt://pi:hun/ter2@broker", "the host or port cannot be read|holds no login"),
    ("", "no scheme"),
]


@pytest.mark.parametrize(("url", "sentence"), WRONG_URLS)
def test_a_wrong_url_is_explained(url: str, sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence) as caught:
        MqttOptions.model_validate({"url": url})
    assert "hunter2" not in str(caught.value)


@given(st.text())
def test_any_text_is_an_address_or_a_value_error(text: str) -> None:
    try:
        address = parse_url(text)
    except ValueError:
        return
    assert address.host
    assert 1 <= address.port <= 65535


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"version": 3.1}, "MQTT has no version 3.1: expected 5 or 3.1.1"),
        ({"version": 5.0}, "MQTT has no version 5.0"),
        ({"version": True}, "Input should be '5' or '3.1.1'"),
        ({"version": "3.1"}, "Input should be '5' or '3.1.1'"),
        ({"version": 4}, "Input should be '5' or '3.1.1'"),
        ({"window": 0}, "greater than or equal to 1"),
        ({"window": 65536}, "less than or equal to 65535"),
        ({"keepalive": 30}, "a duration needs a unit"),
        ({"keepalive": "100ms"}, "greater than or equal to 1"),
        ({"password": "x"}, "`password` without `username`"),
        ({"ca": "/etc/ca.pem"}, "`ca` has no meaning without TLS"),
        ({"base": "a/+/b"}, "expected a topic"),
        ({"base": "/a"}, "expected a topic"),
        ({"base": "a/"}, "expected a topic"),
        ({"base": "$SYS"}, "expected a topic"),
        ({"base": ""}, "expected a topic"),
        ({"client_id": ""}, "at least 1 character"),
        ({"usrname": "x"}, "Extra inputs are not permitted"),
    ],
)
def test_a_wrong_option_is_explained(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        MqttOptions.model_validate({"url": "mqtt://broker", **options})


def test_defaults_are_for_a_small_link() -> None:
    options = MqttOptions.model_validate({"url": "mqtt://broker"})
    assert (options.version, options.window, options.keepalive_s, options.base) == ("5", 100, 30.0, "gateway")
    assert MqttOptions.model_validate({"url": "mqtt://broker", "version": 5}).version == "5"


def test_a_password_is_not_shown() -> None:
    options = MqttOptions.model_validate({"url": "mqtts://b", "username": "pi", "password": "hunter2", "ca": "/ca.pem"})
    assert "hunter2" not in repr(options)
    assert options.password is not None
    assert options.password.get_secret_value() == "hunter2"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({}, []),
        ({"version": "3.1.1"}, ["version"]),
        ({"username": "pi", "password": "x"}, ["url"]),
        ({"username": "pi", "password": "x", "url": "mqtts://broker"}, []),
        ({"username": "pi", "password": "x", "url": "mqtt://127.0.0.1"}, []),
        ({"username": "pi", "password": "x", "url": "mqtt://[::1]"}, []),
        ({"username": "pi", "password": "x", "url": "mqtt://localhost"}, []),
    ],
)
def test_what_weakens_a_promise_is_a_caution(options: dict[str, object], named: list[str]) -> None:
    parsed = MqttOptions.model_validate({"url": "mqtt://broker.local", **options})
    assert [option for option, _ in MqttSink.cautions(parsed)] == named


def test_the_schema_describes_every_option() -> None:
    schema = MqttOptions.model_json_schema(by_alias=True)
    assert set(schema["properties"]) == {
        "url", "username", "password", "ca", "cert", "key", "version", "keepalive", "client_id", "base", "topics",
        "payload", "window",
    }  # fmt: skip
    assert all(one["description"] for one in schema["properties"].values())


@pytest.mark.parametrize(
    ("named", "gateway_id", "marks", "expected"),
    [
        (None, "pi", {}, "pi"),
        ("mine", "pi", {}, "mine"),
        (None, "pi", {"probe": True}, "pi-test"),
        ("mine", "pi", {"probe": True}, "mine-test"),
        (None, "pi-sim", {"simulated": True}, "pi-sim"),
        ("mine", "pi-sim", {"simulated": True}, "mine-sim"),
    ],
)
def test_who_only_tries_does_not_take_over_productions_connection(named, gateway_id, marks, expected):
    options = MqttOptions.model_validate({"url": "mqtt://b", "client_id": named})
    assert client_id(options, Identity(gateway_id, "5f0c9a31d2e47b88", Nothing(), **marks)) == expected
