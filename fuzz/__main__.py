"""Fuzz one target: `python -m fuzz TARGET SECONDS`. What it finds stands in .cache/fuzz/TARGET, crashes beside it."""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["flowrunner", "flowrunner_nodes"]):
    from fuzz.targets import TARGETS

LONGEST = 1024
"""Bytes of an input: what is larger is cut off by limits that have tests of their own."""


def main() -> None:
    """Run libFuzzer; it ends the process, with an exit code other than 0 when it has found something."""
    name, seconds = sys.argv[1], sys.argv[2]
    found = Path(".cache", "fuzz", name)
    found.mkdir(parents=True, exist_ok=True)
    limits = [f"-max_total_time={seconds}", f"-max_len={LONGEST}", "-timeout=5", "-rss_limit_mb=1024"]
    places = [f"-artifact_prefix={found.parent}/{name}-", str(found), f"fuzz/corpus/{name}"]
    atheris.Setup([sys.argv[0], *limits, "-print_final_stats=1", *places], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
