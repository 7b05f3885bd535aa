"""Variables in texts, and what they stand for."""

from pathlib import Path

import pytest

from flowrunner.config.variables import Environment, Variable, VariableError, split_variables


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain $HOME {x}", ["plain $HOME {x}"]),
        ("${A}", [Variable("${A}", 0, "A")]),
        ("a${A}b${_B2}", ["a", Variable("${A}", 1, "A"), "b", Variable("${_B2}", 6, "_B2")]),
        ("${A:-}", [Variable("${A:-}", 0, "A", default="")]),
        ("${A:-b:-c}", [Variable("${A:-b:-c}", 0, "A", default="b:-c")]),
        ("${file:/run/a b}", [Variable("${file:/run/a b}", 0, "/run/a b", is_file=True)]),
        ("$${A} $$", ["${", "A} $$"]),
        ("", []),
    ],
)
def test_a_text_is_split_into_pieces_and_variables(text: str, expected: list[str | Variable]) -> None:
    assert expected == split_variables(text)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a ${A", (2, 2)),
        ("${}", (0, 3)),
        ("${1A}", (0, 5)),
        ("x${A-b}", (1, 6)),
        ("${file:}", (0, 8)),
        ("${ A }", (0, 6)),
        ("${a${B}}", (0, 2)),
        ("${Ä}", (0, 4)),
    ],
)
def test_a_malformed_variable_is_refused_at_its_place(text: str, place: tuple[int, int]) -> None:
    with pytest.raises(VariableError) as refused:
        split_variables(text)

    assert place == (refused.value.offset, refused.value.length)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${SET}", "value"),
        ("${SET:-x}", "value"),
        ("${EMPTY}", ""),
        ("${EMPTY:-x}", "x"),
        ("${NO:-x}", "x"),
        ("${NO}", None),
    ],
)
def test_a_variable_has_its_value_or_its_default(text: str, expected: str | None) -> None:
    environment = Environment({"SET": "value", "EMPTY": ""}, Path(), strict=True)
    [variable] = split_variables(text)

    assert isinstance(variable, Variable)
    assert expected == environment.value(variable)


@pytest.mark.parametrize(
    ("content", "expected"), [("abc", "abc"), ("abc\n", "abc"), ("abc\r\n", "abc"), (" a\n\n", " a\n")]
)
def test_a_file_is_read_without_its_last_line_break(tmp_path: Path, content: str, expected: str) -> None:
    (tmp_path / "token").write_bytes(content.encode())
    environment = Environment({}, tmp_path, strict=True)

    assert expected == environment.value(Variable("", 0, "token", is_file=True))


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "no such file"), (b"x" * 70_000, "larger than 64 KiB"), (b"\xff", "invalid start byte")],
)
def test_a_file_that_cannot_be_used_is_refused(tmp_path: Path, content: bytes | None, reason: str) -> None:
    if content is not None:
        (tmp_path / "token").write_bytes(content)

    with pytest.raises(ValueError, match=reason):
        Environment({}, tmp_path, strict=True).value(Variable("", 0, "token", is_file=True))


def test_a_file_is_not_opened_while_files_are_only_checked(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("abc")

    assert Environment({}, tmp_path, strict=False).value(Variable("", 0, "token", is_file=True)) is None
