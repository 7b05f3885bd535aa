"""The JSON Schemas: valid themselves, accept what flowrunner accepts, refuse what it refuses."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from flowrunner.graph.load import load_flows
from flowrunner.reference.schema import (
    connection_schema,
    connections_schema,
    flow_schema,
    node_schema,
    schema_of_tests,
)
from flowrunner.reference.types import installed_connections, installed_nodes
from flowrunner.registry import find_connection_type, find_node_type, node_type_names
from flowrunner.testing.model import TestFile as FileModel

FLOW = Draft7Validator(flow_schema())


def flow(**node: Any) -> dict[str, Any]:
    source = {"type": "inject", "every": "1s"}
    return {"version": 1, "nodes": {"source": source, "node": node}}


def example(name: str) -> str:
    type = find_node_type(name)
    assert type is not None
    return type.example


def problems(document: object, validator: Draft7Validator = FLOW) -> list[tuple[str, str]]:
    return [(error.json_path, error.message) for error in validator.iter_errors(document)]


@pytest.mark.parametrize(
    "schema",
    [
        pytest.param(flow_schema, id="flow"),
        pytest.param(connections_schema, id="connections"),
        pytest.param(lambda: schema_of_tests(FileModel), id="test"),
        *(pytest.param(partial(node_schema, each), id=each.name) for each in installed_nodes()),
        *(pytest.param(partial(connection_schema, each), id=each.name) for each in installed_connections()),
    ],
)
def test_every_schema_is_a_draft_7_schema_whose_references_lead_somewhere(
    schema: Callable[[], dict[str, Any]],
) -> None:
    document = schema()
    Draft7Validator.check_schema(document)

    def references(part: object) -> set[str]:
        if isinstance(part, dict):
            here = {part["$ref"]} if isinstance(part.get("$ref"), str) else set()
            return here.union(*(references(value) for value in part.values()))
        return set().union(*(references(item) for item in part)) if isinstance(part, list) else set()

    assert {f"#/definitions/{name}" for name in document["definitions"]} >= references(document)


@pytest.mark.parametrize("name", node_type_names())
def test_the_example_of_every_node_type_is_valid(name: str) -> None:
    assert [] == problems(yaml.safe_load(example(name)))


THROTTLE = {"type": "throttle", "from": "source", "every": "10s"}


@pytest.mark.parametrize(
    "node",
    [
        pytest.param(THROTTLE | {"every": "${EVERY}"}, id="a variable for a duration"),
        pytest.param(THROTTLE | {"emit": "${EMIT:-last}"}, id="a variable for a choice"),
        pytest.param(THROTTLE | {"enabled": "${ON}"}, id="a variable for a bool"),
        pytest.param(THROTTLE | {"buffer": {"capacity": "${SIZE}"}}, id="a variable in a nested option"),
        pytest.param(THROTTLE | {"from": ["source", "node.errors"]}, id="a list of wires"),
        pytest.param(THROTTLE | {"key": None}, id="nothing for an option that may be empty"),
        pytest.param({"type": "filter", "from": "source", "where": True}, id="an expression that is no text"),
    ],
)
def test_valid_nodes_are_accepted(node: dict[str, Any]) -> None:
    assert [] == problems(flow(**node))


@pytest.mark.parametrize(
    ("node", "path", "words"),
    [
        pytest.param(THROTTLE | {"evry": "1s"}, "$.nodes.node", "'evry' was unexpected", id="unknown option"),
        pytest.param(
            {"type": "throttle", "from": "source"}, "$.nodes.node", "'every' is a required", id="missing"
        ),
        pytest.param(
            {"type": "throttle", "every": "1s"}, "$.nodes.node", "'from' is a required", id="unwired"
        ),
        pytest.param(
            {"type": "inject", "from": "source"}, "$.nodes.node", "'from' was unexpected", id="wired source"
        ),
        pytest.param(
            {"type": "trottle", "from": "source"}, "$.nodes.node.type", "is not one of", id="unknown type"
        ),
        pytest.param({}, "$.nodes.node", "'type' is a required", id="no type"),
        pytest.param(THROTTLE | {"every": 10}, "$.nodes.node.every", "not valid under any", id="no unit"),
        pytest.param(THROTTLE | {"emit": "lst"}, "$.nodes.node.emit", "not valid under any", id="bad choice"),
        pytest.param(
            THROTTLE | {"from": "Source"}, "$.nodes.node.from", "not valid under any", id="bad wire"
        ),
        pytest.param(
            {
                "type": "aggregate",
                "from": "source",
                "window": {"type": "tumbling"},
                "fields": {"n": "count()"},
            },
            "$.nodes.node.window",
            "'size' is a required",
            id="missing in a nested option",
        ),
    ],
)
def test_an_error_is_one_and_exact(node: dict[str, Any], path: str, words: str) -> None:
    found = problems(flow(**node))

    assert [path] == [where for where, _ in found]
    assert words in found[0][1]


@pytest.mark.parametrize(
    ("document", "valid"),
    [
        pytest.param(
            {"version": 1, "connections": {"b": {"type": "mqtt", "url": "mqtt://h"}}}, True, id="one"
        ),
        pytest.param({"version": 1, "connections": {"b": {"type": "mqtt"}}}, False, id="option missing"),
        pytest.param(
            {"version": 1, "connections": {"B": {"type": "mqtt", "url": "x"}}}, False, id="bad name"
        ),
        pytest.param({"version": 1, "connections": {}, "nodes": {}}, False, id="with nodes"),
        pytest.param({"version": 2, "connections": {}}, False, id="unknown version"),
    ],
)
def test_connections_have_a_schema_of_their_own(document: dict[str, Any], valid: bool) -> None:
    assert valid == Draft7Validator(connections_schema()).is_valid(document)


def test_a_flow_needs_nodes_or_connections() -> None:
    assert [("$", "{'version': 1} is not valid under any of the given schemas")] == problems({"version": 1})


def test_options_are_explained_where_an_editor_shows_them() -> None:
    every = flow_schema()["definitions"]["node.throttle"]["properties"]["every"]

    assert every["description"].endswith(".")
    assert ["10s"] == every["examples"]


def test_defaults_are_written_as_a_user_would_write_them() -> None:
    type = find_connection_type("mqtt")
    assert type is not None
    mqtt = connection_schema(type)["properties"]

    assert ("1d", "1MiB", 5) == tuple(
        mqtt[name]["default"] for name in ("session_expiry", "max_packet", "protocol")
    )


@pytest.mark.parametrize("name", node_type_names())
def test_the_schema_and_the_loader_agree_on_the_examples(tmp_path: Path, name: str) -> None:
    path = tmp_path / "flow.yaml"
    path.write_text(example(name))

    assert [] == [found for found in load_flows([path]).diagnostics if found.severity == "error"]
