"""There is no way out of an expression, and no work without end in it."""

from __future__ import annotations

import copy
import json
import sys
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import PydanticCustomError

from flowrunner import EVALUATION_ERRORS, Expression, Message

_DEEP: list[Any] = []
for _ in range(300):
    _DEEP = [_DEEP]

PAYLOAD: dict[str, Any] = {
    "state": "on",
    "number": 999_999_999,
    "big": 2**63 - 1,
    "flag": True,
    "list": [1, 2, 3],
    "thousand": list(range(1000)),
    "long": "a" * 50_000,
    "huge": "a" * 1_000_000,
    "huge2": "b" + "a" * 999_999,
    "digits": "9" * 10_000,
    "brackets": "[" * 100_000,
    "pattern": "(a{1,500}){1,500}",
    "evil": "../../../etc/passwd",
    "deep": _DEEP,
}
MESSAGE = Message("zigbee2mqtt/kitchen", PAYLOAD, 1_772_359_200_000_000_000, {"qos": 1})
LINES = (Path(__file__).parent / "data" / "escapes.txt").read_text(encoding="utf-8").splitlines()
ATTEMPTS = [line.replace("\\n", "\n") for line in LINES if line and not line.startswith("# ")]
REFUSALS: tuple[type[Exception], ...] = (PydanticCustomError, *EVALUATION_ERRORS)
MEMORY = 64 << 20
"""Bytes: the longest string that may be made has 1 MiB characters, a list of steps some more."""


def _attempt(source: str) -> Any:
    try:
        return Expression(source).function(MESSAGE)
    except REFUSALS:
        return None


def _timed(source: str) -> tuple[float, Any]:
    with _untraced():
        start = time.process_time()
        value = _attempt(source)
        return time.process_time() - start, value


@contextmanager
def _untraced() -> Iterator[None]:
    """Leave the work to itself: a tracer, as that of coverage, makes it ten times as slow."""
    trace = sys.gettrace()
    sys.settrace(None)
    yield
    sys.settrace(trace)


def test_the_corpus_is_large() -> None:
    assert len(set(ATTEMPTS)) >= 250


@pytest.mark.parametrize("source", ATTEMPTS)
def test_an_attempt_ends_soon_in_an_error_or_a_harmless_value(source: str) -> None:
    before = copy.deepcopy(PAYLOAD)

    seconds, value = min((_timed(source) for _ in range(3)), key=lambda timed: timed[0])

    assert seconds < 0.1
    assert before == PAYLOAD
    assert type(value) in (type(None), bool, int, float, str, list, dict)
    json.dumps(value, allow_nan=False)


@pytest.mark.parametrize("source", [line for line in ATTEMPTS if "thousand" in line or "huge" in line])
def test_an_attempt_needs_little_memory(source: str) -> None:
    _attempt(source)
    tracemalloc.start()

    with _untraced():
        _attempt(source)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < MEMORY
