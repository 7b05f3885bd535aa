"""Prometheus metrics: read from the nodes' plain integers at scrape time; nothing is counted twice."""

from flowrunner.admin.metrics.render import GROUPS, UnknownGroupError, metrics_text

__all__ = ["GROUPS", "UnknownGroupError", "metrics_text"]
