"""The generated files: written, or compared with what is there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel

from flowrunner.reference.schema import connections_schema, flow_schema, schema_of_tests


def schema_files(test_model: type[BaseModel]) -> dict[str, str]:
    """Return the schema files by name."""
    schemas = {
        "flow": flow_schema(),
        "connections": connections_schema(),
        "test": schema_of_tests(test_model),
    }
    return {f"{name}.schema.json": schema_text(schema) for name, schema in schemas.items()}


def schema_text(schema: object) -> str:
    """Return a schema as it is written into files."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Make the folder hold these files; those of the same kind that are no longer generated are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    for path in _left_over(folder, files):
        path.unlink()


def differing(folder: Path, files: Mapping[str, str]) -> list[Path]:
    """Return the files that :func:`write` would change, make or remove."""
    changed = [folder / name for name, text in files.items() if _read(folder / name) != text]
    return [*changed, *_left_over(folder, files)]


def _left_over(folder: Path, files: Mapping[str, str]) -> list[Path]:
    kinds = {Path(name).suffix for name in files}
    return sorted(path for path in folder.glob("*") if path.suffix in kinds and path.name not in files)


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None
