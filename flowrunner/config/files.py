"""Which files a path stands for."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from flowrunner.diagnostics import Diagnostic

_SUFFIXES = (".yaml", ".yml")
_TEST_SUFFIXES = (".test.yaml", ".test.yml")


def find_files(paths: Sequence[Path]) -> tuple[list[Path], list[Diagnostic]]:
    """Return the flow files at ``paths``, each once, and what is wrong with the paths themselves.

    A file is taken whatever its name; of a directory every ``*.yaml`` and ``*.yml`` below it that is not hidden,
    not a test, and not in one of the ``..`` directories in which the kubelet keeps the versions of a ConfigMap.
    """
    found: dict[Path, Path] = {}
    diagnostics = []
    for path in paths:
        files = sorted(_below(path)) if path.is_dir() else [path]
        if path.is_dir() and not files:
            diagnostics.append(without_flows(path))
        elif not path.exists():
            diagnostics.append(missing(path))
            continue
        for file in files:
            found.setdefault(file.resolve(), file)
    return list(found.values()), diagnostics


def is_flow_file(name: str) -> bool:
    """Return whether a file of this name in a directory is a flow file."""
    return name.endswith(_SUFFIXES) and not name.endswith(_TEST_SUFFIXES) and not name.startswith(".")


def without_flows(path: Path) -> Diagnostic:
    """Return what is said of a directory without flow files."""
    help = "flow files end in .yaml or .yml; tests in .test.yaml"
    return _diagnostic(path, "FR062", "there is no flow file in this directory", help)


def missing(path: Path) -> Diagnostic:
    """Return what is said of a path that leads nowhere."""
    return _diagnostic(path, "FR060", "there is no such file or directory", None)


def _below(directory: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(directory):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            if is_flow_file(name):
                yield Path(folder, name)


def _diagnostic(path: Path, code: str, message: str, help: str | None) -> Diagnostic:
    return Diagnostic(str(path), 0, 0, 0, "error", code, message, help)
