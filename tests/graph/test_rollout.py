"""The plan of all flows is what the reloader does: drawn flows, drawn edits, and a look at the objects afterwards."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from flowrunner.graph.load import load_flows
from flowrunner.graph.revision import Revision
from flowrunner.graph.rollout import FlowPlan, roll_out
from flowrunner.runtime.checkpoints.state import Chunks, dump_state
from flowrunner.runtime.reload.reloader import Reloader
from flowrunner.runtime.storage import FlowSettings
from flowrunner.runtime.supervisor import Flow, Supervisor
from flowrunner.testing import VirtualClock, run_virtual
from flowrunner.timers import Timers
from tests.nodes.harness import RecordingLog
from tests.runtime.flows import START, Feed, Keep, record, registered

OPTIONS: list[dict[str, Any]] = [
    {"type": "filter", "where": "payload > 0"},
    {"type": "filter", "where": "payload > -1", "description": "all of them"},
    {"type": "throttle", "key": "topic", "every": "1h"},
    {"type": "throttle", "key": "topic", "every": "2h", "on_error": "drop"},
    {"type": "throttle", "every": "1h"},
    {"type": "aggregate", "window": {"type": "tumbling", "size": "1h"}, "fields": {"n": "count()"}},
    {"type": "aggregate", "window": {"type": "tumbling", "size": "2h"}, "fields": {"n": "count()"}},
    {"type": "map", "set": {"payload.x": 1}, "enabled": False},
]


@st.composite
def flows(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a flow; two of them share names of nodes, so that one is an edit of the other."""
    nodes: dict[str, Any] = {"a": {"type": "feed"}}
    for id in draw(st.lists(st.sampled_from(["b", "c", "d"]), unique=True)):
        sources = draw(st.lists(st.sampled_from(sorted(nodes)), min_size=1, max_size=2, unique=True))
        nodes[id] = {**draw(st.sampled_from(OPTIONS)), "from": sources}
    for id in draw(st.lists(st.sampled_from(["y", "z"]), unique=True, min_size=1)):
        nodes[id] = {"type": "keep", "from": draw(st.sampled_from(sorted(nodes.keys() - {"y", "z"})))}
    return {"version": 1, "delivery": draw(st.sampled_from(["memory", "journal"])), "nodes": nodes}


MISTAKES = st.sampled_from(["version: [", "version: 1\nnodes: { a: { type: feeed } }\n", ""])
FILES = st.dictionaries(
    st.sampled_from(["one", "two", "three"]), flows().map(yaml.safe_dump) | MISTAKES, max_size=3
)


def write(folder: Path, files: Mapping[str, str]) -> None:
    for old in folder.glob("*.yaml"):
        old.unlink()
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)


class Part(NamedTuple):
    """The object of a node; of a transform also what it holds, and what a new one would."""

    node: object
    state: Chunks = ()
    empty: Chunks = ()


async def parts(flow: Flow) -> dict[str, Part]:
    assembly = flow.runner.assembly
    found = {name: Part(task) for name, task in (assembly.sources | assembly.sinks).items()}
    for name, step in assembly.steps.items():
        fresh = type(step.node)(step.node.config, step.node.context)
        state, empty = await dump_state(step.node, step.timers), await dump_state(fresh, Timers())
        found[name] = Part(step.node, state, empty)
    return found


def assert_happened(step: FlowPlan, before: Mapping[str, Part], after: Mapping[str, Part]) -> None:
    assert {change.name for change in step.plan.nodes} == before.keys() | after.keys()
    for change in step.plan.nodes:
        old, new = before.get(change.name), after.get(change.name)
        happened = "added" if old is None else "removed"
        if old is not None and new is not None:
            happened = "keep" if new.node is old.node else "anew"
            state = old.state if change.outcome in ("keep", "state_kept") else new.empty
            assert state == new.state
        anew = ("restart", "state_kept", "state_lost")
        assert happened == ("anew" if change.outcome in anew else change.outcome)


@given(old=FILES, new=FILES)
@settings(max_examples=60, deadline=None)
def test_the_plan_is_what_happens(old: dict[str, str], new: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as folder, registered(feed=Feed, keep=Keep):
        run_virtual(plan_and_reload(Path(folder), old, new))


async def plan_and_reload(folder: Path, old: dict[str, str], new: dict[str, str]) -> None:
    files = folder / "flows"
    files.mkdir()
    write(files, old)
    revisions: list[Revision] = []
    log = RecordingLog()

    def digests() -> dict[str, str]:
        return {name: flow.graph.digest for name, flow in supervisor.flows.items()}

    supervisor = Supervisor(FlowSettings(state_dir=folder / "state"), VirtualClock(START), log)
    reloader = Reloader([files], {}, supervisor, log, record=revisions.append)
    started = load_flows([files])
    running = asyncio.create_task(supervisor.run(reloader.start().graphs))
    await asyncio.sleep(1)
    for flow in supervisor.flows.values():
        await flow.runner.assembly.sources["a"].context.post([record(1, "p"), record(2, "q")])
    await asyncio.sleep(1)
    before = {name: await parts(flow) for name, flow in supervisor.flows.items()}
    started_as = digests()

    write(files, new)
    plans = roll_out(started.graphs, load_flows([files]))
    await reloader.check()
    await asyncio.sleep(1)

    after = {name: await parts(flow) for name, flow in supervisor.flows.items()}
    for step in plans:
        assert_happened(step, before.get(step.flow, {}), after.get(step.flow, {}))
    went_on = {name for name, digest in digests().items() if started_as.get(name) == digest}
    assert went_on == {step.flow for step in plans if step.outcome in ("unchanged", "refused")}
    assert {step.flow for step in plans} == before.keys() | after.keys()
    carried_out = {one.flow: one.plan for one in revisions if one.result == "applied"}
    assert carried_out == {
        step.flow: step.plan for step in plans if step.outcome not in ("unchanged", "refused")
    }
    await supervisor.stop(5.0)
    await running
