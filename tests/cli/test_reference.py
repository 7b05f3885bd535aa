"""``flowrunner nodes`` and ``flowrunner schema``."""

import json
from pathlib import Path

import pytest

from flowrunner.cli.nodes import nodes
from flowrunner.cli.schema import schema
from flowrunner.reference.types import installed_connections, installed_nodes
from flowrunner.registry import connection_type_names, node_type_names


def test_the_list_names_every_type(capsys: pytest.CaptureFixture[str]) -> None:
    assert nodes(None) == 0

    lines = capsys.readouterr().out.splitlines()
    listed = {line.split()[0] for line in lines if line.startswith("  ") and not line.startswith("   ")}
    assert {*node_type_names(), *connection_type_names()} == listed


@pytest.mark.parametrize("name", node_type_names())
def test_a_node_type_is_explained_whole(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    (type,) = [each for each in installed_nodes() if each.name == name]
    assert nodes(name) == 0

    text = capsys.readouterr().out
    assert text.startswith(f"{name} ({type.kind})\n\n{type.description}\n")
    fields = type.config.model_fields.items()
    names = [field.alias or name for name, field in fields if name != "type"]
    assert [] == [each for each in [*names, *type.ports, "errors", "from"] if f"\n  {each}  " not in text]
    assert type.example.strip().splitlines()[-1] in text


@pytest.mark.parametrize("name", connection_type_names())
def test_a_connection_type_is_explained_whole(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    (type,) = [each for each in installed_connections() if each.name == name]
    assert nodes(name) == 0

    text = capsys.readouterr().out
    assert text.startswith(f"{name} (connection)\n\n{type.description}\n")
    assert [] == [each for each in type.config.model_fields if f"\n  {each}  " not in text]


def test_a_nested_union_is_explained_member_by_member(capsys: pytest.CaptureFixture[str]) -> None:
    assert nodes("aggregate") == 0

    text = capsys.readouterr().out
    assert "\nOptions of window, with type: tumbling\n  size  duration (required)\n" in text


@pytest.mark.parametrize(
    ("name", "help"),
    [("trottle", "did you mean `throttle`?"), ("zzz", "`flowrunner nodes` lists the types")],
    ids=["near a type", "near none"],
)
def test_an_unknown_type_is_a_usage_error(name: str, help: str, capsys: pytest.CaptureFixture[str]) -> None:
    expected = ("", f"error: there is no type `{name}`\n  = help: {help}\n")

    assert nodes(name) == 2
    assert expected == capsys.readouterr()
    assert schema(name, write=None, docs=None, check=False) == 2
    assert expected == capsys.readouterr()


@pytest.mark.parametrize(
    ("name", "option"),
    [(None, "nodes"), ("throttle", "every"), ("mqtt", "url")],
    ids=["flow", "node", "connection"],
)
def test_a_schema_is_printed(name: str | None, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert schema(name, write=None, docs=None, check=False) == 0

    assert option in json.loads(capsys.readouterr().out)["properties"]


def test_files_are_written_and_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    schemas, docs = tmp_path / "schemas", tmp_path / "docs"
    assert schema(None, write=schemas, docs=docs, check=False) == 0
    assert schema(None, write=schemas, docs=docs, check=True) == 0
    (docs / "throttle.md").write_text("mine")

    assert schema(None, write=schemas, docs=docs, check=True) == 1
    assert f"error: not up to date: {docs / 'throttle.md'}\n  = help: write them again: make generate\n" == (
        capsys.readouterr().err
    )
    assert "mine" == (docs / "throttle.md").read_text()
    names = ["connections.schema.json", "flow.schema.json", "test.schema.json"]
    assert names == sorted(path.name for path in schemas.iterdir())


@pytest.mark.parametrize("kind", ["write", "docs"])
def test_one_kind_of_files_can_be_written_alone(tmp_path: Path, kind: str) -> None:
    folders: dict[str, Path | None] = {"write": None, "docs": None} | {kind: tmp_path}
    assert schema(None, write=folders["write"], docs=folders["docs"], check=False) == 0

    assert {".json" if kind == "write" else ".md"} == {path.suffix for path in tmp_path.iterdir()}


@pytest.mark.parametrize(
    ("name", "check", "error"),
    [
        ("throttle", False, "--write and --docs make the files of all types"),
        (None, True, "--check needs something"),
    ],
    ids=["a type and files", "nothing to check"],
)
def test_options_that_do_not_go_together_are_a_usage_error(
    tmp_path: Path, name: str | None, check: bool, error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert schema(name, write=None if check else tmp_path, docs=None, check=check) == 2

    assert error in capsys.readouterr().err
    assert [] == list(tmp_path.iterdir())
