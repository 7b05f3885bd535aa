"""The generated pages: nothing is missing from them, and what is in the repository is up to date."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from flowrunner.node import NodeOptions
from flowrunner.options import Duration, Options, Secret, Size
from flowrunner.reference.generate import differing, schema_files, write
from flowrunner.reference.options import Option, node_tables
from flowrunner.reference.pages import reference_pages
from flowrunner.reference.types import installed_connections, installed_nodes
from flowrunner.registry import find_node_type, node_type_names
from flowrunner.testing.model import TestFile as FileModel

ROOT = Path(__file__).parents[2]


def test_the_generated_files_in_the_repository_are_up_to_date() -> None:
    stale = differing(ROOT / "schemas", schema_files(FileModel)) + differing(
        ROOT / "docs/nodes", reference_pages()
    )

    assert [] == stale, "write them again: make generate"


@pytest.mark.parametrize("name", node_type_names())
def test_the_page_of_a_node_type_has_its_summary_options_ports_and_example(name: str) -> None:
    type = find_node_type(name)
    assert type is not None
    page = reference_pages()[f"{type.name}.md"]

    assert type.summary in page
    assert type.example.strip() in page
    own = type.config.model_fields.keys() - NodeOptions.model_fields.keys()
    aliases = {name: type.config.model_fields[name].alias or name for name in own}
    assert [] == [
        name for name in [*aliases.values(), *type.ports, "errors"] if f"\n| `{name}` |" not in page
    ]


def test_the_index_names_all_types_and_the_options_of_every_node() -> None:
    index = reference_pages()["README.md"]

    assert {f"{type.name}.md" for type in installed_nodes()} == set(re.findall(r"\]\((\w+\.md)\)", index)) - {
        "connections.md"
    }
    assert [] == [name for name in ("from", "enabled", "capacity") if f"\n| `{name}` |" not in index]


def test_all_connection_types_are_on_one_page() -> None:
    page = reference_pages()["connections.md"]

    assert [f"`{type.name}`" for type in installed_connections()] == re.findall(r"(?m)^## (.*)$", page)


class Inner(Options):
    """Something inside."""

    depth: Annotated[int, Field(ge=0, lt=9, description="How deep.")]


class Round(Options):
    """A round one."""

    type: Literal["round"]


class Square(Options):
    """A square one."""

    type: Literal["square"]
    side: Annotated[float, Field(gt=0, description="Its side.")] = 1.0


_EMPTY: Any = Field(default_factory=dict)


class Everything(NodeOptions):
    """One option of each kind."""

    text: Annotated[str, Field(description="A text.")]
    number: Annotated[float | None, Field(le=1, description="A number.")] = None
    whole: Annotated[int, Field(ge=1, description="A whole number.")] = 5
    choice: Annotated[Literal["a", 2], Field(description="A choice.")] = "a"
    time: Annotated[Duration, Field(description="A time.")] = 90_000_000_000
    size: Annotated[Size, Field(description="A size.")] = 1536
    small: Annotated[Size, Field(description="A small size.")] = 7
    secret: Annotated[Secret | None, Field(description="A secret.")] = None
    either: Annotated[str | tuple[str, ...], Field(description="One or many.")] = ()
    mapping: Annotated[dict[str, int], Field(description="Numbers by name."), _EMPTY]
    anything: Annotated[object, Field(description="Anything at all.")] = None
    inner: Annotated[Inner | None, Field(description="A nested mapping.")] = None
    many: Annotated[dict[str, Inner], Field(description="Several of them."), _EMPTY]
    shape: Annotated[Round | Square, Field(discriminator="type", description="A shape.")] = Round(
        type="round"
    )


def test_every_kind_of_option_is_said_in_words() -> None:
    first, *nested = node_tables(Everything)

    assert {
        "text": ("text", True, None),
        "number": ("number, at most 1", False, None),
        "whole": ("whole number, at least 1", False, "5"),
        "choice": ("`a` or `2`", False, "a"),
        "time": ("duration", False, "1m30s"),
        "size": ("size", False, "1536B"),
        "small": ("size", False, "7B"),
        "secret": ("secret text", False, None),
        "either": ("text or list of texts", False, None),
        "mapping": ("mapping of whole numbers", False, None),
        "anything": ("any value", False, None),
        "inner": ("mapping", False, None),
        "many": ("mapping of mappings", False, None),
        "shape": ("mapping", False, None),
    } == {option.name: (option.type, option.required, option.default) for option in first.options}
    assert [("inner", ""), ("many", ""), ("shape", "type: round"), ("shape", "type: square")] == [
        (table.of, table.when) for table in nested
    ]
    assert [Option("depth", "whole number, 0 to 9", True, None, "How deep.")] == nested[0].options
    assert "number, more than 0" == nested[-1].options[1].type


def test_writing_makes_the_folder_hold_just_the_generated_files(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    write(folder, {"a.md": "one", "b.md": "two"})
    (folder / "keep.txt").write_text("mine")

    assert [] == differing(folder, {"a.md": "one", "b.md": "two"})
    assert [folder / "a.md", folder / "c.md", folder / "b.md"] == differing(
        folder, {"a.md": "new", "c.md": "three"}
    )
    write(folder, {"a.md": "new", "c.md": "three"})
    assert ["a.md", "c.md", "keep.txt"] == sorted(path.name for path in folder.iterdir())
