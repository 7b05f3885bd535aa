"""The catalog of a real process: what was applied and refused, over crashes of either side, and no secret in it."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.process import Flowrunner
from tests.servers.postgres import PASSWORD, Postgres

FLOW = """\
version: 1
flow: climate
connections:
  broker: {{ type: mqtt, url: "mqtt://127.0.0.1:1", username: me, password: "${{CANARY}}" }}
  other: {{ type: mqtt, url: "mqtt://127.0.0.1:2", username: me, password: canary-literal }}
nodes:
  away: {{ type: mqtt_in, connection: broker, topics: [a] }}
  there: {{ type: mqtt_in, connection: other, topics: [a] }}
  hook: {{ type: http_in, token: "${{CANARY_UNSET:-canary-default}}" }}
  calm: {{ type: {type}, from: [away, there, hook], every: {every} }}
  out: {{ type: file_out, from: calm, path: "{folder}/out.jsonl" }}
"""
MISTAKES = {
    "a type": FLOW.replace("other: {{ type: mqtt,", "other: {{ type: mqqt,"),
    "a name": FLOW.replace("password: canary-literal", "pasword: canary-literal"),
    "no YAML": FLOW.replace("nodes:", "nodes: ["),
    "a list": FLOW.replace("password: canary-literal", "password: [canary-literal]"),
    "a variable": FLOW.replace("password: canary-literal", 'password: "canary-literal${{"'),
    "a node": FLOW.replace("from: calm", "from: clam"),
}


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with Postgres() as running:
        yield running


def flow(process: Flowrunner, every: str = "1s", text: str = FLOW) -> None:
    process.write("climate.yaml", text.format(type="throttle", every=every, folder=process.state.parent))


def history(process: Flowrunner) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "flowrunner", "history", "climate", "--format", "json", "--limit", "100"]
    done = subprocess.run(command, env=process._environment, capture_output=True, text=True, check=False)
    assert "canary" not in done.stdout + done.stderr
    rows: list[dict[str, Any]] = json.loads(done.stdout) if done.returncode == 0 else []
    return rows[::-1]


def recorded(process: Flowrunner) -> int:
    """Return how many revisions the process tells of; 0 while it cannot."""
    status, rows = process.get("/api/v1/flows/climate/revisions")
    return len(rows) if status == 200 else 0


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_every_revision_is_recorded_and_no_secret(kind: str, tmp_path: Path, server: Postgres) -> None:
    settings = {"instance": f"house_{kind}"}
    if kind == "postgres":
        settings["catalog_url"] = server.url
    async with Flowrunner(tmp_path, **settings) as process:
        process._environment["CANARY"] = "canary-variable"
        flow(process)
        process.launch()
        await process.until(lambda: recorded(process) == 1)
        flow(process, "2s")
        await process.until(lambda: recorded(process) == 2)
        for number, text in enumerate(MISTAKES.values(), 3):
            flow(process, "2s", text)
            await process.until(lambda: recorded(process) == number)  # noqa: B023
        flow(process, "3s")
        await process.until(lambda: recorded(process) == len(MISTAKES) + 3)
        status, told = process.get("/api/v1/flows/climate/revisions")
        rows = history(process)
        process.kill()
        process.launch()
        await process.until(lambda: recorded(process) > 0)
        flow(process, "4s")
        await process.until(lambda: recorded(process) == len(rows) + 1)
        assert 0 == await process.stop()

    assert ["applied", "applied", *["refused"] * len(MISTAKES), "applied"] == [row["result"] for row in rows]
    assert (200, rows[::-1]) == (status, told)
    assert {"state_kept"} == {c["outcome"] for c in rows[1]["plan"]["nodes"] if c["name"] == "calm"}
    assert [True, True] == [row["source"] is not None for row in rows[:2]]
    assert "${CANARY}" in rows[0]["source"]
    dump = "\n".join(sqlite3.connect(process.state / "catalog.db").iterdump()) if kind == "sqlite" else ""
    everything = dump or repr(await server.ask("SELECT * FROM revisions"))
    assert "throttle" in everything
    assert "canary" not in everything.lower().replace("${canary", "")
    assert PASSWORD not in process.log.read_text()


async def test_a_database_that_is_killed_delays_revisions_and_nothing_else(
    tmp_path: Path, server: Postgres
) -> None:
    async with Flowrunner(tmp_path, catalog_url=server.url, instance="garden") as process:
        process._environment["CANARY"] = "canary-variable"
        flow(process)
        process.launch()
        await process.until(lambda: recorded(process) > 0)
        server.kill()
        try:
            flow(process, "2s")
            await process.until(lambda: process.get("/api/v1/flows/climate")[1]["generation"] == 2)
            await process.until(lambda: "the catalog of revisions" in str(process.get("/readyz")[1]))
        finally:
            server.start()
        await process.until(lambda: recorded(process) == 2)
        await process.until(lambda: "the catalog of revisions" not in str(process.get("/readyz")[1]))
        assert ["garden", "garden"] == [row["instance"] for row in history(process)][-2:]
        assert 0 == await process.stop()
