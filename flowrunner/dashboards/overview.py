"""The dashboard "flowrunner": all instances, flows and nodes, from the health of all to the counters of one."""

from __future__ import annotations

from typing import Any

from flowrunner.dashboards.below import JOURNAL, PROCESS
from flowrunner.dashboards.details import CHANNELS, CONNECTIONS, LOSSES, NODES
from flowrunner.dashboards.model import Annotation, Dashboard, Panel, Query, Row, Variable
from flowrunner.dashboards.queries import CHOICE, TO_FLOW, UID, F, I, N, R, rate

VARIABLES = (
    Variable("datasource", "Prometheus", "prometheus", type="datasource"),
    Variable("instance", "Instance", "label_values(flowrunner_build_info, instance)"),
    Variable("flow", "Flow", f"label_values(flowrunner_flow_info{{{I}}}, flow)"),
    Variable("node", "Node", f"label_values(flowrunner_node_status{{{F}}}, node)"),
)
RELOADS = Annotation(
    "Reloads",
    f"changes(flowrunner_flow_generation{{{F}}}[1m]) > 0",
    "{{flow}} reloaded",
    "another version of the flow runs on {{instance}}",
    "purple",
)


def _stat(title: str, description: str, expr: str, **look: Any) -> Panel:
    return Panel(title, description, (Query(expr),), kind="stat", width=3, height=4, **look)


HEALTH = Row(
    "Overview",
    (
        _stat("Instances", "Processes that answer a scrape.", f"count(flowrunner_build_info{{{I}}})"),
        _stat("Flows", "Flows that are loaded.", f"count(flowrunner_flow_info{{{F}}})"),
        _stat(
            "Nodes in trouble",
            "Nodes that are degraded (they try again by themselves) or failed (a person must act).",
            f"sum((flowrunner_node_status{{{N}}} == bool 2) + (flowrunner_node_status{{{N}}} == bool 3))",
            limits=((1, "orange"),),
        ),
        _stat(
            "Connections down",
            "Connections to brokers, Home Assistant and databases that are not up.",
            f"sum(1 - flowrunner_connection_up{{{F}}}) or vector(0)",
            limits=((1, "red"),),
        ),
        _stat(
            "Greatest lag",
            "How far the slowest flow is behind: now less the arrival that it has come to.",
            f"max(flowrunner_flow_lag_seconds{{{F}}})",
            unit="s",
            limits=((10, "orange"), (300, "red")),
        ),
        _stat(
            "Dead letters",
            "Messages that could not be processed and wait to be looked at: flowrunner dead-letters list.",
            f"sum(flowrunner_dead_letters{{{F}}})",
            limits=((1, "orange"),),
        ),
        _stat(
            "Unaccounted",
            "received + created - ended - held. Anything but 0 is a bug in flowrunner.",
            f"sum(abs(flowrunner_flow_messages_unaccounted{{{F}}}))",
            limits=((1, "red"),),
        ),
        _stat(
            "Written",
            "Messages a second that sinks have seen accepted.",
            f'sum(rate(flowrunner_flow_messages_ended_total{{{F},reason="written"}}{R}))',
            unit="mps",
        ),
        Panel(
            "Flows",
            "The version of each flow that runs. A click on a flow shows that flow alone.",
            (
                Query(f"max by (instance, flow, hash) (flowrunner_flow_info{{{F}}})", "", "table", True),
                Query(f"max by (instance, flow) (flowrunner_flow_generation{{{F}}})", "", "table", True),
                Query(f"max by (instance, flow) (flowrunner_flow_lag_seconds{{{F}}})", "", "table", True),
            ),
            kind="table",
            width=24,
            height=6,
            link=f"{CHOICE}&var-flow=${{__data.fields.flow}}",
            transformations=(
                {"id": "merge", "options": {}},
                {
                    "id": "organize",
                    "options": {
                        "excludeByName": {"Time": True, "Value #A": True},
                        "renameByName": {"Value #B": "generation", "Value #C": "lag (s)"},
                    },
                },
            ),
        ),
    ),
)

BOOKS = Row(
    "Books: received + created = ended + held",
    (
        Panel(
            "Received and created",
            "Records that sources handed over, and messages that nodes and fan-outs made.",
            (
                rate("flowrunner_flow_messages_received_total", "flow", F, "{{flow}} received"),
                rate("flowrunner_flow_messages_created_total", "flow", F, "{{flow}} created"),
            ),
            unit="mps",
            link=TO_FLOW,
        ),
        Panel(
            "Ended, by how",
            "Where messages end. Dead-lettered and dropped ones have a row of their own below.",
            (rate("flowrunner_flow_messages_ended_total", "reason", F),),
            unit="mps",
            stacked=True,
        ),
        Panel(
            "Held and unaccounted",
            "Messages in journals, channels, windows and sinks; and the difference that must be 0.",
            (
                Query(f"sum by (flow) (flowrunner_flow_messages_held{{{F}}})", "{{flow}} held"),
                Query(f"sum by (flow) (flowrunner_flow_messages_unaccounted{{{F}}})", "{{flow}} unaccounted"),
            ),
            link=TO_FLOW,
        ),
    ),
)

LATENCY = Row(
    "Lag and latency",
    (
        Panel(
            "Lag",
            "How far a flow is behind. It grows while a sink does not accept, and falls when it does again.",
            (Query(f"max by (flow) (flowrunner_flow_lag_seconds{{{F}}})", "{{flow}}"),),
            unit="s",
            limits=((300, "red"),),
            link=TO_FLOW,
        ),
        Panel(
            "Latency",
            "From a message's arrival to the sink's acknowledgement: half of all messages, and 99 of 100.",
            tuple(
                Query(
                    f"histogram_quantile({part}, sum by (le) "
                    f"(rate(flowrunner_flow_latency_seconds_bucket{{{F}}}{R})))",
                    legend,
                )
                for part, legend in ((0.5, "median"), (0.99, "99th percentile"))
            ),
            unit="s",
        ),
        Panel(
            "Latency, as a heat map",
            "How many messages took how long.",
            (
                Query(
                    f"sum by (le) (increase(flowrunner_flow_latency_seconds_bucket{{{F}}}{R}))",
                    "{{le}}",
                    "heatmap",
                ),
            ),
            kind="heatmap",
            unit="s",
        ),
    ),
)

OVERVIEW = Dashboard(
    UID,
    "flowrunner",
    "All flows of all instances: health, books, lag, nodes, channels, journal, connections, losses, process.",
    (HEALTH, BOOKS, LATENCY, NODES, CHANNELS, JOURNAL, CONNECTIONS, LOSSES, PROCESS),
    VARIABLES,
    (RELOADS,),
)
