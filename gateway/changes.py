"""How a changed part of the configuration is put into words: `pin 17 -> 27`. Pure.

Values are shown as the YAML writes them. Secrets are compared by value and never shown: only that there is another one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr
from pydantic.errors import PydanticInvalidForJsonSchema

from gateway.config.channel import Deadband
from gateway.config.model import DeviceConfig, SinkConfig
from gateway.config.schema import describe
from gateway.config.sentences import is_secret, with_unit
from gateway.options import Options, duration_text

VALUE_CHARS_MAX: Final = 40

_SCALARS = (bool, int, float, str, Path, Deadband)
_LOGIN = re.compile(r"://[^\s/@]*@")

Words = tuple[str, ...]


def device_changes(old: DeviceConfig, new: DeviceConfig) -> Words:
    """What is different between two devices of one id; empty where nothing is."""
    if old == new:
        return ()
    if old.driver is not new.driver:
        return _kind("driver", old.driver.name, new.driver.name)
    words = [
        *_every(old.every_s, new.every_s),
        *_differences("timeout", old.timeout_s, new.timeout_s, {"pattern": "(ms|s|m|h|d)"}),
        *options_changes(old.options, new.options),
        *_differences("channels", old.channels, new.channels),
        *_differences("simulate", old.simulate or {}, new.simulate or {}),
    ]
    return tuple(words) or ("options",)


def sink_changes(old: SinkConfig, new: SinkConfig) -> Words:
    """What is different between two sinks of one id; empty where nothing is."""
    if old == new:
        return ()
    if old.sink is not new.sink:
        return _kind("sink", old.sink.name, new.sink.name)
    words = (*options_changes(old.options, new.options), *options_changes(old.events, new.events, "events."))
    return words or ("options",)


def options_changes(old: Options, new: Options, prefix: str = "") -> Words:
    """What is different between two values of one options model."""
    if old == new:
        return ()
    schemas = _schemas(type(new))
    found: list[str] = []
    for name, info in type(new).model_fields.items():
        key = info.alias or name
        found += _differences(prefix + key, getattr(old, name, None), getattr(new, name), schemas.get(key, {}))
    return tuple(found)


def _schemas(model: type[Options]) -> Mapping[str, Any]:
    try:
        found: Mapping[str, Any] = describe(model).get("properties", {})
    except PydanticInvalidForJsonSchema:  # a driver's own type: its values are shown without units
        return {}
    return found


def _kind(key: str, old: str, new: str) -> Words:
    return (f"{key} {old} -> {new}",) if old != new else (f"another {key} of the same name",)


def _every(old: float | None, new: float | None) -> Words:
    if old == new or old is None or new is None:  # who pushes has none, and so have all of one driver
        return ()
    return (f"every {duration_text(old)} -> {duration_text(new)}",)


def _differences(key: str, old: Any, new: Any, schema: Mapping[str, Any] | None = None) -> Iterator[str]:
    """One entry for each place that differs below `key`."""
    schema = schema or {}
    if old == new:
        return
    if is_secret(schema) or isinstance(old, SecretStr) or isinstance(new, SecretStr):
        yield f"{key} is another secret"
    elif isinstance(old, Options) and type(old) is type(new):
        yield from options_changes(old, new, f"{key}.")
    elif isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in dict.fromkeys([*old, *new]):
            yield from _differences(f"{key}.{name}", old.get(name), new.get(name))
    elif all(value is None or isinstance(value, _SCALARS) for value in (old, new)):
        yield f"{key} {_text(old, schema)} -> {_text(new, schema)}"
    else:
        yield key


def _text(value: Any, schema: Mapping[str, Any]) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = with_unit(value, schema) if isinstance(value, (int, float)) else str(value)
    text = _LOGIN.sub("://***@", text)
    return text if len(text) <= VALUE_CHARS_MAX else f"{text[: VALUE_CHARS_MAX - 1]}…"
