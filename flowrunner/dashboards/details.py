"""Rows on the parts of flows: nodes, channels, connections, and what they lost."""

from __future__ import annotations

from flowrunner.dashboards.model import Panel, Query, Row
from flowrunner.dashboards.queries import TO_NODE, F, N, R, rate

NODE_STATES = (
    (0, "starting", "blue"),
    (1, "running", "green"),
    (2, "degraded", "orange"),
    (3, "failed", "red"),
    (4, "stopping", "blue"),
    (5, "stopped", "text"),
)
UP_STATES = ((0, "down", "red"), (1, "up", "green"))

NODES = Row(
    "Nodes",
    (
        Panel(
            "Received by node",
            "What each node was given, or handed over as a source.",
            (rate("flowrunner_node_messages_received_total", "flow, node"),),
            unit="mps",
            link=TO_NODE,
        ),
        Panel(
            "Emitted by port",
            "What left each node.",
            (rate("flowrunner_node_messages_emitted_total", "flow, node, port"),),
            unit="mps",
            link=TO_NODE,
        ),
        Panel(
            "Made, filtered, aggregated, written",
            "What nodes did with what they were given.",
            tuple(
                rate(f"flowrunner_node_messages_{word}_total", "flow, node", N, f"{{{{node}}}} {word}")
                for word in ("created", "filtered", "aggregated", "written")
            ),
            unit="mps",
            link=TO_NODE,
        ),
        Panel(
            "Held",
            "Messages in open windows, throttles, delays and the hands of sinks.",
            (Query(f"sum by (flow, node) (flowrunner_node_held{{{N}}})", "{{flow}} · {{node}}"),),
            link=TO_NODE,
        ),
        Panel(
            "Busy",
            "The part of a core that a transform takes.",
            (rate("flowrunner_node_busy_seconds_total", "flow, node"),),
            unit="percentunit",
            limits=((0.7, "orange"),),
            link=TO_NODE,
        ),
        Panel(
            "Errors and retries",
            "Messages that failed at a node, and attempts of a sink that were not accepted.",
            (
                rate("flowrunner_node_messages_errors_total", "flow, node", N, "{{node}} errors"),
                rate("flowrunner_node_retries_total", "flow, node", N, "{{node}} retries"),
            ),
            link=TO_NODE,
        ),
        Panel(
            "Status",
            "How each node is.",
            (Query(f"max by (flow, node) (flowrunner_node_status{{{N}}})", "{{flow}} · {{node}}"),),
            kind="state-timeline",
            states=NODE_STATES,
            width=24,
        ),
    ),
)

CHANNELS = Row(
    "Channels and outboxes",
    (
        Panel(
            "Channel fill",
            "At 1 whoever is in front waits, or messages are dropped, as `buffer.when_full` says.",
            (
                Query(
                    f"sum by (flow, node) (flowrunner_channel_depth{{{N}}})"
                    f" / sum by (flow, node) (flowrunner_channel_capacity{{{N}}})",
                    "{{flow}} · {{node}}",
                ),
            ),
            unit="percentunit",
            limits=((0.9, "orange"),),
            link=TO_NODE,
        ),
        Panel(
            "Blocked",
            "The part of the time for which producers have waited for room in front of a node.",
            (rate("flowrunner_channel_blocked_seconds_total", "flow, node"),),
            unit="percentunit",
            link=TO_NODE,
        ),
        Panel(
            "Outboxes",
            "Messages on disk in front of a sink with `outbox`.",
            (Query(f"sum by (flow, node) (flowrunner_outbox_messages{{{N}}})", "{{flow}} · {{node}}"),),
            width=4,
            link=TO_NODE,
        ),
        Panel(
            "Outboxes: oldest, size",
            "Age of the oldest message in an outbox (s), and what it takes on disk (MB).",
            (
                Query(f"max by (flow, node) (flowrunner_outbox_oldest_seconds{{{N}}})", "{{node}} s"),
                Query(f"sum by (flow, node) (flowrunner_outbox_bytes{{{N}}}) / 1e6", "{{node}} MB"),
            ),
            width=4,
        ),
    ),
)

CONNECTIONS = Row(
    "Connections",
    (
        Panel(
            "Up",
            "Whether each connection is up.",
            (
                Query(
                    f"max by (flow, connection) (flowrunner_connection_up{{{F}}})",
                    "{{flow}} · {{connection}}",
                ),
            ),
            kind="state-timeline",
            states=UP_STATES,
        ),
        Panel(
            "Reconnects and events",
            "How often a connection was made anew, and what else happened to it.",
            (
                Query(
                    f"sum by (flow, connection) (increase(flowrunner_connection_reconnects_total{{{F}}}{R}))",
                    "{{connection}} reconnects",
                ),
                Query(
                    "sum by (flow, connection, reason) "
                    f"(increase(flowrunner_connection_events_total{{{F}}}{R}))",
                    "{{connection}} {{reason}}",
                ),
            ),
        ),
        Panel(
            "Gaps",
            "Seconds of which a source knows that it missed what came, by node; the ten worst topics.",
            (Query(f"topk(10, sum by (node, topic) (flowrunner_gap_seconds_total{{{N}}}))", "{{topic}}"),),
            unit="s",
        ),
    ),
)

LOSSES = Row(
    "Dead letters and drops",
    (
        Panel(
            "Dead letters",
            "Messages that are kept because they could not be processed: flowrunner dead-letters list.",
            (Query(f"sum by (flow, node) (flowrunner_dead_letters{{{N}}})", "{{flow}} · {{node}}"),),
            limits=((1, "orange"),),
            link=TO_NODE,
        ),
        Panel(
            "Dead-lettered",
            "How fast they come, and how they go: replayed, purged, or pushed out by a cap.",
            (
                rate("flowrunner_node_messages_dead_lettered_total", "flow, node", N, "{{node}} came"),
                rate("flowrunner_dead_letters_ended_total", "flow, node, reason", N, "{{node}} {{reason}}"),
            ),
            unit="mps",
            link=TO_NODE,
        ),
        Panel(
            "Dropped, by reason",
            "Messages that a node dropped; each reason is explained on the node's reference page.",
            (rate("flowrunner_node_messages_dropped_total", "flow, node, reason"),),
            unit="mps",
            stacked=True,
            link=TO_NODE,
        ),
        Panel(
            "Size of the dead letters",
            "What they take on disk; at the cap the oldest give way.",
            (Query(f"sum by (flow) (flowrunner_dead_letters_bytes{{{F}}})", "{{flow}}"),),
            unit="bytes",
            width=24,
            height=5,
        ),
    ),
)
