"""What the API tells of a node, and the page of several flows and of none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flowrunner.admin.details import describe
from flowrunner.admin.events import snapshot
from flowrunner.graph.load import load_flows
from tests.admin.harness import admin, graph

FLOW = """\
version: 1
flow: house
connections:
  broker: { type: mqtt, url: "mqtt://127.0.0.1", username: me, password: "${PW}" }
nodes:
  sensors: { type: mqtt_in, connection: broker, topics: ["a/+"] }
  calm: { type: throttle, from: sensors, key: topic, every: 90s, emit: last, description: "Less of it." }
  per_minute:
    type: aggregate
    from: calm
    window: { type: tumbling, size: 1m }
    allowed_lateness: 10s
    fields: { mean: mean(payload.t) }
  out: { type: file_out, from: [per_minute, calm.errors], path: out.jsonl, outbox: { max_bytes: 2MiB } }
"""


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        pytest.param(
            "calm",
            {
                "type": "throttle",
                "kind": "transform",
                "description": "Less of it.",
                "options": {"key": "topic", "every": "1m30s", "emit": "last"},
                "inputs": ["sensors.out"],
                "outputs": ["out → per_minute", "errors → out"],
            },
            id="expression-and-duration",
        ),
        pytest.param(
            "per_minute",
            {
                "options": {
                    "window": {"type": "tumbling", "size": "1m"},
                    "allowed_lateness": "10s",
                    "fields": {"mean": "mean(payload.t)"},
                },
                "ports": {
                    "out": "One message for each key and window.",
                    "late": "Messages whose windows have all closed.",
                    "errors": "",
                },
            },
            id="nested-options-and-ports",
        ),
        pytest.param(
            "out",
            {"options": {"path": "out.jsonl", "outbox": {"max_bytes": "2MiB"}}, "outputs": []},
            id="size",
        ),
    ],
)
def test_a_node_is_told_as_it_stands_in_its_file(node: str, expected: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "house.yaml").write_text(FLOW)
    loaded = load_flows([tmp_path], environment={"PW": "s3cret-word"})
    told = describe(loaded.graphs["house"], node)

    assert expected == {name: told[name] if name != "options" else _without_from(told) for name in expected}
    assert told["reference"].count("\n") > 3


def _without_from(told: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in told["options"].items() if name != "from"}


async def test_details_are_of_nodes_that_run(tmp_path: Path) -> None:
    async with admin(tmp_path, graph()) as process:
        found = await process.get("/api/v1/flows/house/nodes/n")
        no_node = await process.get("/api/v1/flows/house/nodes/x")
        no_flow = await process.get("/api/v1/flows/x/nodes/n")

        assert (200, "n") == (found.status_code, found.json()["node"])
        assert (404, "flow `house` has no node `x`") == (no_node.status_code, no_node.json()["detail"])
        assert (404, "no flow `x` is running") == (no_flow.status_code, no_flow.json()["detail"])


async def test_several_flows_have_tabs_and_no_flow_has_words(tmp_path: Path) -> None:
    async with admin(tmp_path, graph(), graph("garden")) as process:
        both = await process.get("/")
        await process.supervisor.remove("garden")
        one = await process.get("/")
        await process.supervisor.remove("house")
        none = await process.get("/")

        assert (2, 0, 0) == tuple(page.text.count("data-tab=") for page in (both, one, none))
        assert "No flow is running." in none.text
        assert "No flow is running." not in one.text


async def test_the_newest_reload_comes_first(tmp_path: Path) -> None:
    async with admin(tmp_path, graph()) as process:
        (tmp_path / "bad.yaml").write_text("version: 1\nnodes: 3\n")
        await process.reloader.reload()
        (tmp_path / "bad.yaml").write_text("version: 2\n")
        await process.reloader.reload()
        recent = snapshot(process.process)["recent_reloads"]

        assert recent[0]["time"] >= recent[-1]["time"]
        assert {"refused", "applied"} == {one["result"] for one in recent}
        assert recent[0]["name"].startswith(str(tmp_path / "bad.yaml"))
