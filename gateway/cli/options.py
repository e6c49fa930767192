"""Options models as a person reads them: one row for each key, its type with unit, its default, its meaning.

Works on the model's JSON schema (draft 2020-12), because there every constraint and alias has one place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel, TypeAdapter

from gateway.options import DURATION_UNITS_S, SIZE_UNITS_BYTES, Duration, Size, SizePerDay

Schema = Mapping[str, Any]

DEPTH_MAX = 3
"""Options within options are listed this deep. Deeper ones are in the schema that `gateway schema` prints."""

SHAPE_COLUMNS_MAX = 40
"""Of more words than fit here to choose from, the meaning tells: that column wraps."""

_WORDS = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true/false", "null": ""}


class Option(NamedTuple):
    """One key. `name` has dots where it stands within another, `default` is what the YAML would say, None without."""

    name: str
    shape: str
    required: bool
    default: str | None
    meaning: str


def described(model: type[BaseModel], *, deep: bool = True) -> list[Option]:
    """Every option of a model; with `deep` also those within options."""
    schema = model.model_json_schema()
    return list(_Reader(schema.get("$defs", {}), DEPTH_MAX if deep else 1).options(schema))


def duration_text(seconds: float) -> str:
    """Seconds as the YAML says them: 0.02 -> `20ms`, 300 -> `5m`."""
    return _largest(seconds, DURATION_UNITS_S) if seconds else "0s"


def size_text(bytes_: float) -> str:
    """Bytes as the YAML says them: 512000000 -> `512MB`."""
    return _largest(bytes_, SIZE_UNITS_BYTES)


def _largest(amount: float, units: Mapping[str, float]) -> str:
    """The shortest text: a whole number of the largest unit that has one, else the smallest unit."""
    for name, factor in sorted(units.items(), key=lambda unit: -unit[1]):
        if amount >= factor and abs(amount / factor - round(amount / factor)) < 1e-9:
            return f"{round(amount / factor)}{name}"
    name = min(units, key=lambda unit: units[unit])
    return f"{amount / units[name]:g}{name}"


class _Reader:
    """Reads one schema. `defs` are the models that it refers to."""

    def __init__(self, defs: Schema, depth: int) -> None:
        self._defs, self._depth = defs, depth
        self._scalars = {
            TypeAdapter(Duration).json_schema()["pattern"]: ("duration", duration_text),
            TypeAdapter(Size).json_schema()["pattern"]: ("size", size_text),
            TypeAdapter(SizePerDay).json_schema()["pattern"]: ("size/day", lambda amount: f"{size_text(amount)}/day"),
        }

    def options(self, schema: Schema, prefix: str = "") -> Iterator[Option]:
        required = schema.get("required", ())
        for name, raw in schema.get("properties", {}).items():
            field = self._resolve(raw)
            meaning = " ".join((raw.get("description") or field.get("description", "")).split())
            shape = self.shape(field)
            if len(shape) > SHAPE_COLUMNS_MAX and "enum" in field:
                shape, meaning = "text", f"{meaning}: {', '.join(map(_scalar, field['enum']))}".lstrip(": ")
            yield Option(prefix + name, shape, name in required, self._default(field, raw.get("default")), meaning)
            inner, between = self._inner(field)
            if inner is not None and prefix.count(".") + 1 < self._depth:
                yield from self.options(inner, f"{prefix}{name}{between}.")

    def shape(self, schema: Schema) -> str:
        """What may stand there, in a few words."""
        schema = self._resolve(schema)
        if "anyOf" in schema or "oneOf" in schema:
            either = (self.shape(one) for one in schema.get("anyOf") or schema["oneOf"])
            return " or ".join(dict.fromkeys(filter(None, either)))
        if "const" in schema:
            return _scalar(schema["const"])
        if "enum" in schema:
            return " | ".join(map(_scalar, schema["enum"]))
        if schema.get("pattern") in self._scalars:
            return self._scalars[schema["pattern"]][0]
        return self._compound(schema)

    def _compound(self, schema: Schema) -> str:
        kind = schema.get("type", "anything")
        if kind == "array":
            return f"list of {self.shape(schema.get('items', {}))}"
        if kind == "object":
            return "mapping"
        if isinstance(kind, list):
            return " or ".join(_WORDS.get(str(one), str(one)) for one in kind if one != "null")
        return " ".join(filter(None, (_WORDS.get(kind, kind), _range(schema))))

    def _resolve(self, schema: Schema) -> Schema:
        """The schema itself, references and the alternative `or null` taken away."""
        if "$ref" in schema:
            return self._resolve({**self._defs[schema["$ref"].rpartition("/")[2]], **_without_ref(schema)})
        some = [one for one in schema.get("anyOf", ()) if one.get("type") != "null"]
        if len(some) == 1:
            rest = {key: value for key, value in schema.items() if key != "anyOf"}
            return self._resolve({**some[0], **rest})
        return schema

    def _inner(self, schema: Schema) -> tuple[Schema | None, str]:
        """The options within an option, and what stands between the two names."""
        if "properties" in schema:
            return schema, ""
        named = [*schema.get("patternProperties", {}).values(), schema.get("additionalProperties")]
        for found, between in ((schema.get("items"), "[]"), *((one, ".NAME") for one in named)):
            resolved = self._resolve(found) if isinstance(found, Mapping) else {}
            if "properties" in resolved:
                return resolved, between
        return None, ""

    def _default(self, schema: Schema, value: object) -> str | None:
        if value is None or value in ({}, []):
            return None
        if schema.get("pattern") in self._scalars and isinstance(value, int | float):
            return self._scalars[schema["pattern"]][1](value)
        return None if isinstance(value, Mapping) else _scalar(value)


def _without_ref(schema: Schema) -> Schema:
    return {key: value for key, value in schema.items() if key != "$ref"}


def _range(schema: Schema) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f"{low:g} to {high:g}"
    rows = (("minimum", "from"), ("exclusiveMinimum", "above"), ("maximum", "up to"), ("exclusiveMaximum", "below"))
    return " ".join(f"{word} {schema[key]:g}" for key, word in rows if key in schema)


def _scalar(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
