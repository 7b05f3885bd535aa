"""From a path in a document, or a character of a value, to the line and columns where it is written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from flowrunner.config.tree import Mapping, Mark, Path, Scalar, Sequence, Tree, child
from flowrunner.diagnostics import Span

type _Written = tuple[str, int, int]
"""A character as YAML reads it, and the line and column (from 0) where it is written."""


class Places:
    """Answers where the parts of one document stand."""

    def __init__(self, root: Mapping, lines: list[str]) -> None:
        self._root = root
        self._lines = lines

    def find(self, path: Path) -> Tree | None:
        """Return the value at a path, ``None`` when the file has none there."""
        tree: Tree | None = self._root
        for part in path:
            tree = child(tree, part) if tree is not None else None
        return tree

    def key(self, path: Path) -> Span:
        """Return where the key at the end of a path stands, or the list item, or the nearest thing around it."""
        for end in range(len(path), 0, -1):
            parent, last = self.find(path[: end - 1]), path[end - 1]
            if isinstance(parent, Mapping) and last in parent.entries:
                scalar = parent.entries[str(last)].key
                return span_of(scalar.start, scalar.end, self._lines)
            if isinstance(parent, Sequence) and isinstance(last, int) and last < len(parent.items):
                return self._span(parent.items[last])
        return Span(1, 1, 2)

    def value(self, path: Path) -> Span:
        """Return where a value stands: of an empty value and of an indented block, where its key does."""
        tree = self.find(path)
        if tree is None or (isinstance(tree, Scalar) and tree.start == tree.end):
            return self.key(path)
        if isinstance(tree, Mapping | Sequence) and not tree.flow and tree is not self._root:
            return self.key(path)
        return self._span(tree)

    def text(self, path: Path, offset: int, length: int | None) -> Span:
        """Return where ``length`` characters of a text from ``offset`` stand (default: up to its end)."""
        tree = self.find(path)
        if not isinstance(tree, Scalar) or not tree.text or (offset == 0 and length is None):
            return self.value(path)
        spots = _spots(tree, self._lines)
        if not spots:
            return self.value(path)
        if offset >= len(spots):
            line, column = spots[-1]
            return Span(line + 1, column + 2, column + 3)
        line, column = spots[offset]
        wanted = spots[offset:] if length is None else spots[offset : offset + max(length, 1)]
        last = min(max(at for row, at in wanted if row == line) + 1, len(self._lines[line].rstrip()))
        return Span(line + 1, column + 1, max(last, column + 1) + 1)

    def without(self, paths: Iterable[Path]) -> str:
        """Return the text of the document with the values at some paths made unreadable."""
        lines = list(self._lines)
        for path in paths:
            tree = self.find(path)
            if isinstance(tree, Scalar):
                for row in range(tree.start.line, tree.end.line + 1):
                    first = tree.start.column if row == tree.start.line else 0
                    last = tree.end.column if row == tree.end.line else len(lines[row])
                    lines[row] = lines[row][:first] + "*" * (last - first) + lines[row][last:]
        return "\n".join(lines)

    def _span(self, tree: Tree) -> Span:
        return span_of(tree.start, tree.end, self._lines)


def span_of(start: Mark, end: Mark, lines: list[str]) -> Span:
    """Return the place between two marks, cut at the end of its first line; at least one column wide."""
    last = end.column if end.line == start.line else len(lines[start.line].rstrip())
    return Span(start.line + 1, start.column + 1, max(last, start.column + 1) + 1)


def _spots(scalar: Scalar, lines: list[str]) -> list[tuple[int, int]]:
    """Return line and column (from 0) of every character of a scalar's text that can be found again."""
    written = _block(scalar, lines) if scalar.style in ("|", ">") else _flow(scalar, lines)
    return list(_align(scalar.text, list(written)))


def _align(text: str, written: list[_Written]) -> Iterator[tuple[int, int]]:
    """Pair a text with what is written; a line break may have become a blank, or nothing."""
    index = 0
    for char in text:
        while index < len(written):
            found, line, column = written[index]
            index += 1
            if found == char or (found == "\n" and char == " "):
                yield line, column
                break
            if found != "\n":
                return


def _block(scalar: Scalar, lines: list[str]) -> Iterator[_Written]:
    """Yield the characters of a block scalar (``|`` or ``>``) without its header and indentation."""
    rows = [row for row in range(scalar.start.line + 1, len(lines)) if row <= scalar.end.line]
    first = next((row for row in rows if lines[row].strip()), None)
    if first is None:
        return
    text_line = next(line for line in scalar.text.split("\n") if line.strip())
    indent = len(lines[first]) - len(lines[first].lstrip(" "))
    indent -= (len(text_line) - len(text_line.lstrip(" "))) if scalar.style == "|" else 0
    for row in rows:
        yield from ((char, row, indent + at) for at, char in enumerate(lines[row][indent:]))
        yield "\n", row, len(lines[row])


def _flow(scalar: Scalar, lines: list[str]) -> Iterator[_Written]:
    """Yield the characters of a plain or quoted scalar, its lines trimmed as YAML folds them."""
    quote = len(scalar.style)
    for row in range(scalar.start.line, scalar.end.line + 1):
        line = lines[row]
        begin = scalar.start.column + quote if row == scalar.start.line else len(line) - len(line.lstrip())
        end = scalar.end.column - quote if row == scalar.end.line else len(line.rstrip())
        if scalar.style == '"':
            if row < scalar.end.line and _ESCAPED_BREAK.search(line, begin, end):
                end -= 1
            yield from _double_quoted(line, row, begin, end)
        else:
            doubled = scalar.style == "'"
            yield from _unescaped(line, row, begin, end, doubled=doubled)
        if row < scalar.end.line:
            yield "\n", row, end


def _unescaped(line: str, row: int, begin: int, end: int, *, doubled: bool) -> Iterator[_Written]:
    at = begin
    while at < end:
        yield line[at], row, at
        at += 2 if doubled and line[at] == "'" else 1


_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)")
_ESCAPED_BREAK = re.compile(r"(?<!\\)(?:\\\\)*\\$")
_ESCAPED = {
    "n": "\n",
    "t": "\t",
    "r": "\r",
    "0": "\0",
    "a": "\a",
    "b": "\b",
    "e": "\x1b",
    "f": "\f",
    "v": "\v",
}


def _double_quoted(line: str, row: int, begin: int, end: int) -> Iterator[_Written]:
    at = begin
    while at < end:
        escape = _ESCAPE.match(line, at, end)
        if escape is None:
            yield line[at], row, at
            at += 1
            continue
        code = escape[1]
        yield chr(int(code[1:], 16)) if len(code) > 1 else _ESCAPED.get(code, code), row, at
        at = escape.end()
