"""The syntax tree of an expression. Places are character offsets in the text, ``end`` exclusive."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec


class Node(msgspec.Struct, frozen=True):
    """Any part of an expression."""

    start: int
    end: int


class Literal(Node, frozen=True):
    """A number, a string, ``true``, ``false`` or ``null``."""

    value: bool | float | str | None


class Name(Node, frozen=True):
    """A name that stands alone: ``payload``, ``int``, the variable of a macro."""

    name: str


class Select(Node, frozen=True):
    """A field by name: ``operand.field``."""

    operand: Node
    field: str


class Index(Node, frozen=True):
    """An element: ``operand[index]``."""

    operand: Node
    index: Node


class Call(Node, frozen=True):
    """A function or macro: ``name(…)``, or ``target.name(…)``."""

    name: str
    name_start: int
    target: Node | None
    arguments: tuple[Node, ...]


class ListOf(Node, frozen=True):
    """A list: ``[a, b]``."""

    items: tuple[Node, ...]


class MapOf(Node, frozen=True):
    """A map: ``{key: value}``."""

    keys: tuple[Node, ...]
    values: tuple[Node, ...]


class Unary(Node, frozen=True):
    """``!operand`` or ``-operand``."""

    operator: str
    operand: Node


class Binary(Node, frozen=True):
    """An arithmetic operator, a comparison, or ``in``."""

    operator: str
    left: Node
    right: Node


class Logical(Node, frozen=True):
    """A chain of ``&&`` or of ``||``; one node for the chain keeps the tree flat."""

    operator: str
    operands: tuple[Node, ...]


class Conditional(Node, frozen=True):
    """``condition ? then : otherwise``."""

    condition: Node
    then: Node
    otherwise: Node


def children(node: Node) -> Iterator[Node]:
    """Yield the direct parts of a node in the order of the text."""
    for value in msgspec.structs.astuple(node):
        if isinstance(value, Node):
            yield value
        elif isinstance(value, tuple):
            yield from value


def walk(node: Node) -> Iterator[tuple[Node, int]]:
    """Yield every node with its depth, the root first with depth 1. Not recursive: any depth is safe."""
    stack = [(node, 1)]
    while stack:
        node, depth = stack.pop()
        yield node, depth
        stack += [(child, depth + 1) for child in children(node)]
