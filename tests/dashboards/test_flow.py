"""Dashboards of flows: what their panels ask of an InfluxDB, and that a real one answers with what a flow has written."""

from __future__ import annotations

import json
import re
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from flowrunner.dashboards.flow import flow_dashboard
from flowrunner.dashboards.influx import Language
from flowrunner.dashboards.points import points_of
from flowrunner.graph.build import Graph
from flowrunner.graph.load import load_flows
from tests.dashboards.queries import filled, panels
from tests.e2e.process import Flowrunner
from tests.servers.influxd import Influxd

HEAD = """\
version: 1
flow: climate
connections:
  tsdb: {{ type: influxdb, url: "{url}", version: 1 }}
nodes:
  beat: {{ type: inject, every: 100ms, topic: kitchen, payload: {{ value: 21.5, word: on }} }}
"""
STORES = {
    "aggregated": """\
  windows:
    type: aggregate
    from: beat
    window: { type: tumbling, size: 1s }
    fields: { "mean value": mean(payload.value), samples: count() }
  calm: { type: filter, from: windows, where: "true" }
  store:
    type: influxdb_out
    from: calm
    connection: tsdb
    bucket: home
    measurement: 'a "room" of mine'
    tags: { area: =topic, unit: °C }
""",
    "fields": """\
  store:
    type: influxdb_out
    from: beat
    connection: tsdb
    bucket: home
    measurement: climate
    fields: { temperature: =payload.value, word: =payload.word }
    types: { word: string }
""",
    "unknown": """\
  store:
    type: influxdb_out
    from: beat
    connection: tsdb
    bucket: home
    measurement: =topic
    fields: { temperature: =payload.value }
    tags: { area: =topic }
""",
}


def graph(folder: Path, store: str, url: str = "http://127.0.0.1:1") -> Graph:
    file = folder / "climate.yaml"
    file.write_text(HEAD.format(url=url) + STORES[store])
    return load_flows([file]).graphs["climate"]


@pytest.mark.parametrize(
    ("store", "language", "expected"),
    [
        pytest.param(
            "aggregated",
            "influxql",
            [
                (
                    r'SELECT mean("mean value") FROM "a \"room\" of mine" WHERE "area" =~ /^${tag_area}$/ AND "unit" =~'
                    r' /^${tag_unit}$/ AND $timeFilter GROUP BY time($__interval), "area", "unit" fill(null)'
                ),
                (
                    r'SELECT mean("samples") FROM "a \"room\" of mine" WHERE "area" =~ /^${tag_area}$/ AND "unit" =~'
                    r' /^${tag_unit}$/ AND $timeFilter GROUP BY time($__interval), "area", "unit" fill(null)'
                ),
            ],
            id="InfluxQL of an aggregate",
        ),
        pytest.param(
            "fields",
            "influxql",
            [
                'SELECT mean("temperature") FROM "climate" WHERE $timeFilter GROUP BY time($__interval) fill(null)',
                'SELECT last("word") FROM "climate" WHERE $timeFilter GROUP BY time($__interval) fill(null)',
            ],
            id="InfluxQL of numbers and words",
        ),
        pytest.param(
            "unknown",
            "flux",
            [
                (
                    'from(bucket: "home")\n'
                    "  |> range(start: v.timeRangeStart, stop: v.timeRangeStop)\n"
                    "  |> filter(fn: (r) => r._measurement =~ /^${measurement:regex}$/)\n"
                    '  |> filter(fn: (r) => r._field == "temperature")\n'
                    '  |> filter(fn: (r) => not exists r["area"] or r["area"] =~ /^${tag_area:regex}$/)\n'
                    "  |> aggregateWindow(every: v.windowPeriod, fn: mean, createEmpty: false)"
                )
            ],
            id="Flux of measurements that differ",
        ),
    ],
)
def test_each_field_has_a_panel(store: str, language: Language, expected: list[str], tmp_path: Path) -> None:
    assert expected == queries(flow_dashboard(graph(tmp_path, store), language).json())


def queries(model: dict[str, Any]) -> list[str]:
    """Return what the panels ask of InfluxDB."""
    return [
        target["query"]
        for panel in panels(model)
        for target in panel["targets"]
        if target["datasource"]["type"] == "influxdb"
    ]


def test_home_assistants_points_are_known_beforehand() -> None:
    text = HEAD.format(url="http://x:1")
    store = (
        "  store: { type: influxdb_out, from: ha, connection: tsdb, bucket: home, layout: home_assistant }\n"
    )
    home = '  home: { type: home_assistant, url: "http://x:8123", token: t }\n'
    source = '  ha: { type: ha_in, connection: home, entities: ["sensor.*"] }\n'
    text = text.replace("nodes:\n", home + "nodes:\n").replace(text[text.index("  beat") :], source)
    points = points_of(load_text(text + store))

    assert [("home", None, ["value"], ["domain", "entity_id"])] == [
        (each.bucket, each.measurement, each.fields, each.tags) for each in points
    ]


def load_text(text: str) -> Graph:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "climate.yaml").write_text(text)
        return load_flows([Path(folder)]).graphs["climate"]


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("language", ["flux", "influxql"])
def test_every_variable_that_a_query_names_is_one_of_the_dashboard(
    store: str, language: Language, tmp_path: Path
) -> None:
    model = flow_dashboard(graph(tmp_path, store), language).json()
    variables = {variable["name"] for variable in model["templating"]["list"]}
    named = set(re.findall(r"\$\{(\w+)", json.dumps(model["panels"])))

    assert named - variables <= {"__url_time_range", "__field", "__data"}
    for query in queries(model):
        assert query.count("(") == query.count(")")
        assert query.count("{") == query.count("}")


@pytest.mark.server
@pytest.mark.timeout(180)
@pytest.mark.parametrize("store", STORES)
async def test_a_real_influxdb_answers_every_query_with_what_the_flow_wrote(
    store: str, tmp_path: Path
) -> None:
    (tmp_path / "influx").mkdir()
    async with Influxd(tmp_path / "influx") as server, Flowrunner(tmp_path / "f") as process:
        await server.create("home")
        made = graph(tmp_path, store, server.v1_url)
        process.write("climate.yaml", (tmp_path / "climate.yaml").read_text())
        await process.start()
        await process.until(lambda: process.ledger("climate").get("written", 0) > 2)
        model = flow_dashboard(made, "influxql").json()
        variables = [
            one["query"]
            for one in model["templating"]["list"]
            if one.get("datasource", {}).get("type") == "influxdb"
        ]
        for query in queries(model) + variables:
            asked = filled(query, timeFilter="time > now() - 1h", __interval="10s", **ANY)
            await process.until(lambda asked=asked: rows(server, asked))


ANY = {"measurement": ".*", "tag_area": ".*", "tag_unit": ".*"}


def rows(server: Influxd, query: str) -> list[Any]:
    """Return what a query finds; fails with the server's words when it is none."""
    parameters = urllib.parse.urlencode({"q": query, "db": "home"})
    with urllib.request.urlopen(f"{server.v1_url}/query?{parameters}", timeout=5) as answer:
        (result,) = json.load(answer)["results"]
    assert "error" not in result, (query, result)
    return list(result.get("series", []))
