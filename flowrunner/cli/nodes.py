"""``flowrunner nodes``: the reference of the installed types, in the terminal."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence

from flowrunner.cli.exits import complain
from flowrunner.reference.options import Option, Table, common_tables, connection_tables, node_tables
from flowrunner.reference.pages import ERRORS
from flowrunner.reference.types import installed_connections, installed_nodes, no_such_type
from flowrunner.registry import ConnectionType, NodeType, find_connection_type, find_node_type


def nodes(name: str | None) -> int:
    """Print a list of all types, or all about the one called ``name``; return the exit code."""
    if name is None:
        lines = _list()
    elif (type := find_node_type(name)) is not None:
        lines = _node(type)
    elif (connection := find_connection_type(name)) is not None:
        lines = _connection(connection)
    else:
        return complain(f"there is no type `{name}`", help=no_such_type(name))
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return 0


def _list() -> list[str]:
    types = installed_nodes()
    groups: dict[str, Mapping[str, str]] = {
        heading: {type.name: type.summary for type in types if type.kind == kind}
        for heading, kind in (("Sources", "source"), ("Transforms", "transform"), ("Sinks", "sink"))
    }
    groups["Connections"] = {type.name: type.summary for type in installed_connections()}
    width = max(len(name) for group in groups.values() for name in group)
    lines: list[str] = []
    for heading, group in groups.items():
        lines += [_bold(heading), *_entries(group, width), ""]
    return [*lines, "`flowrunner nodes TYPE` tells all about one."]


def _node(type: NodeType) -> list[str]:
    lines = [f"{_bold(type.name)} ({type.kind})", "", type.description, ""]
    lines += [*_tables("Options", node_tables(type.config))]
    lines += [*_tables("Options of every node", common_tables())]
    if type.when_journal_full:
        lines += [_bold("When the journal is full"), *_wrapped(type.when_journal_full, "  "), ""]
    ports = type.ports | {"errors": ERRORS}
    lines += [_bold("Ports"), *_entries(ports, max(map(len, ports))), ""]
    return [*lines, _bold("Example"), *(f"  {line}".rstrip() for line in type.example.splitlines())]


def _connection(type: ConnectionType) -> list[str]:
    tables = _tables("Options", connection_tables(type.config))
    return [f"{_bold(type.name)} (connection)", "", type.description, "", *tables[:-1]]


def _tables(heading: str, tables: Sequence[Table]) -> list[str]:
    lines: list[str] = []
    for table in tables:
        when = f", with {table.when}" if table.when else ""
        lines.append(_bold(f"Options of {table.of}{when}" if table.of else heading))
        for option in table.options:
            lines += _option(option)
        lines += [*([] if table.options else ["  none of its own"]), ""]
    return lines


def _option(option: Option) -> list[str]:
    need = "required" if option.required else None if option.default is None else f"default {option.default}"
    kind = option.type.replace("`", "")
    return [
        f"  {_bold(option.name)}  {kind}{f' ({need})' if need else ''}",
        *_wrapped(option.description, "      "),
    ]


def _entries(entries: Mapping[str, str], width: int) -> Iterable[str]:
    for name, text in entries.items():
        yield from _wrapped(text, " " * (width + 4), first=f"  {name.ljust(width)}  ")


def _wrapped(text: str, indent: str, first: str | None = None) -> list[str]:
    width = min(shutil.get_terminal_size().columns, 110)
    return textwrap.wrap(
        text, width, initial_indent=first or indent, subsequent_indent=indent, break_on_hyphens=False
    )


def _bold(text: str) -> str:
    return f"\x1b[1m{text}\x1b[0m" if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else text
