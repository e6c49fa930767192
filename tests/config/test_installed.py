"""With the drivers and sinks that are installed: samples, the shipped configuration, the page's example, the schema."""

from __future__ import annotations

import re
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import yaml

from gateway.config import load_config, parse_config
from gateway.config.host import Host
from gateway.config.rules import written
from gateway.config.schema import build_schema
from gateway.plugins import Plugins
from gateway.rules.select import names
from tests.config.parts import HOST
from tests.config.test_readme import PAGE

ROOT = Path(__file__).parents[2]
SAMPLES = sorted(ROOT.glob("drivers/*/sample.yaml"))
SHIPPED = ROOT / "config/gateway.yaml"
INSTALLED = Plugins()


class _Tags(yaml.SafeLoader):
    """An editor's reading: our tags are texts."""


_Tags.add_constructor("!secret", lambda loader, node: loader.construct_scalar(node))
_Tags.add_constructor("!include", lambda loader, node: loader.construct_scalar(node))


@pytest.fixture(scope="module")
def schema():
    built, missing = build_schema(INSTALLED)
    assert missing == []
    return built


def _matches(value, schema) -> bool:
    """Whether a value fits a JSON Schema: the words of draft 7 that ours uses, and no others."""
    if isinstance(schema, bool):
        return schema
    return all(_WORDS[word](schema[word], value, schema) for word in schema if word not in _NOTES)


def _is(kind, value) -> bool:
    types = {"string": str, "boolean": bool, "array": list, "object": dict, "null": type(None), "integer": int}
    if kind in {"integer", "number"}:
        return isinstance(value, int if kind == "integer" else int | float) and not isinstance(value, bool)
    return isinstance(value, types[kind])


def _additional(allowed, value, schema) -> bool:
    known = schema.get("properties", {})
    patterns = schema.get("patternProperties", {})
    rest = [v for k, v in _items(value) if k not in known and not any(re.search(p, k) for p in patterns)]
    return all(_matches(one, allowed) for one in rest)


def _items(value):
    return value.items() if isinstance(value, dict) else ()


_NOTES = {"$schema", "title", "description", "default", "examples", "enumDescriptions", "then", "format"}
_WORDS = {
    "type": lambda kinds, v, _: any(_is(kind, v) for kind in ([kinds] if isinstance(kinds, str) else kinds)),
    "enum": lambda values, v, _: v in values,
    "const": lambda value, v, _: v is value or (v == value and not isinstance(v, bool)),
    "pattern": lambda text, v, _: not isinstance(v, str) or re.search(text, v) is not None,
    "minimum": lambda bound, v, _: not _is("number", v) or v >= bound,
    "maximum": lambda bound, v, _: not _is("number", v) or v <= bound,
    "exclusiveMinimum": lambda bound, v, _: not _is("number", v) or v > bound,
    "exclusiveMaximum": lambda bound, v, _: not _is("number", v) or v < bound,
    "minLength": lambda bound, v, _: not isinstance(v, str) or len(v) >= bound,
    "maxLength": lambda bound, v, _: not isinstance(v, str) or len(v) <= bound,
    "minItems": lambda bound, v, _: not isinstance(v, list) or len(v) >= bound,
    "maxItems": lambda bound, v, _: not isinstance(v, list) or len(v) <= bound,
    "minProperties": lambda bound, v, _: not isinstance(v, dict) or len(v) >= bound,
    "maxProperties": lambda bound, v, _: not isinstance(v, dict) or len(v) <= bound,
    "items": lambda inner, v, _: not isinstance(v, list) or all(_matches(one, inner) for one in v),
    "required": lambda keys, v, _: not isinstance(v, dict) or set(keys) <= v.keys(),
    "properties": lambda inner, v, _: all(_matches(one, inner[k]) for k, one in _items(v) if k in inner),
    "patternProperties": lambda inner, v, _: all(
        _matches(one, s) for k, one in _items(v) for p, s in inner.items() if re.search(p, k)
    ),
    "propertyNames": lambda inner, v, _: all(_matches(k, inner) for k, _ in _items(v)),
    "additionalProperties": _additional,
    "anyOf": lambda branches, v, _: any(_matches(v, branch) for branch in branches),
    "oneOf": lambda branches, v, _: sum(_matches(v, branch) for branch in branches) == 1,
    "allOf": lambda branches, v, _: all(_matches(v, branch) for branch in branches),
    "if": lambda condition, v, schema: not _matches(v, condition) or _matches(v, schema["then"]),
}


@pytest.mark.parametrize("file", SAMPLES, ids=lambda file: file.parent.name)
@pytest.mark.parametrize("simulate", [False, True])
def test_every_drivers_sample_is_right(file, simulate):
    config = load_config(file, INSTALLED, simulate=simulate, host=HOST)
    assert file.parent.name in {device.driver.name for device in config.devices}


@pytest.mark.parametrize("file", [*SAMPLES, SHIPPED], ids=lambda file: file.parent.name)
def test_an_editor_takes_what_is_right(file, schema):
    assert _matches(yaml.load(file.read_text("utf-8"), _Tags), schema)


def test_the_shipped_configuration_is_right_and_calm():
    config = load_config(SHIPPED, INSTALLED, simulate=True, host=HOST)
    assert config.devices
    assert config.warnings == ()


def test_on_a_real_machine_nothing_that_is_made_of_signals_sounds_an_alarm():
    """What the shipped configuration sends or switches follows from real devices; signals are only logged."""
    config = load_config(SHIPPED, INSTALLED, host=HOST)
    synthetic = [
        (channel.kind, f"{device.id}/{channel.name}")
        for device in config.devices
        if device.driver.synthetic
        for channel in device.declared
    ]
    assert len(synthetic) == 3
    for rule in config.rules:
        actions = [*rule.do, *rule.on_cleared, *(rule.on_timeout.do if rule.on_timeout else ())]
        if any(action.log is None for action in actions):
            sources = [source for source, steps in written(rule) if steps[0] == "when"]
            assert not [one for source in sources for one in synthetic if names(source)(*one)], rule.id


@pytest.mark.parametrize("example", re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
def test_an_example_on_the_page_is_right(example, tmp_path, schema):
    (tmp_path / "mqtt-password").write_text("x")
    host = Host({"CREDENTIALS_DIRECTORY": str(tmp_path)}, "pi", "ab")
    assert parse_config(example, "gateway.yaml", INSTALLED, host=host).warnings == ()
    assert _matches(yaml.load(example, _Tags), schema)


@pytest.mark.parametrize(
    "text",
    [
        "devices: [{id: a, driver: button, pin: 99}]",
        "devices: [{id: a, driver: button, pin: 1, pul: up}]",
        "devices: [{id: a, driver: button}]",
        "devices: [{id: a, driver: thermal, pin: 1}]",
        "devices: [{id: a, driver: buton, pin: 1}]",
        "devices: [{id: A, driver: thermal}]",
        "devices: [{id: a, driver: thermal, every: 10}]",
        "devices: [{id: a, driver: thermal, simulate: true}]",
        "devices: [{id: a, driver: thermal, simulate: {temperature: {sinus: {}}}}]",
        "devices: [{id: a, driver: thermal, channels: {temperature: {dedband: 1}}}]",
        "sinks: [{id: a, sink: mqtt}]",
        "sinks: [{id: a, sink: mqtt, url: 'mqtt://x', pasword: x}]",
        "buffer: {keep: {size: 512}}",
        "gateway: {id: 'A b'}",
        "rulez: []",
        "devices: nothing",
    ],
)
def test_an_editor_underlines_what_is_wrong(text, schema):
    assert not _matches(yaml.load(text, _Tags), schema)


@pytest.mark.parametrize(
    "text",
    [
        "{}", "devices:", "devices: !include devices.yaml", "gateway: {labels: {site: north}}",
        "sinks: [{id: a, sink: mqtt, url: 'mqtt://x', username: a, password: !secret x}]",
        "devices: [{id: a, driver: thermal, simulate: false, timeout: 1m30s}]",
    ],
)  # fmt: skip
def test_an_editor_takes_short_forms(text, schema):
    assert _matches(yaml.load(text, _Tags), schema)


def test_the_schema_stands_alone_and_knows_nothing_of_null(schema):
    text = str(schema)
    assert "$ref" not in text
    assert "'title': 'Pin'" not in text
    assert schema["properties"]["devices"]["anyOf"][0]["items"]["properties"]["every"]["type"] == "string"
    assert schema["properties"]["buffer"]["anyOf"][0]["properties"]["keep"]["properties"]["for"]["default"] == "30d"


def test_a_driver_that_does_not_load_is_left_out_of_the_schema():
    plugins = Plugins()
    plugins._points["gateway.drivers"]["gone"] = EntryPoint("gone", "no_such_module:Gone", "gateway.drivers")
    built, missing = build_schema(plugins)
    assert "gone" not in built["properties"]["devices"]["anyOf"][0]["items"]["properties"]["driver"]["enum"]
    assert len(missing) == 1
