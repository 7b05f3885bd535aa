"""How panels of each kind look: what Grafana calls options and custom field configuration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_LEGEND = {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}
_TOOLTIP = {"mode": "multi", "sort": "desc"}

OPTIONS: dict[str, dict[str, Any]] = {
    "stat": {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "background",
        "graphMode": "area",
        "justifyMode": "auto",
        "textMode": "auto",
        "orientation": "auto",
    },
    "timeseries": {"legend": _LEGEND, "tooltip": _TOOLTIP},
    "heatmap": {
        "calculate": False,
        "cellGap": 1,
        "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64, "fill": "dark-orange", "exponent": 0.5},
        "exemplars": {"color": "rgba(255,0,255,0.7)"},
        "legend": {"show": True},
        "rowsFrame": {"layout": "auto"},
        "tooltip": {"show": True, "yHistogram": True},
        "yAxis": {"unit": "s", "axisPlacement": "left"},
    },
    "state-timeline": {
        "legend": _LEGEND,
        "tooltip": {"mode": "single", "sort": "none"},
        "showValue": "never",
        "mergeValues": True,
        "rowHeight": 0.9,
    },
    "table": {"showHeader": True, "cellHeight": "sm", "frameIndex": 0},
}


def custom(kind: str, *, stacked: bool, limits: bool) -> dict[str, Any]:
    """Return what only panels of this kind have; ``limits`` are drawn as lines."""
    match kind:
        case "timeseries":
            return {
                "drawStyle": "line",
                "lineWidth": 1,
                "fillOpacity": 30 if stacked else 8,
                "showPoints": "never",
                "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
                "thresholdsStyle": {"mode": "dashed" if limits else "off"},
            }
        case "state-timeline":
            return {"lineWidth": 0, "fillOpacity": 80}
        case "table":
            return {"align": "auto", "cellOptions": {"type": "auto"}, "inspect": False}
        case _:
            return {}


def mapping(states: Sequence[tuple[float, str, str]]) -> dict[str, Any]:
    """Return what gives values their words and colours."""
    options = {
        f"{value:g}": {"text": word, "color": color, "index": index}
        for index, (value, word, color) in enumerate(states)
    }
    return {"type": "value", "options": options}
