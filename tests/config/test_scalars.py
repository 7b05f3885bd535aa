"""Unquoted words and numbers, as YAML 1.2's core schema reads them."""

import pytest

from flowrunner.config.scalars import NumberError, core_value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("nULL", "nULL"),
        ("true", True),
        ("False", False),
        ("tRUE", "tRUE"),
        ("on", "on"),
        ("no", "no"),
        ("y", "y"),
        ("0", 0),
        ("-17", -17),
        ("+5", 5),
        ("010", 10),
        ("0777", 777),
        ("0o17", 15),
        ("0x1F", 31),
        ("0b11", "0b11"),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("190:20:30.15", "190:20:30.15"),
        ("2026-03-01", "2026-03-01"),
        ("1e3", 1000.0),
        ("1.", 1.0),
        (".5", 0.5),
        ("-2.5E-3", -0.0025),
        (".", "."),
        ("+", "+"),
        ("1.2.3", "1.2.3"),
        ("٣", "٣"),
        (str(2**64 - 1), 2**64 - 1),
        (str(-(2**63)), -(2**63)),
    ],
)
def test_a_word_is_read_by_the_core_schema(text: str, expected: object) -> None:
    actual = core_value(text)

    assert (type(expected), expected) == (type(actual), actual)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (str(2**64), "64 bits"),
        (str(-(2**63) - 1), "64 bits"),
        ("9" * 5000, "5000 digits"),
        ("0x" + "f" * 5000, "5002 digits"),
        ("1e999", "1.8e308"),
        (".inf", "not numbers that"),
        ("-.INF", "not numbers that"),
        (".nan", "not numbers that"),
    ],
    ids=lambda text: text[:12],
)
def test_a_number_that_json_does_not_have_is_refused(text: str, reason: str) -> None:
    with pytest.raises(NumberError, match=reason):
        core_value(text)
