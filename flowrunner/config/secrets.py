"""Which options hold secrets, and which hold expressions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, SecretStr

from flowrunner.config.annotations import types_at, written_name
from flowrunner.config.tree import Path


def secrets(value: Any, at: Path = ()) -> Iterator[Path]:
    """Yield the paths of all secrets in options that were set and are not empty."""
    match value:
        case SecretStr() if value.get_secret_value():
            yield at
        case BaseModel():
            for name in value.model_fields_set:
                field = type(value).model_fields[name]
                yield from secrets(getattr(value, name), (*at, written_name(name, field)))
        case dict():
            for key, item in value.items():
                yield from secrets(item, (*at, key))
        case list() | tuple():
            for index, item in enumerate(value):
                yield from secrets(item, (*at, index))


def is_expression(model: type[BaseModel], at: Path, text: str) -> bool:
    """Whether the option at ``at`` would read ``text`` as an expression."""
    from flowrunner.expression import Expression, FunctionCall, Value

    types = list(types_at(model, at))
    return Expression in types or FunctionCall in types or (Value in types and text.lstrip().startswith("="))
