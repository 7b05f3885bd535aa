"""Catalogs for tests: an empty one in SQLite or PostgreSQL, and revisions to put into it."""

from __future__ import annotations

from typing import Any

from flowrunner.diagnostics import Diagnostic
from flowrunner.graph.diff import Change, Plan
from flowrunner.graph.revision import Revision
from tests.runtime.flows import START
from tests.servers.postgres import Postgres

PLAN = Plan("climate", (Change("calm", "throttle", "state_kept", ("`every` changed",)),), ())
ERROR = Diagnostic("flows/climate.yaml", 6, 17, 23, "error", "FR011", "there is no node type `throtle`", None)


def revision(number: int = 0, **facts: Any) -> Revision:
    told: dict[str, Any] = {
        "flow": "climate",
        "time": START + number,
        "result": "applied",
        "file": "flows/climate.yaml",
        "hash": f"{number:064x}",
        "plan": PLAN,
        "source": f"version: 1 # {number}\n",
    }
    return Revision(**{**told, **facts})


async def empty(server: Postgres) -> None:
    await server.ask("DROP SCHEMA public CASCADE")
    await server.ask("CREATE SCHEMA public")
