"""The installed types, imported: what the schemas and the pages describe."""

from __future__ import annotations

from difflib import get_close_matches

from flowrunner.registry import (
    ConnectionType,
    NodeType,
    connection_type_names,
    find_connection_type,
    find_node_type,
    node_type_names,
)


def installed_nodes() -> list[NodeType]:
    """Import and return all installed node types, by name."""
    return [type for name in node_type_names() if (type := find_node_type(name)) is not None]


def installed_connections() -> list[ConnectionType]:
    """Import and return all installed connection types, by name."""
    return [type for name in connection_type_names() if (type := find_connection_type(name)) is not None]


def no_such_type(name: str) -> str:
    """Return what to do about a name that no type has."""
    near = get_close_matches(name, [*node_type_names(), *connection_type_names()], n=1)
    return f"did you mean `{near[0]}`?" if near else "`flowrunner nodes` lists the types"
