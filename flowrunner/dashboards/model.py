"""What a Grafana dashboard is made of, and its JSON: rows of panels, laid out on a grid of 24 columns."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from flowrunner.dashboards import looks

type Json = dict[str, Any]
type Source = Literal["prometheus", "influxdb"]

_SCHEMA = 39
"""The version of Grafana's dashboard model: of Grafana 10.4; later ones read it."""
_COLUMNS = 24


class Query(msgspec.Struct, frozen=True):
    """A query of a panel: PromQL, Flux or InfluxQL."""

    text: str
    legend: str = ""
    format: Literal["time_series", "table", "heatmap"] = "time_series"
    instant: bool = False
    source: Source = "prometheus"
    language: Literal["promql", "flux", "influxql"] = "promql"

    def json(self, ref: str) -> Json:
        """Return the target of a panel."""
        common: Json = {"refId": ref, "datasource": _datasource(self.source)}
        match self.language:
            case "promql":
                shape = {"legendFormat": self.legend, "format": self.format, "instant": self.instant}
                return common | shape | {"expr": self.text, "range": not self.instant, "editorMode": "code"}
            case "flux":
                return common | {"query": self.text}
            case "influxql":
                shape = {"rawQuery": True, "resultFormat": "time_series", "alias": self.legend}
                return common | shape | {"query": self.text}


class Panel(msgspec.Struct, frozen=True):
    """One panel; ``description`` says what to think of what it shows."""

    title: str
    description: str
    queries: Sequence[Query]
    kind: Literal["stat", "timeseries", "heatmap", "state-timeline", "table"] = "timeseries"
    unit: str = "short"
    width: int = 8
    height: int = 8
    limits: Sequence[tuple[float, str]] = ()
    """Values from which on a colour holds; below the first one it is green."""
    states: Sequence[tuple[float, str, str]] = ()
    """Words and colours for values."""
    stacked: bool = False
    link: str = ""
    """The rest of the address that a click on a series leads to."""
    transformations: Sequence[Json] = ()

    def json(self, number: int, x: int, y: int) -> Json:
        """Return the panel at a place of the grid."""
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": _datasource(self.queries[0].source),
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height},
            "targets": [query.json(chr(ord("A") + index)) for index, query in enumerate(self.queries)],
            "fieldConfig": {"defaults": self._defaults(), "overrides": []},
            "options": looks.OPTIONS[self.kind],
            "transformations": list(self.transformations),
        }

    def _defaults(self) -> Json:
        steps: list[Json] = [{"color": "green", "value": None}]
        steps += [{"color": color, "value": value} for value, color in self.limits]
        defaults: Json = {
            "unit": self.unit,
            "custom": looks.custom(self.kind, stacked=self.stacked, limits=bool(self.limits)),
            "thresholds": {"mode": "absolute", "steps": steps},
            "color": {"mode": "palette-classic" if self.kind == "timeseries" else "thresholds"},
            "mappings": [looks.mapping(self.states)] if self.states else [],
        }
        if self.link:
            defaults["links"] = [{"title": "Look closer", "url": self.link, "targetBlank": False}]
        return defaults


class Row(msgspec.Struct, frozen=True):
    """A heading and the panels under it, filled from left to right."""

    title: str
    panels: Sequence[Panel]


class Variable(msgspec.Struct, frozen=True):
    """A choice at the head of a dashboard: a data source, or values that a query returns."""

    name: str
    label: str
    query: str | Json
    type: Literal["datasource", "query", "constant"] = "query"
    source: Source = "prometheus"

    def json(self) -> Json:
        """Return the entry of ``templating``; every value may be chosen, at first all are."""
        common: Json = {"name": self.name, "label": self.label, "type": self.type, "query": self.query}
        if self.type == "datasource":
            return common | {"refresh": 1, "includeAll": False, "multi": False}
        if self.type == "constant":
            return common | {"hide": 2, "current": {"text": self.query, "value": self.query}}
        chosen: Json = {"selected": True, "text": ["All"], "value": ["$__all"]}
        several: Json = {"includeAll": True, "multi": True, "allValue": ".*", "current": chosen}
        return common | several | {"datasource": _datasource(self.source), "refresh": 2, "sort": 1}


class Annotation(msgspec.Struct, frozen=True):
    """Moments that are marked in every panel."""

    name: str
    expr: str
    title: str
    text: str
    color: str

    def json(self) -> Json:
        """Return the entry of ``annotations``."""
        return {
            "name": self.name,
            "enable": True,
            "iconColor": self.color,
            "datasource": _datasource("prometheus"),
            "expr": self.expr,
            "titleFormat": self.title,
            "textFormat": self.text,
            "step": "15s",
        }


class Dashboard(msgspec.Struct, frozen=True):
    """A whole dashboard."""

    uid: str
    title: str
    description: str
    rows: Sequence[Row]
    variables: Sequence[Variable]
    annotations: Sequence[Annotation] = ()

    def json(self) -> Json:
        """Return the model that Grafana imports and provisions."""
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": ["flowrunner"],
            "timezone": "browser",
            "schemaVersion": _SCHEMA,
            "version": 1,
            "editable": True,
            "graphTooltip": 1,
            "refresh": "30s",
            "time": {"from": "now-6h", "to": "now"},
            "templating": {"list": [variable.json() for variable in self.variables]},
            "annotations": {"list": [annotation.json() for annotation in self.annotations]},
            "panels": _place(self.rows),
        }

    def text(self) -> str:
        """Return the JSON as it stands in a file."""
        return json.dumps(self.json(), indent=1, ensure_ascii=False) + "\n"


def _datasource(source: Source) -> Json:
    """Return what Grafana replaces by the data source that is chosen at the head of the dashboard."""
    return {"type": source, "uid": "${influxdb}" if source == "influxdb" else "${datasource}"}


def _place(rows: Sequence[Row]) -> list[Json]:
    placed: list[Json] = []
    y = 0
    for row in rows:
        heading: Json = {"id": len(placed) + 1, "type": "row", "title": row.title, "collapsed": False}
        placed.append(heading | {"gridPos": {"x": 0, "y": y, "w": _COLUMNS, "h": 1}, "panels": []})
        x, y, tallest = 0, y + 1, 0
        for panel in row.panels:
            if x + panel.width > _COLUMNS:
                x, y, tallest = 0, y + tallest, 0
            placed.append(panel.json(len(placed) + 1, x, y))
            x, tallest = x + panel.width, max(tallest, panel.height)
        y += tallest
    return placed
