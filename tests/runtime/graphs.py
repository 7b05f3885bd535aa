"""Random flows: real node types, wired at random, in front of sinks that fail in every way; all from one seed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Annotated, Any, Literal

from pydantic import Field

from flowrunner import Context, Limits, Message, NodeOptions, Record, RetryLater, Sink, node_type
from flowrunner.graph.build import Graph
from flowrunner.graph.load import load_flows
from flowrunner.message import NANOSECONDS

HEALED = 120.0
"""Seconds on the event loop after which all sinks accept: what is then not written will never be."""
REFUSALS = ("stalls", "refuses", "slow", "crashes")
CONDITION = "payload.n % 2 == 0"

TRANSFORMS: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "filter": [{"where": CONDITION}, {"where": "payload.n > 4"}],
    "map": [{"set": {"payload.n": "=payload.n + 1"}}, {"set": {"payload.q": "=12 / (payload.n % 4)"}}],
    "switch": [
        {"cases": {"a": CONDITION, "b": "payload.n > 3"}},
        {"match": "all", "cases": {"a": CONDITION, "b": "payload.n > 3"}},
    ],
    "split": [{"of": "payload.parts"}],
    "aggregate": [
        {
            "key": "topic",
            "window": {"type": "tumbling", "size": "10s"},
            "fields": {"n": "count()", "sum": "sum(payload.n)"},
        },
        {
            "window": {"type": "hopping", "size": "20s", "every": "5s"},
            "allowed_lateness": "7s",
            "fields": {"n": "count()", "last": "last(payload.n)"},
        },
    ],
    "throttle": [{"key": "topic", "every": "5s", "emit": emit} for emit in ("first", "last", "both")],
    "delay": [{"by": "7s"}, {"by": "3s", "capacity": 4}],
    "debounce": [{"key": "topic", "quiet": "4s"}, {"quiet": "3s", "max_wait": "9s"}],
    "dedupe": [{"of": "payload.n", "within": "8s"}],
    "report": [{"key": "topic", "value": "payload.n", "change": 2, "min_interval": "2s"}],
}


class UnrulyOptions(NodeOptions):
    """How a sink behaves until it is healed, and how it takes messages."""

    mood: Annotated[
        Literal["well", "stalls", "refuses", "slow", "crashes"], Field(description="Until healed.")
    ]
    picky: Annotated[bool, Field(description="Whether it refuses some messages for good.")] = False
    most: Annotated[int, Field(description="Messages a batch.")] = 1000
    age: Annotated[float, Field(description="Seconds a batch is gathered.")] = 0.0


Config = UnrulyOptions


@node_type("unruly")
class Unruly(Sink[UnrulyOptions]):
    """A sink that stalls, refuses whole batches or parts, crashes, is slow, or finds fault with messages."""

    def __init__(self, config: UnrulyOptions, context: Context) -> None:
        super().__init__(config, context)
        self.kept: list[Message] = []
        self._calls = 0

    def limits(self) -> Limits:
        return Limits(self.config.most, self.config.age)

    async def write(self, batch: Sequence[Message]) -> None:
        self._calls += 1
        taken = await self._suffer(batch)
        for message in batch[:taken]:
            if self.config.picky and message.clock % 3 == 0:
                self.context.fail(message, "not to my taste")
            else:
                self.kept.append(message)
        if taken < len(batch):
            raise RetryLater("not all at once", remaining=batch[taken:])

    async def _suffer(self, batch: Sequence[Message]) -> int:
        """Behave as the mood is; return how many of the batch are taken."""
        loop = asyncio.get_running_loop()
        if loop.time() >= HEALED:
            return len(batch)
        match self.config.mood:
            case "stalls":
                await asyncio.sleep(HEALED - loop.time())
            case "slow":
                await asyncio.sleep(0.7)
            case "refuses" if self._calls % 3:
                raise RetryLater("not now", after=2.0 if self._calls % 2 else None)
            case "refuses":
                return len(batch) // 2
            case "crashes" if self._calls % 2:
                raise ValueError("a bug of this sink")
        return len(batch)


def random_flow(random: Random, *, source: str = "feed", rough: bool = True, outbox: bool = False) -> str:
    """Return the text of a random flow; ``rough``: with sinks that fail and channels that drop."""
    return _Author(random, source, rough=rough, outbox=outbox).write()


def changed_flow(random: Random, text: str) -> str:
    """Return another version of a flow: the same, or with other options, other wires or fewer nodes."""
    version: dict[str, Any] = json.loads(text)
    nodes: dict[str, Any] = version["nodes"]
    inner = [name for name, node in nodes.items() if "from" in node]
    for _ in range(random.randint(0, 3)):
        name = random.choice(inner)
        match random.choice(("describe", "buffer", "rewire", "again", "remove")):
            case "describe":
                nodes[name]["description"] = f"version {random.random()}"
            case "buffer":
                nodes[name]["buffer"] = {"capacity": random.choice((1, 3, 1024))}
            case "rewire":
                nodes[name]["from"] = random.choice([node for node in nodes if node[0] == "s"])
            case "again" if nodes[name]["type"] != "unruly":
                nodes[name] |= random.choice(TRANSFORMS[nodes[name]["type"]])
            case "remove" if not _leads_on(nodes, name) and sum(_ends(nodes, other) for other in nodes) > 1:
                del nodes[name]
                inner.remove(name)
    return json.dumps(version, indent=1)


def load(folder: Path, text: str) -> Graph:
    """Return the graph of a flow file with this text; fail with both when it has mistakes."""
    file = folder / "flow.yaml"
    file.write_text(text)
    loaded = load_flows([file])
    mistakes = [found for found in loaded.diagnostics if found.severity == "error"]
    assert not mistakes, f"{mistakes}\n{text}"
    return loaded.graphs["random"]


def random_records(random: Random, count: int, *, clock: int | None = None) -> list[Record]:
    """Return records with equal, late, early and missing times; with ``clock`` they also carry the flow clock."""
    records: list[Record] = []
    time = clock or 0
    for number in range(count):
        time += random.choice((0, 0, 1, NANOSECONDS // 3, NANOSECONDS, 5 * NANOSECONDS))
        value = {
            "id": number,
            "n": random.randint(0, 9),
            "parts": [{"n": part} for part in range(number % 4)],
        }
        data = b"{broken" if random.random() < 0.03 else json.dumps(value).encode()
        late = random.choice((0, 0, 0, 3, 30, 86_400, -40)) * NANOSECONDS
        if clock is None:
            records.append(Record(data, random.choice("xyz")))
        else:
            records.append(Record(data, random.choice("xyz"), time - late, clock=time))
        if records[1:] and random.random() < 0.05:
            records[-1] = records[-2]
    return records


class _Author:
    """Writes one flow."""

    def __init__(self, random: Random, source: str, *, rough: bool, outbox: bool) -> None:
        self._random = random
        self._source = source
        self._rough = rough
        self._outbox = outbox
        self._nodes: dict[str, dict[str, Any]] = {}
        self._ports: list[str] = []

    def write(self) -> str:
        """Return the flow as JSON, which is YAML."""
        random = self._random
        for number in range(random.choice((1, 1, 2))):
            self._add(f"s{number}", {"type": self._source}, ["s"])
        for number in range(random.randint(1, 8)):
            if random.random() < 0.15:
                self._add(f"k{number}", self._sink(), [])
            else:
                self._add(f"n{number}", *self._transform())
        for number in range(random.randint(1, 3)):
            self._add(f"z{number}", self._sink(), [])
        delivery = "journal" if self._outbox else "memory"
        flow = {"version": 1, "flow": "random", "delivery": delivery, "nodes": self._nodes}
        return json.dumps(flow, indent=1)

    def _add(self, name: str, node: dict[str, Any], ports: list[str]) -> None:
        random = self._random
        if node["type"] != self._source:
            node["from"] = random.sample(self._ports, min(len(self._ports), random.choice((1, 1, 2, 3))))
        self._nodes[name] = node
        self._ports += [name] if ports == ["s"] else [f"{name}.{port}" for port in ports]
        # Failures of a sink come when the world makes them: they are no part of what a journal alone decides.
        if node["type"] != "unruly" or self._rough:
            self._ports.append(f"{name}.errors")

    def _transform(self) -> tuple[dict[str, Any], list[str]]:
        random = self._random
        kind = random.choice(list(TRANSFORMS))
        node = {"type": kind, **random.choice(TRANSFORMS[kind])}
        if random.random() < 0.3:
            node["buffer"] = self._buffer()
        ports = {"filter": ["out", "rejected"], "switch": ["a", "b", "else"]}.get(kind, ["out"])
        return node, ports

    def _sink(self) -> dict[str, Any]:
        random = self._random
        node: dict[str, Any] = {"type": "unruly", "mood": "well", "most": random.choice((1, 7, 1000))}
        if self._rough:
            node["mood"] = random.choice(("well", *REFUSALS))
            node["picky"] = random.random() < 0.3
            node["age"] = random.choice((0.0, 0.0, 3.0))
        if random.random() < 0.5:
            node["buffer"] = self._buffer()
        if self._outbox and random.random() < 0.7:
            node["outbox"] = {"max_bytes": "1MiB"}
        return node

    def _buffer(self) -> dict[str, Any]:
        random = self._random
        buffer: dict[str, Any] = {"capacity": random.choice((1, 1, 2, 50))}
        if self._rough:
            buffer["when_full"] = random.choice(("block", "block", "drop_oldest", "drop_newest"))
        return buffer


def _leads_on(nodes: Mapping[str, Any], name: str) -> bool:
    """Return whether anything is wired to a node."""
    wires = [text for node in nodes.values() for text in _inputs(node)]
    return any(text.partition(".")[0] == name for text in wires)


def _ends(nodes: Mapping[str, Any], name: str) -> bool:
    return bool(nodes[name]["type"] == "unruly")


def _inputs(node: Mapping[str, Any]) -> list[str]:
    inputs = node.get("from", [])
    return [inputs] if isinstance(inputs, str) else list(inputs)
