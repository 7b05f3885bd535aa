"""The JSON Schema of an options model, in the form that everything generated starts from."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from flowrunner.options import Duration, Size, format_duration, format_size

type Schema = dict[str, Any]

_MAPS = ("properties", "patternProperties")
_LISTS = ("anyOf", "oneOf", "allOf")
_SINGLE = ("additionalProperties", "items", "propertyNames")


def model_schema(model: type[BaseModel], prefix: str = "") -> tuple[Schema, dict[str, Schema]]:
    """Return the draft-07 schema of a model and the definitions it refers to, whose names begin with ``prefix``."""
    schema = model.model_json_schema(ref_template=f"#/definitions/{prefix}{{model}}")
    definitions = schema.pop("$defs", {})
    return _cleaned(schema), {f"{prefix}{name}": _cleaned(part) for name, part in definitions.items()}


def _cleaned(schema: Schema) -> Schema:
    """Return a schema as a person would write it: no titles, durations and sizes as text, unions by ``type``."""
    kept = {key: value for key, value in schema.items() if key not in ("title", "default")}
    for key in _MAPS:
        if key in kept:
            kept[key] = {name: _cleaned(part) for name, part in kept[key].items()}
    for key in _LISTS:
        if key in kept:
            kept[key] = [_cleaned(part) for part in kept[key]]
    for key in _SINGLE:
        if isinstance(kept.get(key), dict):
            kept[key] = _cleaned(kept[key])
    if "discriminator" in kept:
        kept |= _by_type(kept.pop("discriminator"), kept.pop("oneOf"))
    if (default := _default(kept, schema.get("default"))) is not None:
        kept["default"] = default
    if "$ref" in kept and len(kept) > 1:  # draft-07 ignores what stands beside a reference
        kept["allOf"] = [{"$ref": kept.pop("$ref")}]
    return kept


def _default(schema: Schema, default: Any) -> Any:
    """Return a default as it would be written; ``None`` when there is none, or none worth showing."""
    if default in (None, [], {}) or "$ref" in schema or schema.get("type") == "object":
        return None
    if isinstance(default, int) and not isinstance(default, bool):
        if is_duration(schema):
            return format_duration(default)
        if is_size(schema):
            return format_size(default)
        if schema.get("type") == "string":  # what a validator made of the text
            return None
    return default


def _by_type(discriminator: Schema, members: list[Schema]) -> Schema:
    """Return a union that says ``if`` the type is this ``then`` the options are these, so that errors are exact."""
    key = discriminator["propertyName"]
    value_of = {reference: value for value, reference in discriminator["mapping"].items()}
    chosen = {value_of[member["$ref"]]: member for member in members}
    return {
        "type": "object",
        "required": [key],
        "properties": {key: {"enum": list(chosen)}},
        "allOf": [when(key, value, member) for value, member in chosen.items()],
    }


def when(key: str, value: str, then: Schema) -> Schema:
    """Return the rule that ``then`` holds where ``key`` has the value."""
    return {"if": {"required": [key], "properties": {key: {"const": value}}}, "then": then}


def is_duration(schema: Schema) -> bool:
    """Return whether the schema, or a member of its union, is that of a duration."""
    return _has_pattern(schema, _DURATION)


def is_size(schema: Schema) -> bool:
    """Return whether the schema, or a member of its union, is that of a size."""
    return _has_pattern(schema, _SIZE)


def _has_pattern(schema: Schema, pattern: str) -> bool:
    return any(part.get("pattern") == pattern for part in [schema, *schema.get("anyOf", [])])


class _Patterns(BaseModel):
    duration: Duration
    size: Size


_DURATION, _SIZE = (part["pattern"] for part in _Patterns.model_json_schema()["properties"].values())
