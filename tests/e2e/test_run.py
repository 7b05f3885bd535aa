"""``flowrunner run`` as a process: signals, exit codes, health until the end, reloads, secrets, odd surroundings."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.e2e.process import Flowrunner
from tests.servers.fake_influx import FakeInflux
from tests.servers.mosquitto import Mosquitto

CALM = """
version: 1
flow: {name}
nodes:
  tick: {{ type: inject, every: 20ms }}
  quiet: {{ type: map, from: tick, set: {{ topic: "{topic}" }} }}
  out: {{ type: sqlite_out, from: quiet, path: "{folder}/{name}.sqlite", measurement: m, fields: {{ x: 1 }} }}
"""
STALLED = """
version: 1
flow: stalled
connections:
  tsdb: {{ type: influxdb, url: "http://127.0.0.1:{port}", org: home, token: "canary-token" }}
  broker: {{ type: mqtt, url: "mqtt://127.0.0.1:{broker}", username: me, password: "${{CANARY}}" }}
nodes:
  tick: {{ type: inject, every: 20ms }}
  never: {{ type: mqtt_in, connection: broker, topics: [x] }}
  store: {{ type: influxdb_out, from: [tick, never], connection: tsdb, bucket: home, measurement: m, fields: {{ x: 1 }} }}
"""


def calm(folder: Path, name: str = "calm", topic: str = "t") -> str:
    return CALM.format(name=name, topic=topic, folder=folder)


def _generation(flowrunner: Flowrunner, flow: str) -> int:
    status, body = flowrunner.get(f"/api/v1/flows/{flow}")
    return body["generation"] if status == 200 else 0


def _events(flowrunner: Flowrunner) -> list[dict[str, Any]]:
    return [json.loads(line) for line in flowrunner.log.read_text().splitlines() if line.startswith("{")]


async def test_sigterm_drains_while_health_is_told_until_the_end(tmp_path: Path) -> None:
    async with Flowrunner(tmp_path, shutdown_grace="3s", checkpoint_every="200ms") as flowrunner:
        flowrunner.write("calm.yaml", calm(tmp_path))
        flowrunner.write("stalled.yaml", STALLED.format(port=1, broker=1))
        flowrunner._environment["CANARY"] = "canary-password"
        flowrunner.launch()
        await flowrunner.until(lambda: flowrunner.ledger("stalled").get("held", 0) > 10)
        trouble = flowrunner.get("/readyz")[1]["trouble"]
        assert {"broker", "tsdb"} <= {cause.get("connection") for cause in trouble}
        stopping = asyncio.create_task(flowrunner.stop())
        answers = []
        while not stopping.done():
            live, _ = await asyncio.to_thread(flowrunner.get, "/livez")
            ready, _ = await asyncio.to_thread(flowrunner.get, "/readyz")
            answers.append((live, ready))
            await asyncio.sleep(0.05)

        assert 0 == await stopping
        assert {(200, 503)} <= set(answers) <= {(200, 503), (0, 0), (200, 0)}
        assert answers.count((200, 503)) > 10
        text = flowrunner.log.read_text()
        assert "Traceback" not in text
        assert ["timestamp", "level", "event"] == list(_events(flowrunner)[0])[:3]
        assert "stopped before everything was written; the journal keeps it" in text


async def test_what_a_stalled_sink_left_is_written_after_a_restart_and_no_secret_is_told(
    tmp_path: Path,
) -> None:
    async with (
        Flowrunner(tmp_path, shutdown_grace="1s", checkpoint_every="200ms") as flowrunner,
        Mosquitto(tmp_path / "mosquitto", users={"me": "canary-password"}) as broker,
    ):
        flowrunner._environment["CANARY"] = "canary-password"
        flowrunner.write("stalled.yaml", STALLED.format(port=1, broker=broker.port))
        flowrunner.launch()
        await flowrunner.until(lambda: flowrunner.ledger("stalled").get("held", 0) > 20)
        told = [flowrunner.get(path)[1] for path in ("/", "/metrics", "/readyz", "/api/v1/flows/stalled")]
        assert 0 == await flowrunner.stop()
        async with FakeInflux(token="canary-token") as influx:
            flow = STALLED.format(port=int(influx.url.rpartition(":")[2]), broker=broker.port)
            flowrunner.write("stalled.yaml", flow)
            await flowrunner.start()
            await flowrunner.until(lambda: flowrunner.ledger("stalled").get("written", 0) > 20)
            books = flowrunner.ledger("stalled")
            told += [
                flowrunner.get(path)[1] for path in ("/", "/metrics", "/readyz", "/api/v1/flows/stalled")
            ]
            assert 0 == await flowrunner.stop()
        assert 0 == books["unaccounted"]
        assert "canary" not in str(told)
        assert "canary" not in flowrunner.log.read_text()


async def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    async with Flowrunner(tmp_path, shutdown_grace="60s") as flowrunner:
        flowrunner._environment["CANARY"] = "x"
        flowrunner.write("stalled.yaml", STALLED.format(port=1, broker=1))
        flowrunner.launch()
        await flowrunner.until(lambda: flowrunner.ledger("stalled").get("held", 0) > 10)
        process = flowrunner.process
        assert process is not None
        process.send_signal(signal.SIGINT)
        await flowrunner.until(lambda: {"reason": "stopping"} in flowrunner.get("/readyz")[1]["trouble"])
        process.send_signal(signal.SIGTERM)

        assert 0 == await asyncio.to_thread(process.wait, 5)
        assert "Traceback" not in flowrunner.log.read_text()


async def test_files_are_followed_and_sighup_hurries(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("one")
    async with Flowrunner(tmp_path, checkpoint_every="200ms") as flowrunner:
        flowrunner.write("calm.yaml", calm(tmp_path, topic=f"${{file:{secret}}}"))
        flowrunner.write("other.yaml", calm(tmp_path, "other"))
        await flowrunner.start()
        flowrunner.write("other.yaml", calm(tmp_path, "other", "new"))
        await flowrunner.until(lambda: _generation(flowrunner, "other") == 2)
        flowrunner.write("other.yaml", "version: [")
        await flowrunner.until(lambda: flowrunner.get("/readyz")[1]["notices"])
        assert 200 == flowrunner.get("/readyz")[0]
        flowrunner.write("third.yaml", calm(tmp_path, "third"))
        await flowrunner.until(lambda: _generation(flowrunner, "third") == 1)
        (flowrunner.flows / "third.yaml").unlink()
        await flowrunner.until(lambda: flowrunner.get("/api/v1/flows/third")[0] == 404)
        assert (1, 2) == (_generation(flowrunner, "calm"), _generation(flowrunner, "other"))
        secret.write_text("two")
        assert flowrunner.process is not None
        flowrunner.process.send_signal(signal.SIGHUP)
        await flowrunner.until(lambda: _generation(flowrunner, "calm") == 2)

        assert 0 == await flowrunner.stop()
        assert "Traceback" not in flowrunner.log.read_text()


async def test_without_anything_valid_it_ends_with_78(tmp_path: Path) -> None:
    async with Flowrunner(tmp_path) as flowrunner:
        flowrunner.write("a.yaml", "version: 1\nnodes: 3\n")
        flowrunner.launch()
        assert flowrunner.process is not None

        assert 78 == await asyncio.to_thread(flowrunner.process.wait, 20)
        assert "a.yaml:2:" in flowrunner.log.read_text()


async def test_a_second_process_for_the_same_state_ends_with_2(tmp_path: Path) -> None:
    async with Flowrunner(tmp_path) as first, Flowrunner(tmp_path) as second:
        first.write("calm.yaml", calm(tmp_path))
        await first.start()
        second.launch()
        assert second.process is not None

        assert 2 == await asyncio.to_thread(second.process.wait, 20)
        assert "in use by another flowrunner" in second.log.read_text()
        assert 0 == await first.stop()


async def test_once_ends_when_all_sources_have_ended(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"x": 1}\n' * 1000)
    flow = f"""
version: 1
flow: import
nodes:
  lines: {{ type: file_in, path: "{tmp_path}/in.jsonl" }}
  out: {{ type: file_out, from: lines, path: "{tmp_path}/out.jsonl" }}
"""
    async with Flowrunner(tmp_path) as flowrunner:
        flowrunner.write("import.yaml", flow)
        ended = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "flowrunner", "run", "--once", str(flowrunner.flows)],
            env=flowrunner._environment,
            capture_output=True,
            timeout=30,
            check=False,
        )

        assert 0 == ended.returncode
        assert 1000 == len((tmp_path / "out.jsonl").read_text().splitlines())


async def test_a_disk_that_is_full_ends_nothing_and_all_goes_on_when_there_is_room(tmp_path: Path) -> None:
    async with Flowrunner(tmp_path, checkpoint_every="100ms") as flowrunner:
        flowrunner.write("calm.yaml", calm(tmp_path))
        await flowrunner.start()
        assert flowrunner.process is not None
        pid = flowrunner.process.pid
        await flowrunner.until(lambda: flowrunner.ledger("calm").get("written", 0) > 10)
        unlimited = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, unlimited[1]))
        await flowrunner.until(lambda: flowrunner.get("/readyz")[0] == 503)
        assert 200 == flowrunner.get("/livez")[0]
        resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited)
        written = flowrunner.ledger("calm")["written"]
        await flowrunner.until(lambda: flowrunner.get("/readyz")[0] == 200)
        await flowrunner.until(lambda: flowrunner.ledger("calm").get("written", 0) > written + 10)

        assert 0 == flowrunner.ledger("calm")["unaccounted"]
        assert 0 == await flowrunner.stop()


async def test_a_stdout_that_nobody_reads_stops_neither_the_flows_nor_the_end(tmp_path: Path) -> None:
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    os.write(write, b"x" * 4096)
    async with Flowrunner(tmp_path) as flowrunner:
        flowrunner.write("calm.yaml", calm(tmp_path))
        flowrunner.process = subprocess.Popen(  # noqa: ASYNC220
            [sys.executable, "-m", "flowrunner", "run", str(flowrunner.flows)],
            env=flowrunner._environment,
            stdout=write,
            stderr=subprocess.DEVNULL,
        )
        flowrunner.log.touch()
        await flowrunner.until(lambda: flowrunner.ledger("calm").get("written", 0) > 20)

        assert 0 == await flowrunner.stop()
    os.close(read)
    os.close(write)


async def test_an_event_stream_ends_when_the_process_does(tmp_path: Path) -> None:
    async with Flowrunner(tmp_path) as flowrunner:
        flowrunner.write("calm.yaml", calm(tmp_path))
        await flowrunner.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", flowrunner.port)
        writer.write(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200" in await reader.readline()
        stopping = asyncio.create_task(flowrunner.stop())
        everything = await asyncio.wait_for(reader.read(), 10)
        writer.close()

        assert 0 == await stopping
        assert b'"flows":{"calm"' in everything
        assert "Traceback" not in flowrunner.log.read_text()


async def test_a_flow_with_only_disabled_sources_is_calm(tmp_path: Path) -> None:
    flow = "tick: { type: inject, every: 1s, enabled: false }"
    async with Flowrunner(tmp_path, checkpoint_every="100ms") as flowrunner:
        nodes = f"{flow}\n  f: {{ type: filter, from: tick, where: 'true' }}\n  d: {{ type: debug, from: [tick, f] }}"
        flowrunner.write("a.yaml", f"version: 1\nflow: a\nnodes:\n  {nodes}\n")
        await flowrunner.start()
        await asyncio.sleep(0.5)

        assert 200 == flowrunner.get("/readyz")[0]
        assert re.search(r'flow_restarts_total\{flow="a"\} 0.0', flowrunner.get("/metrics")[1])
        assert 0 == await flowrunner.stop()


async def test_once_ends_with_1_when_a_source_or_a_flow_has_failed_for_good(tmp_path: Path) -> None:
    flows = {
        "missing": "a: { type: file_in, path: /nowhere.jsonl }, b: { type: debug, from: a }",
        "stopped": (
            "a: { type: inject, once: true, payload: x }, "
            "b: { type: filter, from: a, where: payload > 1, on_error: stop }, c: { type: debug, from: b }"
        ),
    }
    for name, nodes in flows.items():
        flowrunner = Flowrunner(tmp_path / name)
        file = flowrunner.write("flow.yaml", f"version: 1\nflow: {name}\nnodes: {{ {nodes} }}\n")
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "flowrunner", "run", "--once", str(file)],
            env=flowrunner._environment,
            capture_output=True,
            timeout=30,
            check=False,
        )

        assert 1 == done.returncode, done.stdout
