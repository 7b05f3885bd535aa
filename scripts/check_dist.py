"""Build the wheel and the sdist and check that they hold the packages as they are in git, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from poetry.core.masonry.api import build_sdist, build_wheel

BESIDE = {"LICENSE", "README.md", "pyproject.toml", "PKG-INFO"}


def main() -> int:
    """Print what is missing from the distributions and what does not belong there; return the exit code."""
    listed = subprocess.run(
        ["git", "ls-files", "flowrunner", "nodes/flowrunner_nodes"],
        check=True,
        capture_output=True,
        text=True,
    )
    wanted = {name.removeprefix("nodes/") for name in listed.stdout.splitlines()}
    problems = [
        f"the {kind} {what}: {name}"
        for kind, held in _built().items()
        for what, differing in (("lacks", wanted - held), ("holds what is not in git", held - wanted))
        for name in sorted(differing)
    ]
    sys.stderr.writelines(f"{problem}\n" for problem in problems)
    return 1 if problems else 0


def _built() -> dict[str, set[str]]:
    """Return the files of both distributions, named as in the wheel."""
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(Path(folder, build_wheel(folder))) as wheel:
            in_wheel = {name for name in wheel.namelist() if ".dist-info/" not in name}
        with tarfile.open(Path(folder, build_sdist(folder))) as sdist:
            in_sdist = {name.partition("/")[2].removeprefix("nodes/") for name in sdist.getnames()}
    return {"wheel": in_wheel, "sdist": in_sdist - BESIDE}


if __name__ == "__main__":
    sys.exit(main())
