"""``flowrunner history``: what the catalog of revisions has recorded."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from flowrunner.catalog.address import Address, address
from flowrunner.cli.exits import EX_USAGE, complain
from flowrunner.diagnostics.source import printable
from flowrunner.errors import FlowrunnerError
from flowrunner.settings import Settings

_HEAD = ["TIME", "INSTANCE", "FLOW", "RESULT", "HASH", "FILE", "WHAT"]


def history(flow: str | None, *, limit: int, format: Literal["text", "json"], state_dir: Path) -> int:
    """Print the newest revisions and return the exit code: 1 when there is no catalog that could be read."""
    try:
        url = Settings(state_dir=state_dir).catalog_url
    except ValidationError as error:
        (problem, *_) = error.errors(include_url=False, include_input=False)
        name = "_".join(str(part) for part in problem["loc"]).upper()
        return complain(f"setting FLOWRUNNER_{name}: {problem['msg']}", code=EX_USAGE)
    where = address(None if url is None else url.get_secret_value(), state_dir)
    try:
        rows = asyncio.run(_read(where, flow, limit))
    except FlowrunnerError as error:
        return complain(str(error), help="`flowrunner run` makes it; name another with --state-dir", code=1)
    except Exception as error:
        cause = getattr(error, "orig", None) or error
        reason = where.mask(f"{type(cause).__name__}: {cause}".splitlines()[0])
        help = "is the database up, and may it be used from here?"
        return complain(f"the catalog at {where.shown} cannot be read: {reason}", help=help, code=1)
    if format == "json":
        sys.stdout.write(json.dumps(rows, indent=2, ensure_ascii=False) + "\n")
    elif rows:
        _print_table([_row(row) for row in rows])
    else:
        sys.stderr.write("no revisions\n")
    return 0


async def _read(where: Address, flow: str | None, limit: int) -> list[dict[str, Any]]:
    from flowrunner.catalog.store import Store

    return await Store(where).read(flow=flow, limit=limit)


def _row(row: dict[str, Any]) -> list[str]:
    result = row["result"].replace("_", " ")
    told = [
        row["time"],
        row["instance"],
        row["flow"],
        result,
        (row["hash"] or "-")[:12],
        row["file"],
        _what(row),
    ]
    return [printable(str(cell)) for cell in told]


def _what(row: dict[str, Any]) -> str:
    """Return in a few words why a revision was not applied, else what it did with the nodes."""
    if row["result"] != "applied":
        first = next(iter(row["diagnostics"]), None)
        place = (
            f"{first['line']}:{first['column']}: " if first is not None and row["result"] == "refused" else ""
        )
        return place + (row["reason"] or "")
    outcomes = Counter(change["outcome"] for change in row["plan"]["nodes"])
    return ", ".join(f"{count} {outcome.replace('_', ' ')}" for outcome, count in outcomes.items())


def _print_table(rows: Sequence[list[str]]) -> None:
    rows = [_HEAD, *rows]
    if len({row[1] for row in rows[1:]}) == 1:
        rows = [[row[0], *row[2:]] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for row in rows:
        cells = [f"{cell:<{width}}" for cell, width in zip(row, [*widths, 0], strict=True)]
        sys.stdout.write("  ".join(cells).rstrip() + "\n")
