"""Diagnostics are data: what is wrong in a file, where, and what to do."""

from flowrunner.diagnostics.codes import CODES, CodeInfo, code_info
from flowrunner.diagnostics.diagnostic import Diagnostic, Severity, Span
from flowrunner.diagnostics.render import render_github, render_json, render_sarif, render_text
from flowrunner.diagnostics.source import split_lines

__all__ = [
    "CODES",
    "CodeInfo",
    "Diagnostic",
    "Severity",
    "Span",
    "code_info",
    "render_github",
    "render_json",
    "render_sarif",
    "render_text",
    "split_lines",
]
