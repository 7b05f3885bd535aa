"""The order of nodes, and the circles in it."""

from graphlib import TopologicalSorter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowrunner.graph.order import cycles, in_order


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        ({}, []),
        ({"c": [], "b": [], "a": []}, ["c", "b", "a"]),
        ({"sink": ["b"], "b": ["a"], "a": []}, ["a", "b", "sink"]),
        ({"x": [], "sink": ["a"], "a": [], "y": []}, ["x", "a", "sink", "y"]),
        ({"d": ["b", "c"], "c": ["a"], "b": ["a"], "a": []}, ["a", "c", "b", "d"]),
    ],
)
def test_nodes_come_after_their_sources_and_stay_in_order_otherwise(
    sources: dict[str, list[str]], expected: list[str]
) -> None:
    assert expected == in_order(sources)


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        ({"a": [], "b": ["a"]}, []),
        ({"a": ["a"]}, [["a", "a"]]),
        ({"a": ["b"], "b": ["a"]}, [["a", "b", "a"]]),
        ({"x": ["c"], "b": ["a"], "c": ["b"], "a": ["c"]}, [["b", "c", "a", "b"]]),
        ({"a": ["b", "b"], "b": ["a"]}, [["a", "b", "a"]]),
        ({"a": ["b"], "b": ["a"], "c": ["d"], "d": ["c"]}, [["a", "b", "a"], ["c", "d", "c"]]),
        ({"a": ["a", "b"], "b": ["a"]}, [["a", "a"], ["a", "b", "a"]]),
    ],
)
def test_circles_are_paths_along_the_wires(sources: dict[str, list[str]], expected: list[list[str]]) -> None:
    assert expected == sorted(cycles(sources))


def test_of_very_many_circles_some_are_told() -> None:
    nodes = [f"n{index}" for index in range(200)]

    assert len(cycles(dict.fromkeys(nodes, nodes))) == 10


GRAPHS = st.dictionaries(
    st.sampled_from("abcdefgh"), st.lists(st.sampled_from("abcdefgh"), max_size=3), max_size=8
).map(lambda graph: {id: [source for source in sources if source in graph] for id, sources in graph.items()})


@given(GRAPHS)
def test_every_circle_is_one_and_without_them_there_is_an_order(sources: dict[str, list[str]]) -> None:
    found = cycles(sources)
    for ring in found:
        assert ring[0] == ring[-1]
        assert all(before in sources[after] for before, after in pairwise(ring))
    if not found:
        order = in_order(sources)
        assert sorted(sources) == sorted(order)
        assert all(order.index(before) < order.index(after) for after in sources for before in sources[after])
        TopologicalSorter(sources).prepare()
