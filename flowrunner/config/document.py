"""One YAML file as a tree with positions."""

from __future__ import annotations

import codecs
import re
from typing import Any

import msgspec
import yaml

from flowrunner.config.builder import Builder, Refused
from flowrunner.config.hints import explain_syntax
from flowrunner.config.report import Report
from flowrunner.config.tree import Mapping
from flowrunner.diagnostics import Span, split_lines

MAX_BYTES = 1 << 20

_CONTROL = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # some wheels come without libyaml


class Document(msgspec.Struct, frozen=True):
    """A parsed file: the tree (``None`` when there is none to speak of) and its lines."""

    root: Mapping | None
    lines: list[str]


def decode(data: bytes, report: Report) -> str | None:
    """Return the text of a file; report and return ``None`` when it is too large or not UTF-8."""
    if len(data) > MAX_BYTES:
        report.file("FR003", "the file is larger than 1 MiB", help="divide it into several flows")
        return None
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        before = split_lines(data[: error.start].decode())
        span = Span(len(before), len(before[-1]) + 1, len(before[-1]) + 2)
        report.add("FR002", span, "the file is not UTF-8", help="save the file as UTF-8")
        return None
    if control := _CONTROL.search(text):
        before = split_lines(text[: control.start()])
        span = Span(len(before), len(before[-1]) + 1, len(before[-1]) + 2)
        message = f"the character U+{ord(control[0]):04X} cannot stand in a YAML file"
        report.add("FR002", span, message, help='remove it, or write it as an escape such as "\\x07"')
        return None
    return text


def parse(text: str, report: Report) -> Document:
    """Return the document of a file's text; everything wrong with it goes to ``report``."""
    lines = split_lines(text)
    builder = Builder(report, lines)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.take(event)
    except Refused:
        return Document(None, lines)
    except yaml.MarkedYAMLError as error:
        explain_syntax(error, lines, report)
        return Document(None, lines)
    root = builder.mapping()
    report.close_document()
    return Document(root, lines)
