"""The example flows are valid and do what they say; those that need servers are given recorded input instead."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from flowrunner.graph.load import load_flows
from tests.docs.pages import FLOWS, ROOT, run

LAYOUT = (ROOT / "docs" / "operations.md").read_text()


def line(at: str, topic: str, **payload: Any) -> str:
    return json.dumps({"at": f"2026-03-01T{at}Z", "topic": topic, "payload": payload})


def table_of(file: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file."""
    return list(csv.DictReader(file.read_text().splitlines()))


def offline(flow: str, folder: Path, lines: list[str]) -> list[Any]:
    """Run an example with a file in place of its broker and of its database; return what it would have sent."""
    definition = yaml.safe_load((FLOWS / flow).read_text())
    nodes: dict[str, Any] = definition["nodes"]
    source = next(id for id, node in nodes.items() if node["type"] == "mqtt_in")
    store = next(id for id, node in nodes.items() if node["type"] == "influxdb_out")
    nodes["lines"] = {"type": "file_in", "path": "lines.jsonl", "time": {"field": "at", "format": "rfc3339"}}
    nodes[source] = {
        "type": "map",
        "from": "lines",
        "set": {"topic": "=payload.topic", "payload": "=payload.payload"},
    }
    nodes[store] = {"type": "file_out", "from": nodes[store]["from"], "path": "points.jsonl"}
    (folder / "lines.jsonl").write_text("\n".join(lines) + "\n")
    (folder / flow).write_text(yaml.safe_dump(definition, sort_keys=False))
    done = run(folder, "flowrunner", "run", "--once", "--log-level", "warning", flow)

    assert (0, "") == (done.returncode, done.stdout)
    return [json.loads(each) for each in (folder / "points.jsonl").read_text().splitlines()]


def test_the_examples_are_valid_without_any_environment() -> None:
    loaded = load_flows([FLOWS])

    assert ([], {"automations", "climate", "energy", "files", "home"}) == (
        loaded.diagnostics,
        set(loaded.graphs),
    )


def test_the_examples_need_no_variable_to_run() -> None:
    assert [] == load_flows([FLOWS], environment={}, strict_environment=True).diagnostics


@pytest.mark.parametrize("file", sorted(FLOWS.glob("*.yaml")), ids=lambda path: path.name)
def test_editors_find_the_schema_of_an_example(file: Path) -> None:
    schema = file.read_text().partition("$schema=")[2].partition("\n")[0]

    assert (file.parent / schema).is_file()


def test_the_climate_flow_gives_a_point_a_minute(tmp_path: Path) -> None:
    points = offline(
        "climate.yaml",
        tmp_path,
        [
            line("10:00:00", "zigbee2mqtt/kitchen", temperature=20.0, battery=97),
            line("10:00:05", "zigbee2mqtt/button", action="single"),
            line("10:00:30", "zigbee2mqtt/kitchen", temperature=22.0, battery=97),
            line("10:00:31", "zigbee2mqtt/kitchen", temperature=850.0, battery=97),
            line("10:02:00", "zigbee2mqtt/kitchen", temperature=21.0, battery=97),
        ],
    )

    payloads = [point["payload"] for point in points]
    assert {"mean": 21.0, "max": 22.0, "samples": 2} == payloads[0]
    assert 2 == len(payloads)


def test_the_energy_flow_measures_twice_and_survives_a_reset(tmp_path: Path) -> None:
    plug = "zigbee2mqtt/plug/desk"
    points = offline(
        "energy.yaml",
        tmp_path,
        [
            line("10:00:00", plug, power=120.0, energy=7.5),
            line("10:05:00", plug, state="OFF"),
            line("10:10:00", plug, power=60.0, energy=7.52),
            line("10:14:00", plug, power=60.0, energy=0.01),
        ],
    )

    payload = points[0]["payload"]
    assert 120.0 == payload["peak"]
    assert pytest.approx(0.03) == payload["counted"]
    assert pytest.approx(120 * 10 / 60 + 60 * 5 / 60) == payload["measured"]
    (day,) = table_of(tmp_path / "build" / "energy.csv")
    assert ("3", "1", plug) == (day["month"], day["day"], day["plug"])
    assert pytest.approx(0.03) == float(day["kwh"])


def test_the_file_flow_gives_a_row_for_each_room_and_hour(tmp_path: Path) -> None:
    (tmp_path / "flows").symlink_to(FLOWS)
    done = run(tmp_path, "flowrunner", "run", "--once", "flows/files.yaml")

    assert 0 == done.returncode, done.stdout
    table = table_of(tmp_path / "build" / "hourly.csv")
    assert [6, 6, 6, 5, 6, 6] == [int(row["samples"]) for row in table]
    assert {"hour": "6", "room": "kitchen", "mean": "19.25"}.items() <= table[0].items()


def test_the_state_directory_is_laid_out_as_documented(tmp_path: Path) -> None:
    (tmp_path / "flows").symlink_to(FLOWS)
    run(tmp_path, "flowrunner", "run", "--once", "flows/files.yaml")

    state = tmp_path / ".flowrunner"
    found = {str(path.relative_to(state)) for path in state.rglob("*") if path.is_file()}
    kept = {path for path in found if not re.search(r"-(wal|journal)$", path)}
    of_flow = {"state.db", "journal/lock", "journal/last", "journal/journal-0000000000000001.db"}
    last_good = {path for path in kept if re.fullmatch(r"last_good/[0-9a-f]{32}\.json", path)}
    assert {"lock", "catalog.db"} | {f"flows/files/{name}" for name in of_flow} == kept - last_good
    assert 1 == len(last_good)
    assert set() == {path for path in kept - last_good if f" {Path(path).name} " not in LAYOUT}
