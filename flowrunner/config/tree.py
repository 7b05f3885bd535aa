"""What a YAML file is parsed into: mappings, sequences and scalars that know where they stand."""

from __future__ import annotations

from typing import Any

import msgspec

from flowrunner.message import Json

type Path = tuple[str | int, ...]


class Mark(msgspec.Struct, frozen=True):
    """A position in a text; line and column count from 0."""

    line: int
    column: int


class Scalar(msgspec.Struct):
    """A single value, as YAML reads it (``value``) and as text."""

    value: Json
    text: str
    style: str
    """``'`` ``"`` ``|`` ``>``, or empty for an unquoted one."""
    start: Mark
    end: Mark
    size: int = 1
    height: int = 0


class Entry(msgspec.Struct):
    """One key of a mapping and its value."""

    key: Scalar
    value: Tree


class Mapping(msgspec.Struct):
    """A mapping; keys are texts."""

    start: Mark
    end: Mark
    flow: bool
    """Whether it is written in braces."""
    entries: dict[str, Entry] = {}
    size: int = 1
    """The number of values in it, itself and what aliases repeat included."""
    height: int = 0
    """How many levels of collections are below it."""

    def children(self) -> list[Tree]:
        """Return the values."""
        return [entry.value for entry in self.entries.values()]


class Sequence(msgspec.Struct):
    """A list."""

    start: Mark
    end: Mark
    flow: bool
    items: list[Tree] = []
    size: int = 1
    height: int = 0

    def children(self) -> list[Tree]:
        """Return the values."""
        return self.items


type Tree = Scalar | Mapping | Sequence


def plain(tree: Tree) -> Any:
    """Return the tree as new dictionaries, lists and values."""
    match tree:
        case Scalar():
            return tree.value
        case Mapping():
            return {key: plain(entry.value) for key, entry in tree.entries.items()}
        case Sequence():
            return [plain(item) for item in tree.items]


def child(tree: Tree, part: str | int) -> Tree | None:
    """Return the value under a key or index, ``None`` when there is none."""
    match tree:
        case Mapping() if isinstance(part, str) and part in tree.entries:
            return tree.entries[part].value
        case Sequence() if isinstance(part, int) and part < len(tree.items):
            return tree.items[part]
    return None
