"""YAML files in, trees or diagnostics out; never anything else."""

import time

import pytest
import yaml

from flowrunner.config import document
from flowrunner.config.document import decode, parse
from flowrunner.config.report import Report
from flowrunner.config.tree import plain


@pytest.fixture(params=[yaml.CSafeLoader, yaml.SafeLoader], ids=["libyaml", "python"])
def _loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "_LOADER", request.param)


def read(text: str) -> object:
    report = Report("flow.yaml")
    root = parse(text, report).root

    assert [] == report.diagnostics
    assert root is not None
    return plain(root)


def mistakes(text: str) -> list[tuple[int, int, str]]:
    report = Report("flow.yaml")
    parse(text, report)
    return [(found.line, found.column, found.code) for found in report.diagnostics]


@pytest.mark.usefixtures("_loader")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1", {"a": 1}),
        ("{a: [1, b, {c: null}]}", {"a": [1, "b", {"c": None}]}),
        ("a: &x [1, 2]\nb: *x", {"a": [1, 2], "b": [1, 2]}),
        ("a: !!str 12", {"a": "12"}),
        ("a: ! 12", {"a": "12"}),
        ("a: !!map {b: !!seq [1]}", {"a": {"b": [1]}}),
        ("---\na: 1\n...\n", {"a": 1}),
        ("%YAML 1.1\n---\na: 1", {"a": 1}),
        ("on: 'off'\n12:30: a", {"on": "off", "12:30": "a"}),
        ("'1': a\n\"true\": b", {"1": "a", "true": "b"}),
        ("? a\n: b", {"a": "b"}),
        ("a:\n  - b\n  -\n  - - c", {"a": ["b", None, ["c"]]}),
        ("a: |\n  b\n  c\nd: >-\n  e\n  f", {"a": "b\nc\n", "d": "e f"}),
        ("topics: [home/+/#, 'a']", {"topics": ["home/+/#", "a"]}),
    ],
)
def test_a_file_is_read_as_yaml_1_2(text: str, expected: object) -> None:
    assert expected == read(text)


@pytest.mark.usefixtures("_loader")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [(0, 0, "FR008")]),
        ("# nothing\n", [(0, 0, "FR008")]),
        ("null\n", [(0, 0, "FR008")]),
        ("- a\n", [(1, 1, "FR008")]),
        ("text\n", [(1, 1, "FR008")]),
        ("a: 1\n---\nb: 1\n", [(2, 1, "FR008")]),
        ("a: 1\nb: 2\na: 3\nb: 4", [(3, 1, "FR004"), (4, 1, "FR004")]),
        ("a: &x 1\n<<: *x", [(2, 1, "FR006")]),
        (
            "1: a\ntrue: b\n~: c\n? \n: d",
            [(1, 1, "FR007"), (2, 1, "FR007"), (3, 1, "FR007"), (4, 2, "FR007")],
        ),
        ("[a]: b\n{c: d}: e", [(1, 1, "FR007"), (2, 1, "FR007")]),
        ("a: !x b\nc: !!python/object/apply:os.system [id]", [(1, 4, "FR005"), (2, 4, "FR005")]),
        ("a: !!int 5", [(1, 4, "FR005")]),
        ("a: *b", [(1, 4, "FR010")]),
        ("a: &b [*b]", [(1, 8, "FR010")]),
        ("a: &b {c: {d: *b}}", [(1, 15, "FR010")]),
        ("a: yes\nb: [On, 'no', \"off\", n]", [(1, 4, "FR009"), (2, 5, "FR009"), (2, 22, "FR009")]),
        ("a: .inf", [(1, 4, "FR023")]),
    ],
)
def test_a_mistake_is_found_at_its_place(text: str, expected: list[tuple[int, int, str]]) -> None:
    assert expected == mistakes(text)


def bomb(levels: int) -> str:
    return "a0: &a0 [x, x]\n" + "".join(
        f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, levels)
    )


def merge_bomb(levels: int) -> str:
    return "a0: &a0 {x: 1}\n" + "".join(
        f"a{level}: &a{level} {{<<: [{', '.join([f'*a{level - 1}'] * 9)}]}}\n" for level in range(1, levels)
    )


def ladder(steps: int) -> str:
    """Aliases that each add 30 levels to what the alias before them has."""
    return "a0: &a0 x\n" + "".join(
        f"a{step}: &a{step} {'[' * 30}*a{step - 1}{']' * 30}\n" for step in range(1, steps)
    )


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("[" * 100_000, "FR003"),
        ("{a: " * 25_000, "FR003"),
        ("- " * 50_000, "FR003"),
        ("? " * 50_000, "FR003"),
        (bomb(12), "FR003"),
        (merge_bomb(12), "FR006"),
        (ladder(12), "FR003"),
        ("- a\n" * 100_000, "FR003"),
        ("a: " + "1" * 5000, "FR023"),
        ("a: 2026-13-45\nb: !!int x\nc: !!float ''\nd: !!timestamp x", "FR005"),
        ("a: '" + "x" * 500_000, "FR001"),
        ("&a " * 30_000, "FR001"),
        ("*" * 100_000, "FR001"),
        ("a: !" + "x" * 100_000, "FR005"),
        ("x" * 100_000 + ": 1", "FR001"),
    ],
    ids=lambda text: text[:12].replace("\n", " "),
)
def test_a_bomb_ends_in_a_diagnostic_within_its_time(text: str, code: str) -> None:
    began = time.process_time()

    assert code in [found[2] for found in mistakes(text)]
    assert time.process_time() - began < 1.0  # takes less than a tenth of that on a quiet machine


def test_a_file_of_more_than_a_mebibyte_is_refused_unread() -> None:
    report = Report("flow.yaml")

    assert decode(b"a: " + b"x" * (1 << 20), report) is None
    assert ["FR003"] == [found.code for found in report.diagnostics]


def test_a_byte_order_mark_is_left_out() -> None:
    assert decode("\ufeffa: é".encode(), Report("flow.yaml")) == "a: é"


@pytest.mark.parametrize(
    ("data", "place", "words"),
    [
        (b"a: 1\nb: caf\xe9\n", (2, 7), "not UTF-8"),
        ("a: 1".encode("utf-16"), (1, 1), "not UTF-8"),
        (b"a: 1\r\nbc: \x07", (2, 5), "U+0007"),
        (b"a: \x00", (1, 4), "U+0000"),
    ],
    ids=["latin-1", "utf-16", "control", "null"],
)
def test_what_is_not_text_is_refused_at_its_place(data: bytes, place: tuple[int, int], words: str) -> None:
    report = Report("flow.yaml")

    assert decode(data, report) is None
    [found] = report.diagnostics
    assert ("FR002", *place) == (found.code, found.line, found.column)
    assert words in found.message


@pytest.mark.usefixtures("_loader")
@pytest.mark.parametrize(
    ("text", "place", "message", "help"),
    [
        ("a:\n\tb: 1", (2, 1), "tabs cannot indent", "spaces"),
        ("a: *\n", (1, 4), "cannot begin with `*`", "quotes"),
        ("a: [*, b]\n", (1, 5), "cannot begin with `*`", "quotes"),
        ("a: @home/x", (1, 4), "cannot begin with `@`", "quotes"),
        ("a: %d", (1, 4), "cannot begin with `%`", "quotes"),
        ("a: `x`", (1, 4), "backquote", "quotes"),
        ("version:1\nnodes: {}", (2, 6), "no space after it", "key: value"),
        ("where: a ? b : c: d", (1, 14), "must stand in quotes", "quotes"),
        ("a: 'b\nc: 1\nd: 2", (1, 4), "no end", "close the quotes"),
        ('a: "b\nc: 1', (1, 4), "no end", "close the quotes"),
        ("a: [b, c\nd: 1", (1, 4), "brackets has no end", "close it with ]"),
        ("a: {b: 1, c: [1, 2}", (1, 14), "brackets has no end", "close it with ]"),
        ("a: {b: 1\nc: 2", (1, 4), "braces has no end", "close it with }"),
        ("a:\n    b: 1\n  c: 2", (3, 3), "indentation", "one column"),
        ("a: 1\n  b: 2", (2, 4), "deeper", "one column"),
        ('where: "a" == b', (1, 12), "follows the closing quote", "one pair of quotes"),
        ("where: !payload.off && true", (1, 8), "cannot begin with `!`", "quotes"),
        ("  - &&x", (1, 5), "cannot begin with `&`", "quotes"),
        ("where: > 5", (1, 10), "`>` or `|`", "quotes"),
        ("from: - a", (1, 7), "list cannot begin", "next line"),
        ('a: "\\q"', None, "no such escape", "backslash"),
        ("a: !e!x 1", (1, 4), "tag", "quotes"),
        ("a: b\n...\nfoo", (3, 1), "after the end", "file of its own"),
    ],
)
def test_a_common_mistake_is_named_with_its_remedy(
    text: str, place: tuple[int, int] | None, message: str, help: str
) -> None:
    report = Report("flow.yaml")
    parse(text, report)

    [found] = report.diagnostics
    assert found.code == "FR001"
    assert place in (None, (found.line, found.column))
    assert message in found.message
    assert help in (found.help or "")


def test_braces_of_a_template_language_have_a_hint_of_their_own() -> None:
    report = Report("flow.yaml")
    parse("topic: {{ value }}", report)

    assert ["{{ }} must stand in quotes" in (found.help or "") for found in report.diagnostics] == [True]


def test_a_text_with_a_tag_is_shown_as_it_is_written() -> None:
    report = Report("flow.yaml")
    parse("where: !payload.off", report)

    [found] = report.diagnostics
    assert (1, 8, 20) == (found.line, found.column, found.end_column)
    assert found.message == "the YAML tag `!payload.off` is not supported"
