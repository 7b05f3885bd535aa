"""The parts of an expression that are read from a message, to tell a person what values it had."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from pydantic_core import PydanticCustomError

from flowrunner.expression.expression import Expression
from flowrunner.expression.operators import EVALUATION_ERRORS
from flowrunner.expression.parser import parse
from flowrunner.expression.syntax import Index, Literal, Name, Node, Select, children
from flowrunner.message import Json, Message

_MOST = 12


def operands(source: str, message: Message) -> dict[str, Json]:
    """Return the fields that an expression names and their values; those that are not there are left out, and the variables of macros."""
    found: dict[str, Json] = {}
    for node in _fields(parse(source)):
        text = source[node.start : node.end]
        if text not in found and len(found) < _MOST:
            with suppress(PydanticCustomError, *EVALUATION_ERRORS):
                found[text] = Expression.part(source, node).function(message)
    return found


def _fields(node: Node) -> Iterator[Node]:
    """Yield the longest paths such as ``payload.a.b``, in the order of the text."""
    if _is_path(node):
        yield node
        return
    for child in children(node):
        yield from _fields(child)


def _is_path(node: Node) -> bool:
    match node:
        case Name():
            return True
        case Select():
            return _is_path(node.operand)
        case Index():
            return _is_path(node.operand) and isinstance(node.index, Literal)
    return False
