"""Messages as people may see them: bounded in size, and without secrets."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel, SecretStr

from flowrunner.expression import Expression, FunctionCall, Value
from flowrunner.graph.build import Graph
from flowrunner.message import Json, Message
from flowrunner.options import Options, format_duration, format_size
from flowrunner.runtime.letters.facts import when
from flowrunner.runtime.secrecy import Secrecy

LONGEST_TEXT = 400
"""Characters of a text."""
MOST_ITEMS = 40
"""Members of a list or mapping."""
MOST_VALUES = 200
"""Values of a message in all."""
DEEPEST = 6
HIDDEN = "**********"

_SECRET = re.compile(
    r"(?:^|[_\-.])(?:pass(?:word|wd|phrase)?|pwd|secret|token|api_?key|authorization|credentials?|private_?key)s?$",
    re.IGNORECASE,
)


class Shower:
    """Makes what is shown of the messages of one flow."""

    def __init__(self, graph: Graph) -> None:
        self._secrecy = Secrecy(graph)
        self._left = MOST_VALUES

    def message(self, message: Message) -> dict[str, Json]:
        """Return the fields of a message: times as text, the payload cut to what can be read."""
        return {
            "topic": self.text(message.topic),
            "payload": self.value(message.payload),
            "time": when(message.time),
            "meta": self.value(dict(message.meta)),
            "clock": when(message.clock),
            "seq": message.seq,
        }

    def value(self, value: Any) -> Json:
        """Return a value as JSON, cut short; ``…`` stands for what was left out."""
        self._left = MOST_VALUES
        return self._value(value, 0)

    def text(self, text: str) -> str:
        """Return a text without secrets, cut short."""
        # One that begins within the part that is shown may end behind it.
        masked = self._secrecy.mask(text[: 4 * LONGEST_TEXT])
        return masked if len(masked) <= LONGEST_TEXT else masked[:LONGEST_TEXT] + "…"

    def _value(self, value: Any, depth: int) -> Json:
        self._left -= 1
        match value:
            case None | bool() | int() | float():
                return value
            case str():
                return self.text(value)
            case Mapping() | list() | tuple() if depth >= DEEPEST or self._left <= 0:
                return "…"
            case Mapping():
                return self._mapping(value, depth)
            case list() | tuple():
                shown = [self._value(item, depth + 1) for item in value[:MOST_ITEMS] if self._left > 0]
                return shown if len(shown) == len(value) else [*shown, f"… {len(value) - len(shown)} more"]
        return self.text(str(value))

    def _mapping(self, value: Mapping[Any, Any], depth: int) -> Json:
        shown: dict[str, Json] = {}
        for name, inner in value.items():
            if len(shown) >= MOST_ITEMS or self._left <= 0:
                shown["…"] = f"{len(value) - len(shown)} more"
                break
            hidden = _SECRET.search(str(name)) and isinstance(inner, str)
            shown[self.text(str(name))] = HIDDEN if hidden else self._value(inner, depth + 1)
        return shown


def options(config: BaseModel, shower: Shower) -> dict[str, Json]:
    """Return the options of a node that were set, as they may stand in a file, secrets masked."""
    shown = {name: shower.value(value) for name, value in _written(config).items()}
    if isinstance(config, Options):
        names = {field.alias or name: name for name, field in type(config).model_fields.items()}
        for (option, *at), text in config.variables_at.items():
            name = names[str(option)]
            shown[name] = _with(shown[name], at, text)
    return shown


def _with(value: Json, at: list[Any], text: str) -> Json:
    """Return a value with what stands in the file for what a variable gave; that alone where it is not found."""
    match value, at:
        case dict(), [str(name), *below] if name in value:
            return value | {name: _with(value[name], below, text)}
        case list(), [int(index), *below] if index < len(value):
            return [*value[:index], _with(value[index], below, text), *value[index + 1 :]]
    return text


def _written(config: BaseModel) -> dict[str, Any]:
    units = _units(type(config))
    set_ = [name for name in type(config).model_fields if name in config.model_fields_set]
    return {name: _plain(getattr(config, name), units.get(name)) for name in set_}


def _plain(value: Any, unit: Callable[[int], str] | None = None) -> Any:
    match value:
        case SecretStr():
            return HIDDEN
        case bool():
            return value
        case int() if unit is not None:
            return unit(value)
        case Expression() | Value() | FunctionCall():
            return value.source
        case BaseModel():
            return _written(value)
        case Mapping():
            return {name: _plain(inner, unit) for name, inner in value.items()}
        case list() | tuple():
            return [_plain(inner, unit) for inner in value]
    return value


@cache
def _units(model: type[BaseModel]) -> dict[str, Callable[[int], str]]:
    """Return how the options are written that are durations or sizes: the pattern of their text tells."""
    found: dict[str, Callable[[int], str]] = {}
    for name, schema in model.model_json_schema()["properties"].items():
        text = str(schema)
        if "ns|us|ms" in text:
            found[name] = format_duration
        elif "KiB|MiB" in text:
            found[name] = format_size
    return found
