"""However a process is ended while its channels are full and its sink is down: nothing is lost."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from pathlib import Path

import pytest

from tests.e2e.process import Flowrunner
from tests.servers.fake_influx import TOKEN, FakeInflux
from tests.servers.mosquitto import free_port

RECORDS = 3000
GRACE = 2.0
FLOW = """
version: 1
flow: full
connections:
  tsdb: {{ type: influxdb, url: "http://127.0.0.1:{port}", org: home, token: "{token}" }}
nodes:
  lines: {{ type: file_in, path: "{folder}/lines.jsonl", follow: true }}
  slow: {{ type: delay, from: lines, by: 300ms, buffer: {{ capacity: 10 }} }}
  store:
    type: influxdb_out
    from: [lines, slow]
    connection: tsdb
    bucket: home
    measurement: m
    tags: {{ id: "=string(payload.id)" }}
    fields: {{ x: "=payload.id" }}
    buffer: {{ capacity: 10 }}
"""


async def _full(folder: Path, port: int) -> Flowrunner:
    """Start a process whose sink is down, and fill its channels."""
    flowrunner = Flowrunner(folder, shutdown_grace=f"{GRACE:g}s", checkpoint_every="200ms")
    lines = (json.dumps({"id": number}) for number in range(RECORDS))
    (folder / "lines.jsonl").write_text("\n".join(lines) + "\n")
    flowrunner.write("full.yaml", FLOW.format(port=port, token=TOKEN, folder=folder))
    flowrunner.launch()
    await flowrunner.until(lambda: flowrunner.ledger("full").get("received", 0) == RECORDS)
    return flowrunner


async def _watch(flowrunner: Flowrunner) -> set[tuple[int, int]]:
    """Return what ``/livez`` and ``/readyz`` answer until the process has ended."""
    assert flowrunner.process is not None
    answers = set()
    while flowrunner.process.poll() is None:
        live, _ = await asyncio.to_thread(flowrunner.get, "/livez")
        ready, _ = await asyncio.to_thread(flowrunner.get, "/readyz")
        answers.add((live, ready))
        await asyncio.sleep(0.05)
    return answers


@pytest.mark.parametrize(
    ("signals", "code", "shortest", "longest"),
    [
        ([signal.SIGTERM], 0, 0.5 * GRACE, 1.5 * GRACE + 1),
        ([signal.SIGINT], 0, 0.5 * GRACE, 1.5 * GRACE + 1),
        ([signal.SIGTERM, signal.SIGTERM], 0, 0.0, 0.9 * GRACE),
        ([signal.SIGTERM, signal.SIGINT], 0, 0.0, 0.9 * GRACE),
        ([signal.SIGTERM, signal.SIGKILL], -signal.SIGKILL, 0.0, GRACE),
    ],
    ids=["SIGTERM", "SIGINT", "SIGTERM twice", "SIGTERM and SIGINT", "SIGKILL at the grace"],
)
async def test_nothing_is_lost_however_it_is_ended(
    tmp_path: Path, signals: list[signal.Signals], code: int, shortest: float, longest: float
) -> None:
    port = free_port()
    async with await _full(tmp_path, port) as flowrunner:
        process = flowrunner.process
        assert process is not None
        began = time.monotonic()
        process.send_signal(signals[0])
        await flowrunner.until(lambda: {"reason": "stopping"} in flowrunner.get("/readyz")[1]["trouble"], 1.0)
        for number in signals[1:]:
            process.send_signal(number)
        answers = await _watch(flowrunner)

        assert code == process.wait()
        assert shortest <= time.monotonic() - began <= longest
        assert answers <= {(200, 503), (200, 0), (0, 0)}
        assert len(signals) > 1 or (200, 503) in answers
        assert "Traceback" not in flowrunner.log.read_text()
        async with FakeInflux(port=port) as influx:
            await flowrunner.start()
            await flowrunner.until(lambda: len(influx.points) >= RECORDS and not _held(flowrunner))
            written = {series for series, _ in influx.points}
            books = flowrunner.ledger("full")
            assert 0 == await flowrunner.stop()

    assert {f"m,id={number}" for number in range(RECORDS)} == written
    assert (0, 0, {}) == (books["unaccounted"], books["dead_lettered"], books["dropped"])


def _held(flowrunner: Flowrunner) -> bool:
    return bool(flowrunner.ledger("full").get("held", 1))
