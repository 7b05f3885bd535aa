"""How a command ends: the exit codes, and what is said to a user who made a mistake."""

from __future__ import annotations

import sys

EX_USAGE = 2
EX_SOFTWARE = 70
"""sysexits.h: a mistake of ours."""
EX_CONFIG = 78
"""sysexits.h: something is wrong in a configuration file."""


def complain(problem: str, *, help: str | None = None, code: int = EX_USAGE) -> int:
    """Say on standard error what is wrong and what to do; return ``code``."""
    sys.stderr.write(f"error: {problem}\n" + (f"  = help: {help}\n" if help else ""))
    return code
