"""Variables in option values: ``${NAME}``, ``${NAME:-default}``, ``${file:PATH}``, and ``$${`` for a plain ``${``.

A file is parsed first and substituted afterwards, so a value can never add YAML of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

_TOKEN = re.compile(r"\$\$\{|\$\{([^{}]*)\}|\$\{")
_CONTENT = re.compile(r"file:(?P<file>.+)|(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>.*))?", re.DOTALL)
_LARGEST_FILE = 64 * 1024


class Variable(msgspec.Struct, frozen=True):
    """One variable in a text."""

    written: str
    """As it stands in the file, ``${…}``."""
    offset: int
    name: str
    """The name of an environment variable, or the path of a file."""
    is_file: bool = False
    default: str | None = None


class VariableError(ValueError):
    """A ``${`` that is not the beginning of a variable, at ``offset`` in its text."""

    def __init__(self, message: str, offset: int, length: int) -> None:
        super().__init__(message)
        self.offset = offset
        self.length = length


def split_variables(text: str) -> list[str | Variable]:
    """Return the literal pieces and the variables of a text; raises :class:`VariableError`."""
    pieces: list[str | Variable] = []
    end = 0
    for token in _TOKEN.finditer(text):
        pieces.append(text[end : token.start()])
        pieces.append("${" if token[0] == "$${" else _variable(token))
        end = token.end()
    pieces.append(text[end:])
    return [piece for piece in pieces if piece != ""]


def _variable(token: re.Match[str]) -> Variable:
    if token[1] is None:
        raise VariableError("`${` has no closing `}`", token.start(), 2)
    content = _CONTENT.fullmatch(token[1])
    if content is None:
        raise VariableError(f"`{token[0]}` is not a variable", token.start(), len(token[0]))
    if content["file"] is not None:
        return Variable(token[0], token.start(), content["file"], is_file=True)
    return Variable(token[0], token.start(), content["name"], default=content["default"])


class Environment:
    """What variables stand for. Files are read once, relative to ``folder``."""

    def __init__(
        self,
        variables: Mapping[str, str],
        folder: Path,
        *,
        strict: bool,
        files: Mapping[Path, bytes | None] | None = None,
    ) -> None:
        """``files`` are contents that have been read already."""
        self._variables = variables
        self._files = files or {}
        self._folder = folder
        self.strict = strict
        """Whether a variable that is not set is an error; otherwise files are not opened at all."""

    def value(self, variable: Variable) -> str | None:
        """Return the text a variable stands for, ``None`` when it is not set (or empty, with a default).

        Raises :class:`OSError` or :class:`ValueError` for a file that cannot be read as text.
        """
        if variable.is_file:
            return self._read(variable.name) if self.strict else None
        value = self._variables.get(variable.name)
        return variable.default if not value and variable.default is not None else value

    def content(self, path: Path, most: int = -1) -> bytes:
        """Return the content of a file, at most so many bytes. Raises ``OSError`` or ``ValueError``."""
        known = self._files.get(path)
        if known is not None:
            return known
        if not path.is_file():
            raise ValueError("there is no such file")
        with path.open("rb") as file:
            return file.read(most)

    def _read(self, name: str) -> str:
        data = self.content(self._folder / name, _LARGEST_FILE + 1)
        if len(data) > _LARGEST_FILE:
            raise ValueError("it is larger than 64 KiB")
        return data.decode().removesuffix("\n").removesuffix("\r")
