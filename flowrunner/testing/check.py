"""What the model of a test file cannot know: whether its tests fit the flow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flowrunner.config.places import Places
from flowrunner.config.report import Report
from flowrunner.config.tree import Path
from flowrunner.config.words import did_you_mean, listing
from flowrunner.graph.build import ERRORS, Graph
from flowrunner.options import format_duration
from flowrunner.registry import Kind
from flowrunner.testing.model import (
    Expectation,
    FaultStep,
    FileStep,
    FlowTest,
    MessageStep,
    ReloadStep,
    SinkFault,
    SourceFault,
)
from flowrunner.testing.recording import Recording
from flowrunner.testing.schedule import steps_of


def check(
    test: FlowTest,
    at: Path,
    graph: Graph,
    versions: Mapping[str, Graph],
    recordings: Mapping[str, Recording],
    places: Places,
    report: Report,
) -> None:
    """Report where a test, which stands at ``at`` in its file, does not fit its flow."""
    checker = _Checker(graph, places, report)
    before = 0
    for index, step in enumerate(steps_of(test)):
        here = (*at, "input") if isinstance(test.input, FileStep) else (*at, "input", index)
        if step.at < before:
            message = (
                f"this step is at {format_duration(step.at)}, the one above at {format_duration(before)}"
            )
            report.add("FR072", places.value((*here, "at")), message, help="put the steps in order of time")
        before = max(before, step.at)
        match step:
            case MessageStep():
                checker.node(step.node, "source", "a message arrives at", (*here, "node"))
            case FaultStep(fault=SinkFault(sink=name)):
                checker.node(name, "sink", "a server refuses what is written by", (*here, "fault", "sink"))
            case FaultStep(fault=SourceFault(source=name)):
                checker.node(name, "source", "a server is lost by", (*here, "fault", "source"))
            case ReloadStep():
                checker.graphs.append(versions[step.reload])
            case FileStep():
                checker.recording(recordings[step.file], step.file, (*here, "file"))
    for index, expectation in enumerate(test.expect):
        checker.expectation(expectation, (*at, "expect", index))


class _Checker:
    """Checks names against the versions of the flow that a test has had so far, newest last."""

    def __init__(self, graph: Graph, places: Places, report: Report) -> None:
        self.graphs = [graph]
        self._places = places
        self._report = report

    def node(self, name: str, kind: Kind, what: str, at: Path) -> None:
        """Check that the flow has a node of this kind now."""
        graph = self.graphs[-1]
        ids = [id for id, node in graph.nodes.items() if node.type.kind == kind]
        if name not in graph.nodes:
            self._unknown(name, ids, f"{kind}s", at)
        elif name not in ids:
            is_a = graph.nodes[name].type.kind
            message = f"{what} a {kind}; `{name}` is a {is_a}"
            self._report.add("FR075", self._places.value(at), message, help=_choice(ids, f"{kind}s"))

    def recording(self, recording: Recording, file: str, at: Path) -> None:
        """Check the nodes that a recording names."""
        names = dict.fromkeys(message.node for message in recording.messages)
        for name in names:
            self.node(name, "source", f"`{file}` has messages for `{name}`: they arrive at", at)

    def expectation(self, expectation: Expectation, at: Path) -> None:
        """Check the node and port of an expectation against all versions, and that only sinks have lines."""
        id, _, port = expectation.node.partition(".")
        place = (*at, "node")
        nodes = [graph.nodes[id] for graph in self.graphs if id in graph.nodes]
        if not nodes:
            self._unknown(id, list(self.graphs[-1].nodes), "nodes", place)
            return
        ports = list(dict.fromkeys(name for node in nodes for name in (*node.ports, ERRORS)))
        if port and port not in ports:
            help = did_you_mean(port, ports, f"it has {listing(ports)}")
            self._report.add("FR070", self._places.value(place), f"`{id}` has no port `{port}`", help=help)
        elif expectation.line is not None and (port or nodes[-1].type.kind != "sink"):
            help = "expect a `payload`, or name the sink"
            message = f"only sinks write lines; `{expectation.node}` is none"
            self._report.add("FR075", self._places.key((*at, "line")), message, help=help)

    def _unknown(self, name: str, names: Sequence[str], what: str, at: Path) -> None:
        help = did_you_mean(name, names, _choice(names, what))
        message = f"the flow `{self.graphs[-1].name}` has no node `{name}`"
        self._report.add("FR070", self._places.value(at), message, help=help)


def _choice(ids: Sequence[str], what: str) -> str:
    return f"its {what} are {listing(ids)}" if ids else f"it has no {what}"
