"""The queries of dashboards, with Grafana's variables filled in as Grafana would."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from flowrunner.dashboards.model import Dashboard

VALUES = {"__rate_interval": "4s", "flow": ".*", "node": ".*", "instance": ".*"}


def filled(query: str, **values: str) -> str:
    """Return a query with a value for each variable."""
    chosen = VALUES | values
    return re.sub(r"\$\{?(\w+?)(?::\w+)?\}?(?=\W|$)", lambda found: chosen[found[1]], query)


def promql(dashboard: Dashboard) -> Iterator[tuple[str, str]]:
    """Return the PromQL of all panels and annotations, by panel."""
    for row in dashboard.rows:
        for panel in row.panels:
            for query in panel.queries:
                if query.language == "promql":
                    yield panel.title, filled(query.text)
    for annotation in dashboard.annotations:
        yield annotation.name, filled(annotation.expr)


def panels(model: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the panels of a dashboard's JSON without its rows."""
    return [panel for panel in model["panels"] if panel["type"] != "row"]
