"""What ends an import."""

from __future__ import annotations

from flowrunner.errors import FlowrunnerError


class CannotImport(FlowrunnerError):
    """A file cannot be imported; the text says why, ``help`` what to do."""

    def __init__(self, problem: str, *, help: str | None = None) -> None:
        super().__init__(problem)
        self.help = help
