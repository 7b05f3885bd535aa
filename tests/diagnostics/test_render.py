"""Diagnostics as text, JSON, GitHub annotations and SARIF."""

import json

import pytest

from flowrunner.diagnostics import (
    CODES,
    Diagnostic,
    code_info,
    render_github,
    render_json,
    render_sarif,
    render_text,
)

EVERY = Diagnostic(
    "flows/climate.yaml", 2, 12, 14, "error", "FR031", "`every` needs a unit, got 10", "write 10s"
)
FILE = Diagnostic("flows", 0, 0, 0, "warning", "FR062", "there is no flow file")
TEXTS = {"flows/climate.yaml": "calm:\n    every: 10\n"}


def excerpt(line: str, column: int, end_column: int) -> list[str]:
    found = Diagnostic("a", 1, column, end_column, "error", "FR001", "x")
    return render_text([found], {"a": line}).splitlines()[2:]


def test_text_shows_the_line_with_carets_and_the_help() -> None:
    expected = """\
flows/climate.yaml:2:12: error[FR031]: `every` needs a unit, got 10
  |
2 |     every: 10
  |            ^^
  = help: write 10s

flows: warning[FR062]: there is no flow file
"""

    assert expected == render_text([EVERY, FILE], TEXTS)


def test_text_for_a_terminal_is_the_same_in_color() -> None:
    colored = render_text([EVERY, FILE], TEXTS, color=True)
    for paint in ("\x1b[1;31m", "\x1b[1;33m", "\x1b[1;34m", "\x1b[1m", "\x1b[0m"):
        assert paint in colored
        colored = colored.replace(paint, "")

    assert render_text([EVERY, FILE], TEXTS) == colored


@pytest.mark.parametrize(
    ("line", "columns", "expected"),
    [
        ("\ta: 1", (5, 6), ["1 |     a: 1", "  |        ^"]),
        ("a: 温度 > 1", (4, 6), ["1 | a: 温度 > 1", "  |    ^^^^"]),
        ("温: x", (4, 5), ["1 | 温: x", "  |     ^"]),
        ("e\u0301: x", (5, 6), ["1 | e\u0301: x", "  |    ^"]),
        ("a: \x1b[31m", (4, 5), ["1 | a: ·[31m", "  |    ^"]),
        ("a:", (3, 4), ["1 | a:", "  |   ^"]),
        ("a: b   ", (4, 5), ["1 | a: b", "  |    ^"]),
        ("a: b", (4, 99), ["1 | a: b", "  |    ^"]),
    ],
    ids=[
        "tab",
        "wide",
        "after wide",
        "combining",
        "control",
        "behind the end",
        "blanks at the end",
        "too long a place",
    ],
)
def test_carets_stand_under_what_they_mark(line: str, columns: tuple[int, int], expected: list[str]) -> None:
    assert expected == excerpt(line, *columns)


def test_a_long_line_is_cut_around_the_mark() -> None:
    [source, carets] = excerpt("x" * 500 + "MARK" + "y" * 500, 501, 505)

    assert len(source) < 200
    assert carets.index("^") == source.index("MARK")
    assert source.startswith("1 | …x")
    assert source.endswith("y…")


def test_a_line_that_the_file_does_not_have_is_left_out() -> None:
    assert [] == [line for line in render_text([EVERY], {}).splitlines() if "|" in line]


def test_values_in_messages_cannot_move_the_cursor_or_begin_a_line() -> None:
    found = Diagnostic("a", 0, 0, 0, "error", "FR022", "got `a\nb\tc\x1b[2J`", "write\nit")

    assert "a: error[FR022]: got `a⏎b c·[2J`\n  = help: write⏎it\n" == render_text([found], {})


def test_json_has_the_fields_of_the_contract() -> None:
    names = ["file", "line", "column", "end_column", "severity", "code", "message", "help"]
    [first, second] = json.loads(render_json([EVERY, FILE]))

    assert names == list(first) == list(second)
    assert [
        "flows/climate.yaml",
        2,
        12,
        14,
        "error",
        "FR031",
        "`every` needs a unit, got 10",
        "write 10s",
    ] == list(first.values())
    assert second["help"] is None


def test_json_of_nothing_is_an_empty_list() -> None:
    assert [] == json.loads(render_json([]))


def test_github_gets_one_escaped_command_a_diagnostic() -> None:
    odd = Diagnostic("a,b:c%.yaml", 1, 2, 3, "error", "FR001", "50%\r\n::error::x")

    every, file, escaped = render_github([EVERY, FILE, odd]).splitlines()
    place = "::error file=flows/climate.yaml,line=2,col=12,endColumn=14,title=FR031 A number needs a unit"
    assert f"{place}::`every` needs a unit, got 10%0Ahelp: write 10s" == every
    assert "::warning file=flows,title=FR062 There is no flow file::there is no flow file" == file
    place = "::error file=a%2Cb%3Ac%25.yaml,line=1,col=2,endColumn=3,title=FR001 The file is not valid YAML"
    assert f"{place}::50%25%0D%0A::error::x" == escaped


def test_sarif_has_a_rule_for_each_code_and_a_result_for_each_diagnostic() -> None:
    absolute = Diagnostic("/flows/a b.yaml", 1, 1, 2, "error", "FR031", "x")
    log = json.loads(render_sarif([FILE, EVERY, absolute], "0.1.0"))

    assert log["version"] == "2.1.0"
    [run] = log["runs"]
    assert ("flowrunner", "0.1.0") == (run["tool"]["driver"]["name"], run["tool"]["driver"]["version"])
    rules = run["tool"]["driver"]["rules"]
    assert ["FR031", "FR062"] == [rule["id"] for rule in rules]
    assert all(rules[result["ruleIndex"]]["id"] == result["ruleId"] for result in run["results"])
    assert ["warning", "error", "error"] == [result["level"] for result in run["results"]]
    places = [result["locations"][0]["physicalLocation"] for result in run["results"]]
    assert [
        {"artifactLocation": {"uri": "flows"}},
        {
            "artifactLocation": {"uri": "flows/climate.yaml"},
            "region": {"startLine": 2, "startColumn": 12, "endColumn": 14},
        },
        {
            "artifactLocation": {"uri": "file:///flows/a%20b.yaml"},
            "region": {"startLine": 1, "startColumn": 1, "endColumn": 2},
        },
    ] == places
    assert "`every` needs a unit, got 10. Help: write 10s." == run["results"][1]["message"]["text"]


def test_a_code_of_another_package_is_an_error_with_a_title() -> None:
    assert "ACME1" not in CODES
    assert "error" == code_info("ACME1").severity
    assert "ACME1" in render_github([Diagnostic("a", 1, 1, 2, "error", "ACME1", "x")])
