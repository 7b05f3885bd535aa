"""Where the checks of one file put what they find."""

from __future__ import annotations

from flowrunner.diagnostics import Diagnostic, Severity, Span, code_info


class Report:
    """The diagnostics of one file."""

    def __init__(self, file: str) -> None:
        self.path = file
        self.diagnostics: list[Diagnostic] = []
        self._unreadable: list[Span] = []

    @property
    def count(self) -> int:
        """The number of diagnostics up to now."""
        return len(self.diagnostics)

    @property
    def failed(self) -> bool:
        """Whether there is an error among them."""
        return any(found.severity == "error" for found in self.diagnostics)

    def close_document(self) -> None:
        """From now on say nothing more of the places that are already known to be unreadable."""
        self._unreadable = [
            Span(found.line, found.column, found.end_column)
            for found in self.diagnostics
            if found.severity == "error"
        ]

    def add(
        self,
        code: str,
        span: Span,
        message: str,
        *,
        help: str | None = None,
        severity: Severity | None = None,
    ) -> None:
        """Note a diagnostic at a place; its severity is that of the code unless given."""
        if any(_overlap(span, known) for known in self._unreadable):
            return
        self.diagnostics.append(
            Diagnostic(
                file=self.path,
                line=span.line,
                column=span.column,
                end_column=span.end_column,
                severity=severity or code_info(code).severity,
                code=code,
                message=message,
                help=help,
            )
        )

    def file(self, code: str, message: str, *, help: str | None = None) -> None:
        """Note a diagnostic of the file as a whole."""
        self.add(code, Span(0, 0, 0), message, help=help)


def _overlap(one: Span, other: Span) -> bool:
    return one.line == other.line and one.column < other.end_column and other.column < one.end_column
