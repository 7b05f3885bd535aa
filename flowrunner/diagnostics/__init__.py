"""Diagnostics are data: what is wrong in a file, where, and what to do."""

from flowrunner.diagnostics.codes import CODES, CodeInfo
from flowrunner.diagnostics.diagnostic import Diagnostic, Severity, Span

__all__ = ["CODES", "CodeInfo", "Diagnostic", "Severity", "Span"]
