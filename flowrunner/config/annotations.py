"""What a model says about the option at a path: the types it may have."""

from __future__ import annotations

from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, TypeAliasType, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from flowrunner.config.tree import Path


def option_names(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return the fields of a model by the names that they have in YAML."""
    return {written_name(name, field): field for name, field in model.model_fields.items()}


def written_name(name: str, field: FieldInfo) -> str:
    """Return the name of a field in YAML: its alias, when it has one."""
    alias = field.validation_alias if isinstance(field.validation_alias, str) else field.alias
    return alias or name


def types_at(annotation: Any, at: Path) -> Iterator[Any]:
    """Yield the types that the value at a path below ``annotation`` may have."""
    if isinstance(annotation, TypeAliasType):
        yield from types_at(annotation.__value__, at)
        return
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from types_at(arguments[0], at)
    elif origin in (Union, UnionType):
        for argument in arguments:
            yield from types_at(argument, at)
    elif not at:
        yield annotation
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        field = option_names(annotation).get(str(at[0]))
        if field is not None:
            yield from types_at(field.annotation, at[1:])
    elif arguments:
        yield from types_at(arguments[-1] if isinstance(at[0], str) else arguments[0], at[1:])
