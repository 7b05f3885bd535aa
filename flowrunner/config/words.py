"""Names and lists in messages."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

_MOST_COMPARED = 100
_MOST_LISTED = 20


def nearest(name: str, names: Sequence[str]) -> str | None:
    """Return the name that ``name`` is most likely meant to be, ``None`` when none is near."""
    found = get_close_matches(name.lower(), names[:_MOST_COMPARED], n=1, cutoff=0.6)
    return found[0] if found else None


def did_you_mean(name: str, names: Sequence[str], otherwise: str) -> str:
    """Return a help line: the nearest name, else ``otherwise``."""
    near = nearest(name, names)
    return f"did you mean `{near}`?" if near else otherwise


def listing(names: Sequence[str], last: str = "and") -> str:
    """Return names as an English list in backquotes."""
    quoted = [f"`{name}`" for name in names[:_MOST_LISTED]]
    if len(names) > _MOST_LISTED:
        quoted.append(f"{len(names) - _MOST_LISTED} more")
    return f" {last} ".join([", ".join(quoted[:-1]), quoted[-1]]) if len(quoted) > 1 else "".join(quoted)
