"""``flowrunner schema``: JSON Schemas for editors, and the files that are generated from the types."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from flowrunner.cli.exits import complain
from flowrunner.reference.generate import differing, schema_files, schema_text, write
from flowrunner.reference.model import Schema
from flowrunner.reference.schema import connection_schema, flow_schema, node_schema
from flowrunner.reference.types import no_such_type
from flowrunner.registry import find_connection_type, find_node_type


def schema(name: str | None, *, write: Path | None, docs: Path | None, check: bool) -> int:
    """Print a schema, or write or check generated files; return the exit code.

    ``write`` is the folder of the schema files, ``docs`` that of the reference pages.
    """
    if write is not None or docs is not None:
        if name is not None:
            return complain("--write and --docs make the files of all types", help="leave out the type")
        return _files(write, docs, check=check)
    if check:
        return complain("--check needs something to check", help="add --write DIR or --docs DIR")
    return _print(name)


def _print(name: str | None) -> int:
    found: Schema
    if name is None:
        found = flow_schema()
    elif (type := find_node_type(name)) is not None:
        found = node_schema(type)
    elif (connection := find_connection_type(name)) is not None:
        found = connection_schema(connection)
    else:
        return complain(f"there is no type `{name}`", help=no_such_type(name))
    sys.stdout.write(schema_text(found))
    return 0


def _files(schemas: Path | None, docs: Path | None, *, check: bool) -> int:
    folders: dict[Path, Mapping[str, str]] = {}
    if schemas is not None:
        from flowrunner.testing.model import TestFile

        folders[schemas] = schema_files(TestFile)
    if docs is not None:
        from flowrunner.reference.pages import reference_pages

        folders[docs] = reference_pages()
    if check:
        return _check(folders)
    for folder, files in folders.items():
        write(folder, files)
    return 0


def _check(folders: Mapping[Path, Mapping[str, str]]) -> int:
    stale = [path for folder, files in folders.items() for path in differing(folder, files)]
    if not stale:
        return 0
    names = ", ".join(map(str, stale))
    return complain(f"not up to date: {names}", help="write them again: make generate", code=1)
