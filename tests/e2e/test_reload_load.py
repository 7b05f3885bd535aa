"""Two hundred reloads under load, on a real broker: nothing is lost, nothing is doubled, nobody else notices."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from flowrunner import SystemClock
from flowrunner.runtime.reload.reloader import Reloader
from flowrunner.runtime.storage import FlowSettings
from flowrunner.runtime.supervisor import Flow, Supervisor
from tests.nodes.harness import RecordingLog
from tests.runtime.flows import Keep, registered
from tests.servers.mosquitto import Mosquitto
from tests.servers.mqtt_peer import publish

RELOADS = 200
RATE = 500
LONGEST_PAUSE = 0.25

FLOW = """
version: 1
flow: {name}
connections:
  {name}_broker: {{ type: mqtt, url: "mqtt://127.0.0.1:{port}" }}
nodes:
  numbers: {{ type: mqtt_in, connection: {name}_broker, topics: {topics}, format: json, retained: ignore }}
  valid: {{ type: filter, from: numbers, where: payload >= {least} }}
  {extra}
  b: {{ type: keep, from: {last}, description: "{text}" }}
  minutes: {{ type: aggregate, from: numbers, window: {{ type: tumbling, size: 1h }}, fields: {{ n: count() }} }}
  later: {{ type: keep, from: minutes }}
"""


def version(name: str, port: int, number: int) -> str:
    """Return one of two versions: they differ in a condition, a node, a wire and a topic."""
    other = number % 2 == 1
    extra = 'same: { type: map, from: valid, set: { topic: "=topic" } }' if other else ""
    return FLOW.format(
        name=name,
        port=port,
        least=-1 if other else 0,
        extra=extra,
        last="same" if other else "valid",
        topics=f"[{name}/n, {name}/more]" if other else f"[{name}/n]",
        text=f"version {number}",
    )


async def _publish(port: int, total: int) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    for first in range(0, total, 50):
        numbers = range(first, first + 50)
        for name in ("changing", "same"):
            await publish(port, [(f"{name}/n", str(number).encode()) for number in numbers])
        await asyncio.sleep(max(0.0, began + first / RATE - loop.time()))


def _payloads(before: list[Keep]) -> list[Any]:
    return [message.payload for sink in before for message in sink.kept]


@pytest.mark.server
@pytest.mark.timeout(240)
async def test_two_hundred_reloads_under_load(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flows = tmp_path / "flows"
    flows.mkdir()
    async with Mosquitto(tmp_path / "broker") as broker:
        for name in ("changing", "same"):
            (flows / f"{name}.yaml").write_text(version(name, broker.port, 0))
        log = RecordingLog()
        settings = FlowSettings(state_dir=tmp_path / "state", checkpoint_every=1.0)
        supervisor = Supervisor(settings, SystemClock(), log)
        with registered(keep=Keep):
            reloader = Reloader([flows], {}, supervisor, log)
            running = asyncio.create_task(supervisor.run(reloader.start().graphs))
            await _until(lambda: [_up(flow) for flow in supervisor.flows.values()] == [True, True])
            changing, same = supervisor.flows["changing"], supervisor.flows["same"]
            link = changing.runner.assembly.connections["changing_broker"]
            minutes = changing.runner.assembly.steps["minutes"].node
            other = dict(same.runner.assembly.sinks), same.runner
            tasks, handles = len(asyncio.all_tasks()), _handles()
            sinks = [_sink(changing)]
            total = RELOADS * 25
            publishing = asyncio.create_task(_publish(broker.port, total))
            pauses = []
            for number in range(1, RELOADS + 1):
                (flows / "changing.yaml").write_text(version("changing", broker.port, number))
                done = await reloader.reload()
                assert [("changing", "applied")] == [(one.name, one.result) for one in done]
                pauses.append(changing.runner.last_pause)
                if _sink(changing) is not sinks[-1]:
                    sinks.append(_sink(changing))
            await publishing
            await _until(lambda: len(set(_payloads(sinks))) == total, 30)
            await _until(lambda: len(_payloads([_sink(same)])) >= total, 30)
            gc.collect()
            after = len(asyncio.all_tasks()), _handles()
            seen = Counter(_payloads(sinks))
            books = changing.runner.ledger
            with capsys.disabled():
                mean = sum(pauses) / RELOADS
                sys.stdout.write(
                    f"\n200 reloads: pause {max(pauses):.4f} s at most, {mean:.4f} s in the mean\n"
                )

            assert {1} == set(seen.values())
            assert RELOADS + 1 == changing.generation
            assert (0, 1) == (books.balance, same.generation)
            assert link is changing.runner.assembly.connections["changing_broker"]
            assert minutes is changing.runner.assembly.steps["minutes"].node
            assert total == minutes.context.counters.held
            assert {0} == {
                flow.runner.assembly.connections[f"{name}_broker"].context.reconnects
                for name, flow in supervisor.flows.items()
            }
            assert other == (dict(same.runner.assembly.sinks), same.runner)
            assert max(pauses) <= LONGEST_PAUSE
            assert after[0] <= tasks + 2
            assert after[1] <= handles + 4
            await supervisor.stop(5.0)
            await running


def _sink(flow: Flow) -> Keep:
    sink = flow.runner.assembly.sinks["b"].node
    assert isinstance(sink, Keep)
    return sink


def _up(flow: Flow) -> bool:
    parts = flow.runner.assembly
    return flow.runner.ready.is_set() and all(
        source.context.status == "running" for source in parts.sources.values()
    )


def _handles() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def _until(condition: Any, seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)
