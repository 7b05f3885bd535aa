"""The page on logs: its queries are LogQL, its facts those of the schema, and collectors get few labels."""

from __future__ import annotations

import functools
import json
import re
import subprocess
from typing import Any

import pytest
import yaml

from tests.docs.pages import ROOT, blocks, rows
from tests.servers.programs import program

PAGE = ROOT / "docs" / "logs.md"
SCHEMA = ROOT / "docs" / "log.schema.json"
LABELS = {"job", "level", "flow"}
PARSER = ("@grafana/lezer-logql@0.4.2", "@lezer/lr@1.4.10", "@lezer/common@1.5.5")
QUERIES = [block.text.strip() for block in blocks(PAGE, "logql")]


@functools.cache
def faults(*queries: str) -> list[int | None]:
    """Return where Grafana's own parser of LogQL finds a mistake in each query."""
    folder = ROOT / ".cache" / "logql"
    if not (folder / "node_modules" / "@grafana" / "lezer-logql").exists():
        folder.mkdir(parents=True, exist_ok=True)
        install = [
            program("npm", "npm"),
            "install",
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
            "--no-save",
        ]
        subprocess.run([*install, "--prefix", folder, *PARSER], check=True, capture_output=True)
    script = ROOT / "tests" / "docs" / "logql.mjs"
    found = subprocess.run(
        [program("node", "nodejs"), script, f"{folder}/"],
        input=json.dumps(queries),
        capture_output=True,
        text=True,
        check=True,
    )
    return list(json.loads(found.stdout))


@pytest.mark.server
def test_the_parser_finds_mistakes() -> None:
    assert [None, 9, 4] == faults('{a="b"}', '{a="b"} |', "sum(")


@pytest.mark.server
@pytest.mark.parametrize("query", QUERIES)
def test_queries_are_logql(query: str) -> None:
    assert [None] == faults(query)


@pytest.mark.parametrize("query", QUERIES)
def test_queries_select_by_labels_that_there_are(query: str) -> None:
    selectors = re.findall(r'\{(\w+[=!]~?"[^}]*)\}', query)

    assert selectors
    assert {label for each in selectors for label in re.findall(r"(\w+)[=!]", each)} <= LABELS


def test_the_page_names_the_facts_of_the_schema() -> None:
    schema: dict[str, Any] = json.loads(SCHEMA.read_text())
    named = {fact for row in rows(PAGE.read_text()) for fact in re.findall(r"`(\w+)`", row[0])}

    assert set(schema["properties"]) == (named - {"fact"}) | {"lines"}


def test_collectors_make_labels_of_flow_and_level_only() -> None:
    promtail = yaml.safe_load((ROOT / "deploy" / "promtail.yaml").read_text())
    stages = promtail["scrape_configs"][0]["pipeline_stages"]
    labels = {name: options for stage in stages for name, options in stage.items()}
    alloy = (ROOT / "deploy" / "alloy" / "config.alloy").read_text()

    assert ({"level", "flow"}, LABELS) == (set(labels["labels"]), set(labels["labelallow"]))
    made = re.search(r"stage\.labels \{\s+values = \{(.*?)\}", alloy)
    kept = re.search(r"stage\.label_keep \{\s+values = \[(.*?)\]", alloy)
    assert made is not None
    assert kept is not None
    assert {"level", "flow"} == set(re.findall(r"(\w+) =", made[1]))
    assert LABELS == set(re.findall(r'"(\w+)"', kept[1]))


def test_what_alloy_components_forward_to_exists() -> None:
    alloy = (ROOT / "deploy" / "alloy" / "config.alloy").read_text()
    components = {".".join(pair) for pair in re.findall(r'^([\w.]+) "(\w+)" \{$', alloy, re.MULTILINE)}
    used = re.findall(r"(?:\[|= )((?:discovery|loki)\.[\w.]+)\.(?:receiver|targets)", alloy)

    assert 3 == len(used)
    assert set(used) <= components
    assert alloy.count("{") == alloy.count("}")
