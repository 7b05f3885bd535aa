"""Which test files a path stands for."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from flowrunner.diagnostics import Diagnostic

SUFFIXES = (".test.yaml", ".test.yml")


def find_tests(paths: Sequence[Path]) -> tuple[list[Path], list[Diagnostic]]:
    """Return the test files at ``paths``, each once, and what is wrong with the paths themselves.

    A path is a test file, a flow file, for the tests beside it, or a directory, for all tests below it.
    """
    found: dict[Path, Path] = {}
    diagnostics: list[Diagnostic] = []
    for path in paths:
        if not path.exists():
            diagnostics.append(_diagnostic(path, "FR060", "there is no such file or directory", None))
            continue
        files = sorted(_below(path)) if path.is_dir() else _of_file(path)
        if not files:
            diagnostics.append(_none(path))
        for file in files:
            found.setdefault(file.resolve(), file)
    return list(found.values()), diagnostics


def _below(directory: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(directory):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (
            Path(folder, name) for name in names if name.endswith(SUFFIXES) and not name.startswith(".")
        )


def _of_file(path: Path) -> list[Path]:
    if path.name.endswith(SUFFIXES):
        return [path]
    beside = [path.with_name(path.stem + suffix) for suffix in SUFFIXES]
    return [test for test in beside if test.exists()]


def _none(path: Path) -> Diagnostic:
    if path.is_dir():
        help = "tests stand beside their flows, in files that end in .test.yaml"
        return _diagnostic(path, "FR074", "there is no test file in this directory", help)
    help = f"write one: {path.with_name(path.stem + SUFFIXES[0])}"
    return _diagnostic(path, "FR074", "there is no test file beside this flow", help)


def _diagnostic(path: Path, code: str, message: str, help: str | None) -> Diagnostic:
    return Diagnostic(str(path), 0, 0, 0, "error", code, message, help)
