"""From files to graphs."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from flowrunner.graph.build import Graph, Wire
from flowrunner.graph.load import Loaded, load_flows
from flowrunner.registry import find_node_type

FLOW = """\
version: 1
flow: climate
description: Room climate.
nodes:
  show:
    type: debug
    from: [high.rejected, tick, high]
  high:
    type: filter
    from: tick
    where: payload > 20.0
  tick:
    type: inject
    every: 10s
  errors:
    type: debug
    from: high.errors
"""


def load(folder: Path, files: Mapping[str, str], environment: Mapping[str, str] | None = None) -> Loaded:
    for name, text in files.items():
        (folder / name).write_text(text)
    return load_flows([folder], environment=environment)


def graph(folder: Path, text: str, environment: Mapping[str, str] | None = None) -> Graph:
    loaded = load(folder, {"flow.yaml": text}, environment)
    assert [] == [found for found in loaded.diagnostics if found.severity == "error"]
    [graph] = loaded.graphs.values()
    return graph


def codes(loaded: Loaded) -> list[tuple[str, str]]:
    return [(Path(found.file).name, found.code) for found in loaded.diagnostics]


def test_a_graph_has_its_nodes_in_order_and_its_wires_by_target(tmp_path: Path) -> None:
    found = graph(tmp_path, FLOW)

    assert ("climate", "Room climate.", "journal") == (found.name, found.description, found.delivery)
    assert str(tmp_path / "flow.yaml") == found.file
    assert ["tick", "high", "show", "errors"] == list(found.nodes)
    assert (
        Wire("tick", "out", "high"),
        Wire("high", "rejected", "show"),
        Wire("tick", "out", "show"),
        Wire("high", "out", "show"),
        Wire("high", "errors", "errors"),
    ) == found.wires
    assert (Wire("tick", "out", "high"),) == found.inputs("high")
    assert (Wire("tick", "out", "high"), Wire("tick", "out", "show")) == found.outputs("tick", "out")
    assert (Wire("high", "rejected", "show"),) == found.outputs("high", "rejected")


def test_a_node_has_its_type_its_options_and_its_ports(tmp_path: Path) -> None:
    nodes = graph(tmp_path, FLOW).nodes

    assert find_node_type("filter") is nodes["high"].type
    assert ("out", "rejected") == nodes["high"].ports
    assert () == nodes["show"].ports
    assert "dead_letter" == nodes["tick"].config.on_error


def test_ports_that_options_make_are_ports(tmp_path: Path) -> None:
    text = """
version: 1
nodes:
  tick: { type: inject, every: 10s }
  by_size: { type: switch, from: tick, cases: { small: payload < 1.0 } }
  show: { type: debug, from: [by_size.small, by_size.else] }
"""

    assert ("small", "else") == graph(tmp_path, text).nodes["by_size"].ports


def test_a_disabled_node_is_left_out_with_its_wires(tmp_path: Path) -> None:
    found = graph(tmp_path, FLOW.replace("from: tick\n", "from: tick\n    enabled: false\n"))

    assert ["errors", "show", "tick"] == sorted(found.nodes)
    assert (Wire("tick", "out", "show"),) == found.wires


def test_a_flow_with_every_node_disabled_is_valid_and_nothing_to_run(tmp_path: Path) -> None:
    nodes = "a: { type: inject, every: 1s, enabled: false }, b: { type: debug, from: a, enabled: false }"

    loaded = load(tmp_path, {"flow.yaml": f"version: 1\nnodes: {{ {nodes} }}\n"})

    assert ([], {}) == (loaded.diagnostics, loaded.graphs)


def test_a_flow_without_a_name_has_that_of_its_file(tmp_path: Path) -> None:
    assert ["power"] == list(load(tmp_path, {"power.yaml": FLOW.replace("flow: climate\n", "")}).graphs)


def test_a_file_whose_name_cannot_be_that_of_a_flow_needs_one(tmp_path: Path) -> None:
    loaded = load(tmp_path, {"My-Flow.yaml": FLOW.replace("flow: climate\n", "")})

    assert [("My-Flow.yaml", "FR026")] == codes(loaded)
    assert {} == loaded.graphs


@pytest.mark.parametrize("text", ["version: 1\n", "version: 1\nflow: a\n"])
def test_a_file_without_nodes_and_connections_is_an_error(tmp_path: Path, text: str) -> None:
    assert [("a.yaml", "FR021")] == codes(load(tmp_path, {"a.yaml": text}))


@pytest.mark.parametrize(
    ("text", "code"),
    [("", "FR021"), ("version: 2\n", "FR024"), ("version: '1'\n", "FR024")],
)
def test_the_version_must_be_1(tmp_path: Path, text: str, code: str) -> None:
    nodes = "nodes: { a: { type: inject, every: 1s }, b: { type: debug, from: a } }\n"

    assert [("a.yaml", code)] == codes(load(tmp_path, {"a.yaml": text + nodes}))


CONNECTIONS = 'version: 1\nconnections:\n  tsdb: {type: influxdb, url: "http://h:8086", org: home, token: "${TOKEN:-t}"}\n'
STORE = """version: 1
nodes:
  tick: { type: inject, every: 10s }
  store: { type: influxdb_out, from: tick, connection: tsdb, bucket: home, measurement: ticks }
"""


def test_connections_of_one_file_are_shared_by_all(tmp_path: Path) -> None:
    loaded = load(
        tmp_path, {"connections.yaml": CONNECTIONS, "a.yaml": STORE, "b.yaml": STORE, "c.yaml": FLOW}
    )

    assert [] == loaded.diagnostics
    assert (3, ["a", "b", "climate"]) == (loaded.flows, list(loaded.graphs))
    assert ["tsdb"] == list(loaded.graphs["a"].connections)
    assert loaded.graphs["a"].connections == loaded.graphs["b"].connections
    assert {} == loaded.graphs["climate"].connections


def test_a_flow_does_not_run_with_a_connection_that_has_a_mistake_elsewhere(tmp_path: Path) -> None:
    loaded = load(
        tmp_path, {"connections.yaml": CONNECTIONS.replace("org", "ogr"), "a.yaml": STORE, "c.yaml": FLOW}
    )

    assert {"connections.yaml"} == {file for file, _ in codes(loaded)}
    assert ["climate"] == list(loaded.graphs)


def test_a_connection_defined_twice_is_an_error_that_names_both_places(tmp_path: Path) -> None:
    loaded = load(
        tmp_path, {"a.yaml": CONNECTIONS, "b.yaml": CONNECTIONS + STORE.removeprefix("version: 1\n")}
    )

    [found] = loaded.diagnostics
    assert ("b.yaml", "FR019", 3) == (Path(found.file).name, found.code, found.line)
    assert f"{tmp_path / 'a.yaml'}:3" in found.message


def test_flows_of_one_name_are_errors_in_both_files(tmp_path: Path) -> None:
    loaded = load(
        tmp_path, {"a.yaml": FLOW, "b.yaml": FLOW, "c.yaml": STORE.replace("tsdb", "t"), "climate.yaml": FLOW}
    )

    assert [
        ("a.yaml", "FR019"),
        ("b.yaml", "FR019"),
        ("c.yaml", "FR014"),
        ("climate.yaml", "FR019"),
    ] == codes(loaded)
    assert {} == loaded.graphs


def test_an_unreadable_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").symlink_to("nowhere")

    assert [("a.yaml", "FR061")] == codes(load_flows([tmp_path]))


def test_a_broken_file_keeps_no_other_from_being_loaded(tmp_path: Path) -> None:
    loaded = load(tmp_path, {"a.yaml": "\tx", "b.yaml": FLOW, "c.yaml": "nodes: [1]"})

    assert ["climate"] == list(loaded.graphs)
    assert [("a.yaml", "FR001"), ("c.yaml", "FR021"), ("c.yaml", "FR022")] == codes(loaded)


def test_diagnostics_are_sorted_by_file_and_line(tmp_path: Path) -> None:
    loaded = load(tmp_path, {"b.yaml": FLOW.replace("tick", "tack", 1), "a.yaml": FLOW + "  x: {}\nzzz: 1\n"})

    places = [(found.file, found.line) for found in loaded.diagnostics]
    assert len(places) > 3
    assert sorted(places) == places


SAME = [
    ("a comment", FLOW.replace("nodes:", "# comment\nnodes:")),
    ("quotes", FLOW.replace("every: 10s", 'every: "10s"')),
    ("the order of options", FLOW.replace("    type: inject\n    every: 10s", "    every: 10s\n    type: inject")),
    ("the order of nodes", FLOW.replace(FLOW[FLOW.index("  tick:") : FLOW.index("  errors:")], "")
        + FLOW[FLOW.index("  tick:") : FLOW.index("  errors:")]),
    ("a list of one", FLOW.replace("from: tick\n", "from: [tick.out]\n")),
]  # fmt: skip


@pytest.mark.parametrize("text", [text for _, text in SAME], ids=[name for name, _ in SAME])
def test_the_digest_does_not_change_with_the_way_of_writing(tmp_path: Path, text: str) -> None:
    before, after = graph(tmp_path, FLOW), graph(tmp_path, text)

    assert (before.digest, before.definitions) == (after.digest, after.definitions)


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ("flow: climate", "flow: weather", set()),
        ("Room climate", "Weather", set()),
        ("nodes:", "delivery: memory\nnodes:", set()),
        ("every: 10s", "every: 20s", {"tick"}),
        ("where: payload > 20.0", "where: payload > 21.0", {"high"}),
        ("from: [high.rejected, tick, high]", "from: [tick, high.rejected, high]", {"show"}),
        ("from: high.errors", "from: high", {"errors"}),
    ],
)
def test_the_digest_changes_with_the_meaning(tmp_path: Path, old: str, new: str, changed: set[str]) -> None:
    before, after = graph(tmp_path, FLOW), graph(tmp_path, FLOW.replace(old, new))

    assert before.digest != after.digest
    assert changed == {id for id in before.definitions if before.definitions[id] != after.definitions[id]}


def test_the_digest_changes_with_the_values_of_variables_and_with_connections(tmp_path: Path) -> None:
    text = CONNECTIONS + STORE.removeprefix("version: 1\n")
    one, same, other, moved = (
        graph(tmp_path, text.replace("h:8086", host), {"TOKEN": token})
        for host, token in [("h:8086", "a"), ("h:8086", "a"), ("h:8086", "b"), ("i:8086", "a")]
    )

    assert one.digest == same.digest
    assert {"tick"} == {id for id in one.definitions if one.definitions[id] == other.definitions[id]}
    assert {"tick"} == {id for id in one.definitions if one.definitions[id] == moved.definitions[id]}


def test_a_flow_is_loaded_with_samples_for_variables_that_are_not_set(tmp_path: Path) -> None:
    text = FLOW.replace("every: 10s", 'every: "${EVERY}"\n    payload: "${PAYLOAD}"')
    loaded = load(tmp_path, {"a.yaml": text})

    assert [("a.yaml", "FR050"), ("a.yaml", "FR050")] == codes(loaded)
    assert ["climate"] == list(loaded.graphs)
    assert [] == load_flows([tmp_path], environment={"EVERY": "1m", "PAYLOAD": "5"}).diagnostics


def test_variables_and_files_must_exist_when_flows_run(tmp_path: Path) -> None:
    text = FLOW.replace(
        "every: 10s", 'every: "${EVERY}"\n    topic: "${file:topic}"\n    payload: "${DEFAULT:-1}"'
    )
    (tmp_path / "a.yaml").write_text(text)

    broken = load_flows([tmp_path], environment={}, strict_environment=True)
    (tmp_path / "topic").write_text("home/tick\n")
    whole = load_flows([tmp_path], environment={"EVERY": "5s"}, strict_environment=True)

    assert [("a.yaml", "FR050"), ("a.yaml", "FR054")] == codes(broken)
    assert {"error"} == {found.severity for found in broken.diagnostics}
    assert [] == whole.diagnostics
    config = whole.graphs["climate"].nodes["tick"].config
    assert (5_000_000_000, "home/tick") == (getattr(config, "every", None), getattr(config, "topic", None))


def test_the_text_of_a_file_is_kept_without_its_secrets(tmp_path: Path) -> None:
    text = CONNECTIONS.replace("${TOKEN:-t}", "hunter2")
    loaded = load(tmp_path, {"a.yaml": text})

    assert [("a.yaml", "FR052")] == codes(loaded)
    assert {str(tmp_path / "a.yaml"): text.replace('"hunter2"', "*" * 9)} == loaded.texts


def test_a_type_whose_package_is_broken_is_an_error_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(name: str) -> None:
        raise ImportError(f"no module {name}")

    monkeypatch.setattr("flowrunner.config.load.find_node_type", broken)
    loaded = load(tmp_path, {"a.yaml": STORE.replace("tsdb", "t")})

    assert {"FR011"} == {code for _, code in codes(loaded)}
    assert "no module inject" in loaded.diagnostics[0].message
