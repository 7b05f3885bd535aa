"""docs/expressions.md: every example has the value it says, and every function has an example."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from flowrunner import Expression, Message
from flowrunner.expression.functions import FUNCTIONS, MACROS, ROOTS, SPECIAL
from flowrunner.expression.parser import MAX_DEPTH
from flowrunner.expression.scanner import MAX_LENGTH

PAGE = (Path(__file__).parents[2] / "docs" / "expressions.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"`([^`]+)` → `([^`]+)`", PAGE.replace("\\|", "|"))


def _message() -> Message:
    block = re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert block is not None
    return Message(**json.loads(block[1]))


@pytest.mark.parametrize(("source", "value"), EXAMPLES)
def test_an_example_has_the_value_that_the_page_says(source: str, value: str) -> None:
    assert json.dumps(json.loads(value)) == json.dumps(Expression(source).evaluate(_message()))


@pytest.mark.parametrize("name", [*ROOTS, *FUNCTIONS, *MACROS, *sorted(SPECIAL.keys() - {"now"})])
def test_every_name_has_an_example(name: str) -> None:
    assert any(re.search(rf"\b{name}\b", source) for source, _ in EXAMPLES)


def test_the_page_states_the_limits_that_hold() -> None:
    assert f"{MAX_LENGTH:,} characters, {MAX_DEPTH} levels" in PAGE
