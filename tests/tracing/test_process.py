"""Traces of a real process, as a collector gets them."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.process import Flowrunner
from tests.servers.fake_http import FakeHttp
from tests.servers.fake_influx import Reply
from tests.servers.mosquitto import Mosquitto, free_port, program
from tests.tracing.collector import Collector

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
SAMPLED = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=abc"}
HOOKS = """\
version: 1
flow: hooks
nodes:
  hook: {{ type: http_in }}
  shape: {{ type: map, from: hook, set: {{ payload: "={{'n': payload.n}}" }} }}
  out: {{ type: http_out, from: shape, url: "{url}" }}
  counted:
    type: aggregate
    from: shape
    window: {{ type: tumbling, size: 1s }}
    fields: {{ n: count() }}
  kept: {{ type: file_out, from: counted, path: "{folder}/kept.jsonl" }}
"""
OVER_MQTT = """\
version: 1
flow: over_mqtt
nodes:
  hook: { type: http_in }
  tell: { type: mqtt_out, from: hook, connection: broker, topic: home/told }
"""
FROM_MQTT = """\
version: 1
flow: from_mqtt
connections:
  broker: {{ type: mqtt, url: "mqtt://127.0.0.1:{port}" }}
nodes:
  told: {{ type: mqtt_in, connection: broker, topics: ["home/+"] }}
  kept: {{ type: file_out, from: told, path: "{folder}/told.jsonl" }}
"""


def traced(monkeypatch: pytest.MonkeyPatch, url: str, **variables: str) -> None:
    """Let processes export to a collector."""
    for name, value in {"exporter_otlp_endpoint": url, "bsp_schedule_delay": "50", **variables}.items():
        monkeypatch.setenv(f"OTEL_{name.upper()}", value)


async def post(runner: Flowrunner, flow: str, payload: Any, headers: dict[str, str] | None = None) -> None:
    async with httpx.AsyncClient() as client:
        answer = await client.post(
            f"http://127.0.0.1:{runner.port}/in/{flow}/hook", json=payload, headers=headers
        )
    assert 202 == answer.status_code


async def test_a_trace_goes_from_the_request_that_came_in_to_the_one_that_goes_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Collector() as collector:
        traced(monkeypatch, collector.url, exporter_otlp_headers="x-scope=home")
        async with FakeHttp() as server, Flowrunner(tmp_path) as runner:
            runner.write("hooks.yaml", HOOKS.format(url=server.url, folder=tmp_path))
            await runner.start()
            await post(runner, "hooks", {"n": 1}, SAMPLED)
            await asyncio.to_thread(
                collector.wait,
                "hook receive",
                "hook journal commit",
                "shape process",
                "out write",
                "kept write",
            )
            assert 0 == await runner.stop()

    names = ("hook receive", "hook journal commit", "shape process", "counted process", "out write")
    receive, commit, shape, counted, out = (collector.named(name)[0] for name in names)
    assert {TRACE} == {span.trace_id for span in (receive, commit, shape, counted, out)}
    assert PARENT == receive.parent_id
    assert {receive.span_id} == {span.parent_id for span in (commit, shape, counted, out)}
    assert {"vendor=abc"} == {span.tracestate for span in (receive, out)}
    assert receive.start <= commit.start <= commit.end <= shape.end <= out.end
    assert ("hooks", "out", 1) == tuple(
        out.facts[f"flowrunner.{name}"] for name in ("flow", "node", "messages")
    )
    sent = server.accepted[0].headers
    assert (f"00-{TRACE}-{out.span_id}-01", "vendor=abc") == (sent["traceparent"], sent["tracestate"])
    emit, kept = collector.named("counted emit")[0], collector.named("kept write")[0]
    assert [counted.span_id] == emit.links
    assert (emit.trace_id, emit.span_id) == (kept.trace_id, kept.parent_id)
    assert TRACE != emit.trace_id
    resource = emit.resource
    assert ("flowrunner", "flowrunner") == (resource["service.name"], resource["flowrunner.instance"])
    assert resource["service.version"]
    assert "home" == collector.headers[0]["x-scope"]


async def test_a_trace_goes_through_a_broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Collector() as collector:
        traced(monkeypatch, collector.url)
        async with Mosquitto(tmp_path / "broker") as broker, Flowrunner(tmp_path) as runner:
            runner.write("over_mqtt.yaml", OVER_MQTT)
            runner.write("from_mqtt.yaml", FROM_MQTT.format(port=broker.port, folder=tmp_path))
            await runner.start()
            await post(runner, "over_mqtt", {"n": 1}, SAMPLED)
            await asyncio.to_thread(collector.wait, "tell write", "told receive", "kept write")
            properties = ["-D", "publish", "user-property", "traceparent", SAMPLED["traceparent"]]
            command = [
                program("mosquitto_pub"),
                "-V",
                "5",
                "-p",
                str(broker.port),
                "-t",
                "home/x",
                "-m",
                "{}",
            ]
            await asyncio.to_thread(subprocess.run, [*command, *properties], check=True)
            await runner.until(lambda: len(collector.named("told receive")) == 2)
            await runner.stop()

    first, second = collector.named("told receive")
    assert {TRACE} == {span.trace_id for span in (first, second)}
    assert [collector.named("tell write")[0].span_id, PARENT] == [first.parent_id, second.parent_id]
    told = [json.loads(line) for line in (tmp_path / "told.jsonl").read_text().splitlines()]
    assert SAMPLED["traceparent"] == told[1]["meta"]["user_traceparent"]


async def test_a_trace_goes_on_after_the_process_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Collector() as collector:
        traced(monkeypatch, collector.url)
        async with FakeHttp() as server, Flowrunner(tmp_path) as runner:
            server.judge = lambda _: Reply(503, "later")
            runner.write("hooks.yaml", HOOKS.format(url=server.url, folder=tmp_path))
            await runner.start()
            await post(runner, "hooks", {"n": 1}, SAMPLED)
            await asyncio.to_thread(collector.wait, "out write")
            runner.kill()
            refused = collector.named("out write")[0]
            server.judge = lambda _: None
            await runner.start()
            await runner.until(lambda: [span for span in collector.named("out write") if span.error is None])
            await runner.stop()

    accepted = next(span for span in collector.named("out write") if span.error is None)
    assert refused.error is not None
    assert "503" in refused.error
    assert (TRACE, refused.parent_id) == (accepted.trace_id, accepted.parent_id)


async def test_what_is_not_sampled_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Collector() as collector:
        traced(monkeypatch, collector.url, traces_sampler="parentbased_always_off")
        async with FakeHttp() as server, Flowrunner(tmp_path) as runner:
            runner.write("hooks.yaml", HOOKS.format(url=server.url, folder=tmp_path))
            await runner.start()
            await post(runner, "hooks", {"n": 1}, {"traceparent": f"00-{TRACE}-{PARENT}-00"})
            await post(runner, "hooks", {"n": 2})
            await runner.until(lambda: len(server.accepted) == 2)
            await runner.stop()

    assert [] == collector.spans
    assert not any("traceparent" in request.headers for request in server.accepted)


async def test_lines_about_a_message_that_is_followed_name_its_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Collector() as collector:
        traced(monkeypatch, collector.url)
        async with FakeHttp() as server, Flowrunner(tmp_path) as runner:
            server.judge = lambda _: Reply(503, "later")
            runner.write("hooks.yaml", HOOKS.format(url=server.url, folder=tmp_path))
            await runner.start()
            await post(runner, "hooks", {"m": 1}, SAMPLED)
            await post(runner, "hooks", {"n": 1}, SAMPLED)
            await asyncio.to_thread(collector.wait, "out write")
            await runner.until(lambda: "node is degraded" in runner.log.read_text())
            await runner.stop()

    lines = [json.loads(line) for line in runner.log.read_text().splitlines()]
    found = {line["event"]: line for line in lines if line.get("trace_id") == TRACE}
    spans = {span.span_id for span in collector.spans}
    for event, node in (("message dead-lettered", "shape"), ("node is degraded", "out")):
        assert ("hooks", node) == (found[event]["flow"], found[event]["node"])
        assert found[event]["span_id"] in spans


def spans(runner: Flowrunner, result: str) -> int:
    """Return a counter of spans; -1 when there is no answer."""
    found = re.search(rf'trace_spans_total{{result="{result}"}} (\d+)', str(runner.get("/metrics")[1]))
    return -1 if found is None else int(found[1])


def _slow() -> int:
    time.sleep(30)
    return 200


@pytest.mark.parametrize("collector", ["dead", "refusing", "silent"])
async def test_a_collector_that_does_not_take_them_costs_nothing(
    collector: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Collector(_slow if collector == "silent" else lambda: 503) as receiver:
        url = f"http://127.0.0.1:{free_port()}" if collector == "dead" else receiver.url
        url = url.replace("//", "//someone:canary-7e1f@")
        traced(
            monkeypatch, url, bsp_max_queue_size="20", exporter_otlp_timeout="1", traces_sampler="always_on"
        )
        async with FakeHttp() as server, Flowrunner(tmp_path) as runner:
            runner.write("hooks.yaml", HOOKS.format(url=server.url, folder=tmp_path))
            await runner.start()
            for number in range(40):
                await post(runner, "hooks", {"n": number}, SAMPLED)
                await asyncio.sleep(0.01)
            await runner.until(lambda: len(server.accepted) == 40)
            await runner.until(lambda: min(spans(runner, "failed"), spans(runner, "queue_full")) > 0)
            assert 0 == spans(runner, "exported")
            before = time.monotonic()
            assert 0 == await runner.stop()
            assert time.monotonic() - before < 6

    lines = runner.log.read_text().splitlines()
    about = [line for line in lines if "traces" in line]
    assert 1 <= len(about) <= 2, about
    assert "warning" == json.loads(about[0])["level"]
    assert "canary-7e1f" not in runner.log.read_text()
