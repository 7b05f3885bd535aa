"""What every node type says of itself, before anything runs."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError

import flowrunner
from flowrunner import NodeOptions
from tests.contract.subjects import NAMES, loaded, models_of, node_type, of_kind, subject

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "nodes" / "flowrunner_nodes").glob("*.py"))
VENDORS = {
    "aiomqtt",
    "paho",
    "influxdb_client",
    "aiohttp",
    "isal",
    "fastdigest",
    "cronsim",
    "fastapi",
}
IMPURE = {"time", "random", "secrets", "uuid", "socket", "asyncio", "threading", "os", "pathlib"}


def imports_of(path: Path) -> list[tuple[str, list[str]]]:
    """Return ``(module, names)`` of every import statement of a file, also of those inside functions."""
    found: list[tuple[str, list[str]]] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            found.append((node.module or "", [alias.name for alias in node.names]))
        elif isinstance(node, ast.Import):
            found += [(alias.name, []) for alias in node.names]
    return found


def test_there_are_node_types_of_every_kind() -> None:
    assert {"source", "transform", "sink"} == {node_type(name).kind for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_a_type_is_defined_in_the_file_of_its_name(name: str) -> None:
    found = node_type(name)

    assert (name, name) == (found.name, found.cls.__module__.rpartition(".")[2])


@pytest.mark.parametrize("name", NAMES)
def test_a_type_has_a_test_file(name: str) -> None:
    assert (ROOT / "tests" / "nodes" / f"test_{name}.py").is_file()


@pytest.mark.parametrize("name", NAMES)
def test_the_summary_is_one_sentence(name: str) -> None:
    summary = node_type(name).summary

    assert (True, True) == (summary.endswith("."), summary[0].isupper())
    assert "\n" in node_type(name).description


@pytest.mark.parametrize("name", NAMES)
def test_every_option_is_described_in_a_sentence(name: str) -> None:
    options = [
        (f"{model.__name__}.{option}", field.description)
        for model in models_of(node_type(name).config)
        for option, field in model.model_fields.items()
    ]

    assert [] == [option for option, text in options if text is None or not text.endswith(".")]


@pytest.mark.parametrize("name", NAMES)
def test_every_option_of_its_own_has_an_example(name: str) -> None:
    config = node_type(name).config
    own = set(config.model_fields) - set(NodeOptions.model_fields) - {"connection"}

    assert [] == [option for option in sorted(own) if not config.model_fields[option].examples]


@pytest.mark.parametrize("name", NAMES)
def test_every_port_is_described_in_a_sentence(name: str) -> None:
    found = node_type(name)

    assert (found.kind == "sink") == (not found.ports)
    assert [] == [port for port, text in found.ports.items() if not text.endswith(".")]


@pytest.mark.parametrize("name", NAMES)
def test_the_ports_described_are_ports_of_the_example(name: str) -> None:
    if node_type(name).kind != "sink":
        assert set() == set(node_type(name).ports) - set(subject(name).ports)


@pytest.mark.parametrize("name", NAMES)
def test_the_example_is_a_valid_flow_that_uses_the_type(name: str) -> None:
    assert [] == loaded(name).diagnostics
    assert name == subject(name).type.name


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_option_is_refused(name: str) -> None:
    given: dict[str, Any] = subject(name).config.model_dump(exclude_unset=True)

    with pytest.raises(ValidationError) as refused:
        node_type(name).config.model_validate({**given, "no_such_option": 1})

    assert ["extra_forbidden"] == [e["type"] for e in refused.value.errors() if "no_such_option" in e["loc"]]


@pytest.mark.parametrize("name", NAMES)
def test_the_options_have_a_json_schema(name: str) -> None:
    schema = node_type(name).config.model_json_schema()

    jsonschema.Draft202012Validator.check_schema(schema)
    assert set(node_type(name).config.model_fields) == set(schema["properties"])


@pytest.mark.parametrize("name", NAMES)
def test_options_cannot_be_changed(name: str) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        subject(name).config.description = "changed"  # type: ignore[misc]  # that is the point


@pytest.mark.parametrize("name", NAMES)
def test_a_type_does_what_its_kind_must_do(name: str) -> None:
    cls = node_type(name).cls
    wanted = {"source": {"run"}, "sink": {"write"}, "transform": {"on_message", "on_batch"}}[
        node_type(name).kind
    ]

    assert wanted & {
        method for base in cls.__mro__[:-1] for method in vars(base) if "flowrunner." not in base.__module__
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_type_keeps_what_it_says_it_keeps(name: str) -> None:
    own = {
        method
        for base in node_type(name).cls.__mro__
        if "flowrunner." not in base.__module__
        for method in vars(base)
    }

    assert ("snapshot" in own) == ("restore" in own)


def test_importing_all_types_imports_no_client_of_a_vendor() -> None:
    modules = [node_type(name).cls.__module__ for name in NAMES]
    code = f"import sys\nbefore = set(sys.modules)\nfor m in {modules!r}: __import__(m)\nprint(*set(sys.modules) - before)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)

    assert set() == {module.partition(".")[0] for module in done.stdout.split()} & VENDORS


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_uses_only_the_public_api(path: Path) -> None:
    imports = imports_of(path)

    assert [] == [module for module, _ in imports if module.startswith("flowrunner.")]
    assert [] == [
        n for module, names in imports if module == "flowrunner" for n in names if n not in flowrunner.__all__
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_can_be_read_in_one_sitting(path: Path) -> None:
    limit = 300 if path.name.startswith("_") else 200

    assert len(path.read_text().splitlines()) <= limit


@pytest.mark.parametrize("name", of_kind("transform"))
def test_a_transform_has_no_way_to_the_world(name: str) -> None:
    imported = {
        module.partition(".")[0] for module, _ in imports_of(Path(inspect.getfile(node_type(name).cls)))
    }

    assert set() == imported & IMPURE


@pytest.mark.parametrize("name", NAMES)
def test_everything_public_in_a_module_is_documented(name: str) -> None:
    module = importlib.import_module(node_type(name).cls.__module__)
    public = [
        item
        for key, item in vars(module).items()
        if not key.startswith("_") and inspect.isclass(item) and item.__module__ == module.__name__
    ]

    assert [] == [item.__name__ for item in public if not item.__doc__]
