"""What the fuzzers have found is tried again, each in little time."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from fuzz.targets import TARGETS

CORPUS = Path(__file__).parents[2] / "fuzz" / "corpus"
SECONDS = 1.0


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_in_the_corpus_is_too_much(name: str) -> None:
    files = sorted((CORPUS / name).iterdir())
    slow = {}
    for file in files:
        start = time.process_time()
        TARGETS[name](file.read_bytes())
        if (took := time.process_time() - start) > SECONDS:
            slow[file.name] = took

    assert files
    assert {} == slow


def test_the_corpus_is_small() -> None:
    assert sum(file.stat().st_size for file in CORPUS.rglob("*") if file.is_file()) < 1_000_000
