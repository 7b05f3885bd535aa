"""``flowrunner nodes`` and ``schema``: what there is to build flows of."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flowrunner.cli.commands.parameters import NodeTypeName


def nodes(type: NodeTypeName = None) -> None:
    """List the installed node types, or explain one."""
    from flowrunner.cli.nodes import nodes

    raise typer.Exit(nodes(type))


def schema(
    type: NodeTypeName = None,
    *,
    write: Annotated[
        Path | None, typer.Option(metavar="DIR", show_default=False, help="Write the schema files into DIR.")
    ] = None,
    docs: Annotated[
        Path | None,
        typer.Option(metavar="DIR", show_default=False, help="Write the reference pages into DIR."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; end with 1 when a file in DIR differs.")
    ] = False,
) -> None:
    """Print the JSON Schema of flow files, or of one node type.

    Editors use it for completion and checks. `--write` makes the files for flows, connections and tests.
    """
    from flowrunner.cli.schema import schema

    raise typer.Exit(schema(type, write=write, docs=docs, check=check))
