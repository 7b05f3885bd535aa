"""The metrics: what Prometheus' own tool thinks of them, and that data cannot add to their labels."""

from __future__ import annotations

import asyncio
import re
import subprocess
from pathlib import Path

from tests.admin.harness import admin, graph
from tests.runtime.flows import FlowBuilder
from tests.servers.programs import program

LABELS = {"flow", "node", "type", "port", "reason", "connection", "le", "result", "hash", "version"}
NAMES = """
node_messages_received_total node_messages_emitted_total node_messages_dropped_total
node_messages_dead_lettered_total node_messages_errors_total node_held node_busy_seconds_total node_status
channel_depth channel_capacity channel_blocked_seconds_total flow_lag_seconds flow_latency_seconds_bucket
journal_bytes journal_oldest_seconds checkpoint_seconds checkpoint_age_seconds connection_up
connection_reconnects_total reload_total flow_generation flow_info event_loop_lag_seconds build_info
"""


async def test_promtool_has_nothing_to_say(tmp_path: Path) -> None:
    async with admin(tmp_path, graph(), graph("garden", connection=True)) as process:
        await process.feed("house", 1, 2, "x", '"\\\n')
        await asyncio.sleep(0.3)
        answer = await process.get("/metrics")

    assert "text/plain; version=0.0.4; charset=utf-8" == answer.headers["Content-Type"]
    checked = subprocess.run(  # noqa: ASYNC221
        [program("promtool", "prometheus"), "check", "metrics"],
        input=answer.content,
        capture_output=True,
        check=False,
    )
    assert (0, b"", b"") == (checked.returncode, checked.stdout, checked.stderr)


async def test_every_metric_has_its_name_and_none_a_label_from_data(tmp_path: Path) -> None:
    async with admin(tmp_path, graph("garden", connection=True)) as process:
        await process.feed("garden", 2, "x", *range(3, 41, 2))
        process.flow("garden").runner.assembly.contexts["b"].counters.drop("unlikely", 0)
        await asyncio.sleep(0.1)
        text = (await process.get("/metrics")).text

    names = {"flowrunner_" + name for name in NAMES.split()}
    assert names <= set(re.findall(r"^(\w+)", text, re.MULTILINE))
    assert set(re.findall(r'[{,](\w+)="', text)) <= LABELS
    assert 'flowrunner_node_messages_errors_total{flow="garden",node="n",type="even"} 1.0' in text
    assert 'flowrunner_flow_messages_unaccounted{flow="garden"} 0.0' in text
    assert 'flowrunner_connection_up{connection="line",flow="garden"} 0.0' in text


async def test_an_outbox_says_what_it_holds(tmp_path: Path) -> None:
    house = FlowBuilder("house", delivery="journal").source("a").sink("b", "a", outbox={"max_bytes": "1MiB"})
    async with admin(tmp_path, house.graph()) as process:
        process.sink("house").gate.clear()
        await process.feed("house", 1, 2, 3)
        await asyncio.sleep(0.3)
        text = (await process.get("/metrics")).text
        process.sink("house").gate.set()
        await asyncio.sleep(0.1)
        after = (await process.get("/metrics")).text

    values = dict(re.findall(r'^flowrunner_outbox_(\w+)\{flow="house",node="b"\} (\S+)', text, re.MULTILINE))
    assert "3.0" == values["messages"]
    assert float(values["bytes"]) > 8192
    assert 0.2 < float(values["oldest_seconds"]) < 10
    assert 'flowrunner_outbox_messages{flow="house",node="b"} 0.0' in after
    assert 'flowrunner_outbox_oldest_seconds{flow="house",node="b"} 0.0' in after


async def test_a_flow_that_is_behind_says_by_how_much(tmp_path: Path) -> None:
    async with admin(tmp_path, graph()) as process:
        process.sink("house").gate.clear()
        await process.feed("house", *[2] * 5000)
        await asyncio.sleep(0.3)
        text = (await process.get("/metrics")).text
        process.sink("house").gate.set()

    lag = re.search(r'flowrunner_flow_lag_seconds\{flow="house"\} (\S+)', text)
    oldest = re.search(r'flowrunner_journal_oldest_seconds\{flow="house"\} (\S+)', text)
    assert lag is not None
    assert oldest is not None
    assert 0.2 < float(lag[1]) < 10
    assert 0.2 < float(oldest[1]) < 10
