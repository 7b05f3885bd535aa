"""The reference as Markdown: one page a node type, one for all connections, an index."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from flowrunner.reference.options import Table, common_tables, connection_tables, node_tables
from flowrunner.reference.types import installed_connections, installed_nodes
from flowrunner.registry import ConnectionType, NodeType

GENERATED = "<!-- Generated from the node types by `make generate`; do not edit. -->"

ERRORS = "The messages that failed here, when something is wired to it."

_KINDS = {"source": "Sources", "transform": "Transforms", "sink": "Sinks"}


def reference_pages() -> dict[str, str]:
    """Return the pages by file name."""
    types = installed_nodes()
    pages = {f"{type.name}.md": _node_page(type) for type in types}
    return {"README.md": _index(types), "connections.md": _connections_page(), **pages}


def _index(types: Sequence[NodeType]) -> str:
    lines = [GENERATED, "", "# Node types", ""]
    for kind, heading in _KINDS.items():
        lines += [f"## {heading}", "", "| type | what it does |", "|---|---|"]
        lines += [
            f"| [`{type.name}`]({type.name}.md) | {type.summary} |" for type in types if type.kind == kind
        ]
        lines.append("")
    lines += [
        "Servers that they talk to are [connections](connections.md).",
        "",
        "## Options of every node",
        "",
    ]
    return _joined([*lines, *_tables(common_tables())])


def _node_page(type: NodeType) -> str:
    body = type.description.partition("\n")[2].strip()
    lines = [GENERATED, "", f"# `{type.name}`", "", type.summary, "", *([body, ""] if body else [])]
    lines += ["## Options", "", *_tables(node_tables(type.config))]
    lines += [
        f"It is a {type.kind}, and has the [options of every node](README.md#options-of-every-node) too.",
        "",
    ]
    if type.when_journal_full:
        lines += ["## When the journal is full", "", type.when_journal_full, ""]
    lines += ["## Ports", "", "| port | messages |", "|---|---|"]
    lines += [f"| `{port}` | {text} |" for port, text in (type.ports | {"errors": ERRORS}).items()]
    return _joined([*lines, "", "## Example", "", "```yaml", type.example.strip(), "```", ""])


def _connections_page() -> str:
    lines = [GENERATED, "", "# Connection types", ""]
    lines += ["A connection stands under `connections:` and has a `type` and the options of that type.", ""]
    for type in installed_connections():
        lines += [f"## `{type.name}`", "", *_connection_section(type)]
    return _joined(lines)


def _connection_section(type: ConnectionType) -> list[str]:
    return [type.description, "", *_tables(connection_tables(type.config))]


def _tables(tables: Iterable[Table]) -> list[str]:
    lines: list[str] = []
    for table in tables:
        if table.of:
            when = f" with `{table.when}`" if table.when else ""
            lines += [f"### `{table.of}`{when}", "", table.description, ""]
        if table.options:
            lines += ["| option | what to write | default | what it is |", "|---|---|---|---|"]
            lines += [
                f"| `{option.name}` | {_cell(option.type)} | {_default(option.default, required=option.required)} "
                f"| {_cell(option.description)} |"
                for option in table.options
            ]
        else:
            lines.append("It has no options of its own.")
        lines.append("")
    return lines


def _default(default: str | None, *, required: bool) -> str:
    if required:
        return "**required**"
    return "" if default is None else f"`{default}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _joined(lines: Iterable[str]) -> str:
    return "\n".join(lines).rstrip("\n") + "\n"
