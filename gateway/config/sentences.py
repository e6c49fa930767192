"""What a model did not like, as sentences for people: found, expected, what to do; each at its place in the file.

pydantic knows where (`loc`) and what kind (`type`); what was expected is read off the model's JSON Schema, so the
authors of drivers write no messages.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.errors import PydanticInvalidForJsonSchema

from gateway.config.nodes import BrokenNode, MapNode, Node, Path, Place, ScalarNode, found, inner, shown
from gateway.config.scalars import hint
from gateway.errors import Problem
from gateway.event import ID_PATTERN
from gateway.options import SIZE_UNITS_BYTES, did_you_mean, duration_text

Schema = Mapping[str, Any]

_BOUNDS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}
_OTHERS = {
    "string_too_short": "at least {min_length} characters",
    "string_too_long": "at most {max_length} characters",
    "too_short": "at least {min_length} entries",
    "too_long": "at most {max_length} entries",
    "finite_number": "a finite number",
}
_FROM_SCHEMA = frozenset({
    "int_type", "int_from_float", "float_type", "bool_type", "string_type", "list_type", "tuple_type", "set_type",
    "dict_type", "model_type", "model_attributes_type", "literal_error", "enum", "path_type", "none_required",
    "is_instance_of", "mapping_type", "bytes_type",
})  # fmt: skip
"""Kinds whose whole expectation stands in the schema."""

_TYPE_NAMES = {
    "boolean": "true or false", "integer": "a whole number", "number": "a number", "string": "a text",
    "array": "a list", "object": "a mapping", "null": "nothing",
}  # fmt: skip
_NAME_EXPECTED = "lower-case letters, digits, - and _, beginning with a letter or a digit"


class _Wrong(NamedTuple):
    """One complaint of a model: what stands there, where that is in the document, and what the schema wants there."""

    error: Any
    node: Node
    path: Path
    schema: Schema


def problems(
    error: ValidationError, model: type[BaseModel], node: MapNode, path: Path, also_known: Iterable[str] = ()
) -> Iterator[Problem]:
    """Everything that `model` did not like about `node`, which stands at `path`. What is broken already is skipped.

    `also_known` are keys that are read by another model.
    """
    whole = _schema_of(model)
    for detail in error.errors(include_url=False, include_input=False):
        loc = detail["loc"]
        kind = detail["type"]
        if kind in {"missing", "extra_forbidden"} or loc[-1:] == ("[key]",):
            below, steps = _walk(node, loc[:-2] if loc[-1] == "[key]" else loc[:-1])
            wrong = _Wrong(detail, below, (*path, *steps), schema_at(whole, whole, steps))
            yield _about_key(wrong, str(loc[-2] if loc[-1] == "[key]" else loc[-1]), whole, () if steps else also_known)
            continue
        below, steps = _walk(node, loc)
        wrong = _Wrong(detail, below, (*path, *steps), schema_at(whole, whole, steps))
        if not isinstance(below, BrokenNode) and not _is_of_another_branch(wrong):
            yield below.place.problem(wrong.path, _about_value(wrong))


def _is_of_another_branch(wrong: _Wrong) -> bool:
    """A mapping where a mapping or a plain value may stand: what is wrong is within it, and is told of that branch."""
    branches = wrong.schema.get("anyOf", ())
    mapping = any(branch.get("type") == "object" for branch in branches)
    return wrong.error["type"] in _FROM_SCHEMA and mapping and isinstance(wrong.node, MapNode)


def _schema_of(model: type[BaseModel]) -> Schema:
    try:
        return model.model_json_schema(by_alias=True)
    except PydanticInvalidForJsonSchema:  # a driver's own type: its messages are pydantic's
        return {}


def _walk(node: Node, loc: Sequence[str | int]) -> tuple[Node, Path]:
    """Follow `loc` through the document. Steps that only name the branch of a union are not in it."""
    steps: list[str | int] = []
    for step in loc:
        below = inner(node, step)
        if below is not None:
            node = below
            steps.append(step)
    return node, tuple(steps)


def _about_key(wrong: _Wrong, key: str, whole: Schema, also_known: Iterable[str]) -> Problem:
    keys = wrong.node.keys if isinstance(wrong.node, MapNode) else {}
    place: Place = keys.get(key, wrong.node.place)
    path = (*wrong.path, key)
    match wrong.error["type"]:
        case "missing":
            wanted = schema_at(wrong.schema, whole, (key,))
            what = f": {wanted['description']}" if "description" in wanted else ""
            return place.problem(path, f"missing, expected {expected(wanted)}{what}")
        case "extra_forbidden":
            return place.problem(path, unknown_key(key, [*properties(wrong.schema, whole), *also_known]))
        case _:
            return place.problem(path, f"found the key {shown(key)}, expected {_NAME_EXPECTED}")


def unknown_key(key: str, known: Iterable[str]) -> str:
    """The sentence for a key that nobody reads."""
    names = sorted(known)
    near = did_you_mean(key, names)
    listed = "" if near else f"; known here are: {', '.join(names)}" if names else "; no keys are known here"
    return f"unknown key {shown(key)}{near}{listed}"


def _about_value(wrong: _Wrong) -> str:
    what = found_for(wrong.node, wrong.schema)
    if wrong.error["type"] in {"value_error", "assertion_error"}:
        said = str(wrong.error["ctx"]["error"])
        if not isinstance(wrong.node, ScalarNode):  # about several keys together
            return said
        return f"found {what}{', ' if said.startswith('expected') else ': '}{said}"
    if isinstance(wrong.node, ScalarNode) and isinstance(wrong.node.value, SecretStr):
        return "found a secret, but this value is no secret to the gateway and would be shown: write it here"
    return f"found {what}{_but_wanted(wrong)}"


def _but_wanted(wrong: _Wrong) -> str:
    kind, context = wrong.error["type"], wrong.error.get("ctx", {})
    if kind in _FROM_SCHEMA:
        return f", expected {expected(wrong.schema)}{_hint(wrong)}"
    if kind in _BOUNDS:
        return f", expected {_bounded(kind, context, wrong.schema)}"
    if kind in _OTHERS:
        return f", expected {_OTHERS[kind].format(**context)}"
    if kind == "string_pattern_mismatch":
        return f", expected {expected(wrong.schema)}"
    said = str(wrong.error["msg"])
    return f": {said[:1].lower()}{said[1:]}"


def found_for(node: Node, schema: Schema) -> str:
    """`found`, but never what may be a secret written into the file."""
    return "a value that is not shown" if is_secret(schema) and isinstance(node, ScalarNode) else found(node)


def is_secret(schema: Schema) -> bool:
    return any(branch.get("format") == "password" for branch in (schema, *schema.get("anyOf", ())))


def _hint(wrong: _Wrong) -> str:
    node = wrong.node
    if not isinstance(node, ScalarNode) or isinstance(node.value, SecretStr) or is_secret(wrong.schema):
        return ""
    branches = wrong.schema.get("anyOf", [wrong.schema])
    wanted = {branch.get("type", "") for branch in branches if "enum" not in branch} - {"null"}
    return hint(node.text, node.value, wanted, quoted=node.quoted)


def _bounded(kind: str, context: Mapping[str, Any], schema: Schema) -> str:
    key, words = _BOUNDS[kind]
    branch = next((b for b in schema.get("anyOf", [schema]) if b.get("type") != "null"), schema)
    if {"minimum", "maximum"} & branch.keys():
        return expected(branch)
    return f"{words} {with_unit(context[key], branch)}"


def with_unit(value: Any, schema: Schema) -> str:
    """A number as the YAML would have it: with its unit where the schema is that of a duration or a size."""
    pattern = schema.get("pattern", "")
    if "(ms|s|m|h|d)" in pattern:
        return duration_text(value)
    per_day = "/day" if "/day" in pattern else ""
    return f"{size_text(value)}{per_day}" if "KiB" in pattern else str(value)


def size_text(bytes_: int) -> str:
    """Bytes as the YAML writes them, in the largest unit that leaves a whole number: `512MB`, `64KiB`."""
    for unit, unit_bytes in sorted(SIZE_UNITS_BYTES.items(), key=lambda row: -row[1]):
        if bytes_ and bytes_ % unit_bytes == 0:
            return f"{bytes_ // unit_bytes}{unit}"
    return "0B"


def schema_at(schema: Schema, whole: Schema, steps: Sequence[str | int]) -> Schema:
    """The part of a JSON Schema that describes what stands at `steps`; empty where it says nothing."""
    schema = _resolved(schema, whole)
    if "anyOf" in schema:
        schema = {**schema, "anyOf": [_resolved(branch, whole) for branch in schema["anyOf"]]}
    if not steps:
        return schema
    for branch in schema.get("anyOf", [schema]):
        below = _below(branch, steps[0])
        if below:
            return schema_at(below, whole, steps[1:])
    return {}


def _below(schema: Schema, step: str | int) -> Schema:
    if isinstance(step, int):
        fixed = schema.get("prefixItems", [])
        chosen = fixed[step] if step < len(fixed) else schema.get("items", {})
    else:
        choices = [schema.get("properties", {}).get(step), *schema.get("patternProperties", {}).values()]
        chosen = next(filter(None, choices), schema.get("additionalProperties", {}))
    return chosen if isinstance(chosen, dict) else {}


def properties(schema: Schema, whole: Schema) -> list[str]:
    """The keys that a mapping may have."""
    branches = (_resolved(branch, whole) for branch in schema.get("anyOf", [schema]))
    return [name for branch in branches for name in branch.get("properties", {})]


def _resolved(schema: Schema, whole: Schema) -> Schema:
    if "$ref" not in schema:
        return schema
    definition: Schema = whole["$defs"][schema["$ref"].rpartition("/")[2]]
    return {**definition, **{key: value for key, value in schema.items() if key != "$ref"}}


def expected(schema: Schema) -> str:
    """What a JSON Schema wants, in words: `a whole number from 0 to 27`, `'up' or 'down'`."""
    if "anyOf" in schema:
        branches = [branch for branch in schema["anyOf"] if branch.get("type") != "null"]
        return " or ".join(dict.fromkeys(map(expected, branches)))
    if "enum" in schema:
        *others, last = map(_literal, schema["enum"])
        return f"{', '.join(others)} or {last}" if others else last
    if "const" in schema:
        return _literal(schema["const"])
    if "format" in schema and schema["format"] in {"password", "path", "file-path"}:
        return "a secret, as `!secret name`" if schema["format"] == "password" else "a path"
    kind = schema.get("type")
    if not isinstance(kind, str):
        return " or ".join(_TYPE_NAMES[one] for one in kind) if kind else "a value"
    return _pattern_words(schema) if "pattern" in schema else _TYPE_NAMES.get(kind, "a mapping") + _range(schema)


def _pattern_words(schema: Schema) -> str:
    pattern = schema["pattern"]
    if pattern == f"^{ID_PATTERN}$":
        return _NAME_EXPECTED
    if "(ms|s|m|h|d)" in pattern:
        return "a duration such as 10s, 500ms, 5m or 1h30m"
    return "a size such as 512MB or 64kB" if "KiB" in pattern else f"a text of the form {pattern}"


def _literal(value: object) -> str:
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)


def _range(schema: Schema) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f" from {low} to {high}"
    if low is not None:
        return f" of at least {low}"
    if high is not None:
        return f" of at most {high}"
    if "exclusiveMinimum" in schema:
        return f" above {schema['exclusiveMinimum']}"
    return f" below {schema['exclusiveMaximum']}" if "exclusiveMaximum" in schema else ""
