"""The log of a real process: lines of the schema, no secrets, and a standard output that nobody reads."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft7Validator

from tests.e2e.process import Flowrunner
from tests.servers.fake_http import FakeHttp
from tests.servers.fake_influx import Reply
from tests.servers.mosquitto import Mosquitto

SCHEMA = Draft7Validator(json.loads((Path(__file__).parents[1] / "docs" / "log.schema.json").read_text()))
CANARIES = {name: f"canary-{name.lower()}-5b1c" for name in ("HOOK", "MQTT", "HTTP", "INFLUX", "HEADER")}
FLOW = """\
version: 1
flow: secrets
connections:
  broker: {{ type: mqtt, url: "mqtt://127.0.0.1:{mqtt}", username: someone, password: "${{MQTT}}" }}
  tsdb: {{ type: influxdb, url: "{http}", org: home, token: "${{INFLUX}}" }}
nodes:
  told: {{ type: mqtt_in, connection: broker, topics: ["home/#"] }}
  hook: {{ type: http_in, token: "${{HOOK}}" }}
  broken: {{ type: map, from: hook, set: {{ payload: "={{'n': payload.n + 1}}" }} }}
  out: {{ type: http_out, from: broken, url: "{http}", token: "${{HTTP}}", headers: {{ X-Key: "${{HEADER}}" }} }}
  store: {{ type: influxdb_out, from: broken, connection: tsdb, bucket: b, measurement: m, fields: {{ n: =payload.n }} }}
  seen: {{ type: debug, from: told }}
"""
HOOK = "version: 1\nflow: hooks\nnodes:\n  hook: { type: http_in }\n  seen: { type: debug, from: hook }\n"


def lines(text: str) -> list[dict[str, Any]]:
    """Return the events of a log, each of which fits the schema."""
    events = [json.loads(line) for line in text.splitlines()]
    for event in events:
        SCHEMA.validate(event)
    return events


async def send(runner: Flowrunner, flow: str, payload: Any, token: str | None = None) -> int:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient() as client:
        answer = await client.post(
            f"http://127.0.0.1:{runner.port}/in/{flow}/hook", json=payload, headers=headers
        )
    return answer.status_code


async def test_no_secret_gets_into_the_log_whatever_servers_repeat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, canary in CANARIES.items():
        monkeypatch.setenv(name, canary)
    async with (
        FakeHttp() as server,
        Mosquitto(tmp_path / "broker", users={"someone": "else"}) as broker,
        Flowrunner(tmp_path, log_level="debug") as runner,
    ):
        server.judge = lambda request: Reply(400, f"refused: {dict(request.headers)}")
        runner.write("secrets.yaml", FLOW.format(mqtt=broker.port, http=server.url))
        runner.launch()
        await runner.until(lambda: runner.get("/livez")[0] == 200)
        await runner.until(lambda: "not auth" in runner.log.read_text().lower())
        assert 401 == await send(runner, "secrets", {"n": 1}, "wrong")
        for payload in ({"n": 1}, {"m": 1}, {"n": CANARIES["HTTP"]}):
            assert 202 == await send(runner, "secrets", payload, CANARIES["HOOK"])
        await runner.until(lambda: runner.log.read_text().count("message dead-lettered") >= 2)
        assert 0 == await runner.stop()

    text = runner.log.read_text()
    assert {"broker", "tsdb", None} == {line.get("connection") for line in lines(text)}
    assert {"out", "broken"} <= {str(line.get("node")) for line in lines(text)}
    assert [] == [name for name, canary in CANARIES.items() if canary in text]


@pytest.fixture
def full_pipe() -> Any:
    """A pipe that takes nothing more, and that nobody reads."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    try:
        while True:
            os.write(write, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(write, True)
    yield read, write
    os.close(read)


def launch(runner: Flowrunner, stdout: int, stderr: int) -> subprocess.Popen[bytes]:
    """Start a process that has ``stdout`` for itself."""
    command = [sys.executable, "-m", "flowrunner", "run", str(runner.flows)]
    process = subprocess.Popen(
        command, env=runner._environment, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr
    )
    os.close(stdout)
    return process


async def test_a_process_whose_stdout_nobody_reads_runs_and_ends(
    tmp_path: Path, full_pipe: tuple[int, int]
) -> None:
    runner = Flowrunner(tmp_path)
    runner.write("hooks.yaml", HOOK)
    read, write = full_pipe
    async with runner:
        runner.process = launch(runner, write, subprocess.PIPE)
        await runner.until(lambda: runner.get("/readyz")[0] == 200)
        for number in range(20):
            assert 202 == await send(runner, "hooks", {"n": number})
        await runner.until(lambda: runner.ledger("hooks").get("written") == 20)
        runner.process.send_signal(signal.SIGTERM)
        before = time.monotonic()
        _, errors = await asyncio.to_thread(runner.process.communicate, None, 20)

    assert (0, b"") == (runner.process.returncode, errors)
    assert time.monotonic() - before < 10
    assert b"x" * 4096 == os.read(read, 4096)


async def test_what_was_held_back_by_a_slow_reader_comes_when_it_reads(
    tmp_path: Path, full_pipe: tuple[int, int]
) -> None:
    runner = Flowrunner(tmp_path)
    runner.write("hooks.yaml", HOOK)
    read, write = full_pipe
    async with runner:
        runner.process = launch(runner, write, subprocess.DEVNULL)
        await runner.until(lambda: runner.get("/readyz")[0] == 200)
        reading = asyncio.to_thread(_read_all, read)
        runner.process.send_signal(signal.SIGTERM)
        text = (await reading).lstrip(b"x").decode()
        assert 0 == await asyncio.to_thread(runner.process.wait, 20)

    events = [event["event"] for event in lines(text)]
    assert ("listening", "stopped") == (events[0], events[-1])


def _read_all(descriptor: int) -> bytes:
    found = b""
    while data := os.read(descriptor, 65_536):
        found += data
    return found
