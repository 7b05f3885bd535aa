"""Panels and variables over the points of a flow, in Flux (InfluxDB 2) and InfluxQL (InfluxDB 1 and 3)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal

from flowrunner.dashboards.model import Panel, Query, Variable
from flowrunner.dashboards.points import Points

type Language = Literal["flux", "influxql"]

_ANY_MEASUREMENT = "measurement"


def panels(points: Points, language: Language) -> list[Panel]:
    """Return a panel for each field; a single one when the fields are not known beforehand."""
    where = points.measurement or "all measurements"
    made = []
    fields: Sequence[str | None] = points.fields or [None]
    for field in fields:
        query = _flux(points, field) if language == "flux" else _influxql(points, field)
        legend = " · ".join(f"$tag_{tag}" for tag in points.tags) or (field or "$col")
        description = f"Written by the node `{points.node}` into the bucket `{points.bucket}`" + (
            f", by {', '.join(points.tags)}." if points.tags else "."
        )
        panel = Panel(
            f"{where}: {field or 'all fields'}",
            description,
            (Query(query, legend, source="influxdb", language=language),),
            width=12,
        )
        made.append(panel)
    return made


def variables(every: Sequence[Points], language: Language) -> list[Variable]:
    """Return a variable for each tag, and for the measurement where it is not known beforehand."""
    made: dict[str, Variable] = {}
    for points in every:
        if points.measurement is None:
            query = _measurements(points, language)
            made.setdefault(
                _ANY_MEASUREMENT, Variable(_ANY_MEASUREMENT, "Measurement", query, source="influxdb")
            )
        for tag in points.tags:
            query = _values(points, tag, language)
            made.setdefault(tag, Variable(_variable(tag), tag, query, source="influxdb"))
    return list(made.values())


def _influxql(points: Points, field: str | None) -> str:
    if field is None:
        selected = "mean(*)"
    else:
        selected = f"{'last' if field in points.words else 'mean'}({_identifier(field)})"
    measurement = (
        f"/^${{{_ANY_MEASUREMENT}}}$/" if points.measurement is None else _identifier(points.measurement)
    )
    where = [f"{_identifier(tag)} =~ /^${{{_variable(tag)}}}$/" for tag in points.tags]
    groups = ["time($__interval)", *(_identifier(tag) for tag in points.tags)]
    condition = " AND ".join([*where, "$timeFilter"])
    source = f"FROM {measurement} WHERE {condition} GROUP BY {', '.join(groups)} fill(null)"
    return f"SELECT {selected} {source}"  # for a dashboard; names are quoted


def _flux(points: Points, field: str | None) -> str:
    if points.measurement is None:
        measurement = f"r._measurement =~ /^${{{_ANY_MEASUREMENT}:regex}}$/"
    else:
        measurement = f"r._measurement == {_text(points.measurement)}"
    lines = [
        f"from(bucket: {_text(points.bucket)})",
        "|> range(start: v.timeRangeStart, stop: v.timeRangeStop)",
        f"|> filter(fn: (r) => {measurement})",
    ]
    if field is not None:
        lines.append(f"|> filter(fn: (r) => r._field == {_text(field)})")
    for tag in points.tags:
        column, chosen = f"r[{_text(tag)}]", f"/^${{{_variable(tag)}:regex}}$/"
        lines.append(f"|> filter(fn: (r) => not exists {column} or {column} =~ {chosen})")
    function = "last" if field is None or field in points.words else "mean"
    lines.append(f"|> aggregateWindow(every: v.windowPeriod, fn: {function}, createEmpty: false)")
    return "\n  ".join(lines)


def _values(points: Points, tag: str, language: Language) -> str:
    if language == "influxql":
        source = "" if points.measurement is None else f" FROM {_identifier(points.measurement)}"
        return f"SHOW TAG VALUES{source} WITH KEY = {_identifier(tag)}"
    return f'import "influxdata/influxdb/schema"\nschema.tagValues(bucket: {_text(points.bucket)}, tag: {_text(tag)})'


def _measurements(points: Points, language: Language) -> str:
    if language == "influxql":
        return "SHOW MEASUREMENTS"
    return f'import "influxdata/influxdb/schema"\nschema.measurements(bucket: {_text(points.bucket)})'


def _variable(tag: str) -> str:
    """Return a name that Grafana takes for a variable, and no other variable of the dashboard has."""
    return "tag_" + "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in tag)


def _identifier(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("${", "\\${")
