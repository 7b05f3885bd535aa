"""Members of nested mappings by dotted path, without ever changing a mapping that somebody else may hold."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import AfterValidator

from flowrunner import MessageError, option_error

type Path = tuple[str, ...]

MISSING: Any = object()
"""Stands for a member that is not there; ``None`` is a value."""

_KINDS = {
    type(None): "null",
    bool: "a bool",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "a list",
    dict: "a mapping",
}
_DEEPEST = 32


def _check_target(path: str) -> str:
    root, _, member = path.partition(".")
    whole = path in ("topic", "payload", "time")
    if whole or (root == "payload" and _is_dotted(member)) or (root == "meta" and member):
        return path
    help = "write topic, payload, time, payload.NAME or meta.NAME"
    raise option_error("FR029", f"{path!r} is not a part of a message that can be set", help=help)


def _check_member(path: str) -> str:
    root, _, member = path.partition(".")
    if root == "payload" and _is_dotted(member):
        return path
    help = f"write payload.{path}" if root != "payload" and _is_dotted(path) else "write payload.NAME"
    raise option_error("FR029", f"{path!r} is not the path of a member of the payload", help=help)


def _is_dotted(path: str) -> bool:
    names = path.split(".")
    return all(names) and len(names) <= _DEEPEST


Target = Annotated[str, AfterValidator(_check_target)]
"""The path of a part of a message that can be set."""

Member = Annotated[str, AfterValidator(_check_member)]
"""The path of a member of the payload."""


def get_member(value: Any, path: Path) -> Any:
    """Return the member at ``path``, ``MISSING`` when there is none."""
    for name in path:
        if not isinstance(value, dict) or name not in value:
            return MISSING
        value = value[name]
    return value


def with_member(value: Any, path: Path, member: Any, done: int = 0) -> dict[str, Any]:
    """Return ``value`` with the member at ``path`` set; mappings on the way are copied or made.

    ``done`` steps of the path have led to ``value``. Raises :class:`MessageError` where the path leads into
    something that is not a mapping.
    """
    mapping, name = require_mapping(value, path, done), path[done]
    if done + 1 < len(path):
        member = with_member(mapping.get(name, {}), path, member, done + 1)
    return {**mapping, name: member}


def without_member(value: Any, path: Path) -> Any:
    """Return ``value`` less the member at ``path``; ``value`` itself when there is no such member."""
    if get_member(value, path) is MISSING:
        return value
    copy = dict(value)
    name, rest = path[0], path[1:]
    if rest:
        copy[name] = without_member(copy[name], rest)
    else:
        del copy[name]
    return copy


def only_members(value: Any, paths: Iterable[Path]) -> dict[str, Any]:
    """Return a mapping of those members of ``value`` that ``paths`` name and that are there."""
    kept: dict[str, Any] = {}
    for path in paths:
        require_mapping(value, path)
        member = get_member(value, path)
        if member is not MISSING:
            kept = with_member(kept, path, member)
    return kept


def require_mapping(value: Any, path: Path, done: int = 0) -> dict[str, Any]:
    """Return ``value`` if it is a mapping; else raise :class:`MessageError` that names the member sought."""
    if isinstance(value, dict):
        return value
    here, sought = (".".join(("payload", *part)) for part in (path[:done], path))
    raise MessageError(f"{sought} cannot be: {here} is {kind_of(value)}, not a mapping")


def kind_of(value: Any) -> str:
    """Return what kind of JSON value this is, with its article."""
    return _KINDS.get(type(value), f"a Python {type(value).__name__}")
