"""Values that stand for a variable which is not set, so that everything else can be checked without it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from flowrunner.config.tree import Path
from flowrunner.message import Json

_ANY: list[Json] = [
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
]


def samples(model: type[BaseModel], at: Path) -> list[Json]:
    """Return values to try for the option at ``at``: its examples, the values it names, then one of each type."""
    field = field_at(model, at)
    if field is None or len(at) > 1:
        return list(_ANY)
    known: list[Any] = [example for example in field.examples or [] if isinstance(example, str | int | float)]
    if field.default is not PydanticUndefined and isinstance(field.default, str | int | float):
        known.append(field.default)
    return known + _literals(field.annotation) + _ANY


def field_at(model: type[BaseModel], at: Path) -> Any:
    """Return the field of a model that the first part of a path names, by its alias or its name."""
    return next(
        (field for name, field in model.model_fields.items() if at[:1] in ((field.alias,), (name,))), None
    )


def _literals(annotation: Any) -> list[Json]:
    from typing import Literal, get_args, get_origin

    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    return [value for argument in get_args(annotation) for value in _literals(argument)]
