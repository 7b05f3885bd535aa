"""The metrics: what Prometheus' own tool thinks of them, and that data cannot add to their labels."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import Coroutine, Generator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from flowrunner.admin.metrics import GROUPS, metrics_text
from flowrunner.admin.metrics.families import TOPICS, WORDS, bounded
from flowrunner.graph.build import Graph
from tests.admin.harness import admin, graph
from tests.runtime.flows import FlowBuilder
from tests.runtime.test_flow import Even
from tests.servers.programs import program

LABELS = {"flow", "node", "type", "port", "reason", "connection", "le", "result", "hash", "version"}
NAMES = """
node_messages_received_total node_messages_emitted_total node_messages_dropped_total
node_messages_dead_lettered_total node_messages_errors_total node_held node_busy_seconds_total node_status
channel_depth channel_capacity channel_blocked_seconds_total flow_lag_seconds flow_latency_seconds_bucket
journal_bytes journal_oldest_seconds checkpoint_seconds checkpoint_age_seconds connection_up
connection_reconnects_total reload_total flow_generation flow_info event_loop_lag_seconds event_loop_lag_p99_seconds
event_loop_stuck_total build_info
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


def hundred() -> list[Graph]:
    """Return 100 flows of 10 nodes: a source, seven transforms, two sinks."""
    graphs = []
    for number in range(100):
        builder = FlowBuilder(f"flow_{number}").source("a")
        for step in range(7):
            builder.node(f"n{step}", Even, f"n{step - 1}" if step else "a")
        graphs.append(builder.sink("b", "n6").sink("c", "n6").graph())
    return graphs


def series(text: str) -> int:
    return sum(not line.startswith("#") for line in text.splitlines())


async def test_a_hundred_flows_have_few_series_and_a_scrape_of_them_lets_others_go_on(tmp_path: Path) -> None:
    async with admin(tmp_path, *hundred()) as process:
        for name in process.supervisor.flows:
            await process.feed(name, 1, 2)
        await asyncio.sleep(0.5)
        scrape = Steps(metrics_text(process.process))
        whole = (await scrape).decode()
        flows = (await process.get("/metrics?collect[]=books&collect[]=progress&collect[]=versions")).text

    assert series(whole) <= 140 * 100
    assert series(flows) <= 2_000
    assert scrape.count > 100


class Steps:
    """A coroutine, and in how many steps it has held the event loop."""

    def __init__(self, work: Coroutine[Any, Any, bytes]) -> None:
        self._work = work
        self.count = 0

    def __await__(self) -> Generator[Any, None, bytes]:
        steps = self._work.__await__()
        while True:
            self.count += 1
            try:
                waited = next(steps)
            except StopIteration as end:
                return bytes(end.value)
            yield waited


async def test_no_data_adds_series_beyond_a_bound_and_the_sums_stay_true(tmp_path: Path) -> None:
    random = Random(1)
    words = ["other", *(f'{random.random()}\n"{{' for _ in range(5000))]
    async with admin(tmp_path, graph("garden", connection=True)) as process:
        before = series((await process.get("/metrics")).text)
        await process.feed("garden", *random.sample(words, 100), {"a": words[:100]})
        parts = process.flow("garden").runner.assembly
        for word in words:
            parts.contexts["b"].counters.drop(word)
            parts.connections["line"].context.counts[word] += 1
            parts.sources["a"].context.gaps[word] = 0.5
        await asyncio.sleep(0.2)
        text = (await process.get("/metrics")).text

    assert series(text) <= before + (WORDS + 1) * 2 + TOPICS + 1 + 10
    sums = {
        name: sum(
            float(one) for one in re.findall(rf"^flowrunner_{name}_total\{{.*\}} (\S+)$", text, re.MULTILINE)
        )
        for name in ("node_messages_dropped", "connection_events", "gap_seconds")
    }
    assert {"node_messages_dropped": 5001, "connection_events": 5001, "gap_seconds": 2500.5} == sums


@pytest.mark.parametrize(
    ("values", "limit", "expected"),
    [
        pytest.param({}, 2, {}, id="none"),
        pytest.param({"a": 1, "b": 2}, 2, {"a": 1, "b": 2}, id="as many as there may be"),
        pytest.param({"a": 1, "b": 2, "c": 3}, 1, {"a": 1, "other": 5}, id="more"),
        pytest.param({"other": 1, "b": 2, "c": 3}, 1, {"other": 6}, id="one that is called like the rest"),
        pytest.param({"b": 2, "other": 1}, 2, {"b": 2, "other": 1}, id="one of few that is called so"),
    ],
)
def test_what_is_beyond_the_bound_is_one_sum(
    values: dict[str, int], limit: int, expected: dict[str, int]
) -> None:
    assert expected == bounded(values, limit)


async def test_a_scrape_may_ask_for_groups(tmp_path: Path) -> None:
    async with admin(tmp_path, graph()) as process:
        some = (await process.get("/metrics?collect[]=latency&collect[]=versions")).text
        wrong = await process.get("/metrics?collect[]=nonsense")

    families = set(re.findall(r"^# TYPE flowrunner_(\w+)", some, re.MULTILINE))
    process_wide = {
        "reload_total",
        "event_loop_lag_seconds",
        "event_loop_lag_p99_seconds",
        "event_loop_stuck_total",
        "journal_max_bytes",
        "trace_spans_total",
        "build_info",
    }
    of_flows = {"flow_latency_seconds", "flow_generation", "flow_restarts_total", "flow_info"}
    assert process_wide | of_flows == families
    assert 400 == wrong.status_code
    assert f"there is no group 'nonsense': {', '.join(GROUPS)}" == wrong.json()["detail"]
