"""One mistake and its place."""

from __future__ import annotations

from typing import Literal

import msgspec

type Severity = Literal["error", "warning"]


class Span(msgspec.Struct, frozen=True, order=True):
    """A place on one line of a file; lines and columns count from 1, ``end_column`` is exclusive."""

    line: int
    column: int
    end_column: int


class Diagnostic(msgspec.Struct, frozen=True, order=True):
    """One mistake: a stable code, our sentence, its place and a remedy.

    ``line`` is 0 when the file as a whole is meant. The field order is that of the JSON form and makes
    diagnostics sort by file and place.
    """

    file: str
    line: int
    column: int
    end_column: int
    severity: Severity
    code: str
    message: str
    help: str | None = None
