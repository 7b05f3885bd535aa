"""One section of a Home Assistant configuration, with the tags that Home Assistant's YAML has.

Within bounds: files of 1 MiB, 64 levels, 100,000 values. Only the section that is asked for is looked at: what other
sections include does not matter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import yaml

from flowrunner.importing.errors import CannotImport

MAX_BYTES = 1 << 20
_MAX_LEVELS = 64
_MAX_VALUES = 100_000
_MAX_INCLUDES = 32
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # some wheels come without libyaml


class Reference(msgspec.Struct, frozen=True):
    """A value that stands elsewhere, and in the flow will be a variable."""

    variable: str
    """The environment variable by which a flow names it."""
    origin: str
    """Where it stands today, in words."""
    value: str | None
    """What it is, ``None`` when that is not known."""
    default: str | None = None

    @property
    def text(self) -> str:
        """The variable as a flow has it."""
        return f"${{{self.variable}{'' if self.default is None else f':-{self.default}'}}}"


class Section:
    """Reads the section ``key`` of a file; ``secrets`` defaults to the ``secrets.yaml`` beside it."""

    def __init__(self, file: Path, *, secrets: Path | None, environment: Mapping[str, str]) -> None:
        self._folder = file.parent.resolve()
        self._file = file
        self._secrets_file = secrets or file.parent / "secrets.yaml"
        self._must_have_secrets = secrets is not None
        self._secrets: dict[str, str] | None = None
        self._environment = environment
        self._includes = 0

    def read(self, key: str) -> Any:
        """Return the section as dictionaries, lists, scalars and :class:`Reference`.

        Raises :class:`CannotImport`, also when there is no such section.
        """
        if self._must_have_secrets:
            self._secret_values()
        root = _compose(self._file)
        sections = root.value if isinstance(root, yaml.MappingNode) else []
        found = [value for name, value in sections if name.value == key]
        if not found:
            help = f"give the file in which `{key}:` stands: configuration.yaml, or the package"
            raise CannotImport(f"{self._file} has no section `{key}:`", help=help)
        return self._construct(found[-1], self._file)

    def _construct(self, node: yaml.Node, file: Path) -> Any:
        class Loader(yaml.SafeLoader):
            """The tags hang on the class; each file has its own, since `!include` is relative to it."""

        Loader.add_constructor("!secret", lambda _, node: self._secret(_scalar(node, file)))
        Loader.add_constructor("!env_var", lambda _, node: self._variable(_scalar(node, file)))
        Loader.add_constructor("!include", lambda _, node: self._include(_scalar(node, file), file))
        Loader.add_constructor(None, partial(_refuse_tag, file))
        try:
            return Loader("").construct_document(node)
        except yaml.YAMLError as error:
            raise _not_yaml(file, error) from None

    def _secret(self, name: str) -> Reference:
        return Reference(_variable_name(name), f"`{name}` in secrets.yaml", self._secret_values().get(name))

    def _variable(self, text: str) -> Reference:
        name, _, default = text.partition(" ")
        value = self._environment.get(name, default or None)
        return Reference(_variable_name(name), f"the environment variable {name}", value, default or None)

    def _include(self, name: str, file: Path) -> Any:
        path = (file.parent / name).resolve()
        if not path.is_relative_to(self._folder):
            help = f"copy it into {self._folder}"
            raise CannotImport(f"{file} includes {name}, which lies outside of its folder", help=help)
        self._includes += 1
        if self._includes > _MAX_INCLUDES:
            raise CannotImport(f"more than {_MAX_INCLUDES} files are included", help="look for a circle")
        node = _compose(path)
        return {} if node is None else self._construct(node, path)

    def _secret_values(self) -> dict[str, str]:
        if self._secrets is None:
            there = self._must_have_secrets or self._secrets_file.is_file()
            node = _compose(self._secrets_file) if there else None
            pairs = node.value if isinstance(node, yaml.MappingNode) else []
            self._secrets = {
                name.value: value.value for name, value in pairs if isinstance(value, yaml.ScalarNode)
            }
        return self._secrets


def _compose(file: Path) -> yaml.Node | None:
    """Return the file's tree, after a look at its events: a parser's stack is not to be trusted with any depth."""
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_BYTES + 1)
    except OSError as error:
        reason = error.strerror or str(error)
        raise CannotImport(f"cannot read {file}: {reason}", help="check the path") from None
    if len(data) > MAX_BYTES:
        raise CannotImport(f"{file} is larger than 1 MiB", help="give a file with the section alone")
    try:
        text = data.decode()
        _check_bounds(text, file)
        node: yaml.Node | None = yaml.compose(text, Loader=_LOADER)
    except UnicodeDecodeError:
        raise CannotImport(f"{file} is not UTF-8", help="save the file as UTF-8") from None
    except yaml.YAMLError as error:
        raise _not_yaml(file, error) from None
    return node


def _check_bounds(text: str, file: Path) -> None:
    levels = 0
    for count, event in enumerate(yaml.parse(text, Loader=_LOADER)):
        levels += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if levels > _MAX_LEVELS or count > _MAX_VALUES:
            raise CannotImport(f"{file} is nested too deeply or has too many values", help="divide the file")


def _scalar(node: yaml.Node, file: Path) -> str:
    if isinstance(node, yaml.ScalarNode) and node.value:
        return str(node.value)
    raise CannotImport(
        f"{_place(file, node.start_mark)}: `{node.tag}` needs a name", help="write one behind it"
    )


def _refuse_tag(file: Path, loader: yaml.SafeLoader, node: yaml.Node) -> Any:
    del loader
    help = "write the values out; `!secret`, `!include` and `!env_var` are understood"
    raise CannotImport(f"{_place(file, node.start_mark)}: the tag `{node.tag}` cannot be imported", help=help)


def _not_yaml(file: Path, error: yaml.YAMLError) -> CannotImport:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    where = str(file) if mark is None else _place(file, mark)
    return CannotImport(f"{where}: the file is not valid YAML: {problem or error}", help="correct it there")


def _place(file: Path, mark: Any) -> str:
    return f"{file}:{mark.line + 1}:{mark.column + 1}"


def _variable_name(name: str) -> str:
    text = re.sub(r"[^A-Za-z0-9_]", "_", name).upper()
    return text if not text[0].isdigit() else f"_{text}"
