"""Names and numbers that the pages give are those of the program."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from flowrunner.cli import exits
from flowrunner.cli.main import app
from flowrunner.reference.types import installed_nodes
from flowrunner.settings import Settings
from tests.docs.pages import FLOWS, PAGES, ROOT, blocks, rows, run, section
from tests.e2e.process import Flowrunner
from tests.servers.mosquitto import free_port
from tests.servers.programs import program

DOCS = ROOT / "docs"
OPERATIONS, METRICS, ARCHITECTURE = (
    DOCS / f"{each}.md" for each in ("operations", "metrics", "architecture")
)
EVERY_METRIC = """\
version: 1
flow: every
connections:
  broker: {{ type: mqtt, url: "mqtt://127.0.0.1:{port}" }}
nodes:
  away: {{ type: mqtt_in, connection: broker, topics: [a] }}
  beat: {{ type: inject, every: 100ms, payload: {{ value: 1 }} }}
  broken: {{ type: map, from: beat, set: {{ payload.x: =payload.missing }}, on_error: drop }}
  seen:
    type: file_out
    from: [beat, away, broken]
    path: "{folder}/seen.jsonl"
    outbox: {{ max_bytes: 1MiB }}
"""


def unquoted(cell: str) -> str:
    return cell.strip("`")


def test_the_settings_are_those_of_the_program() -> None:
    documented = {unquoted(row[0]): unquoted(row[1]) for row in rows(section(OPERATIONS, "## Settings"))}

    defaults = {f"FLOWRUNNER_{name.upper()}": field.default for name, field in Settings.model_fields.items()}
    assert {
        name: "none" if default is None else str(default) for name, default in defaults.items()
    } == documented


def test_the_settings_with_secrets_are_only_in_the_environment() -> None:
    secret = [
        name
        for name, field in Settings.model_fields.items()
        if SecretStr in getattr(field.annotation, "__args__", ())
    ]

    assert ["api_token", "catalog_url"] == secret


def test_the_exit_codes_are_those_of_the_program() -> None:
    documented = {int(row[0]) for row in rows(section(OPERATIONS, "### Exit codes"))}

    assert {0, 1} | {value for name, value in vars(exits).items() if name.startswith("EX_")} == documented


@pytest.mark.parametrize(
    ("code", "command"),
    [
        pytest.param(0, "validate flows", id="valid"),
        pytest.param(1, "schema --write schemas --check", id="schema not up to date"),
        pytest.param(2, "validate missing.yaml", id="validate a path that does not exist"),
        pytest.param(2, "run --nonsense flows", id="an unknown option"),
        pytest.param(2, "run --checkpoint-every 10 flows", id="a wrong setting"),
        pytest.param(78, "run empty.yaml", id="nothing valid to run"),
        pytest.param(78, "graph empty.yaml", id="draw a mistake"),
    ],
)
def test_commands_end_as_the_table_says(code: int, command: str, tmp_path: Path) -> None:
    (tmp_path / "flows").symlink_to(FLOWS)
    (tmp_path / "empty.yaml").write_text("version: 1\nflow: empty\nnodes: { a: { type: nothing } }\n")
    done = run(tmp_path, "flowrunner", *command.split())

    assert code == done.returncode, done.stdout
    named = [row[1] for row in rows(section(OPERATIONS, "### Exit codes")) if row[0] == str(code)]
    assert any(where == "all" or command.partition(" ")[0] in where for where in named)


async def test_the_metrics_are_those_of_a_running_process(tmp_path: Path) -> None:
    exported, text = await scrape(tmp_path)
    documented = {unquoted(row[0]): (row[1], labels(row[2])) for row in rows(METRICS.read_text())}

    # Nothing happens to a connection that never comes up: these families have no sample to read labels from.
    events, gaps = "flowrunner_connection_events_total", "flowrunner_gap_seconds_total"
    assert ("counter", frozenset({"flow", "connection", "reason"})) == documented.pop(events)
    assert ("counter", frozenset({"flow", "node", "topic"})) == documented.pop(gaps)
    ended = "flowrunner_dead_letters_ended_total"
    assert ("counter", frozenset({"flow", "node", "reason"})) == documented.pop(ended)
    assert ["counter"] * 3 == [exported.pop(name)[0] for name in (events, gaps, ended)]
    assert exported == documented
    identity, unaccounted = blocks(METRICS, "promql")[:2]
    assert_value(identity.text, text, "0", tmp_path)
    assert_value(unaccounted.text, text, None, tmp_path)


async def scrape(folder: Path) -> tuple[dict[str, tuple[str, frozenset[str]]], str]:
    """Return the metrics of a process that has seen everything: names, types and labels, and their text."""
    async with Flowrunner(folder) as process:
        process.write("every.yaml", EVERY_METRIC.format(port=free_port(), folder=folder))
        process.launch()
        await process.until(lambda: 'reason="error"' in str(process.get("/metrics")[1]))
        text = str(process.get("/metrics")[1])
    families = {}
    for family in text_string_to_metric_families(text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        families[name] = (
            family.type,
            frozenset(label for sample in family.samples for label in sample.labels),
        )
    return families, text


def labels(cell: str) -> frozenset[str]:
    return frozenset(filter(None, cell.split(", ")))


def assert_value(query: str, text: str, value: str | None, folder: Path) -> None:
    """Let Prometheus evaluate a query on a scrape; ``None`` stands for no result."""
    samples = [line for line in text.splitlines() if line.startswith("flowrunner_flow_messages")]
    series = [{"series": line.rpartition(" ")[0], "values": line.rpartition(" ")[2]} for line in samples]
    expected = [] if value is None else [{"labels": '{flow="every"}', "value": float(value)}]
    test: dict[str, Any] = {"expr": query, "eval_time": "0m", "exp_samples": expected}
    file = folder / "query.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                "rule_files": [],
                "tests": [{"interval": "1m", "input_series": series, "promql_expr_test": [test]}],
            }
        )
    )
    done = subprocess.run(
        [program("promtool", "prometheus"), "test", "rules", str(file)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert series
    assert 0 == done.returncode, done.stdout + done.stderr


def test_queries_name_only_metrics_that_exist() -> None:
    known = {unquoted(row[0]) for row in rows(METRICS.read_text())}
    asked = {
        name for block in blocks(METRICS, "promql") for name in re.findall(r"flowrunner_\w+", block.text)
    }

    assert set() == asked - known


def test_every_test_that_a_page_names_exists() -> None:
    named = {
        found for page in PAGES for found in re.findall(r"\b(tests/[\w/]+\.py)(?:::(\w+))?", page.read_text())
    }
    missing = [
        (file, test)
        for file, test in named
        if not (ROOT / file).exists() or (test and f"def {test}(" not in (ROOT / file).read_text())
    ]

    assert len(named) > 40
    assert [] == missing


def test_every_file_of_the_engine_that_a_page_names_exists() -> None:
    pattern = re.compile(r"`((?:flowrunner|nodes|benchmarks|docs|schemas|scripts|tests|flows)/[\w./*-]*)`")
    named = {path for page in PAGES for path in pattern.findall(page.read_text())}

    assert [] == [path for path in named if not list(ROOT.glob(path.rstrip("/")))]


def test_the_folders_and_modules_of_the_architecture_exist() -> None:
    folders = rows(section(ARCHITECTURE, "## What is in which folder"))
    first = [(unquoted(row[0]), file) for row in folders for file in re.findall(r"`([\w.]+\.py)`", row[-1])]
    modules = {module for row in folders for module in re.findall(r"`(\w+)`", row[0])}

    assert 14 == len(first)
    assert [] == [pair for pair in first if not (ROOT.joinpath(*pair)).exists()]
    assert 14 <= len(modules)
    assert set() == modules - {path.stem for path in (ROOT / "flowrunner" / "runtime").rglob("*")}


def test_the_status_in_the_readme_is_what_is_there() -> None:
    there = section(ROOT / "README.md", "## Status").partition("Not there yet")[0]
    nodes, _, commands = there.partition("the commands")

    assert {type.name for type in installed_nodes()} == set(re.findall(r"`(\w+)`", nodes))
    names = {command.name or getattr(command.callback, "__name__", "") for command in app.registered_commands}
    names |= {str(group.name) for group in app.registered_groups}
    assert names == set(re.findall(r"`([\w-]+)`", commands))


def test_the_drop_reasons_of_the_engine_are_documented() -> None:
    sources = (ROOT / "flowrunner" / "runtime").rglob("*.py")
    reasons = {reason for path in sources for reason in re.findall(r"drop\(\s*\"(\w+)\"", path.read_text())}

    text = section(DOCS / "concepts.md", "## The books")
    assert set() == {reason for reason in reasons if f"`{reason}`" not in text}
