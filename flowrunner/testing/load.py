"""From paths to tests that can be played: test files, the flows that they name, their recordings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from pydantic import ValidationError

from flowrunner.config.document import decode, parse
from flowrunner.config.explain import Explainer, Shape
from flowrunner.config.files import find_files
from flowrunner.config.load import load_file
from flowrunner.config.mask import Mask
from flowrunner.config.places import Places
from flowrunner.config.report import Report
from flowrunner.config.tree import Path as TreePath
from flowrunner.config.tree import plain
from flowrunner.config.words import did_you_mean
from flowrunner.diagnostics import Diagnostic
from flowrunner.graph.build import Graph
from flowrunner.graph.load import Loaded, load_flows
from flowrunner.testing.check import check
from flowrunner.testing.files import find_tests
from flowrunner.testing.model import FileStep, ReloadStep, TestFile
from flowrunner.testing.recording import Recording, read_recording
from flowrunner.testing.schedule import steps_of


class Suite(msgspec.Struct, frozen=True):
    """A test file without mistakes, and all that its tests need."""

    path: Path
    text: str
    places: Places
    values: Any
    """The file as YAML reads it."""
    file: TestFile
    graph: Graph
    versions: dict[str, Graph]
    """The flows that tests go over to, by the file names that they give."""
    recordings: dict[str, Recording]


class Suites(msgspec.Struct, frozen=True):
    """What the test files at some paths hold."""

    suites: list[Suite]
    diagnostics: list[Diagnostic]
    """Everything that keeps a test from being played, in test files, flows and recordings, and warnings."""
    texts: dict[str, str]

    @property
    def failed(self) -> bool:
        """Whether anything keeps a test from being played."""
        return any(found.severity == "error" for found in self.diagnostics)


def load_suites(paths: Sequence[Path]) -> Suites:
    """Load the tests at ``paths`` and the flows that they name. Takes no environment: variables have samples."""
    found, diagnostics = find_tests(paths)
    reader = _Reader([path for path in paths if path.is_dir()])
    suites = [suite for path in found if (suite := reader.read(path)) is not None]
    unique = dict.fromkeys(diagnostics + reader.diagnostics)
    return Suites(
        suites, sorted(unique, key=lambda found: (found.file, found.line, found.column)), reader.texts
    )


class _Reader:
    """Reads test files; each flow once."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.diagnostics: list[Diagnostic] = []
        self.texts: dict[str, str] = {}
        self._folders = folders
        self._flows: dict[Path, Loaded] = {}

    def read(self, path: Path) -> Suite | None:
        """Return the tests of a file, ``None`` when anything about it keeps them from being played."""
        report = Report(str(path))
        suite = self._read(path, report)
        self.diagnostics += report.diagnostics
        return None if report.failed else suite

    def _read(self, path: Path, report: Report) -> Suite | None:
        try:
            data = path.read_bytes()
        except OSError as error:
            report.file("FR061", f"the file cannot be read: {error.strerror}", help="check its permissions")
            return None
        text = decode(data, report)
        self.texts[str(path)] = data.decode(errors="replace") if text is None else text
        document = parse(text, report) if text is not None else None
        if text is None or document is None or document.root is None:
            return None
        places = Places(document.root, document.lines)
        values = plain(document.root)
        file = _validate(values, places, report)
        if file is None or report.failed:
            return None
        graphs = self._graphs(file, path.parent, places, report)
        recordings = self._recordings(file, path.parent, places, report)
        if graphs is None or recordings is None:
            return None
        suite = Suite(path, text, places, values, file, graphs.pop(""), graphs, recordings)
        for number, test in enumerate(file.tests):
            check(test, ("tests", number), suite.graph, suite.versions, recordings, places, report)
        return suite

    def _graphs(
        self, file: TestFile, folder: Path, places: Places, report: Report
    ) -> dict[str, Graph] | None:
        """Return the flow under ``""`` and the versions that tests go over to."""
        wanted: list[tuple[str, str, TreePath]] = [("", file.flow, ("flow",))]
        for number, test in enumerate(file.tests):
            for index, step in enumerate(steps_of(test)):
                if isinstance(step, ReloadStep):
                    wanted.append((step.reload, step.reload, ("tests", number, "input", index, "reload")))
        graphs: dict[str, Graph] = {}
        for key, name, at in wanted:
            if key in graphs:
                continue
            graph = self._graph(folder, name, at, places, report)
            if graph is None:
                return None
            graphs[key] = graph
        return graphs

    def _graph(self, folder: Path, name: str, at: TreePath, places: Places, report: Report) -> Graph | None:
        path = folder / name
        if not path.is_file():
            _no_file(path, "flow file", at, places, report)
            return None
        loaded = self._load(path)
        errors = [found for found in loaded.diagnostics if found.severity == "error"]
        self.texts |= loaded.texts
        self.diagnostics += errors
        graph = next((graph for graph in loaded.graphs.values() if graph.file == str(path)), None)
        if graph is None and not errors:
            self.diagnostics += loaded.diagnostics
            guessed = any(found.code == "FR050" for found in loaded.diagnostics)
            help = "give its variables defaults with which it can be built" if guessed else None
            report.add("FR071", places.value(at), f"`{name}` holds no flow that can be built", help=help)
        return None if errors else graph

    def _load(self, path: Path) -> Loaded:
        """Load a flow, with the connections of other files when it needs them."""
        known = self._flows.get(path.resolve())
        if known is not None:
            return known
        loaded = load_flows([path])
        if any(found.code == "FR014" for found in loaded.diagnostics):
            others, _ = find_files([path.parent, *self._folders])
            shared = [other for other in others if not load_file(other, {}, strict=False).holds_flow]
            loaded = load_flows([path, *shared])
        self._flows[path.resolve()] = loaded
        return loaded

    def _recordings(
        self, file: TestFile, folder: Path, places: Places, report: Report
    ) -> dict[str, Recording] | None:
        recordings: dict[str, Recording] = {}
        for number, test in enumerate(file.tests):
            for index, step in enumerate(steps_of(test)):
                if not isinstance(step, FileStep) or step.file in recordings:
                    continue
                path = folder / step.file
                if not path.is_file():
                    inside: TreePath = ("file",) if isinstance(test.input, FileStep) else (index, "file")
                    _no_file(path, "recording", ("tests", number, "input", *inside), places, report)
                    return None
                own = Report(str(path))
                recordings[step.file] = read_recording(path, own)
                self.diagnostics += own.diagnostics
                if own.failed:
                    self.texts[str(path)] = path.read_text(errors="replace")
                    return None
        return recordings


def _validate(values: Any, places: Places, report: Report) -> TestFile | None:
    try:
        return TestFile.model_validate(values)
    except ValidationError as refused:
        explainer = Explainer((), places, Shape("a test file", TestFile), Mask(TestFile, {}))
        for finding in explainer.explain(refused.errors(include_url=False)):
            place = places.key if finding.at_key else places.value
            report.add(finding.code, place(finding.path), finding.message, help=finding.help)
    return None


def _no_file(path: Path, what: str, at: TreePath, places: Places, report: Report) -> None:
    beside = [other.name for other in sorted(path.parent.glob(f"*{path.suffix}"))]
    help = did_you_mean(path.name, beside, "the path starts at the folder of the test file")
    report.add("FR071", places.value(at), f"there is no {what} `{path}`", help=help)
