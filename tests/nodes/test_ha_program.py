"""Home Assistant and the program as a whole: a token in a file, gaps across restarts, what is exported of them."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterable
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.e2e.process import Flowrunner
from tests.servers.fake_home_assistant import FakeHomeAssistant

FLOW = """\
version: 1
flow: home
connections:
  home: {{ type: home_assistant, url: "{url}", token: "${{file:{token}}}" }}
nodes:
  states: {{ type: ha_in, connection: home }}
  keep: {{ type: file_out, from: states, path: "{folder}/states.jsonl" }}
"""
BAD = "a-bad-token"  # no real one
ENTITIES = 5


def write_flow(flowrunner: Flowrunner, folder: Path, home: FakeHomeAssistant, token: str) -> Path:
    file = folder / "token"
    file.write_text(token)
    flowrunner.write("home.yaml", FLOW.format(url=home.url, token=file, folder=folder))
    return file


def change(home: FakeHomeAssistant, start: int, stop: int, *, every: float = 0.001) -> None:
    for number in range(start, stop):
        home.set(f"sensor.s{number % ENTITIES}", str(number), at=home.now + every)


def lines(folder: Path) -> list[str]:
    file = folder / "states.jsonl"
    return file.read_text().splitlines() if file.exists() else []


async def test_a_refused_token_is_tried_once_and_a_new_one_in_its_file_at_once(tmp_path: Path) -> None:
    async with FakeHomeAssistant() as home, Flowrunner(tmp_path) as flowrunner:
        home.set("sensor.a", "1")
        token = write_flow(flowrunner, tmp_path, home, BAD)
        flowrunner.launch()
        await flowrunner.until(lambda: "refuses the token" in repr(flowrunner.get("/readyz")))
        assert flowrunner.process is not None
        flowrunner.process.send_signal(signal.SIGHUP)
        (flowrunner.flows / "home.yaml").write_text(
            (flowrunner.flows / "home.yaml")
            .read_text()
            .replace("flow: home", "flow: home\ndescription: changed")
        )
        await flowrunner.until(lambda: flowrunner.get("/api/v1/flows/home")[1]["generation"] == 2)
        await asyncio.sleep(1.5)  # several of the usual pauses
        assert 1 == home.auths
        token.write_text(home.token)
        flowrunner.process.send_signal(signal.SIGHUP)
        await flowrunner.until(lambda: flowrunner.get("/readyz")[0] == 200)
        await flowrunner.until(lambda: len(lines(tmp_path)) == 1)
        shown = repr(flowrunner.get("/api/v1/flows/home"))
        assert 0 == await flowrunner.stop()

    assert 2 == home.auths
    assert not [secret for secret in (BAD, home.token) if secret in flowrunner.log.read_text() + shown]


@pytest.mark.parametrize("killed", [False, True], ids=["stopped", "killed"])
async def test_changes_while_flowrunner_is_down_arrive_once_and_gaps_are_exported(
    tmp_path: Path, killed: bool
) -> None:
    async with FakeHomeAssistant() as home, Flowrunner(tmp_path, checkpoint_every="100ms") as flowrunner:
        home.unrecorded = {"sensor.unrecorded"}
        change(home, 0, 10)
        home.set("sensor.unrecorded", "0")
        write_flow(flowrunner, tmp_path, home, home.token)
        await flowrunner.start()
        await flowrunner.until(lambda: len(lines(tmp_path)) == ENTITIES + 1)
        await flowrunner.until(lambda: flowrunner.ledger("home")["held"] == 0)
        if killed:
            flowrunner.kill()
        else:
            assert 0 == await flowrunner.stop()
        change(home, 10, 260, every=0.24)
        home.set("sensor.unrecorded", "1")
        change(home, 260, 510, every=0.24)
        await flowrunner.start()
        await flowrunner.until(lambda: len(set(lines(tmp_path))) == ENTITIES + 1 + 501)
        await flowrunner.until(lambda: flowrunner.ledger("home")["held"] == 0)
        metrics, books = _metrics(flowrunner), flowrunner.ledger("home")
        assert 0 == await flowrunner.stop()

    events = 'flowrunner_connection_events_total{connection="home",flow="home",reason="%s"}'
    assert 1 == metrics[events % "gap_entities"]
    assert 60 == pytest.approx(metrics[events % "gap_seconds"], abs=2)
    gap = metrics['flowrunner_gap_seconds_total{flow="home",node="states",topic="sensor.unrecorded"}']
    assert 60 == pytest.approx(gap, abs=2)
    assert 0 == books["unaccounted"]
    assert "sensor.unrecorded" in flowrunner.log.read_text()
    numbers = states_of(dict.fromkeys(lines(tmp_path)))  # `file_out` may write lines twice when it is killed
    expected = [[str(number) for number in range(5 + entity, 510, ENTITIES)] for entity in range(ENTITIES)]
    assert expected == [numbers[f"sensor.s{entity}"] for entity in range(ENTITIES)]
    assert ["0", "1"] == numbers["sensor.unrecorded"]


def states_of(texts: Iterable[str]) -> dict[str, list[str]]:
    found = dict[str, list[str]]()
    for text in texts:
        line = json.loads(text)
        found.setdefault(line["topic"], []).append(line["payload"]["state"])
    return found


def _metrics(flowrunner: Flowrunner) -> dict[str, float]:
    with urlopen(f"http://127.0.0.1:{flowrunner.port}/metrics", timeout=5) as answer:
        rows = [line.rpartition(" ") for line in answer.read().decode().splitlines() if line[0] != "#"]
    return {name: float(value) for name, _, value in rows}
