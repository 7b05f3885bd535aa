"""Flow tests: what happens in them, what meets an expectation, and what fails a test."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flowrunner.clock import SystemClock
from flowrunner.registry import find_connection_type, find_node_type
from flowrunner.testing.load import load_suites
from flowrunner.testing.run import run_suite
from tests.testing.flow_files import FLOW, SPECIFIED, at, file_of, outcomes, write, wrong

ROOT = Path(__file__).parents[2]


def test_the_example_of_the_specification_passes(tmp_path: Path) -> None:
    assert [True] == [outcome.passed for outcome in outcomes(write(tmp_path, SPECIFIED))]


@pytest.mark.parametrize("path", sorted(ROOT.glob("flows/**/*.test.yaml")), ids=lambda path: path.name)
def test_the_example_flows_pass_their_tests(path: Path) -> None:
    assert [] == [outcome.test.name for outcome in outcomes(path) if not outcome.passed]


@pytest.mark.parametrize(
    ("expectation", "met"),
    [
        pytest.param("{ node: store, payload: { mean: 21 } }", True, id="a part"),
        pytest.param("{ node: store, payload: { mean: 21.5 } }", False, id="another value"),
        pytest.param("{ node: store, payload: { mean: true } }", False, id="true is no number"),
        pytest.param("{ node: store, payload: { median: 21 } }", False, id="a member that is not there"),
        pytest.param('{ node: store, payload: { mean: "~20.8" } }', False, id="not approximately"),
        pytest.param('{ node: store, payload: { mean: "~21.04" } }', False, id="two digits are meant"),
        pytest.param('{ node: store, payload: { mean: "~21" } }', True, id="approximately"),
        pytest.param('{ node: store, payload: { mean: "~2.1e1" } }', True, id="with an exponent"),
        pytest.param('{ node: store, payload: { mean: "~x" } }', False, id="a text that begins with a tilde"),
        pytest.param('{ node: store, payload: { mean: "~nan" } }', False, id="no number to be near to"),
        pytest.param("{ node: store, payload: [21] }", False, id="a list"),
        pytest.param("{ node: store, at: 70s, topic: k }", True, id="when it came"),
        pytest.param("{ node: store, at: 71s, topic: k }", False, id="another time"),
        pytest.param("{ node: store, topic: l }", False, id="another topic"),
        pytest.param("{ node: store, time: 2026-01-01T00:00:00Z }", True, id="its own time"),
        pytest.param("{ node: store, time: 2026-01-01T00:00:01Z }", False, id="another time of its own"),
        pytest.param("{ node: store, meta: { key: k } }", True, id="meta"),
        pytest.param("{ node: store, meta: { key: l } }", False, id="other meta"),
        pytest.param("{ node: store, line: a b=1 }", False, id="another line"),
        pytest.param("{ node: store, count: 1 }", True, id="how many"),
        pytest.param("{ node: store, none: true }", False, id="nothing"),
        pytest.param("{ node: per_minute, count: 2 }", True, id="received by a transform"),
        pytest.param("{ node: zigbee, count: 2 }", True, id="sent by a source"),
        pytest.param("{ node: valid.rejected, none: true }", True, id="a port without a wire"),
        pytest.param("{ node: valid.out, payload: { temperature: 20 } }", False, id="one of two"),
        pytest.param("{ node: valid, message: { topic: k } }", False, id="not the whole"),
    ],
)
def test_an_expectation_is_met_or_not(expectation: str, met: bool, tmp_path: Path) -> None:
    found = wrong(tmp_path, at("0s", 20), at("30s", 22), "{ at: 2m, advance: true }", expect=[expectation])

    assert met == (not found), found


def test_a_whole_message_is_all_of_it(tmp_path: Path) -> None:
    whole = "topic: k, payload: { temperature: 20 }"
    expect = [f"{{ node: valid, message: {{ {whole} }} }}"]
    timed = [f"{{ node: valid, message: {{ {whole}, time: 2026-01-01T00:00:00Z }} }}"]
    with_meta = [f"{{ node: valid, message: {{ {whole}, meta: {{ qos: 1 }} }} }}"]

    assert [] == wrong(tmp_path, at("0s", 20), expect=expect)
    assert [] == wrong(tmp_path, at("0s", 20), expect=timed)
    assert ["valid: 1 1"] == wrong(tmp_path, at("0s", 20), expect=with_meta)


def test_lists_must_have_the_same_length(tmp_path: Path) -> None:
    flow = FLOW.replace("={'temperature': payload.temperature}", "={'temperature': 20, 'all': payload}")
    step = "{ at: 0s, node: zigbee, payload: [{ a: 1, b: 2 }, 3] }"

    assert [] == wrong(tmp_path, step, expect=["{ node: valid, payload: { all: [{ a: 1 }, 3] } }"], flow=flow)
    assert ["valid: 1 1"] == wrong(
        tmp_path, step, expect=["{ node: valid, payload: { all: [3] } }"], flow=flow
    )


def test_what_is_not_expected_fails_unless_a_count_says_so(tmp_path: Path) -> None:
    steps = [at(f"{second}s", second) for second in range(5)]
    expect = ["{ node: valid, payload: { temperature: 1 } }", "{ node: valid, payload: { temperature: 3 } }"]

    assert ["valid: 5 5"] == wrong(tmp_path, *steps, expect=expect)
    assert [] == wrong(tmp_path, *steps, expect=[*expect, "{ node: valid, count: 5 }"])
    assert ["valid: 2 5"] == wrong(tmp_path, *steps, expect=[*expect[::-1], "{ node: valid, count: 5 }"])


@pytest.mark.parametrize(
    ("step", "problem"),
    [
        pytest.param(
            "{ at: 0s, node: zigbee, payload: { state: x } }",
            "a message was dead-lettered at `reading`: set `payload`: `payload.temperature`: there is no field"
            " `temperature`\n  = help: expect it: `- { node: reading.errors, count: 1 }`",
            id="a dead letter",
        ),
    ],
)
def test_what_must_not_happen_fails_a_test(step: str, problem: str, tmp_path: Path) -> None:
    assert [problem] == wrong(tmp_path, step, expect=["{ node: store, none: true }"])


def test_a_node_that_crashes_fails_its_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*arguments: Any) -> None:
        raise RuntimeError("out of luck")

    monkeypatch.setattr(node_class("map"), "on_batch", crash)

    steps = [at("0s", 20), "{ at: 1m, advance: true }"]
    crashed, again, dead = wrong(tmp_path, *steps, expect=["{ node: store, none: true }"])
    assert "flow crashed: flowrunner.runtime.stage.NodeCrashError: node `reading` crashed" in crashed
    assert "node crashed on a message at `reading`: RuntimeError: out of luck" == again
    assert dead.startswith("a message was dead-lettered at `reading`")


def test_a_sink_that_crashes_fails_its_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*arguments: Any) -> None:
        raise RuntimeError("out of luck")

    monkeypatch.setattr(node_class("influxdb_out"), "show", crash)

    steps = [at("0s", 20), "{ at: 2m, advance: true }"]
    assert ["sink crashed at `store`: RuntimeError: out of luck"] == wrong(
        tmp_path, *steps, expect=["{ node: store, none: true }"]
    )


def test_a_node_that_cannot_be_built_fails_its_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*arguments: Any) -> None:
        raise RuntimeError("out of luck")

    monkeypatch.setattr(node_class("influxdb_out"), "__init__", crash)

    assert ["the test could not be run: RuntimeError: out of luck"] == wrong(
        tmp_path, at("0s", 20), expect=["{ node: store, none: true }"]
    )


def node_class(name: str) -> Any:
    found = find_node_type(name)
    assert found is not None
    return found.cls


def test_a_failure_that_is_expected_is_no_dead_letter(tmp_path: Path) -> None:
    expect = ["{ node: reading.errors, meta: { error_node: reading } }", "{ node: store, none: true }"]

    assert [] == wrong(tmp_path, "{ at: 0s, node: zigbee, payload: { state: x } }", expect=expect)


def test_a_flow_that_stops_fails_its_test(tmp_path: Path) -> None:
    flow = FLOW.replace("reading: { type: map,", "reading: { type: map, on_error: stop,")
    found = wrong(tmp_path, "{ at: 0s, node: zigbee }", expect=["{ node: store, none: true }"], flow=flow)

    assert ["node `reading` has `on_error: stop` and a message failed"] == [
        problem.partition(":")[0] + ":" + problem.split(":")[1] for problem in found
    ]


def test_a_point_that_cannot_be_written_goes_to_errors(tmp_path: Path) -> None:
    flow = FLOW.replace("measurement: climate", "measurement: climate\n    fields: { v: =payload.nothing }")
    expect = ["{ node: store, none: true }", "{ node: store.errors, count: 1 }"]

    assert [] == wrong(tmp_path, at("0s", 20), "{ at: 2m, advance: true }", expect=expect, flow=flow)


@pytest.mark.parametrize("status", [503, 429, 401])
def test_a_server_that_refuses_for_a_while_gets_everything_later(status: int, tmp_path: Path) -> None:
    fault = f"{{ at: 1m, fault: {{ sink: store, status: {status}, for: 10m }} }}"
    steps = [at("0s", 20), fault, at("5m", 21), at("20m", 22)]
    expect = [f"{{ node: store, at: {when}, payload: {{ max: {value} }} }}" for when, value in
              (("70s", 20), ("6m10s", 21), ("21m10s", 22))]  # fmt: skip

    assert [] == wrong(tmp_path, *steps, "{ at: 22m, advance: true }", expect=expect)


def test_a_server_that_refuses_until_after_the_end_gets_nothing(tmp_path: Path) -> None:
    fault = "{ at: 1m, fault: { sink: store, for: 10m } }"

    assert [] == wrong(tmp_path, at("0s", 20), fault, "{ at: 10m, advance: true }",
                       expect=["{ node: store, none: true }"])  # fmt: skip


@pytest.mark.parametrize("status", [400, 422])
def test_what_a_server_refuses_for_good_goes_to_errors(status: int, tmp_path: Path) -> None:
    fault = f"{{ at: 1m, fault: {{ sink: store, status: {status}, for: 10m }} }}"
    reason = f"the server answered {status}, as the test says"
    expect = ["{ node: store, none: true }", f'{{ node: store.errors, meta: {{ error: "{reason}" }} }}']

    assert [] == wrong(tmp_path, at("0s", 20), fault, "{ at: 2m, advance: true }", expect=expect)


def test_what_happens_while_a_source_is_away_arrives_when_it_is_back(tmp_path: Path) -> None:
    away = "{ at: 1s, fault: { source: zigbee, disconnected: 2m } }"
    again = "{ at: 2m, fault: { source: zigbee, disconnected: 1m } }"
    expect = [
        "{ node: zigbee, at: 0s, payload: { temperature: 20 } }",
        "{ node: zigbee, at: 3m, time: 2026-01-01T00:03:00Z, payload: { temperature: 21 } }",
        "{ node: zigbee, at: 3m, payload: { temperature: 22 } }",
    ]

    assert [] == wrong(
        tmp_path, at("0s", 20), away, at("1m", 21), again, at("150s", 22), "{ at: 4m, advance: true }",
        expect=expect,
    )  # fmt: skip


def test_a_reload_keeps_the_state_of_nodes_that_did_not_change(tmp_path: Path) -> None:
    (tmp_path / "cold.yaml").write_text(FLOW.replace("< 80.0", "< 30.0"))
    steps = [at("0s", 40), "{ at: 11s, reload: cold.yaml }", at("20s", 41), at("30s", 20)]

    # `valid` was changed, `per_minute` is downstream of it and keeps its window.
    assert [] == wrong(
        tmp_path, *steps, "{ at: 2m, advance: true }", expect=["{ node: store, payload: { samples: 2 } }"]
    )


def test_a_reload_may_bring_nodes_and_take_them_away(tmp_path: Path) -> None:
    extra = (
        "  more: { type: mqtt_in, connection: broker, topics: [a] }\n  show: { type: debug, from: more }\n"
    )
    (tmp_path / "more.yaml").write_text(FLOW + extra)
    steps = [at("0s", 20), "{ at: 1s, reload: more.yaml }", at("2s", 21, node="more")]
    expect = ["{ node: show, line: '{\"temperature\":21}' }", "{ node: valid, count: 1 }"]

    assert [] == wrong(tmp_path, *steps, expect=expect)


@pytest.mark.parametrize("crashes", [["0s"], ["30s"], ["9s", "12s", "41s"], ["70s"], ["71s", "71s"]], ids=str)
def test_a_crash_changes_nothing(crashes: list[str], tmp_path: Path) -> None:
    steps = [(0, at("0s", 20)), (30, at("30s", 22)), (40, at("40s", 24))]
    steps += [(int(when[:-1]), f"{{ at: {when}, crash: true }}") for when in crashes]
    ordered = [step for _, step in sorted(steps, key=lambda each: each[0])]

    assert [] == wrong(
        tmp_path,
        *ordered,
        "{ at: 2m, advance: true }",
        expect=['{ node: store, at: 70s, payload: { samples: 3, mean: "~21.67" } }'],
    )


def test_a_crash_loses_what_is_only_in_memory(tmp_path: Path) -> None:
    flow = FLOW.replace("flow: climate", "flow: climate\ndelivery: memory")
    steps = [at("0s", 20), "{ at: 30s, crash: true }", "{ at: 2m, advance: true }"]

    assert [] == wrong(tmp_path, *steps, expect=["{ node: store, none: true }"], flow=flow)


def test_recorded_messages_arrive_from_where_the_recording_begins(tmp_path: Path) -> None:
    lines = [
        {"at": "1s", "node": "zigbee", "topic": "k", "payload": {"temperature": 20}},
        {"at": "0s", "node": "zigbee", "topic": "k", "payload": {"temperature": 10}, "meta": {"qos": 1}},
    ]
    text = "\n\n".join(msgspec.json.encode(line).decode() for line in lines)
    (tmp_path / "day.jsonl").write_text(text)
    expect = ["{ node: zigbee, at: 1h, meta: { qos: 1 } }", "{ node: zigbee, at: 1h1s, topic: k }"]

    assert [] == wrong(tmp_path, "{ at: 1h, file: day.jsonl }", expect=expect)
    alone = file_of(expect=["{ node: zigbee, count: 2 }"]).replace("input:", "input: { file: day.jsonl }")
    assert [True] == [outcome.passed for outcome in outcomes(write(tmp_path, alone))]


def test_a_node_of_a_sink_needs_no_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the real ends runs: neither open, run or write, nor a connection, nor a socket."""

    async def refuse(*arguments: Any) -> None:
        raise AssertionError(arguments)

    def no_socket(*arguments: Any) -> None:
        raise AssertionError(arguments)

    broker, server = find_connection_type("mqtt"), find_connection_type("influxdb")
    assert broker
    assert server
    for cls, methods in (
        (node_class("mqtt_in"), ("open", "run")),
        (node_class("influxdb_out"), ("open", "write")),
        (broker.cls, ("run",)),
        (server.cls, ("run",)),
    ):
        for method in methods:
            monkeypatch.setattr(cls, method, refuse)
    monkeypatch.setattr(socket.socket, "connect", no_socket)

    assert [True] == [outcome.passed for outcome in outcomes(write(tmp_path, SPECIFIED))]


def day(length: str, count: int, step: int) -> str:
    """Return a test with ``count`` messages, ``step`` seconds apart, and time up to ``length``."""
    steps = [at(f"{number * step}s", 20 + number % 7, topic=f"k{number % 5}") for number in range(count)]
    return file_of(
        *steps, f"{{ at: {length}, advance: true }}", expect=[f"{{ node: valid, count: {count} }}"]
    )


def cpu_seconds(path: Path) -> float:
    (suite,) = load_suites([path]).suites
    started = time.process_time()
    (only,) = run_suite(suite, SystemClock())
    assert only.passed
    return time.process_time() - started


def test_a_simulated_day_takes_seconds(tmp_path: Path) -> None:
    """It takes 1.6 seconds where nothing is measured; coverage makes several of it."""
    lines = [
        {"at": f"{second}s", "node": "zigbee", "topic": f"k{second % 50}", "payload": {"temperature": 20}}
        for second in range(0, 86_400, 10)
    ]
    (tmp_path / "day.jsonl").write_bytes(b"\n".join(map(msgspec.json.encode, lines)))
    steps = ["{ at: 0s, file: day.jsonl }", "{ at: 1d, advance: true }"]

    assert cpu_seconds(write(tmp_path, file_of(*steps, expect=["{ node: valid, count: 8640 }"]))) < 30


def test_how_long_a_test_takes_does_not_depend_on_how_long_it_simulates(tmp_path: Path) -> None:
    short = min(cpu_seconds(write(tmp_path, day("1h", 20, 1))) for _ in range(3))
    long = min(cpu_seconds(write(tmp_path, day("52w", 20, 1_000))) for _ in range(3))

    assert long < short * 10 + 0.1
