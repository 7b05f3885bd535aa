"""Canaries in every place for a secret: none gets out, whatever goes wrong and wherever one looks."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.e2e.process import Flowrunner
from tests.servers.fake_http import FakeHttp, Received
from tests.servers.fake_influx import FakeInflux, Reply
from tests.servers.mosquitto import Mosquitto
from tests.tracing.collector import Collector

CANARIES = {
    name: f"canary-{name.lower()}-f00d"
    for name in (
        "API",
        "HOOK",
        "MQTT",
        "INFLUX",
        "BEARER",
        "HEADER",
        "HA",
        "WRONG",
        "UNUSED",
        "FILE",
        "PATH_KEY",
        "QUERY",
    )
}
FLOW = """\
version: 1
flow: house
connections:
  broker: {{ type: mqtt, url: "mqtt://127.0.0.1:{broker}", username: me, password: "${{MQTT}}" }}
  tsdb: {{ type: influxdb, url: "{influx}", org: home, token: "${{INFLUX}}", timeout: 2s }}
  home: {{ type: home_assistant, url: "{url}", token: "${{HA}}" }}
nodes:
  hook: {{ type: http_in, token: "${{HOOK}}" }}
  calm: {{ type: map, from: hook, set: {{ payload: payload.n }} }}
  told: {{ type: mqtt_out, from: calm, connection: broker, topic: house/told }}
  kept: {{ type: influxdb_out, from: calm, connection: tsdb, bucket: b, measurement: m, batch: {{ max_age: 100ms }} }}
  states: {{ type: ha_in, connection: home, entities: ["*"] }}
  shown: {{ type: debug, from: states }}
"""
SENDER = """\
version: 1
flow: sender
nodes:
  hook: {{ type: http_in, token: "${{HOOK}}" }}
  sent:
    type: http_out
    from: hook
    url: "{url}/hook/${{PATH_KEY}}?key=${{QUERY}}"
    token: "${{BEARER}}"
    headers: {{ X-Key: "${{HEADER}}", X-File: "${{file:{file}}}" }}
"""
BROKEN = """\
version: 1
flow: broken
connections:
  other: { type: influxdb, url: "${WRONG}", org: home, token: "${INFLUX}", timeout: "${UNUSED}" }
nodes:
  tick: { type: inject, every: "${WRONG}" }
  calm: { type: throttle, from: tick, every: "${file:FILE}", emit: "${WRONG}" }
  kept: { type: influxdb_out, from: calm, connection: other, bucket: b, measurement: m }
"""
PATHS = [
    "/",
    "/readyz",
    "/metrics",
    "/openapi.json",
    "/api/v1/flows",
    "/api/v1/flows/house",
    *[f"/api/v1/flows/house/nodes/{name}" for name in ("hook", "told", "kept", "states")],
    "/api/v1/flows/sender/nodes/sent",
    "/api/v1/flows/house/revisions",
    "/api/v1/dead-letters",
]


def _echo(request: Received) -> Reply:
    """Answer with all that was sent, as a server that is being debugged does."""
    sent = " ".join(f"{name}: {value}" for name, value in request.headers.items())
    return Reply(422, f"{request.target} {sent}", {"X-Echo": "1"})


@pytest.fixture
def secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the canaries into the environment and a file."""
    for name, value in CANARIES.items():
        monkeypatch.setenv(name, value)
    file = tmp_path / "secret"
    file.write_text(CANARIES["FILE"])
    return file


def _caught(told: dict[str, str]) -> dict[str, list[str]]:
    found = {place: [one for one in CANARIES.values() if one in text] for place, text in told.items()}
    return {place: names for place, names in found.items() if names}


async def _ask(runner: Flowrunner, headers: dict[str, str]) -> dict[str, str]:
    told = {}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{runner.port}", headers=headers) as client:
        for path in PATHS:
            told[path] = (await client.get(path)).text
        for path in ("/api/v1/events", "/api/v1/tap?node=house.calm"):
            async with client.stream("GET", path) as answer:
                told[path] = await anext(answer.aiter_text())
        told["a wrong reload"] = (await client.post("/api/v1/reload")).text
        told["a wrong body"] = (await client.post("/api/v1/dead-letters/purge", json=[CANARIES["API"]])).text
        told["a wrong token"] = (await client.get("/", headers={"Authorization": "Bearer x"})).text
    return told


async def test_no_canary_sings_while_everything_goes_wrong(
    secret: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Collector() as collector:
        for name, value in {"EXPORTER_OTLP_ENDPOINT": collector.url, "BSP_SCHEDULE_DELAY": "50"}.items():
            monkeypatch.setenv(f"OTEL_{name}", value)
        async with (
            FakeHttp() as server,
            FakeInflux(token="another") as influx,
            Mosquitto(tmp_path / "mosquitto", users={"me": "another"}) as broker,
            Flowrunner(
                tmp_path, log_level="debug", checkpoint_every="200ms", api_token=CANARIES["API"]
            ) as runner,
        ):
            server.judge = _echo
            places = {"broker": broker.port, "influx": influx.url, "url": server.url, "file": secret}
            runner.write("house.yaml", FLOW.format(**places))
            runner.write("sender.yaml", SENDER.format(**places))
            runner.launch()
            await runner.until(lambda: runner.get("/livez")[0] == 200)
            await runner.until(lambda: runner.get("/readyz")[0] == 503)
            headers = {"Authorization": f"Bearer {CANARIES['HOOK']}"}
            async with httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{runner.port}", headers=headers
            ) as client:
                for number in range(5):
                    sent = {"n": {"v": number}}
                    for flow in ("house", "sender"):
                        assert 202 == (await client.post(f"/in/{flow}/hook", json=sent)).status_code
                assert (
                    401 == (await client.post("/in/house/hook", headers={"Authorization": "x"})).status_code
                )
            await runner.until(lambda: len(runner.get("/api/v1/dead-letters")[1]) >= 5)
            runner.write("broken.yaml", BROKEN.replace("FILE", str(secret)))
            await asyncio.sleep(0.5)
            told = await _ask(runner, {"Authorization": f"Bearer {CANARIES['API']}"})
            assert runner.process is not None
            told["arguments"] = Path(f"/proc/{runner.process.pid}/cmdline").read_text()
            assert 0 == await runner.stop()
            told["log"] = runner.log.read_text()
            told["traces"] = "".join(str(vars(span)) for span in collector.spans)

        assert "`other`" in told["a wrong reload"] or "url" in told["a wrong reload"]
        assert "422" in told["/api/v1/dead-letters"]
        assert "${HEADER}" in told["/api/v1/flows/sender/nodes/sent"]
        assert {} == _caught(told)
        assert "Traceback" not in told["log"]


def _flowrunner(*words: str | Path) -> str:
    command = [sys.executable, "-m", "flowrunner", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    "words",
    [
        *[("validate", "--env", "--format", form) for form in ("text", "json", "github", "sarif")],
        ("graph", "--format", "mermaid"),
        ("graph", "--format", "dot"),
        ("graph", "--format", "svg"),
        ("test",),
    ],
    ids=" ".join,
)
def test_no_command_shows_a_canary(words: tuple[str, ...], secret: Path, tmp_path: Path) -> None:
    flow = tmp_path / "flow.yaml"
    places = {"broker": 1, "influx": "http://h", "url": "http://h", "file": secret}
    for text in (
        BROKEN.replace("FILE", str(secret)),
        FLOW.format(**places) + SENDER[SENDER.index("  sent:") :].format(**places),
    ):
        flow.write_text(text)
        shown = _flowrunner(words[0], flow, *words[1:])

        assert shown or "github" in words
        assert [] == [one for one in CANARIES.values() if one in shown]
