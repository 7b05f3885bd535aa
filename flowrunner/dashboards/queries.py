"""Labels, links and rates that the queries of several rows have in common."""

from __future__ import annotations

from flowrunner.dashboards.model import Query

UID = "flowrunner"
I = 'instance=~"$instance"'  # noqa: E741  # queries are long enough
F = f'{I},flow=~"$flow"'
N = f'{F},node=~"$node"'
R = "[$__rate_interval]"

CHOICE = f"/d/{UID}?${{__url_time_range}}&${{datasource:queryparam}}&${{instance:queryparam}}"
TO_FLOW = f"{CHOICE}&var-flow=${{__field.labels.flow}}"
TO_NODE = f"{TO_FLOW}&var-node=${{__field.labels.node}}"


def rate(metric: str, by: str, labels: str = N, legend: str = "") -> Query:
    """Return how much a counter grows in a second, summed up by some labels."""
    words = legend or " · ".join(f"{{{{{label}}}}}" for label in by.split(", "))
    return Query(f"sum by ({by}) (rate({metric}{{{labels}}}{R}))", words)
