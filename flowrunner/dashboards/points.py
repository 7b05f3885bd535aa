"""Which points a flow writes into an InfluxDB: read from the options of its `influxdb_out` nodes, not from data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from flowrunner.graph.build import Graph, GraphNode

_SINK = "influxdb_out"
_HOME_ASSISTANT_TAGS = ("domain", "entity_id")


class Points(msgspec.Struct, frozen=True):
    """What one node writes: each field of it is a panel."""

    node: str
    bucket: str
    measurement: str | None
    """``None`` when it differs from message to message."""
    fields: Sequence[str]
    """None when they differ from message to message."""
    words: frozenset[str]
    """Those of the fields that are no numbers."""
    tags: Sequence[str]


def points_of(graph: Graph) -> Iterator[Points]:
    """Return what each sink of a flow writes."""
    for node in graph.nodes.values():
        if node.type.name == _SINK:
            config: Any = node.config
            yield _home_assistant(node) if config.layout == "home_assistant" else _plain(graph, node)


def _plain(graph: Graph, node: GraphNode) -> Points:
    config: Any = node.config
    measurement = config.measurement
    types = {name: str(type) for name, type in config.types.items()}
    return Points(
        node=node.id,
        bucket=config.bucket,
        measurement=str(measurement.source) if measurement.is_constant else None,
        fields=list(config.fields) if config.fields else _made_by(graph, node.id),
        words=frozenset(name for name, type in types.items() if type in ("string", "bool")),
        tags=list(config.tags),
    )


def _home_assistant(node: GraphNode) -> Points:
    """Return what Home Assistant's own integration would write: a measurement a unit, the state as `value`."""
    config: Any = node.config
    options = config.home_assistant
    tags = [*_HOME_ASSISTANT_TAGS, *options.tags, *options.tags_attributes]
    measurement = options.override_measurement
    return Points(node.id, config.bucket, measurement, ["value"], frozenset(), list(dict.fromkeys(tags)))


def _made_by(graph: Graph, node: str) -> list[str]:
    """Return the fields that the aggregates in front of a node make, through nodes that leave payloads alone."""
    found: list[str] = []
    for wire in graph.inputs(node):
        before = graph.nodes[wire.source]
        fields = getattr(before.config, "fields", None)
        if before.type.name == "aggregate" and isinstance(fields, dict):
            found += fields
        elif before.type.name in ("filter", "throttle", "report", "debounce", "dedupe", "delay"):
            found += _made_by(graph, before.id)
    return list(dict.fromkeys(found))
