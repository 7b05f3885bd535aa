"""Whatever stands in a file, loading it ends in diagnostics."""

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from flowrunner.diagnostics import render_github, render_json, render_sarif, render_text
from flowrunner.graph.load import load_flows

PIECES = """
version: 1|flow: a|nodes:|  tick:|    type: inject|    every: 10s|  f:|    type: filter|    from: tick
    from: [tick, f.rejected]|    where: payload > 1|    where: "${X}"|  m:|    type: map|    set: {payload: "=a.b("}
connections:|  b: {type: mqtt, url: "${URL:-mqtt://h}"}|: |- |? |*a|&a |!b |'|"|[|]|{|}|>|,|#|%|@|\t|\n|---|...
|| <<: *a|\\x|${|${file:x}|$${|null|on|1e999|0x|ä|\u3000|\U0001f600|\u2028|\r|99999999999999999999|    - |  a: &a {b: *a}
"""
FRAGMENTS = [piece for line in PIECES.strip("\n").split("\n") for piece in line.split("|")] + ["\n"] * 10


@settings(max_examples=100, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.lists(st.sampled_from(FRAGMENTS), max_size=40).map(lambda x: "".join(x).encode()),
    )
)
def test_only_diagnostics_come_out(data: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "flow.yaml")
        path.write_bytes(data)
        loaded = load_flows([path])

    assert (
        bool(loaded.graphs) == all(found.severity != "error" for found in loaded.diagnostics)
        or not loaded.flows
    )
    rendered = render_text(loaded.diagnostics, loaded.texts)
    assert rendered.count(f"{path}") >= len(loaded.diagnostics)
    assert render_json(loaded.diagnostics)
    assert render_sarif(loaded.diagnostics, "1")
    assert len(loaded.diagnostics) == render_github(loaded.diagnostics).count("\n")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([f"{line}\n" for line in FRAGMENTS if line.strip()]), max_size=30))
def test_only_diagnostics_come_out_of_whole_lines(lines: list[str]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "flow.yaml")
        path.write_text("".join(lines))

        assert load_flows([path], environment={"X": "10s"}, strict_environment=True).texts
