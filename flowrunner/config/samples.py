"""Values that stand for a variable which is not set, so that everything else can be checked without it."""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from flowrunner.config.annotations import option_names, types_at
from flowrunner.config.tree import Path
from flowrunner.message import Json

_ANY: tuple[Json, ...] = (
    "example",
    1,
    "1s",
    "1KiB",
    "http://localhost",
    "mqtt://localhost",
    "postgresql://localhost/example",
    0.5,
    True,
    "2026-01-01T00:00:00Z",
    "UTC",
)


def samples(model: type[BaseModel], at: Path) -> list[Json]:
    """Return values to try for the option at ``at``: its examples, its default, its choices, one of each type."""
    known: list[Any] = []
    field = option_names(model).get(str(at[0]))
    if field is not None and len(at) == 1:
        known = [
            value
            for value in [*(field.examples or ()), field.default]
            if isinstance(value, str | int | float)
        ]
    for type in types_at(model, at):
        if get_origin(type) is Literal:
            known += get_args(type)
    return [*known, *_ANY]
