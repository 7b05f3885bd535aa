"""Where the characters of a value stand, whatever way the value is written."""

import pytest

from flowrunner.config.document import parse
from flowrunner.config.places import Places
from flowrunner.config.report import Report
from flowrunner.config.tree import Path, Scalar
from flowrunner.diagnostics import Span


def places(text: str) -> Places:
    document = parse(text, Report("flow.yaml"))
    assert document.root is not None
    return Places(document.root, document.lines)


TEXT = """\
version: 1
list: [one, {two: 2}]
block:
  - a
  -  b: c
nothing:
mapping:
  deep:
    key: "value"
long: 'first
  second'
"""


@pytest.mark.parametrize(
    ("path", "key", "value"),
    [
        (("version",), (1, 1, 8), (1, 10, 11)),
        (("list",), (2, 1, 5), (2, 7, 22)),
        (("list", 0), (2, 8, 11), (2, 8, 11)),
        (("list", 1), (2, 13, 21), (2, 13, 21)),
        (("list", 1, "two"), (2, 14, 17), (2, 19, 20)),
        (("list", 7), (2, 1, 5), (2, 1, 5)),
        (("block",), (3, 1, 6), (3, 1, 6)),
        (("block", 1, "b"), (5, 6, 7), (5, 9, 10)),
        (("nothing",), (6, 1, 8), (6, 1, 8)),
        (("mapping", "deep"), (8, 3, 7), (8, 3, 7)),
        (("mapping", "deep", "key"), (9, 5, 8), (9, 10, 17)),
        (("mapping", "deep", "missing"), (8, 3, 7), (8, 3, 7)),
        (("long",), (10, 1, 5), (10, 7, 13)),
        (("missing",), (1, 1, 2), (1, 1, 2)),
    ],
)
def test_keys_and_values_have_their_places(
    path: Path, key: tuple[int, int, int], value: tuple[int, int, int]
) -> None:
    found = places(TEXT)

    assert (Span(*key), Span(*value)) == (found.key(path), found.value(path))


@pytest.mark.parametrize(
    "text",
    [
        "where: payload.x > LIMIT && true",
        "where:   'payload.x > LIMIT'",
        'where: "payload.x > LIMIT"',
        "where: 'it''s > LIMIT'",
        'where: "\\"a\\" \\x41 \\u00e9 \\U0001F600 \\t \\\\ LIMIT"',
        "where: |\n  payload.x >\n  LIMIT",
        "where: |2-\n    payload.x >\n    LIMIT",
        "where: >\n  payload.x >\n  LIMIT\n",
        "where: >-\n  payload.x\n\n  > 1\n    && LIMIT\n",
        "where: payload.x\n   > LIMIT",
        "where: payload.x\n\n   > LIMIT",
        "where: 'payload.x\n   > LIMIT'",
        'where: "payload.x\n\n   >  LIMIT"',
        'where: "payload.x \\\n   > LIMIT"',
        "where: ä😀 > LIMIT",
        "a: &b x\nwhere: &c payload > LIMIT # LIMIT",
    ],
)
def test_a_character_of_a_text_is_found_in_the_file(text: str) -> None:
    found = places(text)
    scalar = found.find(("where",))
    assert isinstance(scalar, Scalar)
    line = next(number for number, line in enumerate(text.split("\n"), 1) if "LIMIT" in line)
    column = text.split("\n")[line - 1].index("LIMIT") + 1

    span = found.text(("where",), scalar.text.index("LIMIT"), 5)

    assert Span(line, column, column + 5) == span


def test_a_place_at_the_end_of_a_text_is_behind_its_last_character() -> None:
    assert Span(1, 12, 13) == places('where: "a >"').text(("where",), 3, None)


def test_a_place_without_length_goes_to_the_end_of_its_line() -> None:
    assert Span(2, 5, 8) == places("where: |\n  a b c\n  d").text(("where",), 2, None)


def test_a_place_in_something_that_is_no_text_is_the_whole_value() -> None:
    assert Span(1, 8, 11) == places("where: [a]").text(("where",), 3, 2)
    assert Span(1, 8, 9) == places("where: |\n").text(("where",), 3, 2)


def test_a_text_can_be_made_unreadable() -> None:
    text = "a: secret # why\nb: |\n  very\n  secret\nc: 'x\n  y'\n"

    assert "a: ****** # why\nb: *\n******\n********\nc: **\n****\n" == places(text).without(
        [("a",), ("b",), ("c",), ("d",)]
    )
