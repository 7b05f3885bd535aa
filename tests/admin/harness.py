"""The HTTP application of a process with a few flows, without a server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from flowrunner import NodeOptions
from flowrunner.admin.app import create_app
from flowrunner.admin.process import Process
from flowrunner.clock import SystemClock
from flowrunner.context import Connection
from flowrunner.graph.build import Graph, GraphConnection
from flowrunner.options import Options
from flowrunner.registry import ConnectionType
from flowrunner.runtime.reload.reloader import Reloader
from flowrunner.runtime.storage import FlowSettings
from flowrunner.runtime.supervisor import Flow, Supervisor
from tests.nodes.harness import RecordingLog
from tests.runtime.flows import FlowBuilder, Keep, record
from tests.runtime.test_flow import Even, Later

Config = NodeOptions


class Line(Connection[Options]):
    """A connection that a test holds the other end of."""

    async def run(self) -> None:
        await asyncio.Event().wait()


def graph(name: str = "house", *, connection: bool = False) -> Graph:
    builder = FlowBuilder(name).source("a").node("n", Even, "a").node("later", Later, "n")
    built = builder.sink("b", "n", "later", buffer={"capacity": 10}).graph()
    if connection:
        line = GraphConnection("line", ConnectionType("line", Line, Options, ""), Options())
        built.connections["line"] = line
    return built


class Admin:
    """A process and clients that talk to it."""

    def __init__(self, folder: Path) -> None:
        log = RecordingLog()
        settings = FlowSettings(state_dir=folder / "state", checkpoint_every=0.1)
        self.supervisor = Supervisor(settings, SystemClock(), log)
        self.reloader = Reloader([folder], {}, self.supervisor, log)
        self.process = Process(self.supervisor, self.reloader, SystemClock(), "1.2.3")

    def client(
        self,
        *,
        token: str | None = None,
        local: bool = True,
        host: str = "127.0.0.1",
        bearer: str | None = None,
    ) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(create_app(self.process, token, local=local))
        headers = {} if bearer is None else {"Authorization": bearer}
        return httpx.AsyncClient(transport=transport, base_url=f"http://{host}", headers=headers)

    async def get(self, path: str, **how: Any) -> httpx.Response:
        async with self.client(**how) as client:
            return await client.get(path)

    def sink(self, flow: str) -> Keep:
        node = self.supervisor.flows[flow].runner.assembly.sinks["b"].node
        assert isinstance(node, Keep)
        return node

    async def feed(self, flow: str, *payloads: Any) -> None:
        await self.flow(flow).runner.assembly.sources["a"].context.post([record(one) for one in payloads])

    def flow(self, name: str) -> Flow:
        return self.supervisor.flows[name]


@asynccontextmanager
async def admin(folder: Path, *graphs: Graph) -> AsyncIterator[Admin]:
    """Run flows and yield what is needed to ask about them."""
    process = Admin(folder)
    task = asyncio.create_task(process.supervisor.run({one.name: one for one in graphs}))
    await asyncio.sleep(0.05)
    async with asyncio.timeout(5):
        for flow in process.supervisor.flows.values():
            while any(c.status == "starting" for c in flow.runner.assembly.contexts.values()):
                await asyncio.sleep(0.01)
    try:
        yield process
    finally:
        await process.supervisor.stop(1.0)
        await task
