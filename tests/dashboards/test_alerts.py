"""The alert rules: each fires and keeps still as the recorded series of dashboards/alerts.test.yaml say."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from flowrunner.dashboards.alerts import Limits, alerts, alerts_text
from tests.servers.programs import program

DASHBOARDS = Path(__file__).parents[2] / "dashboards"
TESTS = DASHBOARDS / "alerts.test.yaml"
NAMES = [alert.name for alert in alerts()]


def promtool(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [program("promtool", "prometheus"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)


def test_every_alert_fires_and_keeps_still_as_recorded() -> None:
    done = promtool(DASHBOARDS, "test", "rules", TESTS.name)

    assert (0, "") == (done.returncode, done.stderr)


@pytest.mark.parametrize("expr", ["vector(1)", "vector(1) > 1"], ids=["always fires", "never fires"])
def test_the_recorded_series_notice_an_alert_that(expr: str, tmp_path: Path) -> None:
    rules = [{"alert": name, "expr": expr} for name in NAMES]
    (tmp_path / "alerts.yaml").write_text(yaml.safe_dump({"groups": [{"name": "broken", "rules": rules}]}))
    (tmp_path / TESTS.name).write_text(TESTS.read_text())

    done = promtool(tmp_path, "test", "rules", TESTS.name)

    assert 1 == done.returncode
    assert set(NAMES) == set(re.findall(r'ALERTS\{alertname=\\?"(\w+?)\\?"', done.stdout + done.stderr))


def test_the_rules_of_a_flow_are_its_own(tmp_path: Path) -> None:
    (tmp_path / "climate.yaml").write_text(alerts_text("climate", Limits(lag=60, silence="15m")))
    rules = yaml.safe_load((tmp_path / "climate.yaml").read_text())["groups"][0]["rules"]
    metrics = re.findall(r"flowrunner_\w+(\{.*?\})?", " ".join(rule["expr"] for rule in rules))

    assert 0 == promtool(tmp_path, "check", "rules", "climate.yaml").returncode
    assert {'{flow="climate"'} == {matchers.split(",")[0].rstrip("}") for matchers in metrics if matchers}
    assert 1 == metrics.count("")  # the cap of the journal, which is the same for all flows
    assert 'flowrunner_flow_lag_seconds{flow="climate"} > 60' in [rule["expr"] for rule in rules]
    assert any("[15m]" in rule["expr"] for rule in rules)
    assert len(rules) == len({rule["alert"] for rule in rules} - set(NAMES))


def test_every_rule_says_what_to_do() -> None:
    page = (DASHBOARDS.parent / "docs" / "grafana.md").read_text()

    for alert in alerts():
        assert len(alert.runbook) > 100, alert.name
        assert f"### {alert.name}\n" in page, alert.name
