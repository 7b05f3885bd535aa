"""Connections: asked one after the other what they find, each for a bounded time, and never quoted with a secret."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

import msgspec

from flowrunner.clock import SystemClock
from flowrunner.context import ConnectionContext, Finding
from flowrunner.graph.build import Graph, GraphConnection
from flowrunner.options import Options
from flowrunner.runtime.secrecy import Secrecy

SECONDS = 15.0
"""The longest that one connection is looked at."""


class _Silent:
    """A log for connections that are only looked at: their findings say all."""

    def debug(self, event: str, **facts: object) -> None: ...
    def info(self, event: str, **facts: object) -> None: ...
    def warning(self, event: str, **facts: object) -> None: ...
    def error(self, event: str, **facts: object) -> None: ...


async def check_connections(
    graphs: Mapping[str, Graph], instance: str, seconds: float = SECONDS
) -> dict[str, list[Finding]]:
    """Return the findings by connection; one that several flows share is looked at once, for all their nodes."""
    every: dict[tuple[str, str], tuple[Graph, GraphConnection, list[Options]]] = {}
    for graph in graphs.values():
        for connection in graph.connections.values():
            _, _, users = every.setdefault((connection.name, connection.definition), (graph, connection, []))
            users += _users(graph, connection.name)
    checks = [_check(*each, instance, seconds) for each in every.values()]
    found = await asyncio.gather(*checks)
    return {name: findings for (name, _), findings in zip(every, found, strict=True)}


def _users(graph: Graph, connection: str) -> Iterable[Options]:
    configs = (node.config for node in graph.nodes.values())
    return [config for config in configs if getattr(config, "connection", None) == connection]


async def _check(
    graph: Graph, connection: GraphConnection, users: list[Options], instance: str, seconds: float
) -> list[Finding]:
    context = ConnectionContext(graph.name, connection.name, SystemClock(), _Silent(), instance)
    secrecy = Secrecy(graph)
    try:
        async with asyncio.timeout(seconds):
            found = list(await connection.type.cls(connection.config, context).check(users))
    except TimeoutError:
        found = [
            Finding("error", "server", f"nothing was learnt within {seconds:.0f} s", "look at the network")
        ]
    except Exception as error:
        found = [Finding("error", "check", f"{type(error).__name__}: {error}", "correct the connection")]
    return [_masked(each, secrecy) for each in found]


def _masked(finding: Finding, secrecy: Secrecy) -> Finding:
    help = None if finding.help is None else secrecy.mask(finding.help)
    return msgspec.structs.replace(finding, text=secrecy.mask(finding.text), help=help)
