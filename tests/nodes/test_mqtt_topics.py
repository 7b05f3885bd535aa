"""Topic filters: their form, what they match, and the way back from a topic to its filters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import topic_matches_sub

from flowrunner_nodes._mqtt_topics import TopicTrie, filter_fault, filters_matching, topic_part

levels = st.sampled_from(["a", "b", "", "+", "$x", "é"])
topics = (
    st.lists(st.sampled_from(["a", "b", "", "$x", "é"]), min_size=1, max_size=5).map("/".join).filter(bool)
)


@st.composite
def filters(draw: st.DrawFn) -> str:
    parts = draw(st.lists(levels, min_size=1, max_size=5))
    if draw(st.booleans()):
        parts[-1] = "#"
    return "/".join(parts) or "a"


@pytest.mark.parametrize(
    "filter",
    [
        "a",
        "#",
        "+",
        "a/b",
        "a/+/c",
        "a/#",
        "+/#",
        "/",
        "/a",
        "a//b",
        "$SYS/#",
        "$share/g/a/#",
        "$share/g//a",
        "äöü/+",
        " ",
    ],
)
def test_good_filters(filter: str) -> None:
    assert filter_fault(filter) is None


@pytest.mark.parametrize(
    ("filter", "words", "where"),
    [
        pytest.param("", "it is empty", (0, 1), id="empty"),
        pytest.param("a/#/b", "`#` stands for all further levels", (2, 1), id="# in the middle"),
        pytest.param("a/b#", "`#` stands for all further levels", (2, 2), id="# within a level"),
        pytest.param("a/x+/c", "`+` stands for one whole level", (2, 2), id="+ within a level"),
        pytest.param("a/b\0", "NUL", (2, 2), id="NUL"),
        pytest.param("ä" * 32768, "longer than 65535 bytes", (0, 32768), id="too long"),
        pytest.param("$share/", "with a group", (7, 1), id="shared, nothing"),
        pytest.param("$share/g+/a", "with a group", (7, 2), id="shared, wildcard in the group"),
        pytest.param("$share/g", "the filter is missing", (0, 8), id="shared, no filter"),
        pytest.param("$share/g/", "the filter is missing", (0, 9), id="shared, empty filter"),
        pytest.param("$share/g/a/#/b", "`#` stands for all further levels", (11, 1), id="shared, bad filter"),
    ],
)
def test_bad_filters_say_what_is_wrong_and_where(filter: str, words: str, where: tuple[int, int]) -> None:
    fault = filter_fault(filter)

    assert fault is not None
    assert words in fault[0]
    assert where == fault[1:]


@given(st.lists(filters(), max_size=8), topics)
def test_the_trie_matches_what_paho_matches(wanted: list[str], topic: str) -> None:
    expected = {filter for filter in wanted if topic_matches_sub(filter, topic)}
    if topic.startswith("$"):
        expected = {filter for filter in expected if not filter.startswith(("+", "#"))}

    assert expected == TopicTrie(wanted).match(topic)


def test_a_shared_filter_matches_by_its_topic_part() -> None:
    assert topic_part("$share/g/a/+") == "a/+"
    assert {"$share/g/a/+", "a/#"} == TopicTrie(["$share/g/a/+", "a/#", "b"]).match("a/x")


@given(topics, filters())
def test_every_filter_that_matches_a_topic_is_found_again(topic: str, filter: str) -> None:
    found = filters_matching(topic)

    assert len(found) == len(set(found))
    assert (filter in found) == topic_matches_sub(filter, topic)


def test_of_a_deep_topic_the_filters_with_the_fewest_wildcards_are_found() -> None:
    found = filters_matching("/".join("abcdefghijklmnop"), 40)

    assert len(found) == 40
    assert "/".join("abcdefghijklmnop") in found
    assert "a/#" in found
