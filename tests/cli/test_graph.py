"""``flowrunner graph``: what is drawn, and what is said when nothing can be."""

from pathlib import Path

import pytest

from flowrunner.cli.graph import graph

FLOW = """\
version: 1
nodes:
  tick: { type: inject, every: 1s }
  one: { type: map, from: tick, set: { topic: a } }
  two: { type: map, from: one, set: { topic: b } }
  show: { type: debug, from: two }
"""


@pytest.fixture
def flows(tmp_path: Path) -> Path:
    (tmp_path / "a.yaml").write_text(FLOW)
    (tmp_path / "b.yaml").write_text(FLOW)
    return tmp_path


@pytest.mark.parametrize(
    ("format", "beginning"), [("mermaid", "---\ntitle: a\n"), ("dot", 'digraph "a" {\n'), ("svg", "<svg ")]
)
def test_a_flow_is_drawn_in_each_format(
    flows: Path, capsys: pytest.CaptureFixture[str], format: str, beginning: str
) -> None:
    assert graph([flows / "a.yaml"], format=format, stages=False, flow=None) == 0  # type: ignore[arg-type]

    assert capsys.readouterr().out.startswith(beginning)


def test_several_flows_are_drawn_one_after_the_other(flows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert graph([flows], format="mermaid", stages=False, flow=None) == 0

    assert ["title: a", "title: b"] == [
        line for line in capsys.readouterr().out.splitlines() if "title:" in line
    ]


def test_stages_show_what_runs_as_one_task(flows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert graph([flows], format="mermaid", stages=True, flow="b") == 0

    stage = capsys.readouterr().out.partition("subgraph")[2].partition("end\n")[0]
    assert [True, True, False] == [f"n_{name}[" in stage for name in ("one", "two", "show")]


@pytest.mark.parametrize(
    ("flow", "error"),
    [
        pytest.param(
            None, "error: svg draws one flow\n  = help: choose one with --flow: a, b\n", id="several"
        ),
        pytest.param("c", "error: there is no flow `c`\n  = help: the flows are: a, b\n", id="unknown"),
    ],
)
def test_svg_needs_one_flow(
    flows: Path, capsys: pytest.CaptureFixture[str], flow: str | None, error: str
) -> None:
    assert graph([flows], format="svg", stages=False, flow=flow) == 2

    assert ("", error) == capsys.readouterr()


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        pytest.param(FLOW.replace("from: two", "from: three"), 78, "error[FR012]", id="mistake"),
        pytest.param("version: 1\nconnections: {}\n", 78, "there is no flow to draw", id="no flow"),
        pytest.param(None, 2, "FR060", id="no file"),
    ],
)
def test_what_cannot_be_drawn_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, code: int, words: str
) -> None:
    path = tmp_path / "flow.yaml"
    if text is not None:
        path.write_text(text)

    assert code == graph([path], format="mermaid", stages=False, flow=None)
    out, err = capsys.readouterr()
    assert "" == out
    assert words in err
