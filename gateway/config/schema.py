"""A JSON Schema of the configuration, for editors: built from the drivers and sinks that are installed.

Draft 7, because that is what YAML editors understand. Each entry of `devices` and `sinks` is a table of cases: if
`driver` is `button`, then the keys are the common ones and those of button's options, and no others.

An editor sees less than `gateway check`: uniqueness, channels' names and files are judged there only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

from gateway.config.model import BufferConfig, DeviceEntry, GatewayConfig, HttpConfig, SinkEntry
from gateway.config.sentences import with_unit
from gateway.errors import PluginError
from gateway.options import Options
from gateway.plugins import Plugins
from gateway.simulate.signals import signal_schema

DRAFT = "http://json-schema.org/draft-07/schema#"

Json = dict[str, Any]

_INCLUDED = {"type": "string", "pattern": r"\.ya?ml$", "description": "`!include file`"}
_DROPPED = frozenset({"title", "writeOnly"})


def build_schema(plugins: Plugins) -> tuple[Json, list[str]]:
    """The schema, and a sentence for each driver or sink that is missing from it because it does not load."""
    from gateway.action import NotifierConfig  # noqa: PLC0415 - `changes` needs this module, not what rules are made of
    from gateway.rules.model import RuleConfig  # noqa: PLC0415

    missing: list[str] = []
    drivers = _options(plugins.driver_names(), plugins.driver, missing)
    sinks = _options(plugins.sink_names(), plugins.sink, missing)
    device = _entry(DeviceEntry, "driver", drivers)
    device["properties"]["simulate"] = _simulate(device["properties"]["simulate"])
    return {
        "$schema": DRAFT,
        "title": "Sensor event gateway",
        "description": "What the gateway reads: `gateway check` judges it in full.",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "gateway": _section(GatewayConfig, defaulted=("id",)),
            "devices": _list_of(device, "everything that is read, each entry one device"),
            "sinks": _list_of(_entry(SinkEntry, "sink", sinks), "where events are sent, each entry one destination"),
            "rules": _list_of(describe(RuleConfig), "what events mean: each entry one rule"),
            "buffer": _section(BufferConfig, defaulted=("path",)),
            "http": _section(HttpConfig, defaulted=()),
            "notify": _section(NotifierConfig, defaulted=()),
        },
    }, missing


def describe(model: type[BaseModel]) -> Json:
    """The schema of one model: no references, defaults as the YAML writes them, no word about null."""
    whole = model.model_json_schema(by_alias=True)
    tidy: Json = _tidy(whole, whole.get("$defs", {}))
    return tidy


def _options(names: Iterable[str], load: Any, missing: list[str]) -> dict[str, tuple[str, Json]]:
    """Name -> (summary, schema of its options)."""
    described: dict[str, tuple[str, Json]] = {}
    for name in names:
        try:
            plugin = load(name)
            described[name] = (plugin.summary, describe(plugin.Options))
        except PluginError as error:
            missing.append(str(error))
    return described


def _entry(common: type[Options], key: str, cases: Mapping[str, tuple[str, Json]]) -> Json:
    """An entry of a list: the common keys, and one case for each name that `key` may have."""
    entry = describe(common)
    del entry["additionalProperties"]  # each case closes the list of keys
    entry["properties"][key] |= {
        "enum": list(cases),
        "enumDescriptions": [summary for summary, _ in cases.values()],
    }
    shared = dict.fromkeys(entry["properties"], True)
    entry["allOf"] = [
        {
            "if": {"properties": {key: {"const": name}}, "required": [key]},
            "then": {
                "properties": {**options.get("properties", {}), **shared},
                "required": options.get("required", []),
                "additionalProperties": False,
            },
        }
        for name, (_, options) in cases.items()
    ]
    return entry


def _simulate(schema: Json) -> Json:
    signals = {"type": "object", "additionalProperties": signal_schema(), "description": "channel -> its signal"}
    return {"description": schema["description"], "anyOf": [{"const": False}, signals]}


def _section(model: type[Options], defaulted: Iterable[str]) -> Json:
    """A section whose keys are all optional: what the machine gives is required only of the model."""
    section = describe(model)
    section["required"] = [key for key in section.get("required", []) if key not in defaulted]
    return {"anyOf": [section, {"type": "null"}, _INCLUDED], "description": section.get("description", "")}


def _list_of(entry: Json, description: str) -> Json:
    return {"description": description, "anyOf": [{"type": "array", "items": entry}, {"type": "null"}, _INCLUDED]}


def _tidy(node: Any, definitions: Mapping[str, Json]) -> Any:
    """The schema as an editor wants it; see `describe`."""
    if isinstance(node, list):
        return [_tidy(part, definitions) for part in node]
    if not isinstance(node, dict):
        return node
    node = _without_null(node)
    if "$ref" in node:
        name = node["$ref"].rpartition("/")[2]
        node = {**definitions.get(name, {}), **{key: value for key, value in node.items() if key != "$ref"}}
        definitions = {key: value for key, value in definitions.items() if key != name}  # no model is inside itself
    tidy = {key: _tidy_value(key, value, definitions) for key, value in node.items() if key not in _DROPPED | {"$defs"}}
    return _with_default(tidy, node)


def _tidy_value(key: str, value: Any, definitions: Mapping[str, Json]) -> Any:
    if key in {"properties", "patternProperties"}:  # its keys are names, not words of JSON Schema
        return {name: _tidy(schema, definitions) for name, schema in value.items()}
    return value if key in {"default", "examples", "enum", "const"} else _tidy(value, definitions)


def _without_null(node: Json) -> Json:
    """`anyOf` of one schema and null is that schema: leaving the key out is how the YAML says null."""
    branches = [branch for branch in node.get("anyOf", ()) if branch.get("type") != "null"]
    if len(branches) != 1:
        return node
    return {**branches[0], **{key: value for key, value in node.items() if key != "anyOf"}}


def _with_default(tidy: Json, node: Json) -> Json:
    default = node.get("default")
    if isinstance(default, dict) or default is None:
        tidy.pop("default", None)
    elif not isinstance(default, str):
        tidy["default"] = with_unit(default, node) if node.get("type") == "string" else default
    return tidy
