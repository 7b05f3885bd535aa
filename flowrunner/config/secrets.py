"""Which options hold secrets, and which hold expressions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, SecretStr

from flowrunner.config.samples import field_at
from flowrunner.config.tree import Path


def literal_secrets(options: BaseModel, variables: set[Path]) -> Iterator[Path]:
    """Yield the places of secrets that are not one of the ``variables``, and so stand in the file."""
    for name in options.model_fields_set:
        field = type(options).model_fields[name]
        yield from _secrets(getattr(options, name), (field.alias or name,), variables)


def _secrets(value: Any, at: Path, variables: set[Path]) -> Iterator[Path]:
    match value:
        case SecretStr() if at not in variables and value.get_secret_value():
            yield at
        case BaseModel():
            for inner in literal_secrets(
                value, {path[len(at) :] for path in variables if path[: len(at)] == at}
            ):
                yield (*at, *inner)
        case dict():
            for key, item in value.items():
                yield from _secrets(item, (*at, key), variables)
        case list() | tuple():
            for index, item in enumerate(value):
                yield from _secrets(item, (*at, index), variables)


def expression_at(model: type[BaseModel], at: Path, text: str) -> bool:
    """Whether the option at ``at`` would read ``text`` as an expression."""
    from flowrunner.expression import Expression, FunctionCall, Value

    field = field_at(model, at)
    held = (
        set(_held(field.annotation)) | {type(part) for part in field.metadata} if field is not None else set()
    )
    return bool(held & {Expression, FunctionCall}) or (Value in held and text.lstrip().startswith("="))


def _held(annotation: Any) -> Iterator[Any]:
    """Yield the types that an annotation names, at any depth, with those of the models in it."""
    yield annotation
    for argument in get_args(annotation):
        yield from _held(argument)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for field in annotation.model_fields.values():
            yield from _held(field.annotation)
