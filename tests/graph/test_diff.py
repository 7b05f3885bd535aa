"""What a reload would do, from two graphs: nothing is run here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from flowrunner.graph.build import Graph
from flowrunner.graph.diff import Change, Plan, diff
from flowrunner.graph.load import load_flows

FLOW = """\
version: 1
flow: climate
connections:
  broker: { type: mqtt, url: "mqtt://localhost:1883", username: me, password: "${PASSWORD}" }
  tsdb: { type: influxdb, url: "http://localhost:8086", org: home, token: "${TOKEN}" }
nodes:
  zigbee: { type: mqtt_in, connection: broker, topics: ["zigbee2mqtt/+"] }
  valid: { type: filter, from: zigbee, where: payload.t > 0.0 }
  calm: { type: throttle, from: valid, key: topic, every: 10s }
  minutes: { type: aggregate, from: calm, window: { type: tumbling, size: 1m }, fields: { n: count() } }
  store: { type: influxdb_out, from: minutes, connection: tsdb, bucket: home, measurement: climate }
"""
NODES = ("zigbee", "valid", "calm", "minutes", "store")
VARIABLES = {"PASSWORD": "p", "TOKEN": "t"}


def load(folder: Path, text: str, variables: Mapping[str, str] = VARIABLES) -> Graph:
    file = folder / "climate.yaml"
    file.write_text(text)
    loaded = load_flows([file], environment=variables, strict_environment=True)
    assert [] == [found.message for found in loaded.diagnostics if found.severity == "error"]
    return loaded.graphs["climate"]


def plan_of(folder: Path, *replacements: tuple[str, str], variables: Mapping[str, str] = VARIABLES) -> Plan:
    text = FLOW
    for before, after in replacements:
        assert before in text
        text = text.replace(before, after)
    return diff(load(folder, FLOW), load(folder, text, variables))


def anew(plan: Plan) -> dict[str, str]:
    """Return the outcome of every part that is not kept."""
    return {c.name: c.outcome for c in plan.nodes + plan.connections if c.outcome != "keep"}


CHANGES: dict[str, tuple[list[tuple[str, str]], dict[str, str]]] = {
    "nothing": ([], {}),
    "a comment": ([("nodes:\n", "nodes: # these\n")], {}),
    "the order of keys": ([("key: topic, every: 10s", "every: 10s, key: topic")], {}),
    "a description": ([("from: zigbee,", "from: zigbee, description: plausible,")], {}),
    "what becomes of errors": ([("from: zigbee,", "from: zigbee, on_error: drop,")], {}),
    "a buffer": ([("from: zigbee,", "from: zigbee, buffer: { capacity: 5 },")], {}),
    "a condition": ([("payload.t > 0.0", "payload.t > 1.0")], {"valid": "restart"}),
    "topics": ([('["zigbee2mqtt/+"]', '["zigbee2mqtt/#"]')], {"zigbee": "restart"}),
    "another interval": ([("every: 10s", "every: 20s")], {"calm": "state_kept"}),
    "more lateness": ([("size: 1m }", "size: 1m }, allowed_lateness: 5s")], {"minutes": "state_lost"}),
    "another field": ([("n: count()", "m: count()")], {"minutes": "state_kept"}),
    "another key of a throttle": ([("key: topic, every", "key: payload.id, every")], {"calm": "state_lost"}),
    "another window": ([("size: 1m", "size: 2m")], {"minutes": "state_lost"}),
    "a wire": ([("from: minutes,", "from: calm,")], {"store": "restart"}),
    "a wire of what has a state": ([("from: calm,", "from: valid,")], {"minutes": "state_kept"}),
    "a node in between": (
        [
            ("from: valid,", "from: warm,"),
            ("  store:", "  warm: { type: filter, from: valid, where: true }\n  store:"),
        ],
        {"warm": "added", "calm": "state_kept"},
    ),
    "a bucket": ([("bucket: home", "bucket: away")], {"store": "restart"}),
    "a server": ([("localhost:8086", "localhost:8087")], {"store": "restart", "tsdb": "restart"}),
    "a broker": ([("localhost:1883", "localhost:1884")], {"zigbee": "restart", "broker": "restart"}),
    "a node less": (
        [
            ("  calm: { type: throttle, from: valid, key: topic, every: 10s }\n", ""),
            ("from: calm", "from: valid"),
        ],
        {"calm": "removed", "minutes": "state_kept"},
    ),
    "a disabled node": (
        [("from: minutes,", "from: minutes, enabled: false,")],
        {"store": "removed", "tsdb": "removed"},
    ),
    "another delivery": (
        [("flow: climate\n", "flow: climate\ndelivery: memory\n")],
        {
            "zigbee": "restart",
            "valid": "restart",
            "calm": "state_lost",
            "minutes": "state_lost",
            "store": "restart",
            "broker": "restart",
            "tsdb": "restart",
        },
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_a_change_does(name: str, tmp_path: Path) -> None:
    replacements, outcomes = CHANGES[name]

    plan = plan_of(tmp_path, *replacements)

    assert outcomes == anew(plan)
    assert bool(outcomes) == plan.changes
    assert frozenset(NODES) - outcomes.keys() == plan.kept()


def test_a_secret_restarts_its_connection_and_what_uses_it(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, variables=VARIABLES | {"TOKEN": "other"})

    assert {"store": "restart", "tsdb": "restart"} == anew(plan)
    assert Change("tsdb", "influxdb", "restart", ("`token` changed",)) in plan.connections
    assert "other" not in repr(plan)


@pytest.mark.parametrize(
    ("replacement", "node", "reasons"),
    [
        (("payload.t > 0.0", "true"), "valid", ("`where` changed",)),
        (("from: minutes,", "from: calm,"), "store", ("`from` changed",)),
        (("localhost:1883", "localhost:1"), "zigbee", ("the connection `broker` begins anew",)),
        (("size: 1m", "size: 2m"), "minutes", ("`window` changed", "its state does not fit the new options")),
        (
            ("every: 10s", "every: 10000ms"),
            "calm",
            ("a file that it names, or the way it is written, changed",),
        ),
        (
            ("type: throttle, from: valid, key: topic, every: 10s", "type: filter, from: valid, where: true"),
            "calm",
            ("the type changed from `throttle` to `filter`",),
        ),
        (
            ("from: minutes,", "from: minutes, enabled: false,"),
            "store",
            ("what has come to it is written for at most 10 s, then dead-lettered",),
        ),
    ],
)
def test_the_reasons_are_said(
    replacement: tuple[str, str], node: str, reasons: tuple[str, ...], tmp_path: Path
) -> None:
    plan = plan_of(tmp_path, replacement)

    assert reasons == next(change.reasons for change in plan.nodes if change.name == node)


def test_a_state_is_lost_with_its_type(tmp_path: Path) -> None:
    before = "type: throttle, from: valid, key: topic, every: 10s"
    plan = plan_of(tmp_path, (before, "type: filter, from: valid, where: true"))

    assert "state_lost" == plan.outcome("calm")


def test_a_node_of_neither_version_has_no_outcome(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        plan_of(tmp_path).outcome("nobody")


def test_a_connection_may_change_its_type(tmp_path: Path) -> None:
    one = FLOW.replace("type: mqtt_in", "type: inject, every: 1s, payload: 1").replace(
        ', connection: broker, topics: ["zigbee2mqtt/+"]', ""
    )
    plan = diff(load(tmp_path, FLOW), load(tmp_path, one))

    assert ("restart", "removed") == (plan.outcome("zigbee"), plan.connections[-1].outcome)
