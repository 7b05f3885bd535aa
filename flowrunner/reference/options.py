"""The options of a type as rows of a table, for pages and the terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
from pydantic import BaseModel

from flowrunner.node import NodeOptions
from flowrunner.options import Options
from flowrunner.reference.model import Schema, is_duration, is_size, model_schema

FROM_DESCRIPTION = "Where messages come from: the id of a node, its port as `id.port`, or a list of these."


class Option(msgspec.Struct, frozen=True):
    """One option: ``default`` is YAML, ``None`` when there is none."""

    name: str
    type: str
    required: bool
    default: str | None
    description: str


class Table(msgspec.Struct, frozen=True):
    """The options of a mapping; ``of`` names the option that holds it, and is empty at the top.

    ``when`` is set when the option can hold several mappings: what chooses this one.
    """

    of: str
    when: str
    description: str
    options: list[Option]


def node_tables(model: type[NodeOptions]) -> list[Table]:
    """Return the options of a node type without those that every node has, then those of nested mappings."""
    return _tables(model, leave_out=frozenset(NodeOptions.model_fields))


def common_tables() -> list[Table]:
    """Return the options that every node has, and the wires that every node but a source has."""
    first, *nested = _tables(NodeOptions, leave_out=frozenset({"type"}))
    wires = Option("from", "name or list of names", False, None, f"{FROM_DESCRIPTION} Not for sources.")
    return [Table("", "", first.description, [wires, *first.options]), *nested]


def connection_tables(model: type[Options]) -> list[Table]:
    """Return the options of a connection type."""
    return _tables(model, leave_out=frozenset())


def _tables(model: type[BaseModel], *, leave_out: frozenset[str]) -> list[Table]:
    schema, definitions = model_schema(model)
    schema["properties"] = {
        name: part for name, part in schema["properties"].items() if name not in leave_out
    }
    return list(_walk("", "", schema, definitions))


def _walk(of: str, when: str, schema: Schema, definitions: dict[str, Schema]) -> Iterator[Table]:
    properties: Schema = schema.get("properties", {})
    required = schema.get("required", [])
    options = [_option(name, part, definitions, name in required) for name, part in properties.items()]
    yield Table(of, when, schema.get("description", ""), options)
    for name, part in properties.items():
        path = f"{of}.{name}" if of else name
        for chosen, nested in _nested(part, definitions):
            yield from _walk(path, chosen, nested, definitions)


def _nested(schema: Schema, definitions: dict[str, Schema]) -> Iterator[tuple[str, Schema]]:
    """Yield the mappings with options of their own that a value can be, and what chooses each of several."""
    if isinstance(schema.get("additionalProperties"), dict):
        yield from _nested(schema["additionalProperties"], definitions)
    for part in [schema, *schema.get("anyOf", []), *schema.get("allOf", [])]:
        reference = part.get("then", part).get("$ref")
        target = definitions[_name(reference)] if reference else {}
        if "properties" in target:
            chosen = [
                f"{key}: {value['const']}" for key, value in part.get("if", {}).get("properties", {}).items()
            ]
            yield ", ".join(chosen), target


def _name(reference: str) -> str:
    return reference.removeprefix("#/definitions/")


def _option(name: str, schema: Schema, definitions: dict[str, Schema], required: bool) -> Option:
    default = json.dumps(schema["default"], ensure_ascii=False).strip('"') if "default" in schema else None
    return Option(name, in_words(schema, definitions), required, default, schema.get("description", ""))


_WORDS = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "object": "mapping",
    "array": "list",
    "null": "nothing",
}


def in_words(schema: Schema, definitions: dict[str, Schema]) -> str:
    """Return what a value of the schema is, as a person would say it."""
    if "$ref" in schema:
        return in_words(definitions[_name(schema["$ref"])], definitions)
    if schema.get("allOf"):
        return in_words(schema["allOf"][0].get("then", schema["allOf"][0]), definitions)
    if "anyOf" in schema:
        kinds = [in_words(part, definitions) for part in schema["anyOf"] if part.get("type") != "null"]
        return "any value" if len(kinds) > 5 else " or ".join(dict.fromkeys(kinds))
    return _scalar(schema) or _collection(schema, definitions)


def _scalar(schema: Schema) -> str | None:
    if schema.get("format") == "cel":
        return "expression"
    if is_duration(schema):
        return "duration"
    if is_size(schema):
        return "size"
    if schema.get("format") == "password":
        return "secret text"
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return _either([f"`{value}`" for value in schema["enum"]])
    kind = schema.get("type")
    if kind in ("integer", "number"):
        return _WORDS[kind] + _limits(schema)
    return _WORDS[kind] if kind in ("string", "boolean", "null") else None


def _collection(schema: Schema, definitions: dict[str, Schema]) -> str:
    if "type" not in schema:
        return "any value"
    kind: Any = schema["type"]
    if isinstance(kind, list):
        return _either([_WORDS[name] for name in kind])
    inner = schema.get("items") or schema.get("additionalProperties")
    if isinstance(inner, dict) and (what := in_words(inner, definitions)) != "any value":
        return f"{_WORDS[kind]} of {_plural(what)}"
    return _WORDS[kind]


def _plural(what: str) -> str:
    return (
        f"{what}s"
        if what in ("text", "expression", "duration", "size", "number", "whole number", "mapping")
        else what
    )


def _limits(schema: Schema) -> str:
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    if low is not None and high is not None:
        return f", {low} to {high}"
    if low is not None:
        return f", {'more than' if 'exclusiveMinimum' in schema else 'at least'} {low}"
    return f", at most {high}" if high is not None else ""


def _either(names: list[str]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
