"""The dashboard of one flow: what it writes, and how it fares."""

from __future__ import annotations

from flowrunner.dashboards.details import CHANNELS, CONNECTIONS, LOSSES, NODES
from flowrunner.dashboards.influx import Language, panels, variables
from flowrunner.dashboards.model import Dashboard, Row, Variable
from flowrunner.dashboards.overview import BOOKS, LATENCY, RELOADS
from flowrunner.dashboards.points import points_of
from flowrunner.dashboards.queries import F
from flowrunner.graph.build import Graph

_LONGEST_UID = 40


def flow_dashboard(graph: Graph, language: Language) -> Dashboard:
    """Return the dashboard of a flow; its points first, with a variable for each of their tags."""
    every = list(points_of(graph))
    written = [Row(f"Written by {points.node}", panels(points, language)) for points in every]
    return Dashboard(
        f"flowrunner-{graph.name}"[:_LONGEST_UID],
        f"flowrunner: {graph.name}",
        graph.description or f"The flow {graph.name}.",
        (*written, BOOKS, LATENCY, NODES, CHANNELS, CONNECTIONS, LOSSES),
        (
            Variable("datasource", "Prometheus", "prometheus", type="datasource"),
            *([Variable("influxdb", "InfluxDB", "influxdb", type="datasource")] if every else []),
            *variables(every, language),
            Variable(
                "instance", "Instance", f'label_values(flowrunner_flow_info{{flow="{graph.name}"}}, instance)'
            ),
            Variable("flow", "Flow", graph.name, type="constant"),
            Variable("node", "Node", f"label_values(flowrunner_node_status{{{F}}}, node)"),
        ),
        (RELOADS,),
    )
