"""Grafana dashboards and Prometheus alert rules, made from a few tables."""
