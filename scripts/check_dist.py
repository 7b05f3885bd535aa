"""Build the wheel and the sdist and check that they hold the packages, all of them and nothing else."""

from __future__ import annotations

import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from poetry.core.masonry.api import build_sdist, build_wheel

ROOT = Path(__file__).parent.parent
BESIDE = {"LICENSE", "README.md", "pyproject.toml", "PKG-INFO"}


def modules() -> set[str]:
    """Return the files that both must hold, as paths in the wheel."""
    found = set()
    for parent in (ROOT, ROOT / "nodes"):
        for package in ("flowrunner", "flowrunner_nodes"):
            found |= {path.relative_to(parent).as_posix() for path in (parent / package).rglob("*.py")}
            found |= {path.relative_to(parent).as_posix() for path in (parent / package).rglob("py.typed")}
    return found


def main() -> int:
    """Print what is missing from the distributions and what does not belong there; return the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(Path(folder) / build_wheel(folder)) as built:
            wheel = built.namelist()
        with tarfile.open(Path(folder) / build_sdist(folder)) as unpacked:
            sdist = unpacked.getnames()
    in_wheel = {name for name in wheel if ".dist-info/" not in name}
    in_sdist = {name.partition("/")[2].removeprefix("nodes/") for name in sdist} - BESIDE
    problems = [
        f"the {kind} {what} {name}"
        for kind, names in (("wheel", in_wheel), ("sdist", in_sdist))
        for what, differing in (("lacks", modules() - names), ("must not hold", litter(names)))
        for name in sorted(differing)
    ]
    sys.stderr.writelines(f"{problem}\n" for problem in problems)
    return 1 if problems else 0


def litter(names: set[str]) -> set[str]:
    """Return the names that are no file of a package; data files beside modules are welcome."""
    return {
        name
        for name in names
        if not name.startswith(("flowrunner/", "flowrunner_nodes/"))
        or name.endswith((".pyc", ".db", ".log", ".orig"))
    }


if __name__ == "__main__":
    sys.exit(main())
