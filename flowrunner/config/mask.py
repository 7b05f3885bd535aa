"""What must not be shown: the values of variables, and secrets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from pydantic import BaseModel, SecretStr

from flowrunner.config.annotations import types_at
from flowrunner.config.tree import Path


class Hidden(msgspec.Struct, frozen=True):
    """A text with variables: as it stands in the file, and what it became."""

    written: str
    value: str


class Mask:
    """Decides how the values of some options may be shown."""

    def __init__(self, model: type[BaseModel], hidden: Mapping[Path, Hidden]) -> None:
        self._model = model
        self._hidden = hidden

    def written(self, at: Path) -> str | None:
        """Return the variables at a path, around or below it; ``None`` when there are none."""
        return next((hidden.written for path, hidden in self._hidden.items() if _related(path, at)), None)

    def hides(self, at: Path) -> bool:
        """Whether the value at a path must not be shown."""
        return self.written(at) is not None or is_secret(self._model, at)

    def shown(self, value: Any, at: Path) -> str:
        """Return a value in words, short and without what must not be shown."""
        written = self.written(at)
        if written is not None:
            return f"the value of `{written}`"
        if is_secret(self._model, at):
            return "a secret"
        match value:
            case None:
                return "nothing"
            case bool():
                return "true" if value else "false"
            case dict():
                return "a mapping"
            case list():
                return "a list"
            case str():
                return f"`{value[:37]}…`" if len(value) > 40 else f"`{value}`"
        return str(value)

    def allows(self, text: str | None, at: Path) -> bool:
        """Whether a text about a path may be shown: it has nothing in it of a secret or of a variable's value."""
        if text is None:
            return True
        if is_secret(self._model, at) or any(path == at[: len(path)] for path in self._hidden):
            return False
        return not any(_mentions(text, hidden.value) for hidden in self._hidden.values())


def is_secret(model: type[BaseModel], at: Path) -> bool:
    """Whether the option at a path is a secret."""
    return SecretStr in types_at(model, at)


def is_expression(model: type[BaseModel], at: Path, text: str) -> bool:
    """Whether the option at a path would read ``text`` as an expression."""
    from flowrunner.expression import Expression, FunctionCall, Value

    types = list(types_at(model, at))
    return Expression in types or FunctionCall in types or (Value in types and text.lstrip().startswith("="))


def _related(one: Path, other: Path) -> bool:
    return one[: len(other)] == other or other[: len(one)] == one


def _mentions(text: str, value: str) -> bool:
    """Whether a text has a value in it, or any longer word of one."""
    words = [value, *(word for word in re.split(r"\W+", value) if len(word) > 2)]
    return any(word in text for word in words if word)
