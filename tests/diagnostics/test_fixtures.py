"""Flow files that state their own mistakes: ``# error: FRnnn`` on the line that is to be blamed."""

import re
from pathlib import Path

import pytest
import yaml

from flowrunner.config import document
from flowrunner.graph.load import load_flows

FIXTURES = sorted(Path(__file__).parent.glob("*.yaml"))
STATED = re.compile(r"# (error|warning): (FR\d{3})")


@pytest.mark.parametrize("loader", [yaml.CSafeLoader, yaml.SafeLoader], ids=["libyaml", "python"])
@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_a_fixture_has_exactly_the_mistakes_that_it_states(
    path: Path, loader: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(document, "_LOADER", loader)
    lines = path.read_text().splitlines()
    expected = sorted(
        (number, *found) for number, line in enumerate(lines, 1) for found in STATED.findall(line)
    )

    loaded = load_flows([path])
    actual = sorted((found.line, found.severity, found.code) for found in loaded.diagnostics)

    assert expected == actual
    assert any(severity == "error" for _, severity, _ in expected) == (not loaded.graphs)


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_every_mistake_has_a_sentence_and_a_place_inside_its_line(path: Path) -> None:
    lines = path.read_text().splitlines()

    for found in load_flows([path]).diagnostics:
        assert found.message
        assert not found.message.endswith(".")
        assert 1 <= found.column < found.end_column <= len(lines[found.line - 1]) + 1
