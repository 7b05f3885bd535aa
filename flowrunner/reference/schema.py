"""JSON Schemas (draft-07) of flow files, connections and tests, for editors and other tools."""

from __future__ import annotations

from pydantic import BaseModel

from flowrunner.config.model import NAME, FlowConfig
from flowrunner.node import NodeOptions
from flowrunner.reference.model import Schema, model_schema, when
from flowrunner.reference.options import FROM_DESCRIPTION
from flowrunner.reference.types import installed_connections, installed_nodes
from flowrunner.registry import ConnectionType, NodeType

DRAFT = "http://json-schema.org/draft-07/schema#"

VARIABLE = {
    "type": "string",
    "pattern": r"\$\{[^}]+\}",
    "description": "A variable, such as ${NAME} or ${file:PATH}.",
}

FROM: Schema = {
    "description": FROM_DESCRIPTION,
    "examples": ["states", "valid.rejected", ["states", "zigbee"]],
    "anyOf": [
        {"$ref": "#/definitions/port"},
        {"type": "array", "items": {"$ref": "#/definitions/port"}, "minItems": 1},
    ],
}
PORT = {"type": "string", "pattern": rf"^{NAME.pattern}(\.{NAME.pattern})?$"}

_COMMON = "every_node"


def flow_schema() -> Schema:
    """Return the schema of flow files, with all installed types."""
    schema, definitions = model_schema(FlowConfig)
    definitions |= _connections() | _nodes()
    schema["properties"]["connections"] |= _named("connection")
    schema["properties"]["nodes"] |= _named("node")
    schema["anyOf"] = [{"required": ["nodes"]}, {"required": ["connections"]}]
    return _document("A flow of flowrunner", schema, definitions)


def connections_schema() -> Schema:
    """Return the schema of files that hold connections only."""
    schema, definitions = model_schema(FlowConfig)
    kept = ("version", "description", "connections")
    schema["properties"] = {name: schema["properties"][name] for name in kept}
    schema["properties"]["connections"] |= _named("connection")
    schema["required"] = ["version", "connections"]
    return _document("Connections of flowrunner", schema, definitions | _connections())


def schema_of_tests(model: type[BaseModel]) -> Schema:
    """Return the schema of test files, which ``model`` reads."""
    schema, definitions = model_schema(model)
    return _document("Tests of a flow of flowrunner", schema, definitions)


def node_schema(type: NodeType) -> Schema:
    """Return the schema of one node of this type."""
    definitions = _common() | _node(type)
    return _document(type.summary, definitions.pop(f"node.{type.name}"), definitions)


def connection_schema(type: ConnectionType) -> Schema:
    """Return the schema of one connection of this type."""
    definitions = _connection(type)
    return _document(type.description, definitions.pop(f"connection.{type.name}"), definitions)


def _document(title: str, schema: Schema, definitions: dict[str, Schema]) -> Schema:
    return {"$schema": DRAFT, "title": title, **schema, "definitions": definitions}


def _named(what: str) -> Schema:
    return {
        "propertyNames": {"pattern": f"^{NAME.pattern}$"},
        "additionalProperties": {"$ref": f"#/definitions/{what}"},
    }


def _nodes() -> dict[str, Schema]:
    """Return the definitions of all nodes; ``node`` chooses by type."""
    types = installed_nodes()
    definitions = {"node": _choice("node", {type.name: type.summary for type in types})} | _common()
    for type in types:
        definitions |= _node(type)
    return definitions


def _connections() -> dict[str, Schema]:
    types = installed_connections()
    definitions = {"connection": _choice("connection", {type.name: type.summary for type in types})}
    for type in types:
        definitions |= _connection(type)
    return definitions


def _choice(what: str, summaries: dict[str, str]) -> Schema:
    """Return an object whose ``type`` says which definition holds: unlike `anyOf`, this gives exact errors."""
    return {
        "type": "object",
        "required": ["type"],
        "properties": {
            "type": {
                "description": f"The type of the {what}.",
                "enum": list(summaries),
                "markdownEnumDescriptions": list(summaries.values()),
            }
        },
        "allOf": [when("type", name, {"$ref": f"#/definitions/{what}.{name}"}) for name in summaries],
    }


def _common() -> dict[str, Schema]:
    """Return the definitions of the options that every node has."""
    schema, definitions = model_schema(NodeOptions)
    shared = {f"{_COMMON}.{name}": option for name, option in schema["properties"].items() if name != "type"}
    return {name: with_variables(part) for name, part in (definitions | shared).items()} | {"port": PORT}


def _node(type: NodeType) -> dict[str, Schema]:
    schema, definitions = model_schema(type.config, f"{type.name}.")
    own = {
        name: option for name, option in schema["properties"].items() if name not in NodeOptions.model_fields
    }
    common = [name for name in NodeOptions.model_fields if name != "type"]
    options: Schema = {"type": {"const": type.name, "description": type.summary}}
    options |= {} if type.kind == "source" else {"from": FROM}
    options |= {name: with_variables(option) for name, option in own.items()}
    options |= {name: {"$ref": f"#/definitions/{_COMMON}.{name}"} for name in common}
    required = [*schema.get("required", []), *(["from"] if type.kind != "source" else [])]
    used = {
        name: with_variables(part)
        for name, part in definitions.items()
        if name != f"{type.name}.BufferOptions"
    }
    return {f"node.{type.name}": _options(type.summary, options, required), **used}


def _connection(type: ConnectionType) -> dict[str, Schema]:
    schema, definitions = model_schema(type.config, f"{type.name}.")
    options: Schema = {"type": {"const": type.name, "description": type.summary}}
    options |= {name: with_variables(option) for name, option in schema["properties"].items()}
    required = ["type", *schema.get("required", [])]
    used = {name: with_variables(part) for name, part in definitions.items()}
    return {f"connection.{type.name}": _options(type.summary, options, required), **used}


def _options(description: str, properties: Schema, required: list[str]) -> Schema:
    return {
        "type": "object",
        "description": description,
        "required": required,
        "properties": properties,
        "additionalProperties": False,
    }


def with_variables(schema: Schema) -> Schema:
    """Return a schema that takes a ``${VARIABLE}`` for every value, except for expressions and ``type``."""
    kept = dict(schema)
    if "anyOf" in kept:
        parts = kept["anyOf"]
        kept["anyOf"] = [part if _is_narrow(part) else with_variables(part) for part in parts]
        if any(map(_is_narrow, parts)) and not any(map(_is_text, parts)):
            kept["anyOf"].append(VARIABLE)
    for key in ("items", "additionalProperties"):
        if isinstance(kept.get(key), dict):
            kept[key] = with_variables(kept[key])
    if "properties" in kept and "allOf" not in kept:  # with `allOf` it only holds the `type` that chooses
        kept["properties"] = {
            name: option if "const" in option else with_variables(option)
            for name, option in kept["properties"].items()
        }
    return _or_variable(kept) if _is_narrow(kept) else kept


_ABOUT = ("description", "examples", "default")


def _or_variable(schema: Schema) -> Schema:
    about = {key: schema[key] for key in _ABOUT if key in schema}
    value = {key: item for key, item in schema.items() if key not in _ABOUT}
    return {**about, "anyOf": [value, VARIABLE]}


_FREE_FORMATS = (None, "cel", "password")


def _is_text(schema: Schema) -> bool:
    """Return whether a value of the schema can be any text."""
    narrow = (
        any(key in schema for key in ("pattern", "enum", "const"))
        or schema.get("format") not in _FREE_FORMATS
    )
    return schema.get("type") == "string" and not narrow


def _is_narrow(schema: Schema) -> bool:
    """Return whether it is a scalar that cannot be any text."""
    scalar = schema.get("type") in ("string", "integer", "number", "boolean") or "enum" in schema
    return scalar and not _is_text(schema)
