"""Pictures of flows: complete, the same every time, without overlaps, safe to embed."""

import xml.etree.ElementTree as ET
from itertools import combinations, pairwise
from pathlib import Path

import pytest

from flowrunner.graph.build import Graph
from flowrunner.graph.diagram import draw_dot, draw_mermaid
from flowrunner.graph.draw import draw_svg
from flowrunner.graph.layout import Box, Line, arrange
from flowrunner.graph.load import load_flows

SVG = "{http://www.w3.org/2000/svg}"

DIAMOND = """\
version: 1
flow: diamond
nodes:
  start: { type: inject, every: 1s, description: "5 < 6 & \\"quoted\\" \\0" }
  sort:
    type: switch
    from: start
    cases: { cold: payload.t < 5, hot: payload.t > 25 }
  left: { type: map, from: sort.cold, set: { topic: a } }
  right: { type: map, from: sort.hot, set: { topic: b } }
  longer: { type: map, from: right, set: { topic: c } }
  end: { type: debug, from: [left, longer] }
  bad: { type: debug, from: [sort.errors, end.errors] }
"""


def graph(folder: Path, text: str) -> Graph:
    (folder / "flow.yaml").write_text(text)
    loaded = load_flows([folder / "flow.yaml"])
    assert [] == [found for found in loaded.diagnostics if found.severity == "error"]
    (only,) = loaded.graphs.values()
    return only


@pytest.fixture
def diamond(tmp_path: Path) -> Graph:
    return graph(tmp_path, DIAMOND)


def ports_of(group: ET.Element) -> dict[str | None, str | None]:
    titles = [(port, port.find(f"{SVG}title")) for port in group.iter(f"{SVG}rect")]
    return {title.text: port.get("class") for port, title in titles if title is not None}


def big_flow(columns: int, rows: int) -> str:
    """A flow in which every node reads from two of the column before."""
    lines = ["version: 1", "flow: big", "nodes:"]
    lines += [f"  n0_{row}: {{ type: inject, every: 1s }}" for row in range(rows)]
    for column in range(1, columns):
        for row in range(rows):
            sources = (
                f"[n{column - 1}_{row}, n{column - 1}_{(row + 3) % rows}]" if row else f"n{column - 1}_0"
            )
            lines.append(f"  n{column}_{row}: {{ type: map, from: {sources}, set: {{ topic: x }} }}")
    lines += [f"  out_{row}: {{ type: debug, from: n{columns - 1}_{row} }}" for row in range(rows)]
    return "\n".join(lines)


def test_every_node_and_wire_is_in_the_picture_under_its_name(diamond: Graph) -> None:
    root = ET.fromstring(draw_svg(diamond))

    assert set(diamond.nodes) == {each.get("data-node") for each in root.iter(f"{SVG}g")} - {None}
    wires = {f"{wire.source}.{wire.port}-{wire.target}" for wire in diamond.wires}
    assert wires == {each.get("data-wire") for each in root.iter(f"{SVG}path")} - {None}


def test_the_same_flow_gives_the_same_picture(tmp_path: Path, diamond: Graph) -> None:
    assert draw_svg(diamond) == draw_svg(graph(tmp_path, DIAMOND))


def test_text_of_users_is_escaped_and_what_xml_cannot_hold_is_replaced(diamond: Graph) -> None:
    svg = draw_svg(diamond)

    assert "5 &lt; 6 &amp; &quot;quoted&quot; \N{REPLACEMENT CHARACTER}" in svg
    titles = [each.text for each in ET.fromstring(svg).iter(f"{SVG}title")]
    assert 'start: 5 < 6 & "quoted" \N{REPLACEMENT CHARACTER}' in titles


def test_a_picture_refers_to_nothing_outside(diamond: Graph) -> None:
    svg = draw_svg(diamond).replace('xmlns="http://www.w3.org/2000/svg"', "")

    assert [] == [word for word in ("http", "url(", "href", "@import", "<script") if word in svg]


def test_unwired_ports_are_open_and_errors_shows_only_when_wired(diamond: Graph) -> None:
    root = ET.fromstring(draw_svg(diamond))
    ports = {group.get("data-node"): ports_of(group) for group in root.iter(f"{SVG}g")}

    assert {
        "in": "port",
        "cold": "port",
        "hot": "port",
        "else": "port open",
        "errors": "port errors",
    } == ports["sort"]
    assert {"in": "port", "out": "port"} == ports["left"]


def test_a_long_name_is_cut_but_stays_in_the_title(tmp_path: Path) -> None:
    name = "a" * 60
    svg = draw_svg(
        graph(
            tmp_path,
            f"version: 1\nnodes:\n  {name}: {{ type: inject, every: 1s }}\n  b: "
            f"{{ type: debug, from: {name} }}\n",
        )
    )

    assert f">{'a' * 29}…</text>" in svg
    assert f"<title>{name}: " in svg


def test_nodes_of_one_stage_share_a_background_and_single_ones_have_none(diamond: Graph) -> None:
    root = ET.fromstring(draw_svg(diamond, [["start"], ["sort", "left", "right", "longer"]]))
    (stage,) = [each for each in root.iter(f"{SVG}g") if each.get("class") == "stage"]

    assert "sort left right longer" == stage.get("data-stage")
    assert (3, 4) == (len(stage.findall(f"{SVG}path")), len(stage.findall(f"{SVG}rect")))


@pytest.mark.parametrize(
    "text", [DIAMOND, big_flow(6, 8), big_flow(2, 24)], ids=["diamond", "56 nodes", "wide"]
)
def test_no_box_covers_another_and_every_wire_leads_to_the_right(tmp_path: Path, text: str) -> None:
    drawn = graph(tmp_path, text)
    boxes = {id: Box(120, 44) for id in drawn.nodes}
    arrange(boxes, [Line(wire.source, wire.target) for wire in drawn.wires])

    for one, other in combinations(boxes.values(), 2):
        apart = one.x + one.width <= other.x or other.x + other.width <= one.x
        assert apart or abs(one.y - other.y) >= 44
    for wire in drawn.wires:
        assert boxes[wire.source].x + 120 < boxes[wire.target].x


def test_a_long_line_passes_between_the_boxes_of_the_layers_in_between() -> None:
    boxes = {name: Box(100, 40) for name in "abcd"}
    lines = [Line("a", "b"), Line("b", "c"), Line("c", "d"), Line("a", "d")]
    arrange(boxes, lines)

    bends = lines[3].bends
    assert 2 == len(bends)
    for (left, right, y), name in zip(bends, "bc", strict=True):
        assert (boxes[name].x, boxes[name].x + 100) == (left, right)
        assert abs(y - boxes[name].y) > 20


def test_lines_that_need_not_cross_do_not() -> None:
    boxes = {name: Box(100, 40) for name in ("a", "b", "c", "x", "y", "z")}
    arrange(boxes, [Line("a", "z"), Line("b", "y"), Line("c", "x"), Line("a", "y"), Line("b", "x")])

    assert sorted("abc", key=lambda name: boxes[name].y) == ["a", "b", "c"]
    assert sorted("xyz", key=lambda name: boxes[name].y) == ["z", "y", "x"]


def test_a_chain_is_a_straight_line_and_a_source_stands_beside_its_reader() -> None:
    boxes = {name: Box(100, 40) for name in ("a", "b", "c", "late")}
    arrange(boxes, [Line("a", "b"), Line("b", "c"), Line("late", "c")])

    assert boxes["a"].y == pytest.approx(boxes["b"].y, abs=1)
    assert boxes["late"].x == boxes["b"].x


def test_parts_without_a_wire_between_them_stand_below_each_other() -> None:
    boxes = {name: Box(100, 40) for name in ("a", "b", "c", "d")}
    _, height = arrange(boxes, [Line("a", "b"), Line("c", "d")])

    tops = [box.y - 20 for box in boxes.values()]
    assert all(low <= high for low, high in pairwise(tops))
    assert boxes["c"].y - boxes["a"].y > 40
    assert height == boxes["d"].y + 20


def test_an_empty_picture_has_no_size() -> None:
    assert (0.0, 0.0) == arrange({}, [])


def test_mermaid_has_every_node_wire_and_stage(diamond: Graph) -> None:
    text = draw_mermaid(diamond, [["sort", "left"], ["end"]])

    assert text.startswith("---\ntitle: diamond\n---\nflowchart LR\n")
    assert (
        '  subgraph stage_1 ["stage 1"]\n    n_sort["sort<br/><small>switch</small>"]:::transform\n' in text
    )
    assert '  n_start(["start<br/><small>inject</small>"]):::source\n' in text
    assert '  n_end[("end<br/><small>debug</small>")]:::sink\n' in text
    assert '  n_sort -- "cold" --> n_left\n' in text
    assert "  n_longer --> n_end\n" in text
    assert '  n_sort -. "errors" .-> n_bad\n' in text
    assert "stage_2" not in text


def test_dot_has_every_node_wire_and_stage(diamond: Graph) -> None:
    text = draw_dot(diamond, [["sort", "left"]])

    assert text.startswith('digraph "diamond" {\n  rankdir=LR\n')
    assert '  subgraph cluster_1 { label="stage 1"\n' in text
    assert '"end" [label="end\\ndebug" color="#b35900"]' in text
    assert '  "sort" -> "left" [label="cold"]\n' in text
    assert '  "longer" -> "end"\n' in text
    assert '  "end" -> "bad" [label="errors" style=dashed]\n' in text
    assert text.endswith("}\n")
