"""Check that what flowrunner needs to run has a licence under which it can be passed on with it."""

from __future__ import annotations

import re
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement

ROOT = "flowrunner-engine"
EXTRAS = ("demo", "otel", "postgres")
ALLOWED = re.compile(
    r"\b(MIT|BSD|0BSD|Apache|ISC|PSF|Python Software Foundation|Unlicense|EPL-2\.0|Eclipse|MPL|Mozilla)\b",
    re.IGNORECASE,
)
"""Permissive licences, and those whose duties end with the file that they are about."""


def main() -> int:
    """Print what has another licence, or none; return the exit code."""
    needed = sorted(_needed(ROOT, EXTRAS))
    unknown = {name: told for name in needed if not ALLOWED.search(told := _licence(distribution(name)))}
    sys.stderr.writelines(
        f"{name}: {told or 'no licence'} is not allowed\n" for name, told in unknown.items()
    )
    sys.stdout.write(f"licences: {len(needed)} distributions checked\n")
    return 1 if unknown else 0


def _needed(root: str, extras: tuple[str, ...]) -> set[str]:
    """Return the distributions that are installed for ``root``, without itself."""
    found: set[str] = set()
    pending = [(root, extras)]
    while pending:
        name, wanted = pending.pop()
        for line in distribution(name).requires or []:
            requirement = Requirement(line)
            if requirement.marker and not any(
                requirement.marker.evaluate({"extra": extra}) for extra in ("", *wanted)
            ):
                continue
            if requirement.name not in found and _is_installed(requirement.name):
                found.add(requirement.name)
                pending.append((requirement.name, tuple(requirement.extras)))
    return found


def _is_installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def _licence(found: Distribution) -> str:
    """Return what a distribution says of its licence: the expression, the classifiers or the first line of the text."""
    about = found.metadata
    if expression := about.get("License-Expression"):
        return expression
    named = [line.rpartition(" :: ")[2] for line in about.get_all("Classifier", []) if "License ::" in line]
    return ", ".join(named) or (about.get("License") or "").strip().partition("\n")[0]


if __name__ == "__main__":
    sys.exit(main())
