"""The dashboard "flowrunner": Grafana's own model of it, its grid, and its queries against a real Prometheus."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import promql_parser
import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard as GrafanaDashboard

from flowrunner.cli.dashboard import dashboard as command
from flowrunner.dashboards.alerts import Limits, alerts
from flowrunner.dashboards.flow import flow_dashboard
from flowrunner.dashboards.model import Dashboard
from flowrunner.dashboards.overview import OVERVIEW
from flowrunner.graph.load import load_flows
from tests.dashboards.queries import panels, promql
from tests.e2e.process import Flowrunner
from tests.servers.mosquitto import Mosquitto
from tests.servers.prometheus import Prometheus

ROOT = Path(__file__).parents[2]
BEYOND = {"titleFormat", "textFormat", "step", "query"}
"""What Grafana reads and its published model does not hold: of annotations of Prometheus."""
QUIET = {
    "flowrunner_gap_seconds_total": "no source has missed anything",
    "changes": "nothing was reloaded",
    "flowrunner_connection_events_total": "nothing worth counting has happened to a connection",
    "flowrunner_dead_letters_ended_total": "no dead letter was replayed or purged",
}
"""What has no sample, and why that is right."""
FLOW = """\
version: 1
flow: every
connections:
  broker: {{ type: mqtt, url: "mqtt://127.0.0.1:{port}" }}
nodes:
  away: {{ type: mqtt_in, connection: broker, topics: [a] }}
  beat: {{ type: inject, every: 100ms, payload: {{ value: 1 }} }}
  broken: {{ type: map, from: beat, set: {{ payload.x: =payload.missing }}, on_error: drop }}
  letter: {{ type: map, from: beat, set: {{ payload.x: =payload.missing }} }}
  seen: {{ type: file_out, from: [beat, away, broken, letter], path: "{folder}/seen.jsonl", outbox: {{ max_bytes: 1MiB }} }}
"""


def every_dashboard() -> list[Any]:
    flows = load_flows([ROOT / "flows"]).graphs.values()
    made = [flow_dashboard(graph, language) for graph in flows for language in ("flux", "influxql")]
    return [pytest.param(one, id=f"{one.title} {number % 2}") for number, one in enumerate([OVERVIEW, *made])]


DASHBOARDS = every_dashboard()


def test_the_files_are_what_is_generated() -> None:
    assert 0 == command(None, out=ROOT / "dashboards", language="flux", limits=Limits(), check=True)


@pytest.mark.parametrize("one", DASHBOARDS)
def test_grafanas_own_model_takes_every_dashboard_and_loses_nothing(one: Dashboard) -> None:
    model = json.loads(one.text())
    read = json.loads(JSONEncoder(sort_keys=True).encode(GrafanaDashboard.from_json(model)))

    assert [] == list(lost(model, read))


def lost(ours: Any, theirs: Any, path: str = "") -> list[str]:
    """Return the places where what was read is not what was written; empty values may be left out."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        found = []
        for key, value in ours.items():
            if key in theirs:
                found += lost(value, theirs[key], f"{path}.{key}")
            elif key not in BEYOND and value not in (None, [], {}, False):
                found.append(f"{path}.{key}")
        return found
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        return [
            each
            for i, (a, b) in enumerate(zip(ours, theirs, strict=True))
            for each in lost(a, b, f"{path}[{i}]")
        ]
    return [] if ours == theirs else [f"{path}: {ours!r} became {theirs!r}"]


@pytest.mark.parametrize("one", DASHBOARDS)
def test_panels_have_numbers_descriptions_and_a_place_of_their_own(one: Dashboard) -> None:
    model = one.json()
    numbers = [panel["id"] for panel in model["panels"]]
    cells = [
        (x, y)
        for panel in model["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]

    assert len(numbers) == len(set(numbers))
    assert len(cells) == len(set(cells))
    assert 24 > max(x for x, _ in cells)
    for panel in panels(model):
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
    assert len(model["uid"]) <= 40


@pytest.mark.parametrize("one", DASHBOARDS)
def test_every_query_is_promql(one: Dashboard) -> None:
    queries = list(promql(one))

    assert len(queries) > 15
    for _, query in queries:
        promql_parser.parse(query)


def test_every_rule_is_promql() -> None:
    for alert in [*alerts(), *alerts("climate")]:
        promql_parser.parse(alert.expr)


@pytest.mark.server
@pytest.mark.timeout(120)
async def test_a_real_prometheus_has_data_for_every_query(tmp_path: Path) -> None:
    async with Mosquitto(tmp_path / "broker") as broker, Flowrunner(tmp_path / "f") as process:
        process.write("every.yaml", FLOW.format(port=broker.port, folder=tmp_path))
        await process.start()
        queries = {query for _, query in promql(OVERVIEW)}
        expected = {query for query in queries if names_of(query) & QUIET.keys()}
        async with Prometheus(tmp_path, process.port) as prometheus:
            empty = await prometheus.without_data(queries, patience=30, but=expected)

    assert expected == empty
    assert len(queries) - len(expected) > 45


def names_of(query: str) -> set[str]:
    """Return the metrics and functions that a query names."""
    return set(re.findall(r"\w+", query))
