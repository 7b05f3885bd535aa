"""A folder with a flow and its tests, and the command run in it."""

from __future__ import annotations

from pathlib import Path

from flowrunner.clock import SystemClock
from flowrunner.testing.load import load_suites
from flowrunner.testing.run import Outcome, run_suite

FLOW = """\
version: 1
flow: climate
connections:
  broker: { type: mqtt, url: "mqtt://mosquitto:1883", username: flowrunner, password: "${MQTT_PASSWORD}" }
  tsdb: { type: influxdb, url: "http://influxdb:8086", org: home, token: "${INFLUX_TOKEN}" }
nodes:
  zigbee: { type: mqtt_in, connection: broker, topics: ["zigbee2mqtt/+"], qos: 1 }
  reading: { type: map, from: zigbee, set: { payload: "={'temperature': payload.temperature}" } }
  valid: { type: filter, from: reading, where: payload.temperature > -40.0 && payload.temperature < 80.0 }
  calm: { type: throttle, from: valid, key: topic, every: 10s, emit: last }
  per_minute:
    type: aggregate
    from: calm
    key: topic
    window: { type: tumbling, size: 1m }
    allowed_lateness: 10s
    fields:
      mean: time_weighted_mean(payload.temperature)
      max: max(payload.temperature)
      samples: count()
  store:
    type: influxdb_out
    from: per_minute
    connection: tsdb
    bucket: home
    measurement: climate
    tags: { sensor: =topic }
"""

SPECIFIED = """\
flow: climate.yaml
tests:
  - name: one point a minute, the mean weighted by time
    start: 2026-03-01T10:00:00Z
    input:
      - { at: 0s,  node: zigbee, topic: zigbee2mqtt/kitchen, payload: { temperature: 20.0 } }
      - { at: 30s, node: zigbee, topic: zigbee2mqtt/kitchen, payload: { temperature: 22.0 } }
      - { at: 2m,  advance: true }
    expect:
      - { node: store, at: 70s, line: "climate,sensor=zigbee2mqtt/kitchen max=22,mean=21,samples=2 1772359200000000000" }
"""


def at(when: str, value: float, node: str = "zigbee", topic: str = "k") -> str:
    """Return a step in which a temperature arrives."""
    return f"{{ at: {when}, node: {node}, topic: {topic}, payload: {{ temperature: {value} }} }}"


def file_of(*steps: str, expect: list[str]) -> str:
    """Return a file with one test."""
    lines = [
        "flow: climate.yaml",
        "tests:",
        "  - name: it",
        "    input:",
        *(f"      - {step}" for step in steps),
    ]
    return "\n".join([*lines, "    expect:", *(f"      - {each}" for each in expect), ""])


def write(folder: Path, tests: str, flow: str = FLOW) -> Path:
    """Write a flow and its tests, and return the path of the tests."""
    (folder / "climate.yaml").write_text(flow)
    path = folder / "climate.test.yaml"
    path.write_text(tests)
    return path


def outcomes(path: Path) -> list[Outcome]:
    """Run the tests at a path, which must be valid."""
    loaded = load_suites([path])
    assert [] == loaded.diagnostics
    return [outcome for suite in loaded.suites for outcome in run_suite(suite, SystemClock())]


def wrong(folder: Path, *steps: str, expect: list[str], flow: str = FLOW) -> list[str]:
    """Run one test and return what is wrong: the problems, and ``place: expected came`` for each difference."""
    (only,) = outcomes(write(folder, file_of(*steps, expect=expect), flow))
    assert only.passed == (not only.differences and not only.played.problems)
    return [
        *only.played.problems,
        *(f"{each.place}: {len(each.pairs)} {each.count}" for each in only.differences),
    ]
